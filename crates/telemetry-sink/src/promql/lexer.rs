//! PromQL's tokens.

use super::Error;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Number(f64),
    /// Milliseconds.
    Duration(i64),
    Text(String),
    /// A metric or label name, a function, a keyword.
    Word(String),
    /// Punctuation and operators.
    Symbol(&'static str),
    End,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Spanned {
    pub(super) token: Token,
    /// Where it starts, in bytes.
    pub(super) at: usize,
}

/// Longest first, so that `==` is not two `=`.
const SYMBOLS: [&str; 25] = [
    "==", "!=", "<=", ">=", "=~", "!~", "(", ")", "{", "}", "[", "]", ",", ":", "=", "<", ">", "+", "-", "*",
    "/", "%", "^", "@", "!",
];

const UNITS: [(&str, i64); 7] = [
    ("ms", 1),
    ("s", 1000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 604_800_000),
    ("y", 31_536_000_000),
];

pub(super) fn lex(input: &str) -> Result<Vec<Spanned>, Error> {
    let mut tokens = Vec::new();
    let mut at = 0;
    let mut in_brackets = false;
    // Inside brackets a colon separates a subquery's range and step and is no part of a name.
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
        let (token, length) = match first {
            ':' if in_brackets => (Token::Symbol(":"), 1),
            _ => next(rest, at)?,
        };
        match token {
            Token::Symbol("[") => in_brackets = true,
            Token::Symbol("]") => in_brackets = false,
            _ => {}
        }
        tokens.push(Spanned { token, at });
        at += length;
    }
    tokens.push(Spanned { token: Token::End, at: input.len() });
    Ok(tokens)
}

fn next(rest: &str, at: usize) -> Result<(Token, usize), Error> {
    let fail = |message: String| Error::Parse { position: at + 1, message };
    let first = rest.chars().next().unwrap_or(' ');
    let second = rest.chars().nth(1).unwrap_or(' ');
    if first.is_ascii_digit() || (first == '.' && second.is_ascii_digit()) {
        return number(rest).ok_or_else(|| fail(format!("bad number or duration syntax: {:?}", head(rest))));
    }
    if first.is_ascii_alphabetic() || first == '_' || (first == ':' && is_word(second)) {
        let length = rest.find(|letter: char| !is_word(letter) && letter != ':').unwrap_or(rest.len());
        let word = rest.get(..length).unwrap_or_default();
        return Ok((keyword_number(word).unwrap_or_else(|| Token::Word(word.to_owned())), length));
    }
    if matches!(first, '"' | '\'' | '`') {
        return text(rest, first).map_err(fail);
    }
    let symbol = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol));
    symbol
        .map(|symbol| (Token::Symbol(symbol), symbol.len()))
        .ok_or_else(|| fail(format!("unexpected character: {first:?}")))
}

fn head(rest: &str) -> String {
    rest.chars().take(16).collect()
}

fn is_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

fn keyword_number(word: &str) -> Option<Token> {
    match word.to_ascii_lowercase().as_str() {
        "inf" => Some(Token::Number(f64::INFINITY)),
        "nan" => Some(Token::Number(f64::NAN)),
        _ => None,
    }
}

fn number(rest: &str) -> Option<(Token, usize)> {
    if let Some(hex) = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
        let length = hex.find(|letter: char| !letter.is_ascii_hexdigit()).unwrap_or(hex.len());
        let value = u32::from_str_radix(hex.get(..length)?, 16).ok()?;
        return Some((Token::Number(value.into()), length + 2));
    }
    if let Some((millis, length)) = duration_prefix(rest) {
        return Some((Token::Duration(millis), length));
    }
    let mut length = 0;
    let mut exponent = false;
    for letter in rest.chars() {
        let previous_is_e = rest.get(..length).is_some_and(|taken| taken.ends_with(['e', 'E']));
        let belongs = letter.is_ascii_digit()
            || letter == '.'
            || (matches!(letter, 'e' | 'E') && !exponent)
            || (matches!(letter, '+' | '-') && previous_is_e);
        if !belongs {
            break;
        }
        exponent |= matches!(letter, 'e' | 'E');
        length += 1;
    }
    let followed = rest.get(length..)?.chars().next();
    if followed.is_some_and(is_word) {
        return None;
    }
    rest.get(..length)?.parse().ok().map(|value| (Token::Number(value), length))
}

/// `1h30m` and the like, with its length; nothing where the text is no duration.
fn duration_prefix(text: &str) -> Option<(i64, usize)> {
    let mut total = 0i64;
    let mut at = 0;
    loop {
        let rest = text.get(at..)?;
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        if digits == 0 {
            break;
        }
        let tail = rest.get(digits..)?;
        let Some((unit, millis)) = UNITS.iter().find(|(unit, _)| tail.starts_with(unit)) else { break };
        let count: i64 = rest.get(..digits)?.parse().ok()?;
        total = total.checked_add(count.checked_mul(*millis)?)?;
        at += digits + unit.len();
    }
    let ended = !text.get(at..)?.chars().next().is_some_and(is_word);
    (at > 0 && ended).then_some((total, at))
}

/// Reads a whole text as a duration in milliseconds, as query parameters give it.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    duration_prefix(text).filter(|(_, length)| *length == text.len()).map(|(millis, _)| millis)
}

fn text(rest: &str, quote: char) -> Result<(Token, usize), String> {
    let mut value = Vec::new();
    let push = |value: &mut Vec<u8>, letter: char| {
        value.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
    };
    let mut letters = rest.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        if letter == quote {
            let value = String::from_utf8(value).map_err(|_| "a string must be UTF-8".to_owned())?;
            return Ok((Token::Text(value), at + 1));
        }
        if letter == '\n' && quote != '`' {
            return Err("unterminated quoted string".to_owned());
        }
        if letter != '\\' || quote == '`' {
            push(&mut value, letter);
            continue;
        }
        let Some((_, escaped)) = letters.next() else { break };
        match escaped {
            'n' => push(&mut value, '\n'),
            't' => push(&mut value, '\t'),
            'r' => push(&mut value, '\r'),
            'a' => push(&mut value, '\u{7}'),
            'b' => push(&mut value, '\u{8}'),
            'f' => push(&mut value, '\u{c}'),
            'v' => push(&mut value, '\u{b}'),
            '\\' | '"' | '\'' => push(&mut value, escaped),
            // A byte and no character: `\xc3\xa9` is one letter.
            'x' => value.push(u8::try_from(code(&mut letters, 2)?).unwrap_or_default()),
            'u' => push(&mut value, character(code(&mut letters, 4)?)?),
            'U' => push(&mut value, character(code(&mut letters, 8)?)?),
            other => return Err(format!("unknown escape sequence: \\{other}")),
        }
    }
    Err("unterminated quoted string".to_owned())
}

fn code(letters: &mut impl Iterator<Item = (usize, char)>, digits: usize) -> Result<u32, String> {
    let number: String = letters.take(digits).map(|(_, letter)| letter).collect();
    let code = u32::from_str_radix(&number, 16).ok().filter(|_| number.len() == digits);
    code.ok_or_else(|| "invalid escape sequence".to_owned())
}

fn character(code: u32) -> Result<char, String> {
    char::from_u32(code).ok_or_else(|| "invalid escape sequence".to_owned())
}
