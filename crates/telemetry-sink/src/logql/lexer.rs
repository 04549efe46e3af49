//! `LogQL`'s tokens.

use super::{Error, parse_error};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A label, a function, a keyword.
    Word(String),
    Text(String),
    /// What starts with a digit: a number, a duration or a count of bytes.
    Number(String),
    /// `--strict`.
    Flag(String),
    Symbol(&'static str),
    End,
}

impl Token {
    /// As it is called in a message.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Word(word) => format!("identifier {word:?}"),
            Self::Text(text) => format!("string {text:?}"),
            Self::Number(number) => format!("number {number}"),
            Self::Flag(flag) => format!("flag --{flag}"),
            Self::Symbol(symbol) => (*symbol).to_owned(),
            Self::End => "$end".to_owned(),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Spanned {
    pub(super) token: Token,
    /// Where it starts and ends, in bytes.
    pub(super) at: usize,
    pub(super) end: usize,
}

/// Longest first.
const SYMBOLS: [&str; 33] = [
    "|=", "|~", "|>", "!=", "!~", "!>", "=~", "==", ">=", "<=", "{", "}", "(", ")", "[", "]", ",", ".", "=",
    ">", "<", "|", "+", "-", "*", "/", "%", "^", "@", ":", "!", ";", "$",
];

pub(super) fn lex(input: &str) -> Result<Vec<Spanned>, Error> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(rest) = input.get(at..) {
        let Some(first) = rest.chars().next() else { break };
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        if first == '#' {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        }
        let (token, length) = next(rest, first).map_err(|message| parse_error(input, at, message))?;
        tokens.push(Spanned { token, at, end: at + length });
        at += length;
    }
    tokens.push(Spanned { token: Token::End, at: input.len(), end: input.len() });
    Ok(tokens)
}

fn next(rest: &str, first: char) -> Result<(Token, usize), String> {
    if matches!(first, '"' | '`') {
        return text(rest, first);
    }
    if let Some(flag) = rest.strip_prefix("--")
        && flag.starts_with(|letter: char| letter.is_ascii_alphabetic())
    {
        let length = run(flag, |letter| letter.is_ascii_alphanumeric() || letter == '-');
        return Ok((Token::Flag(flag.get(..length).unwrap_or_default().to_owned()), length + 2));
    }
    if first.is_ascii_alphabetic() || first == '_' {
        let length = run(rest, |letter| letter.is_ascii_alphanumeric() || letter == '_');
        return Ok((Token::Word(rest.get(..length).unwrap_or_default().to_owned()), length));
    }
    if first.is_ascii_digit() {
        let length = number(rest);
        return Ok((Token::Number(rest.get(..length).unwrap_or_default().to_owned()), length));
    }
    let symbol = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol));
    symbol
        .map(|symbol| (Token::Symbol(symbol), symbol.len()))
        .ok_or_else(|| format!("unexpected char {first:?}"))
}

fn run(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|letter: char| !belongs(letter)).unwrap_or(text.len())
}

/// `1.5`, `1e-9`, `2h45m`, `10KiB`.
fn number(rest: &str) -> usize {
    let length = run(rest, |letter| letter.is_alphanumeric() || letter == '.');
    let exponent = rest.get(..length).is_some_and(|taken| {
        let digits = taken.strip_suffix(['e', 'E']);
        digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
    });
    let tail = rest.get(length..).unwrap_or_default();
    match tail.strip_prefix(['-', '+']) {
        Some(power) if exponent => length + 1 + run(power, |letter| letter.is_ascii_digit()),
        _ => length,
    }
}

/// A string between double quotes, with Go's escapes, or between backquotes, as it stands.
fn text(rest: &str, quote: char) -> Result<(Token, usize), String> {
    let mut value = String::new();
    let mut letters = rest.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        if letter == quote {
            return Ok((Token::Text(value), at + 1));
        }
        if letter != '\\' || quote == '`' {
            value.push(letter);
            continue;
        }
        match letters.next() {
            Some((_, 'n')) => value.push('\n'),
            Some((_, 't')) => value.push('\t'),
            Some((_, 'r')) => value.push('\r'),
            Some((_, 'x')) => value.push(code(&mut letters, 2)?),
            Some((_, 'u')) => value.push(code(&mut letters, 4)?),
            Some((_, 'U')) => value.push(code(&mut letters, 8)?),
            Some((_, escaped @ ('"' | '\\' | '\''))) => value.push(escaped),
            Some((_, other)) => {
                return Err(format!("invalid escape sequence \\{other}; put patterns between backquotes"));
            }
            None => break,
        }
    }
    Err("literal not terminated".to_owned())
}

fn code(letters: &mut impl Iterator<Item = (usize, char)>, digits: usize) -> Result<char, String> {
    let number: String = letters.take(digits).map(|(_, letter)| letter).collect();
    let code = u32::from_str_radix(&number, 16).ok().filter(|_| number.len() == digits);
    code.and_then(char::from_u32).ok_or_else(|| "invalid escape sequence".to_owned())
}
