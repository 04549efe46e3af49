//! The few file operations the write-ahead log makes, as a boundary at which tests plant a full
//! or failing disk.
//!
//! Reading is not here: damage on the read side is tested with damaged files.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

/// Where segments are made.
pub(crate) trait Disk: Send + Sync {
    /// Creates a file that must not exist yet.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn SegmentFile>>;
    /// Bytes an unprivileged process may still write below `path`.
    fn available_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// An open, growing segment.
pub(crate) trait SegmentFile: Send + Sync {
    fn append(&self, bytes: &[u8]) -> io::Result<()>;
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// Makes everything appended so far survive a power failure.
    fn sync(&self) -> io::Result<()>;
}

/// The real file system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn SegmentFile>> {
        let file = OpenOptions::new().append(true).create_new(true).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn available_bytes(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

struct RealFile(File);

impl SegmentFile for RealFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.0).write_all(bytes)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// Makes creations, renames and removals in a directory survive a power failure.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
pub(crate) mod faulty {
    //! A disk that can be told to fill up or to fail.

    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Writes at most `allowance` bytes, then answers ENOSPC, like a real disk after a short write.
    #[derive(Clone)]
    pub(crate) struct FaultyDisk {
        pub(crate) allowance: Arc<AtomicU64>,
    }

    impl FaultyDisk {
        pub(crate) fn with_allowance(bytes: u64) -> Self {
            Self { allowance: Arc::new(AtomicU64::new(bytes)) }
        }

        pub(crate) fn allow(&self, bytes: u64) {
            self.allowance.store(bytes, Ordering::SeqCst);
        }

        fn wrap(&self, inner: Arc<dyn SegmentFile>) -> Arc<dyn SegmentFile> {
            Arc::new(FaultyFile { inner, allowance: Arc::clone(&self.allowance) })
        }
    }

    impl Disk for FaultyDisk {
        fn create(&self, path: &Path) -> io::Result<Arc<dyn SegmentFile>> {
            RealDisk.create(path).map(|file| self.wrap(file))
        }

        fn available_bytes(&self, _path: &Path) -> io::Result<u64> {
            Ok(self.allowance.load(Ordering::SeqCst))
        }
    }

    struct FaultyFile {
        inner: Arc<dyn SegmentFile>,
        allowance: Arc<AtomicU64>,
    }

    impl SegmentFile for FaultyFile {
        fn append(&self, bytes: &[u8]) -> io::Result<()> {
            let wanted = u64::try_from(bytes.len()).unwrap();
            let left = self.allowance.load(Ordering::SeqCst);
            if wanted <= left {
                self.allowance.store(left - wanted, Ordering::SeqCst);
                return self.inner.append(bytes);
            }
            self.allowance.store(0, Ordering::SeqCst);
            self.inner.append(&bytes[..usize::try_from(left).unwrap()])?;
            Err(io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error()))
        }

        fn truncate(&self, length: u64) -> io::Result<()> {
            self.inner.truncate(length)
        }

        fn sync(&self) -> io::Result<()> {
            self.inner.sync()
        }
    }
}
