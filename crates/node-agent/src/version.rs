//! The version of a generation: numbers between dots, compared as numbers.

use std::cmp::Ordering;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// Numbers that one version may have.
const MOST_PARTS: usize = 6;

/// Such as `0.4.2` or `0.4.2.1795449600`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Version(Vec<u64>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no version; write numbers with dots between them, such as 0.4.2")]
pub(crate) struct VersionError(String);

impl Version {
    /// The generation that runs.
    pub(crate) fn running(os_release: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(os_release).with_context(|| format!("read {}", os_release.display()))?;
        let value = text.lines().find_map(|line| line.strip_prefix("IMAGE_VERSION="));
        let value = value.with_context(|| format!("{} has no IMAGE_VERSION", os_release.display()))?;
        Ok(value.trim_matches('"').parse()?)
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let invalid = || VersionError(text.chars().take(64).collect());
        let part = |part: &str| {
            let digits = part.bytes().all(|byte| byte.is_ascii_digit());
            // Without leading zeros one version has one spelling, and names of files can be compared.
            (digits && (part == "0" || !part.starts_with('0'))).then(|| part.parse().ok()).flatten()
        };
        let parts: Option<Vec<u64>> = text.split('.').take(MOST_PARTS + 1).map(part).collect();
        parts.filter(|parts| parts.len() <= MOST_PARTS).map(Self).ok_or_else(invalid)
    }
}

impl TryFrom<String> for Version {
    type Error = VersionError;

    fn try_from(text: String) -> Result<Self, VersionError> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.iter().enumerate() {
            write!(f, "{}{part}", if index == 0 { "" } else { "." })?;
        }
        Ok(())
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_compared_as_numbers() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        assert!(version("0.10") > version("0.9.9"));
        assert!(version("1.2.3") > version("1.2"));
        assert_eq!(version("1.2.3").to_string(), "1.2.3");
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in
            ["", "1.", ".1", "1..2", "01", "1.2-rc1", "+1", "1_2", "1.2.3.4.5.6.7", "99999999999999999999"]
        {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }
}
