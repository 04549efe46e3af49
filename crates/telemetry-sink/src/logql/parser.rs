//! From tokens to log queries: stream selectors and stages. [`filters`] has what follows a single bar.

mod filters;

use super::ast::{LineFilter, LineTest, LogQuery, Named, Stage, Unit};
use super::ip::IpRange;
use super::lexer::{Spanned, Token, lex};
use super::pipeline::pattern::Pattern;
use super::{Error, parse_error, units};
use crate::model::matcher::compile;
use crate::model::{MatchOp, Matcher};

const MAX_STAGES: usize = 64;
const MAX_DEPTH: usize = 32;
const MAX_ALTERNATIVES: usize = 64;

/// Parses a whole log query.
pub(crate) fn parse_log(text: &str) -> Result<LogQuery, Error> {
    let mut parser = Parser::new(text)?;
    let query = LogQuery { streams: parser.selector()?, stages: parser.stages()? };
    parser.expect_end()?;
    Ok(query)
}

/// Parses what `match[]` and `query` of the metadata routes hold: a stream selector, here also one that selects all.
pub(crate) fn parse_selector(text: &str) -> Result<Vec<Matcher>, Error> {
    let mut parser = Parser::new(text)?;
    let matchers = parser.matchers()?;
    // Grafana sends whole log queries where a selector is meant.
    parser.stages()?;
    parser.expect_end()?;
    Ok(matchers)
}

/// What a single bar may begin in a log range of a metric query.
#[derive(Debug, Clone, Default)]
pub(super) struct LogRange {
    pub(super) query: LogRangeStages,
    /// Nanoseconds.
    pub(super) range: i64,
    pub(super) offset: i64,
}

/// Stages before and after the label that is measured.
#[derive(Debug, Clone, Default)]
pub(super) struct LogRangeStages {
    pub(super) streams: Vec<Matcher>,
    pub(super) before: Vec<Stage>,
    pub(super) unwrap: Option<(String, Unit)>,
    pub(super) after: Vec<Stage>,
}

pub(super) struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Spanned>,
    pub(super) next: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str) -> Result<Self, Error> {
        if text.trim().is_empty() {
            return Err(parse_error(text, 0, "syntax error: unexpected $end"));
        }
        Ok(Self { text, tokens: lex(text)?, next: 0, depth: 0 })
    }

    pub(super) fn at_token(text: &'a str, tokens: Vec<Spanned>, next: usize) -> Self {
        Self { text, tokens, next, depth: 0 }
    }

    pub(super) fn peek(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |spanned| &spanned.token)
    }

    pub(super) fn advance(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    /// Where the token before this one ended.
    pub(super) fn ended(&self) -> usize {
        let last = self.next.checked_sub(1).and_then(|last| self.tokens.get(last));
        last.map_or(0, |spanned| spanned.end)
    }

    pub(super) fn fail<T>(&self, message: impl Into<String>) -> Result<T, Error> {
        let at = self.tokens.get(self.next).or(self.tokens.last()).map_or(0, |spanned| spanned.at);
        Err(parse_error(self.text, at, message))
    }

    pub(super) fn unexpected<T>(&self, wanted: &str) -> Result<T, Error> {
        self.fail(format!("syntax error: unexpected {}, expecting {wanted}", self.peek().name()))
    }

    pub(super) fn is(&self, symbol: &str) -> bool {
        matches!(self.peek(), Token::Symbol(found) if *found == symbol)
    }

    pub(super) fn eat(&mut self, symbol: &str) -> bool {
        let hit = self.is(symbol);
        self.next += usize::from(hit);
        hit
    }

    pub(super) fn expect(&mut self, symbol: &str) -> Result<(), Error> {
        if self.eat(symbol) { Ok(()) } else { self.unexpected(symbol) }
    }

    pub(super) fn expect_end(&self) -> Result<(), Error> {
        if *self.peek() == Token::End { Ok(()) } else { self.unexpected("$end") }
    }

    pub(super) fn word(&mut self) -> Result<String, Error> {
        match self.peek() {
            Token::Word(word) => {
                let word = word.clone();
                self.next += 1;
                Ok(word)
            }
            _ => self.unexpected("identifier"),
        }
    }

    pub(super) fn word_is(&self, keyword: &str) -> bool {
        matches!(self.peek(), Token::Word(word) if word == keyword)
    }

    pub(super) fn eat_word(&mut self, keyword: &str) -> bool {
        let hit = self.word_is(keyword);
        self.next += usize::from(hit);
        hit
    }

    pub(super) fn string(&mut self) -> Result<String, Error> {
        match self.peek() {
            Token::Text(text) => {
                let text = text.clone();
                self.next += 1;
                Ok(text)
            }
            _ => self.unexpected("string"),
        }
    }

    /// A string, and what `read` makes of it; what it says when it cannot stands at the string.
    fn string_as<T>(&mut self, read: impl FnOnce(&str) -> Result<T, String>) -> Result<T, Error> {
        let text = self.string()?;
        read(&text).or_else(|message| {
            self.next -= 1;
            self.fail(message)
        })
    }

    pub(super) fn selector(&mut self) -> Result<Vec<Matcher>, Error> {
        let matchers = self.matchers()?;
        if matchers.iter().any(Matcher::needs_presence) {
            return Ok(matchers);
        }
        Err(Error::Refused(
            "parse error : queries require at least one regexp or equality matcher that does not have an empty-compatible \
             value. For instance, app=~\".*\" does not meet this requirement, but app=~\".+\" will"
                .to_owned(),
        ))
    }

    fn matchers(&mut self) -> Result<Vec<Matcher>, Error> {
        self.expect("{")?;
        let mut matchers = Vec::new();
        while !self.eat("}") {
            let name = self.word()?;
            let Some(op) = self.match_op() else { return self.unexpected("=, !=, =~ or !~") };
            matchers.push(self.string_as(|text| Matcher::new(&name, op, text))?);
            if !self.eat(",") && !self.is("}") {
                return self.unexpected("} or ,");
            }
        }
        Ok(matchers)
    }

    fn match_op(&mut self) -> Option<MatchOp> {
        let op = match self.peek() {
            Token::Symbol("=" | "==") => MatchOp::Equal,
            Token::Symbol("!=") => MatchOp::NotEqual,
            Token::Symbol("=~") => MatchOp::Regex,
            Token::Symbol("!~") => MatchOp::NotRegex,
            _ => return None,
        };
        self.next += 1;
        Some(op)
    }

    fn stages(&mut self) -> Result<Vec<Stage>, Error> {
        let mut stages = Vec::new();
        while self.begins_stage() {
            if self.eat_word_after_bar("unwrap") {
                self.next -= 1;
                return self.fail("unwrap is allowed only in the range of a metric query");
            }
            self.push_stage(&mut stages)?;
        }
        Ok(stages)
    }

    fn push_stage(&mut self, stages: &mut Vec<Stage>) -> Result<(), Error> {
        if stages.len() >= MAX_STAGES {
            return self.fail("the query has too many stages");
        }
        let stage = self.stage()?;
        stages.push(stage);
        Ok(())
    }

    fn begins_stage(&self) -> bool {
        matches!(self.peek(), Token::Symbol("|" | "|=" | "|~" | "|>" | "!=" | "!~" | "!>"))
    }

    fn eat_word_after_bar(&mut self, keyword: &str) -> bool {
        let hit = self.is("|")
            && matches!(self.tokens.get(self.next + 1), Some(Spanned { token: Token::Word(word), .. }) if word == keyword);
        self.next += if hit { 2 } else { 0 };
        hit
    }

    /// What stands between the parentheses of a range aggregation: the range may come before or after the stages.
    pub(super) fn log_range(&mut self) -> Result<LogRange, Error> {
        let mut found = LogRange::default();
        let parenthesized = self.eat("(");
        found.query.streams = self.selector()?;
        let mut range = None;
        loop {
            if range.is_none() && self.is("[") {
                range = Some(self.range()?);
                found.offset = self.offset()?;
            } else if self.begins_stage() {
                self.range_stage(&mut found.query)?;
            } else {
                break;
            }
        }
        if parenthesized {
            self.expect(")")?;
            if range.is_none() && self.is("[") {
                range = Some(self.range()?);
                found.offset = self.offset()?;
            }
        }
        match range {
            Some(range) => found.range = range,
            None => return self.unexpected("["),
        }
        Ok(found)
    }

    fn range_stage(&mut self, stages: &mut LogRangeStages) -> Result<(), Error> {
        if stages.unwrap.is_some() {
            return self.push_stage(&mut stages.after);
        }
        if self.eat_word_after_bar("unwrap") {
            let word = self.word()?;
            let unit = match word.as_str() {
                "duration" | "duration_seconds" => Unit::Duration,
                "bytes" => Unit::Bytes,
                _ => Unit::Plain,
            };
            stages.unwrap = Some(if unit != Unit::Plain && self.eat("(") {
                let name = self.word()?;
                self.expect(")")?;
                (name, unit)
            } else {
                (word, Unit::Plain)
            });
            return Ok(());
        }
        self.push_stage(&mut stages.before)
    }

    fn range(&mut self) -> Result<i64, Error> {
        self.expect("[")?;
        let range = self.duration()?;
        self.expect("]")?;
        if range <= 0 {
            self.next -= 2;
            return self.fail("a range must be longer than nothing");
        }
        Ok(range)
    }

    fn offset(&mut self) -> Result<i64, Error> {
        if !self.eat_word("offset") {
            return Ok(0);
        }
        let sign = if self.eat("-") { -1 } else { 1 };
        Ok(sign * self.duration()?)
    }

    /// Nanoseconds.
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked first")]
    fn duration(&mut self) -> Result<i64, Error> {
        const LONGEST: f64 = 5.0 * 31_536_000.0;
        let seconds = match self.peek() {
            Token::Number(text) => units::seconds(text).filter(|seconds| *seconds <= LONGEST),
            _ => None,
        };
        match seconds {
            Some(seconds) => {
                self.next += 1;
                Ok((seconds * 1e9) as i64)
            }
            None => self.unexpected("a duration such as 5m"),
        }
    }

    fn stage(&mut self) -> Result<Stage, Error> {
        let Token::Symbol(symbol) = self.advance() else { return self.unexpected("|") };
        if symbol == "|" {
            return self.after_bar();
        }
        let wanted = symbol.starts_with('|');
        let mut any = vec![self.line_test(symbol)?];
        while self.eat_word("or") {
            if any.len() >= MAX_ALTERNATIVES {
                return self.fail("the line filter has too many alternatives");
            }
            any.push(self.line_test(symbol)?);
        }
        Ok(Stage::Line(LineFilter { wanted, any }))
    }

    fn line_test(&mut self, symbol: &str) -> Result<LineTest, Error> {
        if symbol.ends_with('=') && self.word_is("ip") {
            return self.ip().map(LineTest::Ip);
        }
        match symbol {
            "|~" | "!~" => self.string_as(compile).map(LineTest::Matches),
            "|>" | "!>" => self.string_as(Pattern::filter).map(LineTest::Like),
            _ => self.string().map(LineTest::Contains),
        }
    }

    fn ip(&mut self) -> Result<IpRange, Error> {
        self.next += 1;
        self.expect("(")?;
        let range = self.string_as(|text| {
            IpRange::parse(text)
                .ok_or_else(|| format!("{text:?} is no IP address, range (a-b) or network (a/n)"))
        })?;
        self.expect(")")?;
        Ok(range)
    }

    /// `a, b="x"`.
    fn named(&mut self) -> Result<Vec<Named>, Error> {
        let mut all = Vec::new();
        loop {
            let name = self.word()?;
            let value = match self.match_op() {
                Some(op) => Some(self.string_as(|text| Matcher::new(&name, op, text))?),
                None => None,
            };
            all.push(Named { name, value });
            if !self.eat(",") {
                return Ok(all);
            }
        }
    }
}
