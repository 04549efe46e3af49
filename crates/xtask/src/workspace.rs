//! Where things are in this checkout.

use std::path::{Path, PathBuf};

/// The five programs, in the order in which they start: the sink first so that nothing it is told is lost, the
/// gateway last. They stop in the opposite order.
pub(crate) const BINARIES: [&str; 5] =
    ["telemetry-sink", "identity-provider", "core-api", "async-worker", "edge-gateway"];

/// The root of the checkout this task belongs to.
pub(crate) fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    // crates/xtask/Cargo.toml: two levels below the root.
    manifest.ancestors().nth(2).map_or(manifest.clone(), Path::to_path_buf)
}

/// Where cargo writes.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// The cargo that started this task, or the one on the path.
pub(crate) fn cargo() -> std::process::Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = std::process::Command::new(program);
    command.current_dir(root());
    command
}
