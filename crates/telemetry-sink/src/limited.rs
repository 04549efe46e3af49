//! Texts that are made by templates, which may ask for any length.
//!
//! Invariant: a text that would become longer than its limit is refused before it is made.

use regex::Regex;

/// Parts of a regular expression's replacement: each costs time for each match.
const MAX_PARTS: usize = 256;

/// A text that grows up to a limit.
#[derive(Debug)]
pub(crate) struct Limited {
    text: String,
    limit: usize,
}

impl Limited {
    pub(crate) fn new(limit: usize) -> Self {
        Self { text: String::new(), limit }
    }

    fn room(&self, more: usize) -> Result<(), String> {
        if more > self.limit.saturating_sub(self.text.len()) {
            return Err(format!("a text would be longer than {} bytes", self.limit));
        }
        Ok(())
    }

    pub(crate) fn push(&mut self, more: &str) -> Result<(), String> {
        self.room(more.len())?;
        self.text.push_str(more);
        Ok(())
    }

    /// Adds `count` of a letter of one byte.
    pub(crate) fn pad(&mut self, letter: char, count: usize) -> Result<(), String> {
        self.room(count)?;
        self.text.extend(std::iter::repeat_n(letter, count));
        Ok(())
    }

    pub(crate) fn finish(self) -> String {
        self.text
    }
}

/// All texts, one after the other.
pub(crate) fn joined<T: AsRef<str>>(
    texts: impl IntoIterator<Item = T>,
    separator: &str,
    limit: usize,
) -> Result<String, String> {
    let mut out = Limited::new(limit);
    for (place, text) in texts.into_iter().enumerate() {
        if place > 0 {
            out.push(separator)?;
        }
        out.push(text.as_ref())?;
    }
    Ok(out.finish())
}

/// The text with the first `most` of `old` replaced.
pub(crate) fn replaced(
    text: &str,
    old: &str,
    new: &str,
    most: usize,
    limit: usize,
) -> Result<String, String> {
    let mut out = Limited::new(limit);
    let mut copied = 0;
    for (at, found) in text.match_indices(old).take(most) {
        out.push(text.get(copied..at).unwrap_or_default())?;
        out.push(new)?;
        copied = at + found.len();
    }
    out.push(text.get(copied..).unwrap_or_default())?;
    Ok(out.finish())
}

/// The text with every match of a pattern replaced; `$1`, `$name` and `${name}` stand for groups.
pub(crate) fn replaced_by_pattern(
    pattern: &Regex,
    text: &str,
    replacement: &str,
    limit: usize,
) -> Result<String, String> {
    let parts = parts(replacement)?;
    let mut out = Limited::new(limit);
    let mut copied = 0;
    for found in pattern.captures_iter(text) {
        let Some(whole) = found.get(0) else { continue };
        out.push(text.get(copied..whole.start()).unwrap_or_default())?;
        for part in &parts {
            out.push(match part {
                Part::Text(text) => text,
                Part::Numbered(number) => found.get(*number).map_or("", |group| group.as_str()),
                Part::Named(name) => found.name(name).map_or("", |group| group.as_str()),
            })?;
        }
        copied = whole.end();
    }
    out.push(text.get(copied..).unwrap_or_default())?;
    Ok(out.finish())
}

/// The text with every match of a pattern replaced by the same text.
pub(crate) fn replaced_literally(
    pattern: &Regex,
    text: &str,
    new: &str,
    limit: usize,
) -> Result<String, String> {
    let mut out = Limited::new(limit);
    let mut copied = 0;
    for found in pattern.find_iter(text) {
        out.push(text.get(copied..found.start()).unwrap_or_default())?;
        out.push(new)?;
        copied = found.end();
    }
    out.push(text.get(copied..).unwrap_or_default())?;
    Ok(out.finish())
}

enum Part<'a> {
    Text(&'a str),
    Numbered(usize),
    Named(&'a str),
}

/// As the crate `regex` reads a replacement, which has no limit of its own.
fn parts(replacement: &str) -> Result<Vec<Part<'_>>, String> {
    let mut parts = Vec::new();
    let mut rest = replacement;
    while let Some((before, after)) = rest.split_once('$') {
        if parts.len() > MAX_PARTS {
            return Err(format!("a replacement has more than {MAX_PARTS} parts"));
        }
        parts.push(Part::Text(before));
        if let Some(tail) = after.strip_prefix('$') {
            parts.push(Part::Text("$"));
            rest = tail;
            continue;
        }
        let named = if let Some(braced) = after.strip_prefix('{') {
            braced.split_once('}')
        } else {
            let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            let end = after.find(|letter| !is_part(letter)).unwrap_or(after.len());
            after.split_at_checked(end).filter(|_| end > 0)
        };
        if let Some((name, tail)) = named {
            parts.push(name.parse().map_or(Part::Named(name), Part::Numbered));
            rest = tail;
        } else {
            parts.push(Part::Text("$"));
            rest = after;
        }
    }
    parts.push(Part::Text(rest));
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_would_be_too_long_is_refused() {
        let long = "x".repeat(60);
        let pattern = Regex::new("x").unwrap();
        assert!(joined([&long, &long], "", 100).is_err());
        assert!(replaced(&long, "x", &long, usize::MAX, 100).is_err());
        assert!(replaced_by_pattern(&pattern, &long, "$0$0", 100).is_err());
        assert!(replaced_by_pattern(&pattern, "x", &"$0".repeat(1000), 5000).is_err());
        assert!(replaced_literally(&pattern, &long, "yy", 100).is_err());
        assert_eq!(joined([&long], "", 60).as_deref(), Ok(long.as_str()));
    }

    proptest! {
        #[test]
        fn replacements_are_those_of_the_standard_library_and_of_regex(
            text in "[abé]{0,12}", old in "[ab]{0,2}", new in "[$a1{}_n]{0,8}"
        ) {
            const LIMIT: usize = 10_000;
            prop_assert_eq!(replaced(&text, &old, &new, usize::MAX, LIMIT).unwrap(), text.replace(&old, &new));
            prop_assert_eq!(replaced(&text, &old, &new, 2, LIMIT).unwrap(), text.replacen(&old, &new, 2));
            let pattern = Regex::new(&format!("(?P<n>a)?({old})")).unwrap();
            prop_assert_eq!(
                replaced_by_pattern(&pattern, &text, &new, LIMIT).unwrap(),
                pattern.replace_all(&text, new.as_str())
            );
            prop_assert_eq!(
                replaced_literally(&pattern, &text, &new, LIMIT).unwrap(),
                pattern.replace_all(&text, regex::NoExpand(&new))
            );
        }
    }
}
