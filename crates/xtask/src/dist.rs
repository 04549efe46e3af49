//! `cargo xtask dist`: the five binaries as they ship, static, stripped and the same bytes wherever they are built.
//!
//! Two routes lead to the same kind of file. Where rustup has the musl target, cargo builds on this machine;
//! elsewhere a Debian root brings the compiler ([`debian`]). Either way no path, time or order of the machine reaches
//! the output: paths are mapped away, and `--check-reproducible` builds again from another directory and compares.

mod debian;
pub(crate) mod elf;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use sha2::{Digest as _, Sha256};

use crate::build::{self, hex};
use crate::image::AGENT;
use crate::process;
use crate::workspace::{self, BINARIES};

const UNWIND: &str = "unwind";

/// How the files are linked. A static PIE relocates itself at start: a bitmap of addresses instead of 24 bytes for each of
/// some 20,000. Functions with the same machine code are kept once, which no other linker of Debian does; that two of them
/// then have the same address is nothing that Rust promises otherwise, and data is left alone.
const LINK_ARGUMENTS: &str =
    "-Clink-arg=-fuse-ld=lld -Clink-arg=-Wl,--icf=all -Clink-arg=-Wl,-z,pack-relative-relocs";

/// What ships beyond the default features.
const FEATURES: &str = "edge-gateway/http3";

/// For the C and assembly of libraries. Nothing unwinds through C, whose tables of that weigh 100 KB a binary. AES-GCM
/// for AVX-512 is 0.7 MB in each of the five and saves a tenth of the time of a 64 KB body over TLS.
const C_FLAGS: [&str; 3] =
    ["-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-DMY_ASSEMBLER_IS_TOO_OLD_FOR_512AVX"];

/// What the five may weigh together. The foundation kept to 60 MB; what the queue, PromQL and the business have become since
/// does not fit there.
const LARGEST_TOTAL_BYTES: u64 = 70_000_000;

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// Build a second time from a copy in another directory and compare the bytes.
    #[arg(long)]
    check_reproducible: bool,
}

/// One build: what is compiled and where the results go.
#[derive(Debug)]
struct Build {
    checkout: PathBuf,
    target: PathBuf,
    /// Seconds since 1970 that stand for "now" in anything that would record a time.
    epoch: String,
}

impl Build {
    /// What cargo is told to build: the five, and the program that shows that they can unwind.
    fn targets() -> impl Iterator<Item = &'static str> {
        let binaries = shipped().flat_map(|binary| ["--package", binary, "--bin", binary]);
        binaries.chain(["--features", FEATURES, "--package", "quintet-types", "--example", UNWIND])
    }
}

/// The five, and the agent that is in system images only.
fn shipped() -> impl Iterator<Item = &'static str> {
    BINARIES.into_iter().chain([AGENT])
}

#[derive(Debug)]
enum Route {
    Rustup { triple: String },
    Debian(debian::Root),
}

impl Route {
    fn choose() -> anyhow::Result<Self> {
        let triple = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
        let sysroot = process::output(Command::new("rustc").args(["--print", "sysroot"]))?;
        let installed = Path::new(sysroot.trim()).join("lib/rustlib").join(&triple).join("lib").is_dir();
        if installed && ["musl-gcc", "ld.lld"].iter().all(|tool| process::find(tool).is_some()) {
            return Ok(Self::Rustup { triple });
        }
        Ok(Self::Debian(debian::Root::prepare()?))
    }

    fn build(&self, build: &Build) -> anyhow::Result<PathBuf> {
        match self {
            Self::Rustup { triple } => build_here(build, triple),
            Self::Debian(root) => root.build(build),
        }
    }
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let route = Route::choose()?;
    build_and_verify(&route)?;
    if options.check_reproducible {
        compare_with_second_build(&route, &directory())?;
    }
    Ok(())
}

/// Builds again from another directory and compares with what [`run`] left.
pub(crate) fn reproducible() -> anyhow::Result<()> {
    compare_with_second_build(&Route::choose()?, &directory())
}

fn build_and_verify(route: &Route) -> anyhow::Result<()> {
    build::console(&workspace::root())?;
    let first =
        Build { checkout: workspace::root(), target: workspace::target().join("dist-build"), epoch: epoch() };
    let built = route.build(&first)?;
    let destination = directory();
    process::output(Command::new(built.join("examples").join(UNWIND)).env_clear())
        .context("a panic in a static binary ends the process instead of the request")?;
    collect(&built, &destination)?;
    verify(&destination)
}

/// Where the finished binaries are.
pub(crate) fn directory() -> PathBuf {
    workspace::target().join("dist")
}

fn build_here(build: &Build, triple: &str) -> anyhow::Result<PathBuf> {
    let variable = triple.replace('-', "_");
    let checkout = build.checkout.display();
    let target = build.target.display();
    let home = std::env::var_os("CARGO_HOME").or_else(|| std::env::var_os("HOME")).unwrap_or_default();
    let home = Path::new(&home).display();
    // The last match wins, so the checkout follows the home directory it may be in.
    let maps = [
        format!("{home}=/quintet/home"),
        format!("{checkout}=/quintet"),
        format!("{target}=/quintet/target"),
    ];
    let rust_flags: Vec<String> = maps.iter().map(|map| format!("--remap-path-prefix={map}")).collect();
    let c_flags = maps.iter().map(|map| format!("-ffile-prefix-map={map}"));
    let c_flags: Vec<String> = c_flags.chain(C_FLAGS.map(str::to_owned)).collect();
    process::run(
        workspace::cargo()
            .current_dir(&build.checkout)
            .args(["build", "--locked", "--profile", "dist", "--target", triple])
            .args(Build::targets())
            .env("CARGO_TARGET_DIR", &build.target)
            .env("CARGO_INCREMENTAL", "0")
            .env("SOURCE_DATE_EPOCH", &build.epoch)
            .env(format!("CC_{variable}"), "musl-gcc")
            .env(format!("CFLAGS_{variable}"), c_flags.join(" "))
            .env(format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase()), "musl-gcc")
            .env(
                format!("CARGO_TARGET_{}_RUSTFLAGS", variable.to_uppercase()),
                format!("-Ctarget-feature=+crt-static {LINK_ARGUMENTS} {}", rust_flags.join(" ")),
            ),
    )
    .context("build the static binaries")?;
    Ok(build.target.join(triple).join("dist"))
}

/// The time of the last commit, or the epoch itself outside a repository.
pub(crate) fn epoch() -> String {
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"]).current_dir(workspace::root());
    process::output(&mut git).map_or_else(|_| "0".to_owned(), |seconds| seconds.trim().to_owned())
}

fn collect(built: &Path, destination: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(destination).with_context(|| format!("create {}", destination.display()))?;
    for binary in shipped() {
        let (from, to) = (built.join(binary), destination.join(binary));
        // A running fleet may execute the old file: replace it, never write into it.
        let partial = destination.join(format!(".{binary}.partial"));
        std::fs::copy(&from, &partial).with_context(|| format!("copy {}", from.display()))?;
        std::fs::rename(&partial, &to).with_context(|| format!("put {} in place", to.display()))?;
    }
    Ok(())
}

/// Checks each file's form, starts it once, and prints what it weighs.
fn verify(directory: &Path) -> anyhow::Result<()> {
    let mut total = 0;
    for binary in shipped() {
        let path = directory.join(binary);
        let file = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        elf::check_static_pie(&file).with_context(|| path.display().to_string())?;
        let version = process::output(Command::new(&path).arg("--version").env_clear())?;
        ensure!(version.starts_with(binary), "{} calls itself {version:?}", path.display());
        // What the five may weigh says nothing of images.
        total += if binary == AGENT { 0 } else { file.len() as u64 };
        println!(
            "{:>6.1} MB  {}  {}",
            megabytes(file.len() as u64),
            hex(&Sha256::digest(&file)),
            version.trim()
        );
    }
    println!("{:>6.1} MB  static-pie, no interpreter, no shared library", megabytes(total));
    ensure!(total <= LARGEST_TOTAL_BYTES, "the five weigh {total} bytes; the limit is {LARGEST_TOTAL_BYTES}");
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "sizes of files, shown with one decimal")]
pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn compare_with_second_build(route: &Route, first: &Path) -> anyhow::Result<()> {
    let elsewhere =
        tempfile::Builder::new().prefix("quintet-again-").tempdir().context("make a directory")?;
    let checkout = elsewhere.path().join("some/other/place");
    copy_checkout(&checkout)?;
    build::console(&checkout)?;
    let second = route.build(&Build { checkout, target: elsewhere.path().join("target"), epoch: epoch() })?;
    let mut different = Vec::new();
    for binary in shipped() {
        let ours = std::fs::read(first.join(binary)).context("read the first build")?;
        let theirs = std::fs::read(second.join(binary)).context("read the second build")?;
        if ours != theirs {
            different.push(binary);
        }
    }
    if !different.is_empty() {
        let kept = elsewhere.keep();
        bail!("two builds differ: {} (the second is in {})", different.join(", "), kept.display());
    }
    println!("a second build from another directory gave the same bytes");
    Ok(())
}

/// Copies what git tracks or would track, as a clone would have it.
fn copy_checkout(destination: &Path) -> anyhow::Result<()> {
    let root = workspace::root();
    let listed = process::output(
        Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(&root),
    )?;
    for name in listed.split('\0').filter(|name| !name.is_empty() && root.join(name).is_file()) {
        let to = destination.join(name);
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        }
        std::fs::copy(root.join(name), &to).with_context(|| format!("copy {name}"))?;
    }
    Ok(())
}
