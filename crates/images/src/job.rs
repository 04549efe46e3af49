//! The job `image.process`: several pictures made of one.
//!
//! Here is what it takes and gives, so that a module can enqueue it; the worker runs it.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::encode::Format;
use crate::geometry::{Crop, GeometryError, Resize};

/// The job's kind.
pub const KIND: &str = "image.process";
/// Outputs of one job.
pub const MOST_OUTPUTS: usize = 16;
const MOST_NAME_BYTES: usize = 64;

/// The job's arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// SHA-256 of the picture, which is a blob: 64 lower-case hexadecimal digits.
    pub input: String,
    /// What is made of it, one to sixteen.
    pub outputs: Vec<Output>,
}

/// One picture to make: the part `crop`, made as large as `resize` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// What it is called in the result.
    pub name: String,
    /// Which part; the whole picture unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<Crop>,
    /// How large; as it is unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<Resize>,
    /// How it is written.
    pub format: Format,
    /// From 1 to 100, where the format has a quality.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<u8>,
}

/// What the job gives back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Result {
    /// In the order of the arguments.
    pub outputs: Vec<Made>,
}

/// One picture that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// What the arguments call it.
    pub name: String,
    /// SHA-256 of its bytes, under which it is a blob.
    pub digest: String,
    /// Its media type.
    pub media_type: String,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Its length.
    pub size_bytes: u64,
}

/// What is wrong with the arguments.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum ArgsError {
    /// None, or too many.
    #[error("outputs has from 1 to {MOST_OUTPUTS} entries")]
    Count,
    /// A name that is empty, too long, or given twice.
    #[error("each output has a name of its own, of 1 to {MOST_NAME_BYTES} bytes; `{0}` is not")]
    Name(String),
    /// A quality that is none.
    #[error("output `{name}`: quality is from 1 to 100, and only for formats that lose something")]
    Quality {
        /// Which output.
        name: String,
    },
    /// Sides or places that no picture can have.
    #[error("output `{name}`: {error}")]
    Geometry {
        /// Which output.
        name: String,
        /// What is wrong.
        error: GeometryError,
    },
}

impl Args {
    /// Whether this can be asked for of any picture.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> std::result::Result<(), ArgsError> {
        if self.outputs.is_empty() || self.outputs.len() > MOST_OUTPUTS {
            return Err(ArgsError::Count);
        }
        let mut names = HashSet::new();
        for output in &self.outputs {
            let name = output.name.as_str();
            if name.is_empty() || name.len() > MOST_NAME_BYTES || !names.insert(name) {
                return Err(ArgsError::Name(name.chars().take(MOST_NAME_BYTES).collect()));
            }
            output.check()?;
        }
        Ok(())
    }
}

impl Output {
    fn check(&self) -> std::result::Result<(), ArgsError> {
        let name = || self.name.clone();
        let lossless = self.format.default_quality().is_none();
        if self.quality.is_some_and(|quality| lossless || !(1..=100).contains(&quality)) {
            return Err(ArgsError::Quality { name: name() });
        }
        let crop = self.crop.as_ref().map_or(Ok(()), Crop::check);
        crop.and_then(|()| self.resize.as_ref().map_or(Ok(()), Resize::check))
            .map_err(|error| ArgsError::Geometry { name: name(), error })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn checked(outputs: serde_json::Value) -> String {
        let args = json!({ "input": "00".repeat(32), "outputs": outputs });
        match serde_json::from_value::<Args>(args) {
            Ok(args) => args.check().map_or_else(|error| error.to_string(), |()| "good".to_owned()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn arguments_say_what_is_wrong_with_them() {
        let card = json!({ "name": "card", "format": "webp", "quality": 70,
            "crop": { "width": 10, "height": 10, "gravity": "north-west" },
            "resize": { "width": 640, "height": 480, "mode": "fill", "gravity": "south", "enlarge": true } });
        assert_eq!(checked(json!([card])), "good");
        assert_eq!(checked(json!([])), "outputs has from 1 to 16 entries");
        let name = "each output has a name of its own, of 1 to 64 bytes; `card` is not";
        assert_eq!(checked(json!([card, card])), name);
        for (output, text) in [
            (json!({ "name": "a", "format": "png", "quality": 70 }), "output `a`: quality is from 1 to 100"),
            (json!({ "name": "a", "format": "jpeg", "quality": 0 }), "output `a`: quality is from 1 to 100"),
            (json!({ "name": "a", "format": "gif" }), "unknown variant `gif`, expected one of `webp`"),
            (json!({ "name": "a", "format": "png", "rotate": 90 }), "unknown field `rotate`"),
            (
                json!({ "name": "a", "format": "png", "resize": { "width": 5, "mode": "fill" } }),
                "output `a`: resize needs width and height",
            ),
            (
                json!({ "name": "a", "format": "png", "crop": { "width": 5, "height": 5, "x": 1 } }),
                "output `a`: a crop has x and y, or a gravity",
            ),
        ] {
            let said = checked(json!([output]));
            assert!(said.starts_with(text), "{said}");
        }
    }
}
