//! Selectors, ranges, subqueries, and the modifiers `offset` and `@`.

use super::super::Error;
use super::super::ast::{At, Expr, Node, Selector, Shift, Subquery, Type};
use super::super::lexer::Token;
use super::Parser;
use crate::model::{METRIC_NAME, MatchOp, Matcher};

/// 292 years, as in Prometheus, which counts nanoseconds in 64 bits. Times plus durations then never overflow.
const MAX_DURATION_MILLIS: i64 = i64::MAX / 1_000_000;

impl Parser {
    /// A term with the ranges and modifiers that follow it.
    pub(super) fn postfix(&mut self) -> Result<Expr, Error> {
        let mut expr = self.primary()?;
        // Each subquery of a chain deepens the tree.
        let mut chain = 0;
        loop {
            chain += 1;
            if chain > super::MAX_DEPTH {
                return self.fail("the expression is nested too deeply");
            }
            if self.eat("[") {
                expr = self.range(expr)?;
            } else if self.eat_word("offset") {
                let offset = self.offset()?;
                let shift = self.shift(&mut expr, "offset modifier")?;
                if shift.offset != 0 {
                    return self.fail("offset may not be set multiple times");
                }
                shift.offset = offset;
            } else if self.eat("@") {
                let at = self.fixed_time()?;
                let shift = self.shift(&mut expr, "@ modifier")?;
                if shift.at.is_some() {
                    return self.fail("@ <timestamp> may not be set multiple times");
                }
                shift.at = Some(at);
            } else {
                return Ok(expr);
            }
        }
    }

    /// What follows `[`.
    fn range(&mut self, expr: Expr) -> Result<Expr, Error> {
        let range = self.positive_duration()?;
        if self.eat(":") {
            let step = if matches!(self.peek(), Token::Symbol("]")) {
                None
            } else {
                Some(self.positive_duration()?)
            };
            self.expect("]")?;
            if expr.kind() != Type::Vector {
                let found = expr.kind().as_str();
                return self.fail(format!("subquery is only allowed on instant vector, got {found} instead"));
            }
            let at = expr.at;
            let subquery = Subquery { expr: expr.into(), range, step, shift: Shift::default() };
            return Ok(Expr { node: Node::Subquery(subquery), at });
        }
        self.expect("]")?;
        match expr.node {
            Node::Selector(selector) if selector.range.is_none() => {
                if selector.shift.offset != 0 {
                    return self.fail("no offset modifiers allowed before range");
                }
                if selector.shift.at.is_some() {
                    return self.fail("no @ modifiers allowed before range");
                }
                let node = Node::Selector(Selector { range: Some(range), ..selector });
                Ok(Expr { node, at: expr.at })
            }
            _ => self.fail("ranges only allowed for vector selectors"),
        }
    }

    fn shift<'e>(&self, expr: &'e mut Expr, modifier: &str) -> Result<&'e mut Shift, Error> {
        match &mut expr.node {
            Node::Selector(selector) => Ok(&mut selector.shift),
            Node::Subquery(subquery) => Ok(&mut subquery.shift),
            _ => self.fail(format!(
                "{modifier} must be preceded by an instant vector selector or range vector selector or a subquery"
            )),
        }
    }

    /// Milliseconds into the past; a negative one looks ahead.
    fn offset(&mut self) -> Result<i64, Error> {
        let negative = self.eat("-");
        if !negative {
            self.eat("+");
        }
        let offset = self.duration()?;
        Ok(if negative { -offset } else { offset })
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the cast saturates and the range is checked before it"
    )]
    fn fixed_time(&mut self) -> Result<At, Error> {
        for (word, at) in [("start", At::Start), ("end", At::End)] {
            if self.eat_word(word) {
                self.expect("(")?;
                self.expect(")")?;
                return Ok(at);
            }
        }
        let sign = if self.eat("-") { -1.0 } else { 1.0 };
        self.eat("+");
        let seconds = match self.peek() {
            Token::Number(seconds) => *seconds * sign,
            #[expect(clippy::cast_precision_loss, reason = "durations are far below 2^53 ms")]
            Token::Duration(millis) => *millis as f64 / 1000.0 * sign,
            _ => return self.unexpected("timestamp"),
        };
        let millis = (seconds * 1000.0).round();
        #[expect(clippy::cast_precision_loss, reason = "a bound, exact enough")]
        if !millis.is_finite() || millis.abs() > MAX_DURATION_MILLIS as f64 {
            return self.fail("timestamp out of bounds for @ modifier");
        }
        self.next += 1;
        Ok(At::Time(millis as i64))
    }

    fn positive_duration(&mut self) -> Result<i64, Error> {
        let millis = self.duration()?;
        if millis <= 0 { self.fail("duration must be greater than 0") } else { Ok(millis) }
    }

    /// A duration, or a number of seconds.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the cast saturates and the range is checked after it"
    )]
    fn duration(&mut self) -> Result<i64, Error> {
        let millis = match self.peek() {
            Token::Duration(millis) => *millis,
            Token::Number(seconds) if seconds.is_finite() => (*seconds * 1000.0) as i64,
            _ => return self.unexpected("duration"),
        };
        if millis > MAX_DURATION_MILLIS {
            return self.fail("duration out of range");
        }
        self.next += 1;
        Ok(millis)
    }

    /// A selector whose name, if it starts with one, is the next token.
    pub(super) fn selector(&mut self, name: Option<&str>) -> Result<Expr, Error> {
        let at = self.at();
        let mut matchers: Vec<Matcher> =
            name.map(|name| Matcher::equal(METRIC_NAME, name)).into_iter().collect();
        if name.is_some() {
            self.next += 1;
        }
        if self.eat("{") {
            while !self.eat("}") {
                let matcher = self.matcher()?;
                if name.is_some() && matcher.name == METRIC_NAME && matcher.op == MatchOp::Equal {
                    return self.fail("metric name must not be set twice");
                }
                matchers.push(matcher);
                if !self.eat(",") && !matches!(self.peek(), Token::Symbol("}")) {
                    return self.unexpected("\",\" or \"}\"");
                }
            }
        }
        if !matchers.iter().any(Matcher::needs_presence) {
            return self.fail("vector selector must contain at least one non-empty matcher");
        }
        let selector = Selector { matchers, range: None, shift: Shift::default() };
        Ok(Expr { node: Node::Selector(selector), at })
    }

    fn matcher(&mut self) -> Result<Matcher, Error> {
        let name = match self.advance() {
            Token::Word(name) => name,
            // `{"metric.name"}` and `{"label.name"="x"}`, Prometheus 3's quoted names.
            Token::Text(name) => {
                if matches!(self.peek(), Token::Symbol("," | "}")) {
                    return Ok(Matcher::equal(METRIC_NAME, &name));
                }
                name
            }
            _ => {
                self.next -= 1;
                return self.unexpected("label name or \"}\"");
            }
        };
        let op = match self.peek() {
            Token::Symbol("=") => MatchOp::Equal,
            Token::Symbol("!=") => MatchOp::NotEqual,
            Token::Symbol("=~") => MatchOp::Regex,
            Token::Symbol("!~") => MatchOp::NotRegex,
            _ => return self.unexpected("label matching operator"),
        };
        self.next += 1;
        let Token::Text(value) = self.peek().clone() else { return self.unexpected("string") };
        let matcher = Matcher::new(&name, op, &value).or_else(|message| self.fail(message))?;
        self.next += 1;
        Ok(matcher)
    }
}
