//! Format, lints and documentation, each with warnings as errors.

use anyhow::Context as _;

use crate::{process, workspace};

pub(crate) fn run() -> anyhow::Result<()> {
    format()?;
    lints()?;
    documentation()
}

pub(crate) fn format() -> anyhow::Result<()> {
    process::run(workspace::cargo().args(["fmt", "--all", "--check"])).context("run `cargo fmt --all`")
}

pub(crate) fn lints() -> anyhow::Result<()> {
    process::run(workspace::cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "--deny",
        "warnings",
    ]))
}

pub(crate) fn documentation() -> anyhow::Result<()> {
    process::run(
        workspace::cargo()
            .args(["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"])
            .env("RUSTDOCFLAGS", "--deny warnings"),
    )
}
