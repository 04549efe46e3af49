//! The messages' texts. A template NAME is three files: `NAME.subject.txt`, `NAME.txt` and `NAME.html`.
//!
//! What ships can be replaced, and more be added, from a directory, file by file. All of it is read and compiled at the
//! start, so that a mistake is found by `--check-config` and not by a customer. Files whose name starts with `_` are
//! parts for `include` and `extends`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::Value;
use thiserror::Error;

/// A rendered message.
#[derive(Debug, PartialEq)]
pub(crate) struct Rendered {
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) html: String,
}

/// The templates of this worker.
pub(crate) struct Templates {
    environment: Environment<'static>,
    names: BTreeSet<String>,
}

/// The templates cannot be used.
#[derive(Debug, Error)]
pub(crate) enum TemplateError {
    #[error("cannot read {}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error(
        "{} is none of NAME.subject.txt, NAME.txt and NAME.html (a part for include starts with _)",
        .0.display()
    )]
    Stray(PathBuf),
    #[error("{} is larger than {MAX_BYTES} bytes", .0.display())]
    TooLarge(PathBuf),
    #[error("more than {MAX_FILES} files in {}", .0.display())]
    TooMany(PathBuf),
    #[error("the template {name} has no {missing}; a template has a subject, a text and HTML")]
    Incomplete { name: String, missing: String },
    #[error("a template does not compile")]
    Syntax(#[from] minijinja::Error),
}

const SHIPPED: [(&str, &str); 3] = [
    ("receipt.subject.txt", include_str!("../../templates/receipt.subject.txt")),
    ("receipt.txt", include_str!("../../templates/receipt.txt")),
    ("receipt.html", include_str!("../../templates/receipt.html")),
];
/// Longest first: `.txt` also ends a subject's name.
const PARTS: [&str; 3] = [".subject.txt", ".txt", ".html"];
const MAX_BYTES: u64 = 256 * 1024;
const MAX_FILES: usize = 1000;

impl Templates {
    /// What ships, overridden by the files of `directory`.
    pub(crate) fn load(directory: Option<&Path>) -> Result<Self, TemplateError> {
        let mut files: BTreeMap<String, String> =
            SHIPPED.iter().map(|(name, source)| ((*name).to_owned(), (*source).to_owned())).collect();
        if let Some(directory) = directory {
            files.extend(read(directory)?);
        }
        let names = complete(&files)?;
        let mut environment = environment()?;
        for (name, source) in files {
            environment.add_template_owned(name, source)?;
        }
        Ok(Self { environment, names })
    }

    pub(crate) fn render(&self, name: &str, context: &Value) -> Result<Rendered, minijinja::Error> {
        let render =
            |file: String| self.environment.get_template(&file)?.render(minijinja::value::Serde(context));
        // A line break in a subject would start another header.
        let subject = render(format!("{name}.subject.txt"))?.split_whitespace().collect::<Vec<_>>().join(" ");
        Ok(Rendered { subject, text: render(format!("{name}.txt"))?, html: render(format!("{name}.html"))? })
    }

    /// The template's name as a metric label; bounded to those there are.
    pub(crate) fn label(&self, name: &str) -> String {
        self.names.get(name).cloned().unwrap_or_else(|| "unknown".to_owned())
    }
}

fn environment() -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    // A receipt with a hole in it must not leave the house.
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_auto_escape_callback(|name| {
        let html = Path::new(name).extension().is_some_and(|extension| extension == "html");
        if html { AutoEscape::Html } else { AutoEscape::None }
    });
    Ok(environment)
}

/// The files of a directory by name.
fn read(directory: &Path) -> Result<Vec<(String, String)>, TemplateError> {
    let unreadable = |path: &Path| {
        let path = path.to_path_buf();
        move |source| TemplateError::Unreadable { path, source }
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable(directory))? {
        let path = entry.map_err(unreadable(directory))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if !PARTS.iter().any(|part| name.len() > part.len() && name.ends_with(part)) {
            return Err(TemplateError::Stray(path));
        }
        if std::fs::metadata(&path).map_err(unreadable(&path))?.len() > MAX_BYTES {
            return Err(TemplateError::TooLarge(path));
        }
        if files.len() == MAX_FILES {
            return Err(TemplateError::TooMany(directory.to_path_buf()));
        }
        let source = std::fs::read_to_string(&path).map_err(unreadable(&path))?;
        files.push((name, source));
    }
    Ok(files)
}

/// The templates' names, once each has its three files.
fn complete(files: &BTreeMap<String, String>) -> Result<BTreeSet<String>, TemplateError> {
    let whole = files.keys().filter(|file| !file.starts_with('_'));
    let name = |file: &String| PARTS.iter().find_map(|part| file.strip_suffix(part)).map(str::to_owned);
    let names: BTreeSet<String> = whole.filter_map(name).collect();
    for name in &names {
        for part in PARTS {
            let missing = format!("{name}{part}");
            if !files.contains_key(&missing) {
                return Err(TemplateError::Incomplete { name: name.clone(), missing });
            }
        }
    }
    Ok(names)
}
