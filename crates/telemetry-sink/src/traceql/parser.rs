//! From text to the syntax tree.

use super::ast::{Condition, Field, Function, Join, Literal, Op, Operand, Query, Scope, Spans, Stage};
use crate::model::matcher::compile;

const MAX_LENGTH: usize = 16 * 1024;
const MAX_DEPTH: usize = 32;
const MAX_STAGES: usize = 16;

/// Parses a query; the error is for the person who wrote it.
pub(crate) fn parse(text: &str) -> Result<Query, String> {
    if text.len() > MAX_LENGTH {
        return Err("parse error: the query is too long".to_owned());
    }
    let mut parser = Parser { text, at: 0, depth: 0 };
    let spans = if parser.is_end() { Spans::Filter(Condition::Always) } else { parser.spans(0)? };
    let mut query = Query { spans, stages: Vec::new(), selected: Vec::new() };
    while parser.eat("|") {
        if query.stages.len() >= MAX_STAGES {
            return parser.fail("the query has too many stages");
        }
        parser.stage(&mut query)?;
    }
    if parser.is_end() { Ok(query) } else { parser.unexpected("an operator or the end") }
}

/// A field as tags name it: `resource.service.name`, `.a`, `name`.
pub(crate) fn parse_field(text: &str) -> Result<Field, String> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    let field = parser.field()?;
    if parser.is_end() { Ok(field) } else { parser.unexpected("the end") }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

/// Longest first; with how tightly it binds.
const JOINS: [(&str, Join, u8); 12] = [
    ("!>>", Join::Descendant { wanted: false }, 3),
    ("!<<", Join::Ancestor { wanted: false }, 3),
    ("&&", Join::And, 2),
    ("||", Join::Or, 1),
    (">>", Join::Descendant { wanted: true }, 3),
    ("<<", Join::Ancestor { wanted: true }, 3),
    ("!>", Join::Child { wanted: false }, 3),
    ("!<", Join::Parent { wanted: false }, 3),
    ("!~", Join::Sibling { wanted: false }, 3),
    (">", Join::Child { wanted: true }, 3),
    ("<", Join::Parent { wanted: true }, 3),
    ("~", Join::Sibling { wanted: true }, 3),
];

const OPS: [(&str, Op); 8] = [
    ("=~", Op::Matches),
    ("!~", Op::NotMatches),
    ("!=", Op::NotEqual),
    (">=", Op::GreaterEqual),
    ("<=", Op::LessEqual),
    ("=", Op::Equal),
    (">", Op::Greater),
    ("<", Op::Less),
];

const INTRINSICS: [(&str, Field); 24] = [
    ("name", Field::Name),
    ("span:name", Field::Name),
    ("status", Field::Status),
    ("span:status", Field::Status),
    ("statusMessage", Field::StatusMessage),
    ("span:statusMessage", Field::StatusMessage),
    ("kind", Field::Kind),
    ("span:kind", Field::Kind),
    ("duration", Field::Duration),
    ("span:duration", Field::Duration),
    ("span:id", Field::SpanId),
    ("span:parentID", Field::ParentId),
    ("trace:id", Field::TraceId),
    ("rootName", Field::RootName),
    ("trace:rootName", Field::RootName),
    ("rootServiceName", Field::RootService),
    ("trace:rootService", Field::RootService),
    ("traceDuration", Field::TraceDuration),
    ("trace:duration", Field::TraceDuration),
    ("nestedSetParent", Field::NestedSetParent),
    ("span:nestedSetParent", Field::NestedSetParent),
    ("instrumentation:name", Field::ScopeName),
    ("event:name", Field::EventName),
    ("parent:id", Field::ParentId),
];

const WORDS: [&str; 9] =
    ["ok", "error", "unset", "unspecified", "internal", "server", "client", "producer", "consumer"];

impl<'a> Parser<'a> {
    fn rest(&mut self) -> &'a str {
        let rest = self.text.get(self.at..).unwrap_or("");
        let trimmed = rest.trim_start();
        self.at += rest.len() - trimmed.len();
        trimmed
    }

    fn is_end(&mut self) -> bool {
        self.rest().is_empty()
    }

    fn fail<T>(&self, message: impl std::fmt::Display) -> Result<T, String> {
        let before = self.text.get(..self.at).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
        Err(format!("parse error at line {line}, col {column}: {message}"))
    }

    fn unexpected<T>(&mut self, wanted: &str) -> Result<T, String> {
        let found: String = self.rest().chars().take(12).collect();
        let found = if found.is_empty() { "the end".to_owned() } else { format!("{found:?}") };
        self.fail(format!("syntax error: unexpected {found}, expecting {wanted}"))
    }

    fn eat(&mut self, symbol: &str) -> bool {
        let hit = self.rest().starts_with(symbol) && !(symbol == "|" && self.rest().starts_with("||"));
        self.at += if hit { symbol.len() } else { 0 };
        hit
    }

    fn expect(&mut self, symbol: &str) -> Result<(), String> {
        if self.eat(symbol) { Ok(()) } else { self.unexpected(&format!("{symbol:?}")) }
    }

    fn deeper(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { self.fail("the query is nested too deeply") } else { Ok(()) }
    }

    fn spans(&mut self, min: u8) -> Result<Spans, String> {
        self.deeper()?;
        let mut left = if self.eat("(") {
            let inner = self.spans(0)?;
            self.expect(")")?;
            inner
        } else {
            self.expect("{")?;
            let condition = if self.rest().starts_with('}') { Condition::Always } else { self.condition()? };
            self.expect("}")?;
            Spans::Filter(condition)
        };
        let mut chain = 0;
        loop {
            let rest = self.rest();
            let found = JOINS.iter().find(|(symbol, ..)| rest.starts_with(symbol));
            let Some((symbol, op, tightness)) = found.filter(|(.., tightness)| *tightness >= min) else {
                break;
            };
            chain += 1;
            if chain > MAX_DEPTH {
                return self.fail("the query has too many operators in a row");
            }
            self.at += symbol.len();
            let right = self.spans(tightness + 1)?;
            left = Spans::Joined { op: *op, left: left.into(), right: right.into() };
        }
        self.depth -= 1;
        Ok(left)
    }

    fn condition(&mut self) -> Result<Condition, String> {
        self.deeper()?;
        let mut left = self.all_of()?;
        let mut chain = 0;
        while self.eat("||") {
            chain += 1;
            if chain > MAX_DEPTH {
                return self.fail("the filter has too many alternatives");
            }
            left = Condition::Or(left.into(), self.all_of()?.into());
        }
        self.depth -= 1;
        Ok(left)
    }

    fn all_of(&mut self) -> Result<Condition, String> {
        let mut left = self.one()?;
        let mut chain = 0;
        while self.eat("&&") {
            chain += 1;
            if chain > MAX_DEPTH {
                return self.fail("the filter has too many conditions");
            }
            left = Condition::And(left.into(), self.one()?.into());
        }
        Ok(left)
    }

    fn one(&mut self) -> Result<Condition, String> {
        let rest = self.rest();
        if rest.starts_with('!') && !rest.starts_with("!=") {
            self.at += 1;
            self.deeper()?;
            let inner = self.one()?;
            self.depth -= 1;
            return Ok(Condition::Not(inner.into()));
        }
        if self.eat("(") {
            let inner = self.condition()?;
            self.expect(")")?;
            return Ok(inner);
        }
        if self.eat_word("true") {
            return Ok(Condition::Always);
        }
        if self.eat_word("false") {
            return Ok(Condition::Not(Condition::Always.into()));
        }
        let field = self.field()?;
        let Some(op) = self.op() else { return Ok(Condition::Is(field)) };
        let with = self.operand(op)?;
        Ok(Condition::Compare { field, op, with })
    }

    fn op(&mut self) -> Option<Op> {
        let rest = self.rest();
        let (symbol, op) = OPS.iter().find(|(symbol, _)| rest.starts_with(symbol))?;
        self.at += symbol.len();
        Some(*op)
    }

    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|letter: char| !letter.is_alphanumeric() && !matches!(letter, '_' | ':'));
        let word = rest.get(..end.unwrap_or(rest.len())).unwrap_or("");
        self.at += word.len();
        word
    }

    fn eat_word(&mut self, wanted: &str) -> bool {
        let before = self.at;
        let hit = self.word() == wanted;
        if !hit {
            self.at = before;
        }
        hit
    }

    fn field(&mut self) -> Result<Field, String> {
        let rest = self.rest();
        for (prefix, scope) in [
            ("span.", Scope::Span),
            ("resource.", Scope::Resource),
            ("event.", Scope::Event),
            ("parent.", Scope::Any),
            (".", Scope::Any),
        ] {
            if rest.starts_with(prefix) {
                if prefix == "parent." {
                    return self.fail("the scope parent is not supported by this server; use { … } > { … }");
                }
                self.at += prefix.len();
                return Ok(Field::Attribute { scope, name: self.attribute()? });
            }
        }
        let before = self.at;
        let word = self.word();
        let found = INTRINSICS.iter().find(|(name, _)| *name == word).map(|(_, field)| field.clone());
        found.map_or_else(
            || {
                self.at = before;
                self.unexpected("a field such as name, duration, span.a or resource.service.name")
            },
            Ok,
        )
    }

    fn attribute(&mut self) -> Result<String, String> {
        let rest = self.text.get(self.at..).unwrap_or("");
        if rest.starts_with('"') {
            return self.string();
        }
        let ends = |letter: char| letter.is_whitespace() || "{}()=!<>~&|,\"`+*^".contains(letter);
        let name = rest.get(..rest.find(ends).unwrap_or(rest.len())).unwrap_or("");
        if name.is_empty() {
            return self.unexpected("an attribute's name");
        }
        self.at += name.len();
        Ok(name.to_owned())
    }

    fn string(&mut self) -> Result<String, String> {
        let rest = self.rest();
        let Some(quote @ ('"' | '`')) = rest.chars().next() else { return self.unexpected("a string") };
        let mut value = String::new();
        let mut letters = rest.char_indices().skip(1);
        while let Some((at, letter)) = letters.next() {
            if letter == quote {
                self.at += at + 1;
                return Ok(value);
            }
            if letter != '\\' || quote == '`' {
                value.push(letter);
                continue;
            }
            match letters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, other)) => value.push(other),
                None => break,
            }
        }
        self.fail("the string does not end")
    }

    fn operand(&mut self, op: Op) -> Result<Operand, String> {
        let rest = self.rest();
        if matches!(op, Op::Matches | Op::NotMatches) {
            let before = self.at;
            let pattern = self.string()?;
            return compile(&format!("^(?s:{pattern})$")).map(Operand::Pattern).or_else(|message| {
                self.at = before;
                self.fail(message)
            });
        }
        if rest.starts_with(['"', '`']) {
            return self.string().map(|text| Operand::Literal(Literal::Text(text)));
        }
        if rest.starts_with(|first: char| first.is_ascii_digit() || first == '-') {
            return self.number().map(|number| Operand::Literal(Literal::Number(number)));
        }
        for (word, literal) in
            [("true", Literal::Bool(true)), ("false", Literal::Bool(false)), ("nil", Literal::Nil)]
        {
            if self.eat_word(word) {
                return Ok(Operand::Literal(literal));
            }
        }
        for word in WORDS {
            if self.eat_word(word) {
                return Ok(Operand::Literal(Literal::Text(word.to_owned())));
            }
        }
        self.field().map(Operand::Field)
    }

    /// A number, or a duration in nanoseconds.
    fn number(&mut self) -> Result<f64, String> {
        let rest = self.rest();
        let sign = usize::from(rest.starts_with('-'));
        let tail = rest.get(sign..).unwrap_or("");
        let length =
            tail.find(|letter: char| !letter.is_alphanumeric() && letter != '.').unwrap_or(tail.len());
        let text = rest.get(..sign + length).unwrap_or("");
        let value = text.parse::<f64>().ok().filter(|value| value.is_finite());
        match value.or_else(|| crate::logql::seconds(text).map(|seconds| seconds * 1e9)) {
            Some(value) => {
                self.at += text.len();
                Ok(value)
            }
            None => self.unexpected("a number or a duration"),
        }
    }

    fn stage(&mut self, query: &mut Query) -> Result<(), String> {
        self.rest();
        let before = self.at;
        let word = self.word();
        if word == "select" {
            self.expect("(")?;
            loop {
                query.selected.push(self.field()?);
                if !self.eat(",") {
                    break;
                }
            }
            return self.expect(")");
        }
        let function = match word {
            "count" => Function::Count,
            "avg" => Function::Avg,
            "min" => Function::Min,
            "max" => Function::Max,
            "sum" => Function::Sum,
            _ => {
                self.at = before;
                return match word {
                    "" => self.unexpected("a stage such as count() > 1"),
                    word => self.fail(format!("the stage {word:?} is not supported by this server")),
                };
            }
        };
        self.expect("(")?;
        let field = if function == Function::Count { None } else { Some(self.field()?) };
        self.expect(")")?;
        match self.op() {
            Some(op) if !matches!(op, Op::Matches | Op::NotMatches) => {
                let value = self.number()?;
                query.stages.push(Stage { function, field, op, value });
                Ok(())
            }
            _ => self.unexpected("a comparison such as > 1"),
        }
    }
}
