//! The node's books: which generation was booted when, how it went, and what became of the last update.
//!
//! They are on the state partition, so they outlive a generation that failed and say why it did. Only root's commands
//! write them, and publish a copy in which the API shows them.
//!
//! Books that cannot be read are begun anew: what they tell is history, and a node must boot without it.

use std::path::Path;

use quintet_types::Timestamp;
use serde::{Deserialize, Serialize};

use crate::version::Version;
use crate::{entries, files, paths};

/// Boots that are remembered.
const MOST_BOOTS: usize = 50;
/// Bytes of a reason that are remembered.
const LONGEST_REASON: usize = 4096;

/// What became of one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// Nothing more is known: it runs, or it ended without a word.
    Started,
    /// All five answered.
    Healthy,
    /// They did not, in time.
    Unhealthy,
    /// Left for the previous generation because it was unhealthy.
    GivenUp,
    /// Left for the previous generation on request.
    RolledBack,
}

/// One boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Boot {
    pub(crate) version: Version,
    pub(crate) at: String,
    pub(crate) outcome: Outcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// How far an update came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Progress {
    /// None was asked for.
    #[default]
    None,
    Fetching,
    /// Fetched and verified; being written to the free slot.
    Installing,
    /// In place, to be booted next.
    Installed,
    /// The source has nothing newer.
    Current,
    Failed,
}

/// The last update.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Update {
    pub(crate) progress: Progress,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<Version>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) at: Option<String>,
    /// Whether to boot it once it is installed.
    #[serde(default)]
    pub(crate) reboot: bool,
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Books {
    /// The latest first.
    #[serde(default)]
    pub(crate) boots: Vec<Boot>,
    #[serde(default)]
    pub(crate) update: Update,
}

impl Books {
    pub(crate) fn open() -> Self {
        Self::read(Path::new(paths::BOOKS))
    }

    fn read(path: &Path) -> Self {
        let content = std::fs::read(path).unwrap_or_default();
        serde_json::from_slice(&content).unwrap_or_default()
    }

    pub(crate) fn close(&self) -> anyhow::Result<()> {
        files::replace(Path::new(paths::BOOKS), &serde_json::to_vec_pretty(self)?, 0o600)
    }

    /// The same where the machine must go on without: a full disk is no reason to start nothing, or to call a generation bad.
    pub(crate) fn close_if_there_is_room(&self) {
        if let Err(error) = self.close() {
            tracing::error!(error = format!("{error:#}"), "the books cannot be written");
        }
    }

    /// Notes a boot.
    pub(crate) fn begin(&mut self, version: &Version, outcome: Outcome, at: Timestamp) {
        let boot = Boot { version: version.clone(), at: at.to_string(), outcome, reason: None };
        self.boots.insert(0, boot);
        self.boots.truncate(MOST_BOOTS);
    }

    /// Notes what became of the running boot.
    pub(crate) fn end(&mut self, version: &Version, outcome: Outcome, reason: Option<String>, at: Timestamp) {
        if self.boots.first().is_none_or(|boot| boot.version != *version) {
            self.begin(version, outcome, at);
        }
        if let Some(boot) = self.boots.first_mut() {
            boot.outcome = outcome;
            // A reason that is known stays when the generation is given up for it.
            boot.reason = reason.map(|text| shortened(&text)).or_else(|| boot.reason.take());
        }
    }

    /// Notes how far an update came.
    pub(crate) fn update(&mut self, progress: Progress, reason: Option<String>, at: Timestamp) {
        self.update.progress = progress;
        self.update.reason = reason.map(|text| shortened(&text));
        self.update.at = Some(at.to_string());
    }
}

fn shortened(text: &str) -> String {
    let mut end = text.len().min(LONGEST_REASON);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

/// A generation that could be booted.
#[derive(Debug, Serialize)]
struct Generation {
    version: Version,
    running: bool,
    bad: bool,
    /// Only while it has not been found good.
    #[serde(skip_serializing_if = "Option::is_none")]
    tries_left: Option<u32>,
}

/// What the API shows.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    running: Version,
    generations: Vec<Generation>,
    #[serde(flatten)]
    books: &'a Books,
}

/// Writes what the API shows.
pub(crate) fn publish(books: &Books) -> anyhow::Result<()> {
    let running = Version::running(Path::new(paths::OS_RELEASE))?;
    // The boot partition may be the very thing that is broken.
    let listed = entries::list(Path::new(paths::ENTRIES)).unwrap_or_default();
    let generations = listed.into_iter().rev().map(|entry| Generation {
        running: entry.version == running,
        bad: entry.is_bad(),
        tries_left: entry.tries_left,
        version: entry.version,
    });
    let shown = Shown { generations: generations.collect(), running, books };
    files::replace(Path::new(paths::STATUS), &serde_json::to_vec(&shown)?, 0o644)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn the_reason_of_a_failed_boot_stays_with_it_and_books_are_bounded() {
        let mut books = Books::default();
        books.begin(&version("2"), Outcome::Started, Timestamp::UNIX_EPOCH);
        let why = "é".repeat(5_000);
        books.end(&version("2"), Outcome::Unhealthy, Some(why), Timestamp::UNIX_EPOCH);
        books.end(&version("2"), Outcome::GivenUp, None, Timestamp::UNIX_EPOCH);
        let boot = books.boots.first().unwrap();
        assert_eq!(boot.outcome, Outcome::GivenUp);
        assert_eq!(boot.reason.as_deref().unwrap().len(), LONGEST_REASON);
        for _ in 0..200 {
            books.begin(&version("1"), Outcome::Started, Timestamp::UNIX_EPOCH);
        }
        assert_eq!(books.boots.len(), MOST_BOOTS);
    }

    #[test]
    fn broken_books_are_begun_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("books.json");
        std::fs::write(&path, b"{\"boots\":[{").unwrap();
        assert_eq!(Books::read(&path), Books::default());
    }
}
