//! From tokens to the syntax tree, with Prometheus' type rules.
//!
//! Here are operators and their precedence; [`terms`] has what stands between them, [`selector`] selectors and what may
//! follow one.

mod selector;
mod terms;

use super::Error;
use super::ast::{Binary, BinaryOp, Cardinality, Expr, MatchLabels, Matching, Node, Selector, Shift, Type};
use super::lexer::{Spanned, Token, lex};
use crate::model::Matcher;

/// Deep nesting would overflow the stack of a recursive parser and evaluator.
const MAX_DEPTH: usize = 64;
const MAX_LENGTH: usize = 64 * 1024;

/// Parses a whole expression.
pub(crate) fn parse(input: &str) -> Result<Expr, Error> {
    let mut parser = Parser::new(input)?;
    let expr = parser.expr(0)?;
    parser.expect_end()?;
    Ok(expr)
}

/// Parses what `match[]` parameters hold: one instant selector.
pub(crate) fn parse_selector(input: &str) -> Result<Vec<Matcher>, Error> {
    match parse(input)?.node {
        Node::Selector(Selector { matchers, range: None, shift }) if shift == Shift::default() => {
            Ok(matchers)
        }
        _ => Err(Error::Parse { position: 1, message: "expected a series selector".to_owned() }),
    }
}

struct Parser {
    tokens: Vec<Spanned>,
    next: usize,
    depth: usize,
}

impl Parser {
    fn new(input: &str) -> Result<Self, Error> {
        if input.len() > MAX_LENGTH {
            return Err(Error::Parse { position: 1, message: "the expression is too long".to_owned() });
        }
        if input.trim().is_empty() {
            return Err(Error::Parse { position: 1, message: "no expression found in input".to_owned() });
        }
        Ok(Self { tokens: lex(input)?, next: 0, depth: 0 })
    }

    fn peek(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |spanned| &spanned.token)
    }

    fn peek_after(&self) -> &Token {
        self.tokens.get(self.next + 1).map_or(&Token::End, |spanned| &spanned.token)
    }

    /// Where the next token starts, in bytes.
    fn at(&self) -> usize {
        self.tokens.get(self.next).or(self.tokens.last()).map_or(0, |spanned| spanned.at)
    }

    fn advance(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T, Error> {
        Err(Error::Parse { position: self.at() + 1, message: message.into() })
    }

    fn unexpected<T>(&self, wanted: &str) -> Result<T, Error> {
        let found = match self.peek() {
            Token::End => "end of input".to_owned(),
            Token::Word(word) => format!("{word:?}"),
            Token::Symbol(symbol) => format!("{symbol:?}"),
            Token::Text(text) => format!("string {text:?}"),
            Token::Number(number) => format!("number {number}"),
            Token::Duration(_) => "a duration".to_owned(),
        };
        self.fail(format!("unexpected {found}, expected {wanted}"))
    }

    fn eat(&mut self, symbol: &str) -> bool {
        let hit = matches!(self.peek(), Token::Symbol(found) if *found == symbol);
        if hit {
            self.next += 1;
        }
        hit
    }

    fn expect(&mut self, symbol: &str) -> Result<(), Error> {
        if self.eat(symbol) { Ok(()) } else { self.unexpected(&format!("{symbol:?}")) }
    }

    fn expect_end(&self) -> Result<(), Error> {
        if matches!(self.peek(), Token::End) { Ok(()) } else { self.unexpected("end of input") }
    }

    fn word_is(&self, keyword: &str) -> bool {
        matches!(self.peek(), Token::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    fn eat_word(&mut self, keyword: &str) -> bool {
        let hit = self.word_is(keyword);
        if hit {
            self.next += 1;
        }
        hit
    }

    /// Precedence climbing; `^` alone binds to the right.
    fn expr(&mut self, min_precedence: u8) -> Result<Expr, Error> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.fail("the expression is nested too deeply");
        }
        let mut left = self.unary()?;
        // Each operator in a long chain deepens the left side of the tree.
        let mut chain = 0;
        while let Some(op) = self.binary_op()
            && op.precedence() >= min_precedence
        {
            chain += 1;
            if chain > MAX_DEPTH {
                return self.fail("the expression has too many operators in a row");
            }
            left = self.binary(op, left)?;
        }
        self.depth -= 1;
        Ok(left)
    }

    fn binary(&mut self, op: BinaryOp, left: Expr) -> Result<Expr, Error> {
        self.next += 1;
        let returns_bool = self.eat_word("bool");
        if returns_bool && !op.is_comparison() {
            return self.fail("bool modifier can only be used on comparison operators");
        }
        let matching = self.matching(op)?;
        let next = if op == BinaryOp::Pow { op.precedence() } else { op.precedence() + 1 };
        let right = self.expr(next)?;
        self.check_operands(op, returns_bool, &left, &right)?;
        if matching.is_some() && (left.kind() == Type::Scalar || right.kind() == Type::Scalar) {
            return self.fail("vector matching only allowed between instant vectors");
        }
        let at = left.at;
        let matching = matching.unwrap_or_default();
        Ok(Expr { node: Node::Binary(Binary { op, matching, returns_bool, left, right }.into()), at })
    }

    fn check_operands(
        &self,
        op: BinaryOp,
        returns_bool: bool,
        left: &Expr,
        right: &Expr,
    ) -> Result<(), Error> {
        let kinds = [left.kind(), right.kind()];
        if kinds.iter().any(|kind| !matches!(kind, Type::Scalar | Type::Vector)) {
            return self.fail("binary expression must contain only scalar and instant vector types");
        }
        if op.is_set() && kinds.contains(&Type::Scalar) {
            return self.fail("set operators are not allowed in binary scalar expressions");
        }
        if op.is_comparison() && !returns_bool && kinds == [Type::Scalar, Type::Scalar] {
            return self.fail("comparisons between scalars must use BOOL modifier");
        }
        Ok(())
    }

    fn binary_op(&self) -> Option<BinaryOp> {
        Some(match self.peek() {
            Token::Symbol("+") => BinaryOp::Add,
            Token::Symbol("-") => BinaryOp::Sub,
            Token::Symbol("*") => BinaryOp::Mul,
            Token::Symbol("/") => BinaryOp::Div,
            Token::Symbol("%") => BinaryOp::Mod,
            Token::Symbol("^") => BinaryOp::Pow,
            Token::Symbol("==") => BinaryOp::Equal,
            Token::Symbol("!=") => BinaryOp::NotEqual,
            Token::Symbol(">") => BinaryOp::Greater,
            Token::Symbol("<") => BinaryOp::Less,
            Token::Symbol(">=") => BinaryOp::GreaterEqual,
            Token::Symbol("<=") => BinaryOp::LessEqual,
            Token::Word(word) => match word.to_ascii_lowercase().as_str() {
                "and" => BinaryOp::And,
                "or" => BinaryOp::Or,
                "unless" => BinaryOp::Unless,
                "atan2" => BinaryOp::Atan2,
                _ => return None,
            },
            _ => return None,
        })
    }

    /// `on (a, b) group_left (c)` and its like, if any is given.
    fn matching(&mut self, op: BinaryOp) -> Result<Option<Matching>, Error> {
        let labels = if self.eat_word("on") {
            MatchLabels::On(self.names()?)
        } else if self.eat_word("ignoring") {
            MatchLabels::Ignoring(self.names()?)
        } else {
            return Ok(None);
        };
        let is_left = self.word_is("group_left");
        if !is_left && !self.word_is("group_right") {
            return Ok(Some(Matching { labels, cardinality: Cardinality::OneToOne }));
        }
        if op.is_set() {
            return self.fail("no grouping allowed for set operations");
        }
        self.next += 1;
        let lent = if matches!(self.peek(), Token::Symbol("(")) { self.names()? } else { Vec::new() };
        if let MatchLabels::On(names) = &labels
            && let Some(both) = lent.iter().find(|name| names.contains(name))
        {
            return self.fail(format!("label {both:?} must not occur in ON and GROUP clause at once"));
        }
        let cardinality = if is_left { Cardinality::ManyToOne(lent) } else { Cardinality::OneToMany(lent) };
        Ok(Some(Matching { labels, cardinality }))
    }

    /// `(a, b)`, possibly empty, with an optional last comma.
    fn names(&mut self) -> Result<Vec<String>, Error> {
        self.expect("(")?;
        let mut names = Vec::new();
        while !self.eat(")") {
            match self.advance() {
                Token::Word(name) | Token::Text(name) => names.push(name),
                _ => {
                    self.next -= 1;
                    return self.unexpected("label");
                }
            }
            if !self.eat(",") && !matches!(self.peek(), Token::Symbol(")")) {
                return self.unexpected("\",\" or \")\"");
            }
        }
        Ok(names)
    }

    fn unary(&mut self) -> Result<Expr, Error> {
        let at = self.at();
        let negative = match self.peek() {
            Token::Symbol("-") => true,
            Token::Symbol("+") => false,
            _ => return self.postfix(),
        };
        self.next += 1;
        // A sign binds looser than `^` and tighter than `*`.
        let expr = self.expr(BinaryOp::Pow.precedence())?;
        if !matches!(expr.kind(), Type::Scalar | Type::Vector) {
            return self
                .fail("unary expression only allowed on expressions of type scalar or instant vector");
        }
        Ok(match expr.node {
            Node::Number(number) if negative => Expr { node: Node::Number(-number), at },
            _ if negative => Expr { node: Node::Negate(expr.into()), at },
            node => Expr { node, at },
        })
    }
}
