//! A query as it is written with one space where one belongs.

use super::lexer::{Token, lex};
use super::{Error, parse};

/// The query again, after a look at whether it is one. Comments go; each stage of a long query gets its own line.
pub(crate) fn pretty(text: &str) -> Result<String, Error> {
    const LONG: usize = 80;
    parse(text)?;
    let tokens = lex(text)?;
    let mut out = String::with_capacity(text.len());
    let (mut depth, mut previous): (usize, Option<&Token>) = (0, None);
    for spanned in &tokens {
        let token = &spanned.token;
        let written = text.get(spanned.at..spanned.end).unwrap_or_default();
        match token {
            Token::Symbol("{") => depth += 1,
            Token::Symbol("}") => depth = depth.saturating_sub(1),
            _ => {}
        }
        if let Some(before) = previous
            && is_apart(before, token, depth > 0)
        {
            let breaks =
                text.len() > LONG && depth == 0 && matches!(token, Token::Symbol("|" | "|=" | "|~" | "|>"));
            out.push_str(if breaks { "\n  " } else { " " });
        }
        out.push_str(written);
        previous = Some(token);
    }
    Ok(out.trim_end().to_owned())
}

fn is_apart(before: &Token, token: &Token, in_selector: bool) -> bool {
    let closes = matches!(token, Token::Symbol(")" | "]" | "}" | "," | "[")) || *token == Token::End;
    let opens = matches!(before, Token::Symbol("(" | "[" | "{"));
    if closes || opens {
        return false;
    }
    if matches!(token, Token::Symbol("{")) || in_selector {
        return matches!(before, Token::Symbol(symbol) if *symbol == "," || (!in_selector && *symbol != "("));
    }
    if matches!(token, Token::Symbol("(")) {
        return match before {
            Token::Word(word) => matches!(
                word.as_str(),
                "by" | "without"
                    | "on"
                    | "ignoring"
                    | "group_left"
                    | "group_right"
                    | "and"
                    | "or"
                    | "unless"
                    | "bool"
            ),
            _ => true,
        };
    }
    let equals = |token: &Token| matches!(token, Token::Symbol("=" | "=~" | "!~" | "==" | ">=" | "<="));
    !(equals(before) || equals(token)) || matches!(token, Token::Symbol("==" | ">=" | "<="))
}
