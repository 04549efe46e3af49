//! The part of LogQL that selects lines: stream matchers, line filters, label filters.
//!
//! `{service_name="core-api"} |= "failed" != "retry" |~ "order-\\d+" | request_id="…"`. Parsers
//! (`| json`), formatters and metric queries answer an error that names them.

use regex::Regex;

use crate::model::matcher::compile;
use crate::model::{MatchOp, Matcher};

const MAX_LENGTH: usize = 16 * 1024;
const MAX_STAGES: usize = 64;

/// What lines are asked for.
#[derive(Debug, Clone)]
pub(crate) struct LogQuery {
    pub(crate) streams: Vec<Matcher>,
    pub(crate) stages: Vec<Stage>,
}

#[derive(Debug, Clone)]
pub(crate) enum Stage {
    Contains { text: String, wanted: bool },
    Matches { regex: Regex, wanted: bool },
    Label(Matcher),
}

impl LogQuery {
    /// The value a label must equal, where the query says so.
    pub(crate) fn equality(&self, name: &str) -> Option<&str> {
        self.stages.iter().find_map(|stage| match stage {
            Stage::Label(matcher) if matcher.op == MatchOp::Equal && matcher.name == name => {
                Some(matcher.value.as_str())
            }
            _ => None,
        })
    }
}

/// Parses a log query; the error is for the person who wrote it.
pub(crate) fn parse(text: &str) -> Result<LogQuery, String> {
    if text.len() > MAX_LENGTH {
        return Err("parse error: the query is too long".to_owned());
    }
    let mut cursor = Cursor { rest: text.trim_start(), length: text.len() };
    if !cursor.eat("{") {
        return Err(
            "parse error: only log queries are supported by this server; they start with {".to_owned()
        );
    }
    let streams = cursor.streams()?;
    let mut stages = Vec::new();
    while !cursor.skip_space().is_empty() {
        if stages.len() >= MAX_STAGES {
            return Err("parse error: the query has too many stages".to_owned());
        }
        stages.push(cursor.stage()?);
    }
    Ok(LogQuery { streams, stages })
}

struct Cursor<'a> {
    rest: &'a str,
    length: usize,
}

impl<'a> Cursor<'a> {
    fn skip_space(&mut self) -> &'a str {
        self.rest = self.rest.trim_start();
        self.rest
    }

    fn eat(&mut self, symbol: &str) -> bool {
        self.skip_space();
        match self.rest.strip_prefix(symbol) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn fail<T>(&self, wanted: &str) -> Result<T, String> {
        let column = self.length - self.rest.len() + 1;
        let found: String = self.rest.chars().take(12).collect();
        let found = if found.is_empty() { "end of query".to_owned() } else { format!("{found:?}") };
        Err(format!("parse error at line 1, col {column}: unexpected {found}, expecting {wanted}"))
    }

    fn streams(&mut self) -> Result<Vec<Matcher>, String> {
        let mut matchers = Vec::new();
        while !self.eat("}") {
            let name = self.word()?;
            let op = self.op()?;
            matchers.push(Matcher::new(name, op, &self.text()?)?);
            if !self.eat(",") && !self.skip_space().starts_with('}') {
                return self.fail("\",\" or \"}\"");
            }
        }
        if !matchers.iter().any(Matcher::needs_presence) {
            return Err("queries require at least one regexp or equality matcher that does not have an empty-compatible value".to_owned());
        }
        Ok(matchers)
    }

    fn word(&mut self) -> Result<&'a str, String> {
        self.skip_space();
        let end = self
            .rest
            .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
            .unwrap_or(self.rest.len());
        match self.rest.split_at_checked(end) {
            Some((word, rest)) if end > 0 && !word.starts_with(|first: char| first.is_ascii_digit()) => {
                self.rest = rest;
                Ok(word)
            }
            _ => self.fail("a label name"),
        }
    }

    fn op(&mut self) -> Result<MatchOp, String> {
        for (symbol, op) in [
            ("=~", MatchOp::Regex),
            ("!~", MatchOp::NotRegex),
            ("!=", MatchOp::NotEqual),
            ("==", MatchOp::Equal),
            ("=", MatchOp::Equal),
        ] {
            if self.eat(symbol) {
                return Ok(op);
            }
        }
        self.fail("=, !=, =~ or !~")
    }

    fn text(&mut self) -> Result<String, String> {
        self.skip_space();
        let Some(quote @ ('"' | '`')) = self.rest.chars().next() else { return self.fail("a string") };
        let mut value = String::new();
        let mut letters = self.rest.char_indices().skip(1);
        while let Some((index, letter)) = letters.next() {
            if letter == quote {
                self.rest = self.rest.get(index + 1..).unwrap_or("");
                return Ok(value);
            }
            if letter != '\\' || quote == '`' {
                value.push(letter);
                continue;
            }
            match letters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, escaped @ ('"' | '\\' | '\''))) => value.push(escaped),
                _ => break,
            }
        }
        self.fail("the end of a string")
    }

    fn stage(&mut self) -> Result<Stage, String> {
        if self.eat("|=") {
            return Ok(Stage::Contains { text: self.text()?, wanted: true });
        }
        if self.eat("!=") {
            return Ok(Stage::Contains { text: self.text()?, wanted: false });
        }
        if self.eat("|~") {
            return Ok(Stage::Matches { regex: compile(&self.text()?)?, wanted: true });
        }
        if self.eat("!~") {
            return Ok(Stage::Matches { regex: compile(&self.text()?)?, wanted: false });
        }
        if !self.eat("|") {
            return self.fail("|=, !=, |~, !~ or |");
        }
        let name = self.word()?;
        if self.skip_space().is_empty() || self.rest.starts_with('|') {
            return Err(format!("parse error: the stage {name:?} is not supported by this server"));
        }
        let op = self.op()?;
        Ok(Stage::Label(Matcher::new(name, op, &self.text()?)?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn streams_line_filters_and_label_filters_are_read() {
        let query = parse(
            r#"{service_name="core-api", level=~"warn|error"} |= "a \"b\"" != `c` |~ "d+" | request_id = "r""#,
        );
        let query = query.unwrap();
        assert_eq!(query.streams.len(), 2);
        assert!(matches!(&query.stages[0], Stage::Contains { text, wanted: true } if text == "a \"b\""));
        assert!(matches!(&query.stages[1], Stage::Contains { text, wanted: false } if text == "c"));
        assert!(matches!(&query.stages[2], Stage::Matches { wanted: true, .. }));
        assert_eq!(query.equality("request_id"), Some("r"));
    }

    #[test]
    fn what_is_not_supported_or_wrong_is_named() {
        for (query, message) in [
            (r#"{a="b"} | json"#, "the stage \"json\" is not supported"),
            ("rate({a=\"b\"}[5m])", "only log queries"),
            (r#"{a=~".*"}"#, "at least one regexp or equality matcher"),
            (r#"{a="b""#, "expecting \",\" or \"}\""),
            (r#"{a="b"} |= "x"#, "the end of a string"),
            (r#"{a="b"} |~ "(""#, "invalid regular expression"),
            ("", "only log queries"),
        ] {
            let error = parse(query).unwrap_err();
            assert!(error.contains(message), "{query}: {error}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "[{}a-z=~!|\"`\\\\ é,0]{0,60}") {
            let _ = parse(&text);
            let _ = parse(&format!("{{a=\"b\"}}{text}"));
        }
    }
}
