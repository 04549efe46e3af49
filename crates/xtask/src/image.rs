//! `cargo xtask image`: the sealed system image from Debian packages, and the update bundle of the same generation.
//!
//! A generation is a unified kernel image, whose command line has the root hash, and a store (erofs) under dm-verity
//! of that hash. What is in the store is picked file by file ([`pick`]) and checked ([`content`]). Everything is made
//! in a Debian root of its own ([`tools`]), so a machine needs mmdebstrap and root and nothing else.

pub(crate) mod bundle;
mod content;
mod disk;
mod kernel;
mod pick;
mod store;
pub(crate) mod tools;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use self::tools::Tools;
use crate::workspace::BINARIES;
use crate::{dist, process, workspace};

/// What an image weighs at most, compressed.
const LARGEST_COMPRESSED_BYTES: u64 = 150_000_000;

/// The sixth program, in images only.
pub(crate) const AGENT: &str = "node-agent";

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Numbers with dots between them; each generation's is higher than the one before. The workspace's version and
    /// the time of the last commit unless given.
    #[arg(long = "image-version", value_name = "VERSION")]
    version: Option<String>,
    /// The static binaries, `node-agent` among them.
    #[arg(long, value_name = "DIRECTORY")]
    bin_dir: Option<PathBuf>,
    /// The key that signs updates: 64 hexadecimal digits in a file. Made in target/image/update-key unless given.
    #[arg(long, value_name = "FILE")]
    update_key: Option<PathBuf>,
    /// Sign kernel and boot loader for Secure Boot with this key (PEM)...
    #[arg(long, value_name = "FILE", requires = "secure_boot_certificate")]
    secure_boot_key: Option<PathBuf>,
    /// ...and its certificate (PEM), which the firmware must know.
    #[arg(long, value_name = "FILE", requires = "secure_boot_key")]
    secure_boot_certificate: Option<PathBuf>,
}

/// What makes one generation different from another.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    pub(crate) version: String,
    pub(crate) binaries: PathBuf,
    /// Files that replace those of the store, by their path in it: what tests break.
    pub(crate) replaced: Vec<(PathBuf, Vec<u8>)>,
    pub(crate) update_key: bundle::UpdateKey,
    pub(crate) secure_boot: Option<(PathBuf, PathBuf)>,
}

/// A built generation.
#[derive(Debug, Clone)]
pub(crate) struct Generation {
    pub(crate) version: String,
    pub(crate) store: PathBuf,
    pub(crate) verity: PathBuf,
    pub(crate) kernel: PathBuf,
    pub(crate) store_uuid: String,
    pub(crate) verity_uuid: String,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let tools = Tools::prepare()?;
    let recipe = Recipe {
        version: options.version.clone().map_or_else(version, Ok)?,
        binaries: options.bin_dir.clone().unwrap_or_else(dist::directory),
        replaced: Vec::new(),
        update_key: bundle::UpdateKey::load(options.update_key.as_deref())?,
        secure_boot: options.secure_boot_key.clone().zip(options.secure_boot_certificate.clone()),
    };
    let generation = build(&tools, &recipe)?;
    let raw = disk::write(&tools, &generation, &recipe)?;
    bundle::write(&generation, &recipe.update_key, &directory().join("bundle"))?;
    let compressed = compress(&tools, &raw)?;
    let size = std::fs::metadata(&compressed)?.len();
    println!("{}", compressed.display());
    println!("{:.1} MB compressed; the limit is {:.0}", megabytes(size), megabytes(LARGEST_COMPRESSED_BYTES));
    println!("update bundle: {}", directory().join("bundle").display());
    ensure!(size <= LARGEST_COMPRESSED_BYTES, "the image weighs {size} bytes compressed");
    Ok(())
}

/// Builds store, verity tree and kernel image.
pub(crate) fn build(tools: &Tools, recipe: &Recipe) -> anyhow::Result<Generation> {
    ensure!(
        recipe
            .version
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())),
        "{:?} is no version: write numbers with dots between them",
        recipe.version
    );
    for binary in BINARIES.into_iter().chain([AGENT]) {
        let path = recipe.binaries.join(binary);
        ensure!(path.is_file(), "{} is missing: run `cargo xtask dist` or give --bin-dir", path.display());
    }
    store::build(tools, recipe)
}

/// A disk image of a generation, as it is written to a machine's disk.
pub(crate) fn disk(tools: &Tools, generation: &Generation, recipe: &Recipe) -> anyhow::Result<PathBuf> {
    disk::write(tools, generation, recipe)
}

fn version() -> anyhow::Result<String> {
    let time = process::output(
        Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(workspace::root()),
    )
    .context("a version is made from the last commit's time; outside a repository give --image-version")?;
    Ok(format!("{}.{}", env!("CARGO_PKG_VERSION"), time.trim()))
}

fn compress(tools: &Tools, raw: &Path) -> anyhow::Result<PathBuf> {
    let compressed = raw.with_extension("raw.zst");
    tools.run("zstd", |zstd| {
        zstd.args(["--quiet", "--force", "-T0", "-9", "-o"])
            .arg(tools.inside(&compressed))
            .arg(tools.inside(raw));
    })?;
    Ok(compressed)
}

/// Where images, bundles and what they are made with are.
pub(crate) fn directory() -> PathBuf {
    workspace::target().join("image")
}

/// The files in the checkout that images are made from.
fn sources() -> PathBuf {
    workspace::root().join("images/debian")
}

#[expect(clippy::cast_precision_loss, reason = "sizes of files, shown with one decimal")]
pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
