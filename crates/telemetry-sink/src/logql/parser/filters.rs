//! What follows a single bar: parsers, formatters, and filters of labels.

use super::{MAX_DEPTH, Parser};
use crate::logql::ast::{Comparison, LabelFilter, Logfmt, NewLabel, Stage, Unit};
use crate::logql::lexer::Token;
use crate::logql::pipeline::json::Path;
use crate::logql::pipeline::pattern::Pattern;
use crate::logql::template::Template;
use crate::logql::{Error, units};
use crate::model::matcher::compile;
use crate::model::{MatchOp, Matcher};

impl Parser<'_> {
    pub(super) fn after_bar(&mut self) -> Result<Stage, Error> {
        let Token::Word(word) = self.peek().clone() else {
            if self.is("(") {
                return self.label_filter().map(Stage::Labels);
            }
            return self.unexpected("a stage or a label filter");
        };
        // A label may be called like a stage: `| json = "x"`.
        let is_label = matches!(
            self.tokens.get(self.next + 1).map(|after| &after.token),
            Some(Token::Symbol("=" | "==" | "!=" | "=~" | "!~" | ">" | ">=" | "<" | "<="))
        ) && !matches!(
            (word.as_str(), self.tokens.get(self.next + 1).map(|after| &after.token)),
            ("json" | "logfmt" | "unpack" | "decolorize", Some(Token::Symbol("!=" | "!~")))
        );
        if is_label {
            return self.label_filter().map(Stage::Labels);
        }
        self.next += 1;
        match word.as_str() {
            "json" => self.json_fields().map(Stage::Json),
            "logfmt" => self.logfmt().map(Stage::Logfmt),
            "pattern" => self.string_as(Pattern::parser).map(Stage::Pattern),
            "regexp" => self
                .string_as(|text| {
                    let regex = compile(text)?;
                    if regex.capture_names().flatten().next().is_none() {
                        return Err("at least one named capture must be supplied".to_owned());
                    }
                    Ok(regex)
                })
                .map(Stage::Regexp),
            "unpack" => Ok(Stage::Unpack),
            "line_format" => self.string_as(Template::parse).map(Stage::LineFormat),
            "label_format" => self.label_format().map(Stage::LabelFormat),
            "drop" => self.named().map(Stage::Drop),
            "keep" => self.named().map(Stage::Keep),
            "decolorize" => Ok(Stage::Decolorize),
            _ => {
                self.next -= 1;
                match self.tokens.get(self.next + 1).map(|after| &after.token) {
                    Some(Token::End | Token::Symbol("|" | "|=" | "|~" | ")" | "[")) | None => {
                        self.fail(format!("the stage {word:?} is not supported by this server"))
                    }
                    _ => self.label_filter().map(Stage::Labels),
                }
            }
        }
    }

    fn json_fields(&mut self) -> Result<Vec<(String, Path)>, Error> {
        let mut fields = Vec::new();
        if !matches!(self.peek(), Token::Word(_)) {
            return Ok(fields);
        }
        loop {
            let name = self.word()?;
            let path = if self.eat("=") {
                self.string_as(|text| {
                    Path::parse(text).ok_or_else(|| format!("cannot parse JSON expression {text:?}"))
                })?
            } else {
                Path::of_key(&name)
            };
            fields.push((name, path));
            if !self.eat(",") {
                return Ok(fields);
            }
        }
    }

    fn logfmt(&mut self) -> Result<Logfmt, Error> {
        let mut stage = Logfmt { strict: false, keeps_empty: false, fields: Vec::new() };
        while let Token::Flag(flag) = self.peek().clone() {
            match flag.as_str() {
                "strict" => stage.strict = true,
                "keep-empty" => stage.keeps_empty = true,
                _ => return self.fail(format!("unknown parser flag --{flag}")),
            }
            self.next += 1;
        }
        if !matches!(self.peek(), Token::Word(_)) {
            return Ok(stage);
        }
        loop {
            let name = self.word()?;
            let key = if self.eat("=") { self.string()? } else { name.clone() };
            stage.fields.push((name, key));
            if !self.eat(",") {
                return Ok(stage);
            }
        }
    }

    fn label_format(&mut self) -> Result<Vec<(String, NewLabel)>, Error> {
        let mut labels: Vec<(String, NewLabel)> = Vec::new();
        loop {
            let name = self.word()?;
            if labels.iter().any(|(known, _)| *known == name) {
                self.next -= 1;
                return self
                    .fail(format!("multiple label name {name:?} not allowed in a single format operation"));
            }
            self.expect("=")?;
            let value = match self.peek() {
                Token::Word(_) => NewLabel::Renamed(self.word()?),
                _ => NewLabel::Formatted(self.string_as(Template::parse)?),
            };
            labels.push((name, value));
            if !self.eat(",") {
                return Ok(labels);
            }
        }
    }

    fn label_filter(&mut self) -> Result<LabelFilter, Error> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.fail("the label filter is nested too deeply");
        }
        let mut left = self.all_of()?;
        let mut count = 0;
        while self.eat_word("or") {
            count += 1;
            if count > MAX_DEPTH {
                return self.fail("the label filter has too many alternatives");
            }
            left = LabelFilter::Or(left.into(), self.all_of()?.into());
        }
        self.depth -= 1;
        Ok(left)
    }

    /// Filters that all must hold; a comma or nothing between two is `and`.
    fn all_of(&mut self) -> Result<LabelFilter, Error> {
        let mut left = self.one_filter()?;
        let mut count = 0;
        loop {
            let joined = self.eat_word("and") || self.eat(",");
            let follows = match self.peek() {
                Token::Word(word) => word != "or",
                Token::Symbol("(") => true,
                _ => false,
            };
            if !joined && !follows {
                return Ok(left);
            }
            count += 1;
            if count > MAX_DEPTH {
                return self.fail("the label filter has too many conditions");
            }
            left = LabelFilter::And(left.into(), self.one_filter()?.into());
        }
    }

    fn one_filter(&mut self) -> Result<LabelFilter, Error> {
        if self.eat("(") {
            let inner = self.label_filter()?;
            self.expect(")")?;
            return Ok(inner);
        }
        let name = self.word()?;
        let Token::Symbol(symbol) = *self.peek() else { return self.unexpected("a comparison") };
        self.next += 1;
        match self.peek().clone() {
            Token::Text(_) => {
                let op = match symbol {
                    "=" | "==" => MatchOp::Equal,
                    "!=" => MatchOp::NotEqual,
                    "=~" => MatchOp::Regex,
                    "!~" => MatchOp::NotRegex,
                    _ => return self.unexpected("a number"),
                };
                self.string_as(|text| Matcher::new(&name, op, text)).map(LabelFilter::Text)
            }
            Token::Word(word) if word == "ip" && matches!(symbol, "=" | "==" | "!=") => {
                Ok(LabelFilter::Ip { name, range: self.ip()?, wanted: symbol != "!=" })
            }
            _ => self.number_filter(name, symbol),
        }
    }

    fn number_filter(&mut self, name: String, symbol: &str) -> Result<LabelFilter, Error> {
        let op = match symbol {
            "=" | "==" => Comparison::Equal,
            "!=" => Comparison::NotEqual,
            ">" => Comparison::Greater,
            ">=" => Comparison::GreaterEqual,
            "<" => Comparison::Less,
            "<=" => Comparison::LessEqual,
            _ => return self.unexpected("string"),
        };
        let sign = if self.eat("-") { -1.0 } else { 1.0 };
        let Token::Number(text) = self.peek() else {
            return self.unexpected("a string, a number, a duration or bytes");
        };
        let read = text.parse::<f64>().ok().map(|value| (value, Unit::Plain));
        let read = read.or_else(|| units::seconds(text).map(|value| (value, Unit::Duration)));
        let read = read.or_else(|| units::bytes(text).map(|value| (value, Unit::Bytes)));
        let Some((value, unit)) = read else { return self.unexpected("a number, a duration or bytes") };
        self.next += 1;
        Ok(LabelFilter::Number { name, op, value: sign * value, unit })
    }
}
