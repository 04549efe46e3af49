//! Silences: alerts that fit one keep quiet for a time. Kept in a journal.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;

use quintet_types::Entropy;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::journal::Journal;
use crate::model::matcher::all_accept;
use crate::model::{Labels, MatchOp, Matcher};

/// Those that are active or pending.
const MAX_SILENCES: usize = 1000;
/// Those that are over and still shown.
const MAX_EXPIRED: usize = 1000;
const MAX_MATCHERS: usize = 64;
const MAX_TEXT: usize = 4096;
/// How long one that is over is still shown, milliseconds.
const RETENTION: i64 = 120 * 60 * 60 * 1000;

/// A condition as Alertmanager's API writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Condition {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) is_regex: bool,
    #[serde(default = "yes")]
    pub(crate) is_equal: bool,
}

fn yes() -> bool {
    true
}

impl Condition {
    fn matcher(&self) -> Result<Matcher, String> {
        let op = match (self.is_regex, self.is_equal) {
            (false, true) => MatchOp::Equal,
            (false, false) => MatchOp::NotEqual,
            (true, true) => MatchOp::Regex,
            (true, false) => MatchOp::NotRegex,
        };
        if self.name.is_empty() {
            return Err("a matcher needs a name".to_owned());
        }
        Matcher::new(&self.name, op, &self.value)
    }
}

/// A silence. Times are milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Silence {
    pub(crate) id: String,
    pub(crate) matchers: Vec<Condition>,
    pub(crate) starts_at: i64,
    pub(crate) ends_at: i64,
    pub(crate) updated_at: i64,
    pub(crate) created_by: String,
    pub(crate) comment: String,
}

impl Silence {
    pub(crate) fn state(&self, now: i64) -> &'static str {
        if self.ends_at <= now {
            "expired"
        } else if self.starts_at > now {
            "pending"
        } else {
            "active"
        }
    }
}

/// Why a silence was not taken.
#[derive(Debug, Error)]
pub(crate) enum SilenceError {
    #[error("{0}")]
    Invalid(String),
    #[error("silence not found")]
    Unknown,
    #[error("there are {MAX_SILENCES} silences already; end some")]
    TooMany,
    #[error("the silence cannot be stored")]
    Io(#[from] io::Error),
}

/// All silences.
pub(super) struct Silences {
    journal: Journal<Silence>,
    matchers: HashMap<String, Vec<Matcher>>,
}

impl Silences {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let journal: Journal<Silence> = Journal::open(path)?;
        let compiled = journal
            .entries()
            .values()
            .filter_map(|silence| Some((silence.id.clone(), compile(silence).ok()?)));
        let matchers = compiled.collect();
        Ok(Self { journal, matchers })
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Silence> {
        self.journal.entries().values()
    }

    pub(super) fn get(&self, id: &str) -> Option<&Silence> {
        self.journal.entries().get(id)
    }

    /// The silences that keep an alert quiet now.
    pub(super) fn of(&self, labels: &Labels, now: i64) -> Vec<String> {
        let active = self.all().filter(|silence| silence.state(now) == "active");
        let fits =
            |silence: &&Silence| self.matchers.get(&silence.id).is_some_and(|one| all_accept(one, labels));
        active.filter(fits).map(|silence| silence.id.clone()).collect()
    }

    /// Stores a new silence, or another version of one; the answer is its id.
    pub(super) fn put(
        &mut self,
        mut silence: Silence,
        now: i64,
        entropy: &dyn Entropy,
    ) -> Result<String, SilenceError> {
        silence.updated_at = now;
        silence.starts_at =
            if silence.id.is_empty() { silence.starts_at.max(now) } else { silence.starts_at };
        let matchers = checked(&silence, now)?;
        let mut replaced = None;
        if !silence.id.is_empty() {
            let known = self.get(&silence.id).ok_or(SilenceError::Unknown)?.clone();
            let same = known.matchers == silence.matchers
                && match known.state(now) {
                    "active" => known.starts_at == silence.starts_at,
                    "pending" => silence.starts_at >= now,
                    _ => false,
                };
            if same {
                self.journal.put(&silence.id.clone(), silence.clone())?;
                return Ok(silence.id);
            }
            replaced = (known.state(now) != "expired").then_some(known.id);
            silence.starts_at = silence.starts_at.max(now);
        }
        let others =
            self.all().filter(|one| one.state(now) != "expired" && Some(&one.id) != replaced.as_ref());
        if others.count() >= MAX_SILENCES {
            return Err(SilenceError::TooMany);
        }
        silence.id = id(entropy);
        self.journal.put(&silence.id.clone(), silence.clone())?;
        self.matchers.insert(silence.id.clone(), matchers);
        // What was silenced must stay told as it was: the old one ends, once the new one is sure.
        if let Some(replaced) = replaced {
            self.expire(&replaced, now)?;
        }
        self.forget_oldest(now)?;
        Ok(silence.id)
    }

    /// Makes room among those that are over.
    fn forget_oldest(&mut self, now: i64) -> io::Result<()> {
        let expired = self.all().filter(|silence| silence.state(now) == "expired");
        let mut ends: Vec<_> = expired.map(|silence| (silence.ends_at, silence.id.clone())).collect();
        ends.sort_unstable();
        ends.truncate(ends.len().saturating_sub(MAX_EXPIRED));
        let gone: HashSet<String> = ends.into_iter().map(|(_, id)| id).collect();
        self.matchers.retain(|id, _| !gone.contains(id));
        self.journal.retain(|id, _| !gone.contains(id))
    }

    /// Ends a silence now.
    pub(super) fn expire(&mut self, id: &str, now: i64) -> Result<(), SilenceError> {
        let mut silence = self.get(id).ok_or(SilenceError::Unknown)?.clone();
        if silence.state(now) == "expired" {
            return Err(SilenceError::Invalid(format!("silence {id} already expired")));
        }
        (silence.starts_at, silence.ends_at, silence.updated_at) = (silence.starts_at.min(now), now, now);
        self.journal.put(id, silence)?;
        Ok(())
    }

    /// Forgets those that are over for long.
    pub(super) fn forget(&mut self, now: i64) -> io::Result<()> {
        self.journal.retain(|_, silence| silence.ends_at + RETENTION > now)?;
        let journal = &self.journal;
        self.matchers.retain(|id, _| journal.entries().contains_key(id));
        Ok(())
    }
}

fn compile(silence: &Silence) -> Result<Vec<Matcher>, String> {
    silence.matchers.iter().map(Condition::matcher).collect()
}

fn checked(silence: &Silence, now: i64) -> Result<Vec<Matcher>, SilenceError> {
    let invalid = |message: &str| Err(SilenceError::Invalid(message.to_owned()));
    if silence.matchers.is_empty() || silence.matchers.len() > MAX_MATCHERS {
        return Err(SilenceError::Invalid(format!("a silence needs 1 to {MAX_MATCHERS} matchers")));
    }
    let texts = silence.matchers.iter().flat_map(|one| [&one.name, &one.value]);
    if texts.chain([&silence.comment, &silence.created_by]).any(|text| text.len() > MAX_TEXT) {
        return Err(SilenceError::Invalid(format!("a text of a silence is longer than {MAX_TEXT} bytes")));
    }
    let matchers = compile(silence).map_err(SilenceError::Invalid)?;
    if !matchers.iter().any(Matcher::needs_presence) {
        return invalid("at least one matcher must not match the empty string");
    }
    if silence.ends_at <= silence.starts_at {
        return invalid("start time must be before end time");
    }
    if silence.ends_at <= now {
        return invalid("end time can't be in the past");
    }
    if silence.comment.is_empty() || silence.created_by.is_empty() {
        return invalid("a silence needs `comment` and `createdBy`");
    }
    Ok(matchers)
}

/// A random UUID (RFC 9562, version 4), as Alertmanager's clients expect.
fn id(entropy: &dyn Entropy) -> String {
    let mut bytes = [0u8; 16];
    entropy.fill(&mut bytes);
    let number = u128::from_be_bytes(bytes) & !(0xf << 76 | 0x3 << 62) | (0x4 << 76 | 0x2 << 62);
    let hex = format!("{number:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

#[cfg(test)]
mod tests {
    use quintet_types::SystemEntropy;

    use super::*;

    const START: i64 = 1_700_000_000_000;

    fn silence(id: &str, value: &str, ends_at: i64) -> Silence {
        let condition = Condition {
            name: "instance".to_owned(),
            value: value.to_owned(),
            is_regex: false,
            is_equal: true,
        };
        Silence {
            id: id.to_owned(),
            matchers: vec![condition],
            starts_at: START,
            ends_at,
            updated_at: START,
            created_by: "me".to_owned(),
            comment: "work".to_owned(),
        }
    }

    /// As many as there may be, and as many that are over.
    fn full(path: &Path) -> Silences {
        let mut journal = Journal::open(path).unwrap();
        let active = (0..MAX_SILENCES).map(|number| silence(&format!("a{number}"), "a", START + 1000));
        let expired = (0..MAX_EXPIRED).map(|number| silence(&format!("e{number:04}"), "a", START + 1));
        journal.change(active.chain(expired).map(|one| (one.id.clone(), Some(one)))).unwrap();
        Silences::open(path).unwrap()
    }

    #[test]
    fn a_silence_is_changed_where_there_are_as_many_as_may_be_and_a_refused_change_ends_none() {
        let directory = tempfile::tempdir().unwrap();
        let mut silences = full(&directory.path().join("silences"));
        let now = START + 10;
        let refused = silences.put(silence("", "b", START + 1000), now, &SystemEntropy);
        assert!(matches!(refused, Err(SilenceError::TooMany)), "{refused:?}");
        let id = silences.put(silence("a7", "b", START + 1000), now, &SystemEntropy).unwrap();
        assert_eq!(silences.get("a7").unwrap().state(now), "expired");
        assert_eq!(silences.get(&id).unwrap().state(now), "active");
        // One that is over takes no place, and makes the one forgotten that ended first.
        silences.expire("a8", now).unwrap();
        silences.put(silence("", "c", START + 1000), now, &SystemEntropy).unwrap();
        assert!(silences.get("e0000").is_none() && silences.get("e0002").is_some());
        assert_eq!(silences.all().count(), MAX_SILENCES + MAX_EXPIRED);
        // One that is over is begun anew, as a new one: that is refused, and changes nothing.
        let refused = silences.put(silence("e0100", "b", START + 1000), now, &SystemEntropy);
        assert!(matches!(refused, Err(SilenceError::TooMany)), "{refused:?}");
        assert_eq!(silences.get("e0100").unwrap().ends_at, START + 1);
    }
}
