//! Finds and opens what a path names, beneath the root and nowhere else.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use http::HeaderValue;
use percent_encoding::percent_decode_str;
use quintet_http::problem::Problem;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2};
use rustix::io::Errno;

use super::StaticFiles;
use crate::content::Encoding;
use crate::representation::Source;
use crate::validators::Validators;

/// Files of this age and older tell no time: reproducible builds and the Nix store set it to 0 or 1.
const NO_TIME: u64 = 1;
/// Looks at a path whose directories are being moved meanwhile, which the kernel asks to repeat.
const MAX_LOOKS: u32 = 8;
/// Has a fixed meaning of its own (RFC 8615) and nothing to hide.
const WELL_KNOWN: &[u8] = b".well-known";

/// What is looked for.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    /// Relative, decoded; what stands for a directory is part of it already.
    name: Vec<u8>,
    /// What would be its index if the name is a directory.
    index: Option<Vec<u8>>,
    /// Variants that the client takes, the best first.
    encodings: Vec<Encoding>,
}

/// What a path names.
pub(super) enum Found {
    File(Opened),
    /// One with an index, asked for without its slash.
    Directory,
    Nothing,
}

/// An open regular file.
pub(super) struct Opened {
    file: OwnedFd,
    stat: Stat,
    pub(super) encoding: Option<Encoding>,
    /// Without the variant's extension.
    pub(super) name: Vec<u8>,
}

impl Wish {
    /// None for what is never served.
    pub(super) fn new(
        files: &StaticFiles,
        tail: &str,
        directory: bool,
        encodings: Vec<Encoding>,
    ) -> Option<Self> {
        let name: Vec<u8> = percent_decode_str(tail.trim_matches('/')).collect();
        let hidden = |part: &[u8]| {
            part.starts_with(b".") && part != WELL_KNOWN && (!files.dotfiles || part == b"." || part == b"..")
        };
        if name.contains(&0) || name.split(|byte| *byte == b'/').any(hidden) {
            return None;
        }
        let mut index = name.clone();
        if !index.is_empty() {
            index.push(b'/');
        }
        index.extend_from_slice(files.index.as_bytes());
        Some(if directory {
            Self { name: index, index: None, encodings }
        } else {
            Self { name, index: Some(index), encodings }
        })
    }

    pub(super) fn of_file(name: &str, encodings: Vec<Encoding>) -> Self {
        Self { name: name.as_bytes().to_vec(), index: None, encodings }
    }

    /// May wait for a disk.
    fn look_up_patiently(&self, root: &Path) -> Result<Found, Errno> {
        let mut looks = 0;
        loop {
            looks += 1;
            match self.look_up(root, ResolveFlags::empty()) {
                Err(Errno::AGAIN | Errno::INTR) if looks < MAX_LOOKS => {}
                found => return found,
            }
        }
    }

    /// With `RESOLVE_CACHED` in `how` this never waits for a disk, and says `EAGAIN` where it would have to.
    fn look_up(&self, root: &Path, how: ResolveFlags) -> Result<Found, Errno> {
        let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // By its path each time: deployments put another directory in its place.
        let root = openat2(CWD, root, directory, Mode::empty(), ResolveFlags::NO_MAGICLINKS | how)?;
        let open = |name: &[u8]| open_beneath(&root, name, how);
        let Some((file, stat)) = (if self.name.is_empty() { None } else { open(&self.name)? }) else {
            let index = self.index.as_deref().map(open).transpose()?.flatten();
            return Ok(if index.is_some() { Found::Directory } else { Found::Nothing });
        };
        let name = self.name.clone();
        for &encoding in &self.encodings {
            let variant = [&self.name[..], b".", extension(encoding)].concat();
            if let Some((file, stat)) = open(&variant)? {
                return Ok(Found::File(Opened { file, stat, encoding: Some(encoding), name }));
            }
        }
        Ok(Found::File(Opened { file, stat, encoding: None, name }))
    }
}

const fn extension(encoding: Encoding) -> &'static [u8] {
    match encoding {
        Encoding::Zstd => b"zst",
        Encoding::Brotli => b"br",
        Encoding::Gzip => b"gz",
    }
}

/// None where there is no regular file that may be read.
fn open_beneath(root: &OwnedFd, name: &[u8], how: ResolveFlags) -> Result<Option<(OwnedFd, Stat)>, Errno> {
    // O_NONBLOCK: opening a FIFO would wait for its writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | how;
    match openat2(root, name, flags, Mode::empty(), resolve) {
        Ok(file) => {
            let stat = fstat(&file)?;
            Ok((FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile).then_some((file, stat)))
        }
        Err(
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::LOOP
            | Errno::XDEV
            | Errno::ACCESS
            | Errno::NAMETOOLONG
            | Errno::NXIO
            | Errno::INVAL
            | Errno::PERM,
        ) => Ok(None),
        Err(error) => Err(error),
    }
}

/// On the spot where the kernel has it all in memory, on the blocking pool where not.
pub(super) async fn find(files: &Arc<StaticFiles>, wish: Wish) -> Result<Found, Problem> {
    let found = match wish.look_up(&files.root, ResolveFlags::CACHED) {
        Err(Errno::AGAIN) => {
            let files = Arc::clone(files);
            let looked = tokio::task::spawn_blocking(move || wish.look_up_patiently(&files.root));
            looked.await.unwrap_or(Err(Errno::CANCELED))
        }
        found => found,
    };
    found.map_err(|error| {
        tracing::error!(root = %files.root.display(), %error, "files cannot be read");
        let detail = "the files behind this address cannot be read";
        Problem::new(http::StatusCode::SERVICE_UNAVAILABLE, "files_unavailable", detail)
    })
}

impl Opened {
    pub(super) fn length(&self) -> u64 {
        u64::try_from(self.stat.st_size).unwrap_or_default()
    }

    /// What tells this state of the file, in this encoding, from others.
    pub(super) fn validators(&self) -> Validators {
        let stat = &self.stat;
        let modified = u64::try_from(stat.st_mtime).ok().filter(|seconds| *seconds > NO_TIME);
        let suffix = self.encoding.map(|encoding| format!("-{}", encoding.name())).unwrap_or_default();
        let size = stat.st_size;
        let tag = if let Some(seconds) = modified {
            format!("\"{seconds:x}.{:x}-{size:x}{suffix}\"", stat.st_mtime_nsec)
        } else {
            // Another file may have the same size: what the file system knows of it tells them apart.
            let (inode, changed, nanos) = (stat.st_ino, stat.st_ctime, stat.st_ctime_nsec);
            format!("\"{inode:x}.{changed:x}.{nanos:x}-{size:x}{suffix}\"")
        };
        Validators { etag: HeaderValue::try_from(tag).ok(), modified }
    }

    pub(super) fn into_source(self) -> Source {
        Source::File(Arc::new(self.file))
    }
}
