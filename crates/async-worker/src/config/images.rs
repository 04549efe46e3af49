//! `[images]`: what pictures may be and cost.

use std::time::Duration;

use quintet_images::MAX_PIXELS;
use quintet_service::Invalid;
use serde::Deserialize;

use crate::images::Limits;

/// The pictures of the jobs `image.process` and `image.thumbnails`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Images {
    /// Pictures that are decoded at the same time; each may need 256 MB, and up to 800 MB where a large one is not made smaller.
    pub(crate) at_once: usize,
    /// The largest file that `image.process` takes, in MiB. 1 to 1024.
    max_mebibytes: u64,
    /// The most pixels that it takes, in millions. 1 to 50.
    max_megapixels: u64,
    /// How long one picture may take with all its outputs, in milliseconds. 1000 to 3600000.
    timeout_ms: u64,
}

impl Default for Images {
    fn default() -> Self {
        Self { at_once: 1, max_mebibytes: 32, max_megapixels: 50, timeout_ms: 60_000 }
    }
}

const MEGAPIXEL: u64 = 1_000_000;

impl Images {
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        if !(1..=64).contains(&self.at_once) {
            return Err(Invalid::new("images.at_once", "from 1 to 64"));
        }
        if !(1..=1024).contains(&self.max_mebibytes) {
            return Err(Invalid::new("images.max_mebibytes", "from 1 to 1024"));
        }
        if !(1..=MAX_PIXELS / MEGAPIXEL).contains(&self.max_megapixels) {
            return Err(Invalid::new("images.max_megapixels", "from 1 to 50"));
        }
        if !(1_000..=3_600_000).contains(&self.timeout_ms) {
            return Err(Invalid::new("images.timeout_ms", "from 1000 to 3600000"));
        }
        Ok(())
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            bytes: self.max_mebibytes * 1024 * 1024,
            pixels: self.max_megapixels * MEGAPIXEL,
            time: Duration::from_millis(self.timeout_ms),
        }
    }
}
