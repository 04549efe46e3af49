//! The name of a blob.

use std::fmt;
use std::str::FromStr;

use crate::BlobError;

/// The SHA-256 of a blob, 64 lower-case hexadecimal digits as text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Digest(String);

impl Digest {
    /// The digest as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn of(hash: &[u8]) -> Self {
        let text = hash.iter().fold(String::with_capacity(64), |mut text, byte| {
            use fmt::Write as _;
            let _ = write!(text, "{byte:02x}");
            text
        });
        Self(text)
    }

    pub(crate) fn bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(self.0.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).unwrap_or_default();
            *byte = u8::from_str_radix(digits, 16).unwrap_or_default();
        }
        bytes
    }

    /// The directory that it is in, and its name there. Two digits make 256 directories, none of them too long to list.
    pub(crate) fn place(&self) -> (&str, &str) {
        self.0.split_at(2)
    }
}

impl FromStr for Digest {
    type Err = BlobError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() == 64 && text.bytes().all(digits) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BlobError::Digest)
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
