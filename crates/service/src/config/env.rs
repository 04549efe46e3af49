//! Environment overrides: `QUINTET_<BINARY>__<SECTION>__<KEY>=value`.
//!
//! The value is read as a TOML value (`10`, `true`, `["a", "b"]`, `"text"`) and, where that fails
//! or the key wants a string, as plain text.

use std::ffi::OsString;

use super::Error;
use super::position::Segment;

/// The overrides found in the environment, in the order of the variables' names.
#[derive(Debug)]
pub(super) struct Overrides(Vec<Override>);

struct Override {
    variable: String,
    path: Vec<String>,
    text: String,
}

impl std::fmt::Debug for Override {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The text may be a secret.
        f.debug_struct("Override").field("variable", &self.variable).finish_non_exhaustive()
    }
}

impl Overrides {
    pub(super) fn collect(
        binary: &str,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Error> {
        let prefix = prefix(binary);
        let mut overrides = Vec::new();
        for (name, value) in variables {
            let Some(name) = name.to_str() else { continue };
            let Some(rest) = name.strip_prefix(&prefix) else { continue };
            let refuse =
                |message: &str| Error::Variable { variable: name.to_owned(), message: message.to_owned() };
            let path: Vec<String> = rest.split("__").map(str::to_ascii_lowercase).collect();
            if path.iter().any(String::is_empty) {
                return Err(refuse(&format!("expected {prefix}SECTION__KEY")));
            }
            let text = value.into_string().map_err(|_| refuse("the value is not UTF-8 text"))?;
            overrides.push(Override { variable: name.to_owned(), path, text });
        }
        overrides.sort_by(|a, b| a.variable.cmp(&b.variable));
        Ok(Self(overrides))
    }

    pub(super) fn apply(&self, table: &mut toml::Table) -> Result<(), Error> {
        for item in &self.0 {
            let value = item.text.parse().unwrap_or_else(|_| toml::Value::String(item.text.clone()));
            let slot = slot(table, &item.path).ok_or_else(|| Error::Variable {
                variable: item.variable.clone(),
                message: "a part of this key is a plain value in the file, not a section".to_owned(),
            })?;
            *slot = value;
        }
        Ok(())
    }

    /// Replaces the value at `path` by the variable's text; false if it already is, or if no
    /// variable set it.
    pub(super) fn use_text(&self, path: &[Segment], table: &mut toml::Table) -> bool {
        let Some(item) = self.find(path) else { return false };
        let Some(slot) = slot(table, &item.path) else { return false };
        if slot.is_str() {
            return false;
        }
        *slot = toml::Value::String(item.text.clone());
        true
    }

    /// The variable that set `path` or a section around it.
    pub(super) fn variable(&self, path: &[Segment]) -> Option<&str> {
        (1..=path.len())
            .rev()
            .find_map(|length| self.find(path.get(..length)?))
            .map(|item| item.variable.as_str())
    }

    fn find(&self, path: &[Segment]) -> Option<&Override> {
        self.0.iter().find(|item| {
            item.path.len() == path.len()
                && item
                    .path
                    .iter()
                    .zip(path)
                    .all(|(key, segment)| matches!(segment, Segment::Key(k) if k == key))
        })
    }
}

fn prefix(binary: &str) -> String {
    format!("QUINTET_{}__", binary.replace('-', "_").to_ascii_uppercase())
}

/// The value at `path`, created with its sections where absent.
fn slot<'t>(table: &'t mut toml::Table, path: &[String]) -> Option<&'t mut toml::Value> {
    let (last, sections) = path.split_last()?;
    let mut table = table;
    for section in sections {
        table = table
            .entry(section.as_str())
            .or_insert_with(|| toml::Value::Table(toml::Table::new()))
            .as_table_mut()?;
    }
    Some(table.entry(last.as_str()).or_insert(toml::Value::Boolean(false)))
}
