//! Recording and alerting rules in Prometheus' format.
//!
//! [`mod@file`] reads rule files, [`template`] fills in labels and annotations, [`group`] evaluates the rules of a group one after
//! the other at one time, [`engine`] does so for all groups at their times and tells [`crate::notify`] of alerts. The rules
//! that ship are in `rules/defaults.yml`.
//!
//! What a rule yields is stored as series: recorded ones, `ALERTS` and `ALERTS_FOR_STATE`. The last is also the memory of
//! `for` across restarts.
//!
//! Invariants: groups are evaluated at the same times whoever restarts when (aligned to their interval, each with its own
//! offset); a group is never evaluated twice at once; a rule file with a mistake changes nothing.

mod alert;
pub(crate) mod command;
pub(crate) mod engine;
pub(crate) mod file;
pub(crate) mod group;
mod restore;
pub(crate) mod template;
mod unit;
pub(crate) mod yaml;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use quintet_service::Invalid;
use serde::Deserialize;

use self::file::{GroupSpec, RuleError};

/// The rules that ship.
const DEFAULTS: &str = include_str!("rules/defaults.yml");
/// Where errors say that those stand.
const DEFAULTS_NAME: &str = "defaults.yml";
const MAX_FILES: usize = 1000;

/// The `[rules]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// Rule files in Prometheus' format; the last part of a path may have `*` and `?`. Read again on SIGHUP.
    pub(crate) files: Vec<PathBuf>,
    /// Whether the rules that ship are evaluated: targets that are down, full disks, failing requests and the like.
    pub(crate) defaults: bool,
    /// How often a group is evaluated that does not say, in milliseconds.
    pub(crate) evaluation_interval_ms: u64,
    /// How far in the past a group looks that does not say (`query_offset`), in milliseconds.
    pub(crate) query_offset_ms: u64,
    /// Labels that `$externalLabels` has in templates, and that alerts get on their way to other Alertmanagers.
    pub(crate) external_labels: BTreeMap<String, String>,
    /// Where the console is seen from outside, such as `https://console.example.com`: what links in alerts begin with.
    pub(crate) external_url: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            defaults: true,
            evaluation_interval_ms: 60_000,
            query_offset_ms: 0,
            external_labels: BTreeMap::new(),
            external_url: String::new(),
        }
    }
}

impl Settings {
    /// Checks what needs no file but the rule files; `--check-config` calls it.
    pub(crate) fn validate(&self) -> Result<(), Invalid> {
        if self.evaluation_interval_ms < 1000 {
            return Err(Invalid::new("rules.evaluation_interval_ms", "must be at least 1000"));
        }
        for name in self.external_labels.keys() {
            if !file::is_label_name(name) {
                let message = format!("{name:?} is no label name; use letters, digits and underscores");
                return Err(Invalid::new("rules.external_labels", message));
            }
        }
        self.load().map(drop).map_err(|error| Invalid::new("rules.files", error.to_string()))
    }

    /// Reads all rules.
    pub(crate) fn load(&self) -> Result<Vec<GroupSpec>, RuleError> {
        let mut groups = Vec::new();
        if self.defaults {
            groups.extend(file::parse(DEFAULTS_NAME, DEFAULTS)?);
        }
        let mut paths = Vec::new();
        for pattern in &self.files {
            paths.extend(matching(pattern)?);
        }
        paths.sort();
        paths.dedup();
        if paths.len() > MAX_FILES {
            let message = format!("more than {MAX_FILES} rule files; join some");
            return Err(RuleError::of_file("rules.files", message));
        }
        for path in paths {
            groups.extend(file::read(&path)?);
        }
        Ok(groups)
    }
}

/// The files that a path with `*` and `?` in its last part names. A path without must be there.
pub(crate) fn matching(pattern: &Path) -> Result<Vec<PathBuf>, RuleError> {
    let shown = pattern.display().to_string();
    let name = pattern.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !name.contains(['*', '?']) {
        return Ok(vec![pattern.to_owned()]);
    }
    let directory = pattern.parent().unwrap_or(Path::new("."));
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(RuleError::of_file(&shown, format!("cannot list the directory: {error}"))),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| RuleError::of_file(&shown, error.to_string()))?;
        if entry.file_name().to_str().is_some_and(|entry| fits(name.as_bytes(), entry.as_bytes())) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Whether a name fits a pattern of `*` and `?`.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            fits(rest, name) || name.split_first().is_some_and(|(_, name)| fits(pattern, name))
        }
        (Some((b'?', rest)), Some((_, name))) => fits(rest, name),
        (Some((letter, rest)), Some((first, name))) => letter == first && fits(rest, name),
        _ => false,
    }
}
