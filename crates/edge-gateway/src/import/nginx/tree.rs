//! Directives and blocks, with the files that they include.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::lexer::{Line, Token, tokens};

/// Blocks within blocks and files within files; a file that includes itself ends here.
const MAX_DEPTH: usize = 32;
const MAX_FILES: usize = 1_000;
/// Bytes of one file.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Why a configuration cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{place}: {message}")]
    Syntax { place: String, message: &'static str },
}

/// Where a directive stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    file: Rc<str>,
    line: Line,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// One directive, with its block if it has one.
#[derive(Debug)]
pub(super) struct Directive {
    pub(super) name: String,
    pub(super) args: Vec<String>,
    pub(super) block: Vec<Directive>,
    pub(super) place: Place,
}

impl Directive {
    /// The argument at `at`, or an empty text.
    pub(super) fn arg(&self, at: usize) -> &str {
        self.args.get(at).map_or("", String::as_str)
    }
}

/// Reads files, so that tests and fuzzing have their own.
pub(crate) trait Load {
    fn read(&self, path: &Path) -> std::io::Result<String>;
    /// The files that a pattern with `*` and `?` names, in order.
    fn matching(&self, pattern: &Path) -> Vec<PathBuf>;
}

/// Those of this machine.
pub(crate) struct Files;

impl Load for Files {
    fn read(&self, path: &Path) -> std::io::Result<String> {
        if std::fs::metadata(path)?.len() > MAX_BYTES {
            return Err(std::io::Error::other("is larger than 4 MiB"));
        }
        Ok(String::from_utf8_lossy(&std::fs::read(path)?).into_owned())
    }

    fn matching(&self, pattern: &Path) -> Vec<PathBuf> {
        let mut found = vec![PathBuf::new()];
        for part in pattern.components() {
            let text = part.as_os_str().to_string_lossy();
            if !text.contains(['*', '?']) {
                for path in &mut found {
                    path.push(part);
                }
                continue;
            }
            let mut next = Vec::new();
            for entry in found.iter().filter_map(|path| std::fs::read_dir(path).ok()).flatten().flatten() {
                let name = entry.file_name();
                let hidden = name.as_encoded_bytes().starts_with(b".") && !text.starts_with('.');
                if !hidden && glob(text.as_bytes(), name.as_encoded_bytes()) {
                    next.push(entry.path());
                }
            }
            next.sort();
            found = next;
        }
        found
    }
}

/// Whether a name matches a pattern of `*` and `?`.
pub(super) fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    // Where to go on when what follows the last star does not fit.
    let mut star = None;
    loop {
        match (pattern.get(at), name.get(from)) {
            (None, None) => return true,
            (Some(b'*'), _) => {
                star = Some((at + 1, from));
                at += 1;
            }
            (Some(p), Some(n)) if *p == b'?' || p == n => (at, from) = (at + 1, from + 1),
            _ => match star {
                Some((after, begun)) if begun < name.len() => {
                    star = Some((after, begun + 1));
                    (at, from) = (after, begun + 1);
                }
                _ => return false,
            },
        }
    }
}

/// Reads a file and what it includes.
pub(super) fn read(file: &Path, load: &dyn Load) -> Result<Vec<Directive>, ImportError> {
    let base = file.parent().unwrap_or_else(|| Path::new("")).to_owned();
    let mut reader = Reader { load, base, files: 0 };
    reader.file(file, 0)
}

struct Reader<'l> {
    load: &'l dyn Load,
    /// Includes are relative to the main file.
    base: PathBuf,
    files: usize,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path, depth: usize) -> Result<Vec<Directive>, ImportError> {
        let text =
            self.load.read(path).map_err(|source| ImportError::Read { path: path.to_owned(), source })?;
        let name: Rc<str> = path.display().to_string().into();
        let place = |line| Place { file: Rc::clone(&name), line };
        let tokens = tokens(&text).map_err(|line| syntax(&place(line), "a quote does not end"))?;
        let mut tokens = tokens.into_iter().map(|(token, line)| (token, place(line)));
        self.block(&mut tokens, None, depth)
    }

    /// The directives up to the end of the block that began at `begun`, or of the file.
    fn block(
        &mut self,
        tokens: &mut impl Iterator<Item = (Token, Place)>,
        begun: Option<&Place>,
        depth: usize,
    ) -> Result<Vec<Directive>, ImportError> {
        let mut list = Vec::new();
        let mut words: Vec<(String, Place)> = Vec::new();
        while let Some((token, place)) = tokens.next() {
            match token {
                Token::Word(word) => words.push((word, place)),
                Token::End => {
                    let directive = directive(&mut words, &place)?;
                    if directive.name == "include" {
                        list.extend(self.include(&directive, depth)?);
                    } else {
                        list.push(directive);
                    }
                }
                Token::Open => {
                    if depth >= MAX_DEPTH {
                        return Err(syntax(&place, "blocks are nested too deeply"));
                    }
                    let mut directive = directive(&mut words, &place)?;
                    directive.block = self.block(tokens, Some(&directive.place), depth + 1)?;
                    list.push(directive);
                }
                Token::Close if begun.is_some() && words.is_empty() => return Ok(list),
                Token::Close => return Err(syntax(&place, "this `}` closes nothing, or a `;` is missing")),
            }
        }
        match (begun, words.first()) {
            (_, Some((_, place))) => Err(syntax(place, "this directive has no `;`")),
            (Some(place), None) => Err(syntax(place, "this block has no `}`")),
            (None, None) => Ok(list),
        }
    }

    fn include(&mut self, directive: &Directive, depth: usize) -> Result<Vec<Directive>, ImportError> {
        let path = self.base.join(directive.arg(0));
        let is_pattern = directive.arg(0).contains(['*', '?']);
        let paths = if is_pattern { self.load.matching(&path) } else { vec![path] };
        let mut list = Vec::new();
        for path in paths {
            self.files += 1;
            if depth >= MAX_DEPTH || self.files > MAX_FILES {
                return Err(syntax(&directive.place, "too many files include each other"));
            }
            list.extend(self.file(&path, depth + 1)?);
        }
        Ok(list)
    }
}

fn directive(words: &mut Vec<(String, Place)>, place: &Place) -> Result<Directive, ImportError> {
    let mut words = std::mem::take(words).into_iter();
    let (name, place) = words.next().ok_or_else(|| syntax(place, "a directive's name is missing"))?;
    Ok(Directive { name, args: words.map(|(word, _)| word).collect(), block: Vec::new(), place })
}

fn syntax(place: &Place, message: &'static str) -> ImportError {
    ImportError::Syntax { place: place.to_string(), message }
}
