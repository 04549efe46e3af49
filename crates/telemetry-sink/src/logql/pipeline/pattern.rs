//! `<ip> - <_> "<method> <path>"`: texts with captures between them, as a parser and as a line filter.

/// Texts and captures by turns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// Nameless for `<_>`.
    Capture(Option<String>),
}

impl Pattern {
    /// As a parser: it must capture something.
    pub(crate) fn parser(text: &str) -> Result<Self, String> {
        let parts = parts(text)?;
        if !parts.iter().any(|part| matches!(part, Part::Capture(Some(_)))) {
            return Err("at least one capture is required".to_owned());
        }
        Ok(Self(parts))
    }

    /// As a line filter: `<_>` only.
    pub(crate) fn filter(text: &str) -> Result<Self, String> {
        let parts = parts(text)?;
        match parts.iter().find_map(|part| match part {
            Part::Capture(Some(name)) => Some(name),
            _ => None,
        }) {
            Some(name) => Err(format!("named captures are not allowed: <{name}>")),
            None => Ok(Self(parts)),
        }
    }

    pub(crate) fn longest_text(&self) -> Option<&str> {
        let texts = self.0.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Capture(_) => None,
        });
        texts.max_by_key(|text| text.len())
    }

    /// Whether the whole line is as the pattern says, each capture being at least one byte.
    pub(crate) fn matches(&self, line: &str) -> bool {
        let mut rest = line;
        let mut captures = false;
        for part in &self.0 {
            let Part::Text(text) = part else {
                captures = true;
                continue;
            };
            let Some(at) = rest.find(text.as_str()) else { return false };
            if (at > 0) != captures {
                return false;
            }
            rest = rest.get(at + text.len()..).unwrap_or("");
            captures = false;
        }
        captures != rest.is_empty()
    }

    pub(crate) fn captures(&self, line: &str) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut parts = self.0.iter().peekable();
        let mut rest = line;
        if let Some(Part::Text(text)) = parts.peek() {
            let Some(tail) = rest.strip_prefix(text.as_str()) else { return found };
            rest = tail;
            parts.next();
        }
        while let Some(Part::Capture(name)) = parts.next() {
            let next = match parts.next() {
                Some(Part::Text(text)) => rest.find(text.as_str()).map(|at| (at, text.len())),
                _ => None,
            };
            // What the next text does not follow is captured to the end.
            let (at, length) = next.unwrap_or((rest.len(), 0));
            if let Some(name) = name {
                found.push((name.clone(), rest.get(..at).unwrap_or(rest).to_owned()));
            }
            rest = rest.get(at + length..).unwrap_or("");
            if next.is_none() {
                break;
            }
        }
        found
    }
}

fn parts(text: &str) -> Result<Vec<Part>, String> {
    let mut parts: Vec<Part> = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let Some((name, tail)) = capture(rest) else {
            literal.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or("");
            continue;
        };
        if !literal.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut literal)));
        } else if matches!(parts.last(), Some(Part::Capture(_))) {
            return Err(format!("found consecutive capture {text:?}"));
        }
        let name = (name != "_").then(|| name.to_owned());
        if name.is_some() && parts.contains(&Part::Capture(name.clone())) {
            return Err(format!("duplicate capture name in {text:?}"));
        }
        parts.push(Part::Capture(name));
        rest = tail;
    }
    if !literal.is_empty() {
        parts.push(Part::Text(literal));
    }
    if parts.is_empty() {
        return Err("the pattern is empty".to_owned());
    }
    Ok(parts)
}

fn capture(text: &str) -> Option<(&str, &str)> {
    let (name, tail) = text.strip_prefix('<')?.split_once('>')?;
    let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    is_name.then_some((name, tail))
}
