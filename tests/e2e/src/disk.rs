//! A small file system of a fleet's own, to be filled up.
//!
//! It is a tmpfs in a mount namespace that only the fleet's processes are in. Nothing else sees it, and whatever
//! becomes of the test, the kernel unmounts it when the last of them ends. The test reaches it through
//! `/proc/PID/root`.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;

use crate::left_out;

/// Mounts the file system of the given size ($0) at the given place ($1), then becomes the rest.
const MOUNT: &str = r#"mount -t tmpfs -o size="$0" tmpfs "$1" && shift && exec "$@""#;

/// A full file system's worth of bytes, written in pieces of this size.
const PIECE: [u8; 4096] = [b'x'; 4096];

/// The same command, in a namespace of its own where a file system of `bytes` is mounted at `place`.
pub(crate) fn with_disk(command: &Command, place: &Path, bytes: u64) -> Command {
    let mut inside = namespace();
    inside.args(["sh", "-c", MOUNT, &bytes.to_string()]).arg(place);
    inside.arg(command.get_program()).args(command.get_args());
    inside
}

/// Whether this user may mount in a namespace of its own; where not, such tests are left out.
pub fn mountable() -> anyhow::Result<bool> {
    let directory = tempfile::tempdir()?;
    let tried = with_disk(&Command::new("true"), directory.path(), 1 << 16)
        .stdin(Stdio::null())
        .output()
        .context("run unshare")?;
    if tried.status.success() {
        return Ok(true);
    }
    let said = String::from_utf8_lossy(&tried.stderr);
    left_out(&format!("a file system cannot be mounted: {}", said.trim()))?;
    Ok(false)
}

fn namespace() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]);
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.arg("--");
    command
}

/// The fleet's file system, seen from outside its namespace.
#[derive(Debug)]
pub struct Disk {
    place: PathBuf,
}

impl Disk {
    /// The file system mounted at `place` where `process` lives.
    pub(crate) fn of(process: i32, place: &Path) -> anyhow::Result<Self> {
        let outside = Path::new("/proc").join(process.to_string()).join("root");
        Ok(Self { place: outside.join(place.strip_prefix("/").context("an absolute path")?) })
    }

    /// Writes until nothing more fits.
    pub fn fill(&self) -> anyhow::Result<()> {
        let mut ballast = File::create(self.ballast()).context("create the ballast")?;
        loop {
            match ballast.write_all(&PIECE) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error).context("write the ballast"),
            }
        }
    }

    /// Gives the space back.
    pub fn relieve(&self) -> anyhow::Result<()> {
        std::fs::remove_file(self.ballast()).context("remove the ballast")
    }

    fn ballast(&self) -> PathBuf {
        self.place.join(OsStr::new("ballast"))
    }
}
