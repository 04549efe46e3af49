//! From tokens to the syntax tree, with Prometheus' type rules.

use super::Error;
use super::ast::{AggregateOp, BinaryOp, Expr, Grouping, Matching, Selector, Type};
use super::functions;
use super::lexer::{Spanned, Token, lex};
use crate::model::{METRIC_NAME, MatchOp, Matcher};

/// Deep nesting would overflow the stack of a recursive parser and evaluator.
const MAX_DEPTH: usize = 64;
const MAX_LENGTH: usize = 64 * 1024;
/// 292 years, as in Prometheus, which counts nanoseconds in 64 bits. Times plus durations then never overflow.
const MAX_DURATION_MILLIS: i64 = i64::MAX / 1_000_000;

/// Parses a whole expression.
pub(crate) fn parse(input: &str) -> Result<Expr, Error> {
    let mut parser = Parser::new(input)?;
    let expr = parser.expr(0)?;
    parser.expect_end()?;
    Ok(expr)
}

/// Parses what `match[]` parameters hold: one instant selector.
pub(crate) fn parse_selector(input: &str) -> Result<Vec<Matcher>, Error> {
    match parse(input)? {
        Expr::Selector(Selector { matchers, range: None, offset: 0 }) => Ok(matchers),
        _ => Err(Error::Parse { position: 1, message: "expected a series selector".to_owned() }),
    }
}

struct Parser {
    tokens: Vec<Spanned>,
    at: usize,
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
        Ok(Self { tokens: lex(input)?, at: 0, depth: 0 })
    }

    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |spanned| &spanned.token)
    }

    fn peek_after(&self) -> &Token {
        self.tokens.get(self.at + 1).map_or(&Token::End, |spanned| &spanned.token)
    }

    fn advance(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T, Error> {
        let position = self.tokens.get(self.at).or(self.tokens.last()).map_or(0, |spanned| spanned.at) + 1;
        Err(Error::Parse { position, message: message.into() })
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
            self.at += 1;
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
            self.at += 1;
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
        self.at += 1;
        let returns_bool = self.eat_word("bool");
        if returns_bool && !op.is_comparison() {
            return self.fail("bool modifier can only be used on comparison operators");
        }
        let matching = self.matching()?;
        if self.word_is("group_left") || self.word_is("group_right") {
            return Err(Error::Unsupported("many-to-one matching (group_left, group_right)".to_owned()));
        }
        let next = if op == BinaryOp::Pow { op.precedence() } else { op.precedence() + 1 };
        let right = self.expr(next)?;
        self.check_operands(op, returns_bool, &left, &right)?;
        let matching_given = matching.is_some();
        if matching_given && (left.kind() == Type::Scalar || right.kind() == Type::Scalar) {
            return self.fail("vector matching only allowed between instant vectors");
        }
        let matching = matching.unwrap_or(Matching::Ignoring(Vec::new()));
        Ok(Expr::Binary { op, matching, returns_bool, left: left.into(), right: right.into() })
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

    fn matching(&mut self) -> Result<Option<Matching>, Error> {
        if self.eat_word("on") {
            return self.names().map(Matching::On).map(Some);
        }
        if self.eat_word("ignoring") {
            return self.names().map(Matching::Ignoring).map(Some);
        }
        Ok(None)
    }

    /// `(a, b)`, possibly empty, with an optional last comma.
    fn names(&mut self) -> Result<Vec<String>, Error> {
        self.expect("(")?;
        let mut names = Vec::new();
        while !self.eat(")") {
            match self.advance() {
                Token::Word(name) | Token::Text(name) => names.push(name),
                _ => {
                    self.at -= 1;
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
        let negative = match self.peek() {
            Token::Symbol("-") => true,
            Token::Symbol("+") => false,
            _ => return self.postfix(),
        };
        self.at += 1;
        // A sign binds looser than `^` and tighter than `*`.
        let expr = self.expr(BinaryOp::Pow.precedence())?;
        if !matches!(expr.kind(), Type::Scalar | Type::Vector) {
            return self
                .fail("unary expression only allowed on expressions of type scalar or instant vector");
        }
        Ok(match expr {
            Expr::Number(number) if negative => Expr::Number(-number),
            expr if negative => Expr::Negate(expr.into()),
            expr => expr,
        })
    }

    fn postfix(&mut self) -> Result<Expr, Error> {
        let mut expr = self.primary()?;
        loop {
            if self.eat("[") {
                expr = self.range(expr)?;
            } else if self.word_is("offset") {
                self.at += 1;
                expr = self.offset(expr)?;
            } else if matches!(self.peek(), Token::Symbol("@")) {
                return Err(Error::Unsupported("the @ modifier".to_owned()));
            } else {
                return Ok(expr);
            }
        }
    }

    fn range(&mut self, expr: Expr) -> Result<Expr, Error> {
        let range = self.duration()?;
        if matches!(self.peek(), Token::Symbol(":")) {
            return Err(Error::Unsupported("a subquery".to_owned()));
        }
        self.expect("]")?;
        match expr {
            Expr::Selector(selector) if selector.range.is_none() && selector.offset == 0 => {
                if range <= 0 {
                    return self.fail("duration must be greater than 0");
                }
                Ok(Expr::Selector(Selector { range: Some(range), ..selector }))
            }
            _ => self.fail("ranges only allowed for vector selectors"),
        }
    }

    fn offset(&mut self, expr: Expr) -> Result<Expr, Error> {
        let negative = self.eat("-");
        let offset = self.duration()?;
        match expr {
            Expr::Selector(selector) if selector.offset == 0 => {
                Ok(Expr::Selector(Selector { offset: if negative { -offset } else { offset }, ..selector }))
            }
            _ => self.fail(
                "offset modifier must be preceded by an instant vector selector or range vector selector",
            ),
        }
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
        self.at += 1;
        Ok(millis)
    }

    fn primary(&mut self) -> Result<Expr, Error> {
        match self.peek().clone() {
            Token::Number(number) => {
                self.at += 1;
                Ok(Expr::Number(number))
            }
            Token::Duration(millis) => {
                self.at += 1;
                #[expect(clippy::cast_precision_loss, reason = "durations are far below 2^53 ms")]
                Ok(Expr::Number(millis as f64 / 1000.0))
            }
            Token::Text(text) => {
                self.at += 1;
                Ok(Expr::Text(text))
            }
            Token::Symbol("(") => {
                self.at += 1;
                let expr = self.expr(0)?;
                self.expect(")")?;
                Ok(expr)
            }
            Token::Symbol("{") => self.selector(None),
            Token::Word(word) => self.word(&word),
            _ => self.unexpected("an expression"),
        }
    }

    fn word(&mut self, word: &str) -> Result<Expr, Error> {
        let calls = matches!(self.peek_after(), Token::Symbol("("));
        let groups = matches!(self.peek_after(), Token::Word(next) if is_grouping(next));
        if let Some(op) = AggregateOp::from_word(word)
            && (calls || groups)
        {
            self.at += 1;
            return self.aggregate(op);
        }
        self.at += 1;
        if calls {
            return self.call(word);
        }
        self.selector(Some(word))
    }

    fn aggregate(&mut self, op: AggregateOp) -> Result<Expr, Error> {
        let before = self.grouping()?;
        self.expect("(")?;
        let mut args = self.args()?;
        let grouping = match before {
            Some(grouping) => grouping,
            None => self.grouping()?.unwrap_or(Grouping::By(Vec::new())),
        };
        let wanted = if op.takes_param() { 2 } else { 1 };
        if args.len() != wanted {
            let found = args.len();
            return self.fail(format!(
                "wrong number of arguments for aggregate expression provided, expected {wanted}, got {found}"
            ));
        }
        let Some(expr) = args.pop() else { return self.unexpected("an expression") };
        let param = args.pop();
        if expr.kind() != Type::Vector {
            let found = expr.kind().as_str();
            return self.fail(format!("expected type instant vector in aggregation expression, got {found}"));
        }
        if param.as_ref().is_some_and(|param| param.kind() != Type::Scalar) {
            return self.fail("expected type scalar in aggregation parameter");
        }
        Ok(Expr::Aggregate { op, grouping, param: param.map(Box::new), expr: expr.into() })
    }

    fn grouping(&mut self) -> Result<Option<Grouping>, Error> {
        if self.eat_word("by") {
            return self.names().map(Grouping::By).map(Some);
        }
        if self.eat_word("without") {
            return self.names().map(Grouping::Without).map(Some);
        }
        Ok(None)
    }

    /// The rest of an argument list whose opening parenthesis is read.
    fn args(&mut self) -> Result<Vec<Expr>, Error> {
        let mut args = Vec::new();
        while !self.eat(")") {
            args.push(self.expr(0)?);
            if !self.eat(",") && !matches!(self.peek(), Token::Symbol(")")) {
                return self.unexpected("\",\" or \")\"");
            }
        }
        Ok(args)
    }

    fn call(&mut self, name: &str) -> Result<Expr, Error> {
        let Some(function) = functions::find(name) else {
            if functions::KNOWN_ELSEWHERE.contains(&name) {
                return Err(Error::Unsupported(format!("the function {name}()")));
            }
            self.at -= 1;
            return self.fail(format!("unknown function with name {name:?}"));
        };
        self.expect("(")?;
        let args = self.args()?;
        let (least, most) = (function.required, function.args.len());
        if args.len() < least || args.len() > most {
            let found = args.len();
            let expected = if least == most { least.to_string() } else { format!("{least} to {most}") };
            return self.fail(format!("expected {expected} argument(s) in call to {name:?}, got {found}"));
        }
        for (arg, wanted) in args.iter().zip(function.args) {
            if arg.kind() != *wanted {
                let (wanted, found) = (wanted.as_str(), arg.kind().as_str());
                return self
                    .fail(format!("expected type {wanted} in call to function {name:?}, got {found}"));
            }
        }
        Ok(Expr::Call { function, args })
    }

    fn selector(&mut self, name: Option<&str>) -> Result<Expr, Error> {
        let mut matchers: Vec<Matcher> =
            name.map(|name| Matcher::equal(METRIC_NAME, name)).into_iter().collect();
        if self.eat("{") {
            while !self.eat("}") {
                let matcher = self.matcher()?;
                matchers.push(matcher);
                if !self.eat(",") && !matches!(self.peek(), Token::Symbol("}")) {
                    return self.unexpected("\",\" or \"}\"");
                }
            }
        }
        if !matchers.iter().any(Matcher::needs_presence) {
            return self.fail("vector selector must contain at least one non-empty matcher");
        }
        Ok(Expr::Selector(Selector { matchers, range: None, offset: 0 }))
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
                self.at -= 1;
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
        self.at += 1;
        let Token::Text(value) = self.peek().clone() else { return self.unexpected("string") };
        let matcher = Matcher::new(&name, op, &value).or_else(|message| self.fail(message))?;
        self.at += 1;
        Ok(matcher)
    }
}

fn is_grouping(word: &str) -> bool {
    word.eq_ignore_ascii_case("by") || word.eq_ignore_ascii_case("without")
}
