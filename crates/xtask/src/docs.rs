//! `cargo xtask docs`: the reference of each binary's configuration, from the structs that read it.
//!
//! A key's row is its field: name, type, default and documentation comment. So the page cannot say what the program
//! does not do; a test holds the pages to the code.

mod page;
mod source;

use std::path::PathBuf;

use anyhow::{Context as _, bail};

use self::source::Sources;
use crate::workspace::{self, BINARIES};

/// Crates whose sections several binaries have.
const SHARED: [&str; 10] = [
    "quintet-auth",
    "quintet-blobs",
    "quintet-database",
    "quintet-http",
    "quintet-jobs",
    "quintet-module",
    "quintet-s3",
    "quintet-service",
    "quintet-store",
    "quintet-telemetry",
];

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Write nothing; fail when a page is not what the code says.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    for (path, text) in pages()? {
        if std::fs::read_to_string(&path).is_ok_and(|written| written == text) {
            continue;
        }
        if options.check {
            bail!("{} is not what the code says; run `cargo xtask docs`", path.display());
        }
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
        }
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

/// Writes the pages that are not what the code says.
pub(crate) fn write() -> anyhow::Result<()> {
    run(&Options { check: false })
}

/// Each page with its text.
fn pages() -> anyhow::Result<Vec<(PathBuf, String)>> {
    let root = workspace::root();
    let mut pages = Vec::new();
    for binary in BINARIES {
        let mut sources = Sources::default();
        sources.read(binary, &root.join("crates").join(binary))?;
        for shared in SHARED {
            let directory = shared.strip_prefix("quintet-").unwrap_or(shared);
            sources.read(shared, &root.join("crates").join(directory))?;
        }
        let text = page::write(binary, &sources).with_context(|| format!("the configuration of {binary}"))?;
        pages.push((root.join(format!("docs/reference/configuration/{binary}.md")), text));
    }
    Ok(pages)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_reference_of_the_configuration_is_what_the_code_says() {
        super::run(&super::Options { check: true }).unwrap();
    }
}
