//! Text and actions, and the words of an action.

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Action(Vec<Word>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Word {
    /// A keyword or a function.
    Name(String),
    /// `.a.b`; without names the dot alone.
    Dot(Vec<String>),
    /// `$x.a.b`.
    Variable(String, Vec<String>),
    /// `.a.b` right after a closing parenthesis.
    Chain(Vec<String>),
    Text(String),
    Int(i64),
    Float(f64),
    Open,
    Close,
    Pipe,
    Comma,
    Declare,
    Assign,
}

/// Cuts a template into texts and actions; comments are gone and trim marks are applied.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut trim = false;
    loop {
        let Some((before, after)) = rest.split_once("{{") else {
            push(&mut pieces, rest, trim, false);
            return Ok(pieces);
        };
        let (trims_before, after) = match after.strip_prefix('-') {
            Some(inner) if inner.starts_with(char::is_whitespace) => (true, inner),
            _ => (false, after),
        };
        push(&mut pieces, before, trim, trims_before);
        let (words, length) = match comment(after)? {
            Some(length) => (None, length),
            None => action(after).map(|(words, length)| (Some(words), length))?,
        };
        pieces.extend(words.map(Piece::Action));
        let after = after.get(length..).unwrap_or_default();
        (trim, rest) = close(after).ok_or("an action is not closed with }}")?;
    }
}

fn push(pieces: &mut Vec<Piece>, text: &str, trim_start: bool, trim_end: bool) {
    let text = if trim_start { text.trim_start() } else { text };
    let text = if trim_end { text.trim_end() } else { text };
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

/// `}}` or ` -}}`: whether it trims, and what follows.
fn close(text: &str) -> Option<(bool, &str)> {
    let inner = text.trim_start();
    if let Some(rest) = inner.strip_prefix("}}") {
        return Some((false, rest));
    }
    if inner.len() < text.len() {
        return inner.strip_prefix("-}}").map(|rest| (true, rest));
    }
    None
}

/// How long a comment is, where one begins.
fn comment(text: &str) -> Result<Option<usize>, String> {
    let inner = text.trim_start();
    if !inner.starts_with("/*") {
        return Ok(None);
    }
    let end = inner.find("*/").ok_or("a comment is not closed with */")?;
    Ok(Some(text.len() - inner.len() + end + 2))
}

/// The words up to the end of an action, and how many bytes they take.
fn action(text: &str) -> Result<(Vec<Word>, usize), String> {
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        if close(rest).is_some() {
            return Ok((words, at));
        }
        let Some(first) = rest.chars().next() else {
            return Err("an action is not closed with }}".to_owned());
        };
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let after_paren =
            matches!(words.last(), Some(Word::Close)) && text.get(..at).is_some_and(|t| t.ends_with(')'));
        let (word, length) = word(rest, first, after_paren)?;
        words.push(word);
        at += length;
    }
}

fn word(rest: &str, first: char, after_paren: bool) -> Result<(Word, usize), String> {
    let fixed = [
        (":=", Word::Declare),
        ("=", Word::Assign),
        ("|", Word::Pipe),
        (",", Word::Comma),
        ("(", Word::Open),
        (")", Word::Close),
    ];
    if let Some((text, word)) = fixed.into_iter().find(|(text, _)| rest.starts_with(text)) {
        return Ok((word, text.len()));
    }
    match first {
        '"' => quoted(rest),
        '`' => {
            let end =
                rest.get(1..).and_then(|inner| inner.find('`')).ok_or("a raw text is not closed with `")?;
            Ok((Word::Text(rest.get(1..=end).unwrap_or_default().to_owned()), end + 2))
        }
        '.' if rest.get(1..).is_some_and(|next| next.starts_with(|c: char| c.is_ascii_digit())) => {
            number(rest)
        }
        '.' => {
            let (chain, length) = chain(rest);
            let length = length.max(1);
            Ok((if after_paren { Word::Chain(chain) } else { Word::Dot(chain) }, length))
        }
        '$' => {
            let name = identifier(rest.get(1..).unwrap_or_default());
            let start = 1 + name.len();
            let (fields, length) = chain(rest.get(start..).unwrap_or_default());
            Ok((Word::Variable(name.to_owned(), fields), start + length))
        }
        first if first.is_ascii_digit() || matches!(first, '-' | '+') => number(rest),
        first if first.is_alphabetic() || first == '_' => {
            let name = identifier(rest);
            Ok((Word::Name(name.to_owned()), name.len()))
        }
        other => Err(format!("unexpected {other:?} in an action")),
    }
}

fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

/// `.a.b`, with how many bytes it takes.
fn chain(text: &str) -> (Vec<String>, usize) {
    let mut fields = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).and_then(|rest| rest.strip_prefix('.')) {
        let name = identifier(rest);
        if name.is_empty() {
            break;
        }
        fields.push(name.to_owned());
        at += 1 + name.len();
    }
    (fields, at)
}

fn number(text: &str) -> Result<(Word, usize), String> {
    let mut end = 0;
    let mut last = ' ';
    for (at, letter) in text.char_indices() {
        let sign = matches!(letter, '-' | '+') && (at == 0 || matches!(last, 'e' | 'E'));
        if !(letter.is_ascii_alphanumeric() || letter == '.' || letter == '_' || sign) {
            break;
        }
        (end, last) = (at + letter.len_utf8(), letter);
    }
    let digits = text.get(..end).unwrap_or_default();
    let plain = digits.replace('_', "");
    if let Ok(value) = plain.parse() {
        return Ok((Word::Int(value), end));
    }
    if let Some(value) = plain.strip_prefix("0x").and_then(|hex| i64::from_str_radix(hex, 16).ok()) {
        return Ok((Word::Int(value), end));
    }
    let value = plain.parse().map_err(|_| format!("{digits:?} is no number"))?;
    Ok((Word::Float(value), end))
}

fn quoted(text: &str) -> Result<(Word, usize), String> {
    let mut out = String::new();
    let mut letters = text.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Ok((Word::Text(out), at + 1)),
            '\n' => break,
            '\\' => {
                let Some((_, escaped)) = letters.next() else { break };
                out.push(match escaped {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    '\\' | '"' | '\'' => escaped,
                    'x' | 'u' => {
                        let length = if escaped == 'x' { 2 } else { 4 };
                        let digits: String = letters.by_ref().take(length).map(|(_, digit)| digit).collect();
                        let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                        code.ok_or_else(|| format!("\\{escaped}{digits} is no character"))?
                    }
                    other => return Err(format!("unknown escape \\{other} in a text")),
                });
            }
            other => out.push(other),
        }
    }
    Err("a text is not closed with \"".to_owned())
}
