//! Go's templates, as much of them as `line_format` and `label_format` use: `{{.label}}`, `__line__` and `__timestamp__`,
//! pipelines of functions ([`functions`]), literals, parentheses, `if`, `else if`, `else` and `end`.
//!
//! Invariants: a template's depth and length are bounded by the query's, and what it renders by [`MAX_OUTPUT`]. No text is
//! made before its length is known to be within that, and what functions are given for one line is bounded by [`MAX_WORK`],
//! in memory and in time. Patterns that the template spells out are compiled once.

mod functions;

use std::borrow::Cow;

use regex::Regex;

use super::line::Line;
use crate::limited::Limited;
use crate::model::matcher::compile;

/// The longest text a template may make of one line.
const MAX_OUTPUT: usize = 256 * 1024;
/// Bytes of all arguments of a template for one line, beside some times the line itself.
const MAX_WORK: usize = 16 * MAX_OUTPUT;
const LINES_OF_WORK: usize = 4;
const MAX_DEPTH: usize = 16;
/// Patterns that one template compiles and holds.
const MAX_PATTERNS: usize = 16;

#[derive(Debug, Clone)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Value(Pipeline),
    If(Vec<(Pipeline, Vec<Piece>)>, Vec<Piece>),
}

/// Commands of which each gets the one before as its last argument.
type Pipeline = Vec<Command>;

#[derive(Debug, Clone)]
struct Command {
    function: Option<String>,
    args: Vec<Arg>,
    /// The first argument, where it is a regular expression that is known beforehand.
    pattern: Option<Regex>,
}

#[derive(Debug, Clone)]
enum Arg {
    Label(String),
    Text(String),
    Number(f64),
    Nested(Pipeline),
}

/// What an argument or a function yields.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Text(String),
    Number(f64),
    Bool(bool),
}

impl Value {
    fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Number(number) => Cow::Owned(number.to_string()),
            Self::Bool(value) => Cow::Owned(value.to_string()),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len() + size_of::<Self>(),
            Self::Number(_) | Self::Bool(_) => size_of::<Self>(),
        }
    }

    fn is_true(&self) -> bool {
        match self {
            Self::Text(text) => !text.is_empty(),
            Self::Number(number) => *number != 0.0,
            Self::Bool(value) => *value,
        }
    }
}

impl Template {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { pieces: split(text)?.into_iter().peekable(), depth: 0, patterns: 0 };
        let pieces = parser.pieces()?;
        match parser.pieces.next() {
            None => Ok(Self(pieces)),
            Some(_) => Err("template: unexpected {{end}} or {{else}}".to_owned()),
        }
    }

    pub(super) fn render(&self, line: &Line<'_>) -> Result<String, String> {
        let mut out = Limited::new(MAX_OUTPUT);
        let left = MAX_WORK.saturating_add(line.text().len().saturating_mul(LINES_OF_WORK));
        render(&self.0, line, &mut Work { left }, &mut out)?;
        Ok(out.finish())
    }
}

/// What a template may still be given for a line.
struct Work {
    left: usize,
}

impl Work {
    fn spend(&mut self, bytes: usize) -> Result<(), String> {
        let left = self.left.checked_sub(bytes);
        self.left = left.ok_or_else(|| "the template does too much for one line".to_owned())?;
        Ok(())
    }
}

fn render(pieces: &[Piece], line: &Line<'_>, work: &mut Work, out: &mut Limited) -> Result<(), String> {
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push(text)?,
            Piece::Value(pipeline) => out.push(&value(pipeline, line, work)?.text())?,
            Piece::If(branches, otherwise) => {
                let mut taken = otherwise.as_slice();
                for (condition, body) in branches {
                    if value(condition, line, work)?.is_true() {
                        taken = body;
                        break;
                    }
                }
                render(taken, line, work, out)?;
            }
        }
    }
    Ok(())
}

fn value(pipeline: &Pipeline, line: &Line<'_>, work: &mut Work) -> Result<Value, String> {
    let mut last: Option<Value> = None;
    for command in pipeline {
        let mut args = Vec::with_capacity(command.args.len() + 1);
        for arg in &command.args {
            let arg = match arg {
                Arg::Label(name) => Value::Text(line.get(name).unwrap_or_default().into_owned()),
                Arg::Text(text) => Value::Text(text.clone()),
                Arg::Number(number) => Value::Number(*number),
                Arg::Nested(pipeline) => value(pipeline, line, work)?,
            };
            work.spend(arg.bytes())?;
            args.push(arg);
        }
        if let Some(piped) = last.take() {
            work.spend(piped.bytes())?;
            args.push(piped);
        }
        last = Some(match &command.function {
            None => args.pop().unwrap_or(Value::Text(String::new())),
            Some(name) => functions::call(name, &args, command.pattern.as_ref(), line, work)?,
        });
    }
    Ok(last.unwrap_or(Value::Text(String::new())))
}

#[derive(Debug)]
enum Raw<'a> {
    Text(&'a str),
    Action(&'a str),
}

/// Texts and what stands between braces; a dash inside trims the text beside it.
fn split(text: &str) -> Result<Vec<Raw<'_>>, String> {
    let mut found = Vec::new();
    let mut rest = text;
    let mut trims = false;
    while let Some((before, after)) = rest.split_once("{{") {
        let end = action_end(after).ok_or_else(|| "template: unclosed action".to_owned())?;
        let (action, tail) = (after.get(..end).unwrap_or(""), after.get(end + 2..).unwrap_or(""));
        let mut before = if trims { before.trim_start() } else { before };
        let mut action = action;
        if let Some(inner) = action.strip_prefix("- ") {
            (before, action) = (before.trim_end(), inner);
        }
        trims = action.ends_with(" -");
        let action = action.strip_suffix(" -").unwrap_or(action);
        if !before.is_empty() {
            found.push(Raw::Text(before));
        }
        let action = action.trim();
        if !action.starts_with("/*") {
            found.push(Raw::Action(action));
        }
        rest = tail;
    }
    let rest = if trims { rest.trim_start() } else { rest };
    if !rest.is_empty() {
        found.push(Raw::Text(rest));
    }
    Ok(found)
}

/// Where the braces close, outside of strings.
fn action_end(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match quote {
            Some('"') if escaped => escaped = false,
            Some('"') if letter == '\\' => escaped = true,
            Some(open) if letter == open => quote = None,
            None if matches!(letter, '"' | '`') => quote = Some(letter),
            None if text.get(at..).is_some_and(|rest| rest.starts_with("}}")) => return Some(at),
            Some(_) | None => {}
        }
    }
    None
}

struct Parser<'a> {
    pieces: std::iter::Peekable<std::vec::IntoIter<Raw<'a>>>,
    depth: usize,
    patterns: usize,
}

impl Parser<'_> {
    /// Pieces up to the `end` or `else` that closes them, which is left.
    fn pieces(&mut self) -> Result<Vec<Piece>, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("template: nested too deeply".to_owned());
        }
        let mut found = Vec::new();
        loop {
            match self.pieces.peek() {
                None => break,
                Some(Raw::Action(action)) if is_word(action, "end") || is_word(action, "else") => break,
                Some(_) => {}
            }
            match self.pieces.next() {
                Some(Raw::Text(text)) => found.push(Piece::Text(text.to_owned())),
                Some(Raw::Action(action)) => match action.strip_prefix("if ") {
                    Some(condition) => found.push(self.branches(condition)?),
                    None => found.push(Piece::Value(self.pipeline(action)?)),
                },
                None => break,
            }
        }
        self.depth -= 1;
        Ok(found)
    }

    fn pipeline(&mut self, text: &str) -> Result<Pipeline, String> {
        let mut cursor = Cursor { rest: text, depth: 0, patterns: self.patterns };
        let found = cursor.pipeline()?;
        self.patterns = cursor.patterns;
        match cursor.rest.trim_start() {
            "" => Ok(found),
            rest => Err(format!("template: unexpected {rest:?}")),
        }
    }

    fn branches(&mut self, condition: &str) -> Result<Piece, String> {
        let mut branches = vec![(self.pipeline(condition)?, self.pieces()?)];
        loop {
            let Some(Raw::Action(action)) = self.pieces.next() else {
                return Err("template: {{if}} without {{end}}".to_owned());
            };
            if is_word(action, "end") {
                return Ok(Piece::If(branches, Vec::new()));
            }
            let rest = action.strip_prefix("else").unwrap_or("").trim();
            if let Some(condition) = rest.strip_prefix("if ") {
                branches.push((self.pipeline(condition)?, self.pieces()?));
                continue;
            }
            let otherwise = self.pieces()?;
            return match self.pieces.next() {
                Some(Raw::Action(action)) if is_word(action, "end") => Ok(Piece::If(branches, otherwise)),
                _ => Err("template: {{else}} without {{end}}".to_owned()),
            };
        }
    }
}

fn is_word(action: &str, word: &str) -> bool {
    action.split_whitespace().next() == Some(word)
}

struct Cursor<'a> {
    rest: &'a str,
    depth: usize,
    /// Patterns of the whole template so far.
    patterns: usize,
}

impl Cursor<'_> {
    fn pipeline(&mut self) -> Result<Pipeline, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("template: nested too deeply".to_owned());
        }
        let mut commands = vec![self.command()?];
        while let Some(rest) = self.rest.trim_start().strip_prefix('|') {
            self.rest = rest;
            commands.push(self.command()?);
        }
        self.depth -= 1;
        Ok(commands)
    }

    fn command(&mut self) -> Result<Command, String> {
        let mut command = Command { function: None, args: Vec::new(), pattern: None };
        loop {
            self.rest = self.rest.trim_start();
            let Some(first) = self.rest.chars().next().filter(|first| !matches!(first, '|' | ')')) else {
                break;
            };
            let is_first = command.function.is_none() && command.args.is_empty();
            match first {
                '(' => {
                    self.rest = self.rest.get(1..).unwrap_or("");
                    command.args.push(Arg::Nested(self.pipeline()?));
                    let closed = self.rest.trim_start().strip_prefix(')');
                    self.rest = closed.ok_or_else(|| "template: unclosed left paren".to_owned())?;
                }
                '"' | '`' => command.args.push(Arg::Text(self.string(first)?)),
                '.' => {
                    self.rest = self.rest.get(1..).unwrap_or("");
                    command.args.push(Arg::Label(self.word()));
                }
                '0'..='9' | '-' | '+' => {
                    let length = self.rest.find([' ', ')', '|']).unwrap_or(self.rest.len());
                    let (number, tail) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
                    let number = number.parse().map_err(|_| format!("template: bad number {number:?}"))?;
                    command.args.push(Arg::Number(number));
                    self.rest = tail;
                }
                _ => {
                    let word = self.word();
                    if word.is_empty() {
                        return Err(format!("template: unexpected {first:?}"));
                    }
                    if !functions::is_known(&word) {
                        return Err(format!("template: function {word:?} not defined"));
                    }
                    if is_first {
                        command.function = Some(word);
                    } else {
                        let alone = Command { function: Some(word), args: Vec::new(), pattern: None };
                        command.args.push(Arg::Nested(vec![alone]));
                    }
                }
            }
        }
        if command.function.is_none() && command.args.len() != 1 {
            return Err("template: a command needs a value or a function".to_owned());
        }
        self.compile_pattern(&mut command)?;
        Ok(command)
    }

    fn compile_pattern(&mut self, command: &mut Command) -> Result<(), String> {
        let takes_one = command.function.as_deref().is_some_and(functions::takes_pattern);
        if let (true, Some(Arg::Text(text))) = (takes_one, command.args.first()) {
            self.patterns += 1;
            if self.patterns > MAX_PATTERNS {
                return Err(format!("template: more than {MAX_PATTERNS} regular expressions"));
            }
            command.pattern = Some(compile(text).map_err(|error| format!("template: {error}"))?);
        }
        Ok(())
    }

    fn word(&mut self) -> String {
        let length = self
            .rest
            .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
            .unwrap_or(self.rest.len());
        let (word, tail) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.rest = tail;
        word.to_owned()
    }

    fn string(&mut self, quote: char) -> Result<String, String> {
        let mut value = String::new();
        let mut letters = self.rest.char_indices().skip(1);
        while let Some((at, letter)) = letters.next() {
            if letter == quote {
                self.rest = self.rest.get(at + 1..).unwrap_or("");
                return Ok(value);
            }
            if letter != '\\' || quote == '`' {
                value.push(letter);
                continue;
            }
            match letters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, other)) => value.push(other),
                None => break,
            }
        }
        Err("template: unterminated string".to_owned())
    }
}
