//! nginx's configuration, read by nginx's rules and told in the gateway's words.
//!
//! [`lexer`] and [`tree`] read the syntax of any nginx configuration, with its includes. [`scope`] knows which
//! directive holds where, since inner blocks replace what outer ones say. The rest tells what it means here.

mod action;
mod lexer;
mod location;
mod remarks;
mod rewrite;
mod scope;
mod server;
mod tree;
mod upstream;
mod values;

use std::path::Path;

use self::remarks::Remarks;
pub(crate) use self::tree::{Files, ImportError, Load};
use super::draft::Draft;

/// A converted configuration.
#[derive(Debug)]
pub(crate) struct Imported {
    pub(crate) toml: String,
    /// What is not the same, one line each, beginning with file and line.
    pub(crate) remarks: Vec<String>,
}

/// Converts the configuration in `file` and what it includes.
pub(crate) fn convert(file: &Path, files: &dyn Load) -> Result<Imported, ImportError> {
    let tree = tree::read(file, files)?;
    let mut remarks = Remarks::default();
    let mut draft = Draft::default();
    server::convert(&tree, &mut draft, &mut remarks);
    Ok(Imported { toml: draft.to_string(), remarks: remarks.into_lines() })
}

#[cfg(test)]
mod tests;
