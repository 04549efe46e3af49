//! `| logfmt`: `key=value key="quoted value" flag`.

use super::json::{MAX_LABELS, label};
use crate::logql::ast::Logfmt;

const ERROR: &str = "LogfmtParserErr";

pub(super) fn extract(text: &str, stage: &Logfmt) -> super::Extracted {
    let mut labels = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() && (labels.len() < MAX_LABELS || !stage.fields.is_empty()) {
        let end = rest.find(|letter: char| letter == '=' || letter.is_whitespace() || letter == '"');
        let (key, tail) = rest.split_at_checked(end.unwrap_or(rest.len())).unwrap_or((rest, ""));
        let (value, tail) = match tail.strip_prefix('=') {
            Some(tail) => value(tail),
            None => (Some(String::new()), tail),
        };
        match value {
            Some(value) if !key.is_empty() => push(&mut labels, stage, key, value),
            _ if stage.strict => {
                return Err((ERROR, format!("logfmt syntax error at {:?}", head(rest))));
            }
            _ => {}
        }
        // A stray quote must not stop the loop.
        rest = if tail.len() == rest.len() { skip_letter(tail) } else { tail }.trim_start();
    }
    for (name, _) in &stage.fields {
        if !labels.iter().any(|(known, _)| known == name) {
            labels.push((name.clone(), String::new()));
        }
    }
    Ok(labels)
}

fn skip_letter(text: &str) -> &str {
    let mut letters = text.chars();
    letters.next();
    letters.as_str()
}

fn head(text: &str) -> String {
    text.chars().take(16).collect()
}

fn push(labels: &mut Vec<(String, String)>, stage: &Logfmt, key: &str, value: String) {
    if value.is_empty() && !stage.keeps_empty {
        return;
    }
    if stage.fields.is_empty() {
        labels.push((label(key), value));
        return;
    }
    for (name, _) in stage.fields.iter().filter(|(_, wanted)| wanted == key) {
        match labels.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => known.clone_from(&value),
            None => labels.push((name.clone(), value.clone())),
        }
    }
}

/// A value and what follows it; none for one whose quote does not end.
fn value(text: &str) -> (Option<String>, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let (value, tail) = text.split_at_checked(end).unwrap_or((text, ""));
        return (Some(value.to_owned()), tail);
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (Some(value), quoted.get(at + 1..).unwrap_or("")),
            '\\' => match letters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, other)) => value.push(other),
                None => break,
            },
            other => value.push(other),
        }
    }
    (None, "")
}
