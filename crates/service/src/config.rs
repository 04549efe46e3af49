//! Configuration: one TOML file, environment overrides for every key, errors that say where.
//!
//! A [`Source`] is the file plus the overrides; [`Source::parse`] turns it into the binary's own
//! struct. The struct decides what is valid (`deny_unknown_fields`, typed fields); this module
//! decides how a mistake is reported: file, line, column, key, and what to write instead.
//!
//! Invariants:
//! - No text value is ever part of an error message: a password pasted into the wrong key must not
//!   end in a log.
//! - A missing file is an error. Nothing falls back to built-in settings.
//! - An override that names a key the binary does not know is as much an error as one in the file.

mod env;
mod message;
mod position;

use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use self::env::Overrides;

/// The largest configuration file that is read.
const MAX_BYTES: u64 = 1024 * 1024;

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not there.
    #[error("{}: no such configuration file; create it or name another with --config", path.display())]
    Missing {
        /// The file that was asked for.
        path: PathBuf,
    },
    /// The file is there but cannot be read.
    #[error("{}: cannot read the configuration file", path.display())]
    Unreadable {
        /// The file that was asked for.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What the parser expected.
        message: String,
    },
    /// An environment variable with this binary's prefix cannot be applied.
    #[error("environment variable {variable}: {message}")]
    Variable {
        /// The variable's name.
        variable: String,
        /// What is wrong with it.
        message: String,
    },
    /// A key is unknown, missing, of the wrong type or of an impossible value.
    #[error("{place}: key `{key}`: {message}")]
    Key {
        /// `FILE:LINE:COLUMN`, or the environment variable that set the key.
        place: String,
        /// The key with its sections, `section.key`.
        key: String,
        /// What is wrong and what to write instead.
        message: String,
    },
}

/// A value that deserialised but that the binary cannot work with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("key `{key}`: {message}")]
pub struct Invalid {
    /// The key with its sections, `section.key`.
    pub key: String,
    /// What is wrong and what to write instead; never the value of a secret.
    pub message: String,
}

impl Invalid {
    /// An objection to the value of `key`.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into() }
    }
}

/// A configuration file with the environment's overrides applied.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    text: String,
    table: toml::Table,
    overrides: Overrides,
}

impl Source {
    /// Reads `path` and the environment's `QUINTET_<BINARY>__…` variables.
    pub fn load(binary: &str, path: &Path) -> Result<Self, Error> {
        Self::load_with(binary, path, std::env::vars_os())
    }

    /// [`Self::load`] with the environment handed in.
    pub fn load_with(
        binary: &str,
        path: &Path,
        variables: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
    ) -> Result<Self, Error> {
        Self::of_text(binary, path, read(path)?, variables)
    }

    /// [`Self::load_with`] with the file's text handed in; `path` is what errors name.
    pub fn of_text(
        binary: &str,
        path: &Path,
        text: String,
        variables: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
    ) -> Result<Self, Error> {
        let mut table = parse_toml(path, &text)?;
        let overrides = Overrides::collect(binary, variables)?;
        overrides.apply(&mut table)?;
        Ok(Self { path: path.to_owned(), text, table, overrides })
    }

    /// The file this came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Turns the settings into the binary's own struct.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let mut table = self.table.clone();
        loop {
            let failure = match serde_path_to_error::deserialize(toml::Value::Table(table.clone())) {
                Ok(config) => return Ok(config),
                Err(failure) => failure,
            };
            let path = position::segments(failure.path());
            // A variable holds text. `true` or `5432` was read as TOML first; where the key wants
            // a string the text is taken as it stands.
            if self.overrides.use_text(&path, &mut table) {
                continue;
            }
            let value = position::text_at(&table, &path).unwrap_or_default();
            return Err(self.key_error(path, failure.inner().message(), value));
        }
    }

    /// The error that reports `invalid` with the place where its key was set.
    pub fn invalid(&self, invalid: &Invalid) -> Error {
        let path = position::split(&invalid.key);
        Error::Key { place: self.place(&path), key: invalid.key.clone(), message: invalid.message.clone() }
    }

    /// The key whose value is the string `value`, if exactly one key has it.
    pub fn key_of(&self, value: &str) -> Option<String> {
        let mut found = Vec::new();
        position::keys_with_value(&self.table, value, &mut Vec::new(), &mut found);
        match found.as_slice() {
            [only] => Some(only.clone()),
            _ => None,
        }
    }

    fn key_error(&self, mut path: Vec<position::Segment>, raw: &str, value: &str) -> Error {
        let explained = message::explain(raw, value);
        if let Some(field) = explained.field
            && path.last() != Some(&position::Segment::Key(field.clone()))
        {
            path.push(position::Segment::Key(field));
        }
        Error::Key { place: self.place(&path), key: position::display(&path), message: explained.message }
    }

    fn place(&self, path: &[position::Segment]) -> String {
        if let Some(variable) = self.overrides.variable(path) {
            return format!("environment variable {variable}");
        }
        let (line, column) = position::locate(&self.text, path);
        format!("{}:{line}:{column}", self.path.display())
    }
}

/// Reads, overrides and parses the configuration of `binary` in one step.
pub fn load<T: DeserializeOwned>(binary: &str, path: &Path) -> Result<T, Error> {
    Source::load(binary, path)?.parse()
}

fn read(path: &Path) -> Result<String, Error> {
    let unreadable = |source| Error::Unreadable { path: path.to_owned(), source };
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::Missing { path: path.to_owned() });
        }
        Err(error) => return Err(unreadable(error)),
    };
    if metadata.is_dir() {
        return Err(unreadable(io::Error::other("it is a directory, not a file")));
    }
    if metadata.len() > MAX_BYTES {
        return Err(unreadable(io::Error::other(format!("it is larger than {MAX_BYTES} bytes"))));
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(error.as_bytes().get(..valid).unwrap_or_default()).into_owned();
        let (line, column) = position::line_column(&before, before.len());
        Error::Syntax { path: path.to_owned(), line, column, message: "not UTF-8 text".to_owned() }
    })
}

fn parse_toml(path: &Path, text: &str) -> Result<toml::Table, Error> {
    text.parse::<toml::Table>().map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        let (line, column) = position::line_column(text, offset);
        let message = error.message().replace('\n', ", ");
        Error::Syntax { path: path.to_owned(), line, column, message }
    })
}

#[cfg(test)]
mod tests;
