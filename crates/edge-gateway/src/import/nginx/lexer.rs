//! Words and punctuation of nginx's syntax.

/// A piece of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Word(String),
    Open,
    Close,
    End,
}

/// Where a token begins.
pub(super) type Line = usize;

/// The tokens with their lines; a quote that does not end is the error, by its line.
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, Line)>, Line> {
    let mut lexer = Lexer { rest: text.chars().peekable(), line: 1 };
    let mut tokens = Vec::new();
    while let Some(next) = lexer.next()? {
        tokens.push(next);
    }
    Ok(tokens)
}

struct Lexer<'t> {
    rest: std::iter::Peekable<std::str::Chars<'t>>,
    line: Line,
}

impl Lexer<'_> {
    fn bump(&mut self) -> Option<char> {
        let next = self.rest.next();
        self.line += usize::from(next == Some('\n'));
        next
    }

    fn next(&mut self) -> Result<Option<(Token, Line)>, Line> {
        loop {
            let line = self.line;
            let token = match self.rest.peek() {
                None => return Ok(None),
                Some(c) if c.is_whitespace() => {
                    self.bump();
                    continue;
                }
                Some('#') => {
                    while self.rest.peek().is_some_and(|c| *c != '\n') {
                        self.bump();
                    }
                    continue;
                }
                Some(';') => Token::End,
                Some('{') => Token::Open,
                Some('}') => Token::Close,
                Some('"' | '\'') => return self.quoted().map(|word| Some((Token::Word(word), line))),
                Some(_) => return Ok(Some((Token::Word(self.plain()), line))),
            };
            self.bump();
            return Ok(Some((token, line)));
        }
    }

    fn quoted(&mut self) -> Result<String, Line> {
        let line = self.line;
        let quote = self.bump();
        let mut word = String::new();
        loop {
            match self.bump() {
                None => return Err(line),
                Some('\\') => self.escape(&mut word),
                next if next == quote => return Ok(word),
                Some(c) => word.push(c),
            }
        }
    }

    fn plain(&mut self) -> String {
        let mut word = String::new();
        while let Some(&c) = self.rest.peek() {
            // `${name}` is a variable, not a block.
            let variable = c == '{' && word.ends_with('$');
            if c.is_whitespace() || c == ';' || (c == '{' && !variable) {
                break;
            }
            self.bump();
            match c {
                '\\' => self.escape(&mut word),
                _ => word.push(c),
            }
        }
        word
    }

    /// A backslash takes the meaning from quotes and itself, and stays before all else, as in expressions.
    fn escape(&mut self, word: &mut String) {
        match self.bump() {
            Some(c @ ('"' | '\'' | '\\')) => word.push(c),
            Some('t') => word.push('\t'),
            Some('r') => word.push('\r'),
            Some('n') => word.push('\n'),
            Some(c) => word.extend(['\\', c]),
            None => word.push('\\'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let word = |(token, _): (Token, Line)| match token {
            Token::Word(word) => word,
            Token::Open => "{".to_owned(),
            Token::Close => "}".to_owned(),
            Token::End => ";".to_owned(),
        };
        tokens(text).unwrap().into_iter().map(word).collect()
    }

    #[test]
    fn words_quotes_and_variables_are_told_apart() {
        assert_eq!(words("a b;c{d}"), ["a", "b", ";", "c", "{", "d}"]);
        assert_eq!(words("a \"b ; {\" 'c # \"';"), ["a", "b ; {", "c # \"", ";"]);
        assert_eq!(words("set $a ${b}c; # no { more"), ["set", "$a", "${b}c", ";"]);
        assert_eq!(words(r#"x "a\"b" \.php$ a\\b;"#), ["x", "a\"b", "\\.php$", "a\\b", ";"]);
        assert_eq!(words("a#b;"), ["a#b", ";"]);
    }

    #[test]
    fn lines_are_those_where_tokens_begin() {
        let lines: Vec<Line> =
            tokens("a\n\"b\nc\" d;\n}").unwrap().into_iter().map(|(_, line)| line).collect();
        assert_eq!(lines, [1, 2, 3, 3, 4]);
        assert_eq!(tokens("a;\n'b"), Err(2));
    }
}
