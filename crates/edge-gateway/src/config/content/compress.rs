//! `compress`: which answers are compressed, and how.

use quintet_service::Invalid;
use serde::Deserialize;

use crate::config::invalid;
use crate::content::{Compression, Encoding, Levels, TypePattern};

/// Which answers are compressed, and how.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CompressSection {
    /// In the order of preference among those that a client takes equally.
    pub(crate) encodings: Vec<Encoding>,
    /// Answers of a known length below this stay as they are. At most 1048576.
    pub(crate) min_bytes: u64,
    /// Media types that are compressed: `type/subtype`, `type/*` or `*+suffix`. `text/event-stream` never is.
    pub(crate) types: Vec<String>,
    /// 1 (fast) to 9 (small).
    pub(crate) gzip_level: u32,
    /// 0 (fast) to 9 (small).
    pub(crate) brotli_quality: u32,
    /// 1 (fast) to 9 (small).
    pub(crate) zstd_level: i32,
}

const TYPES: [&str; 13] = [
    "text/*",
    "*+json",
    "*+xml",
    "application/json",
    "application/javascript",
    "application/x-javascript",
    "application/x-ndjson",
    "application/xml",
    "application/wasm",
    "application/vnd.ms-fontobject",
    "font/otf",
    "font/ttf",
    "image/bmp",
];

impl Default for CompressSection {
    fn default() -> Self {
        let levels = Levels::default();
        Self {
            encodings: vec![Encoding::Zstd, Encoding::Brotli, Encoding::Gzip],
            min_bytes: 1024,
            types: TYPES.map(str::to_owned).to_vec(),
            gzip_level: levels.gzip,
            brotli_quality: levels.brotli,
            zstd_level: levels.zstd,
        }
    }
}

pub(super) fn check(key: &str, section: &CompressSection) -> Result<Compression, Invalid> {
    let refuse = |field: &str, message: &str| invalid(&format!("{key}.{field}"), message);
    let encodings = &section.encodings;
    let twice = encodings.iter().any(|one| encodings.iter().filter(|other| one == *other).count() > 1);
    if encodings.is_empty() || twice {
        return refuse("encodings", "must name at least one of \"zstd\", \"br\" and \"gzip\", each once");
    }
    if section.min_bytes > 1024 * 1024 {
        return refuse("min_bytes", "must be at most 1048576");
    }
    if !(1..=9).contains(&section.gzip_level) {
        return refuse("gzip_level", "must be from 1 to 9");
    }
    if section.brotli_quality > 9 {
        return refuse("brotli_quality", "must be from 0 to 9; more is for files compressed beforehand");
    }
    if !(1..=9).contains(&section.zstd_level) {
        return refuse("zstd_level", "must be from 1 to 9; more is for files compressed beforehand");
    }
    let mut types = Vec::with_capacity(section.types.len());
    for text in &section.types {
        let Some(pattern) = TypePattern::parse(text) else {
            return refuse("types", &format!("`{text}` is not `type/subtype`, `type/*` or `*+suffix`"));
        };
        types.push(pattern);
    }
    Ok(Compression {
        encodings: encodings.clone(),
        min_bytes: section.min_bytes,
        types,
        levels: Levels { gzip: section.gzip_level, brotli: section.brotli_quality, zstd: section.zstd_level },
    })
}
