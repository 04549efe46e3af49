//! What operators connect: numbers, texts, parentheses, calls, aggregations, selectors.

use super::super::Error;
use super::super::ast::{Aggregate, AggregateOp, Expr, Grouping, Node, Type};
use super::super::functions;
use super::super::lexer::Token;
use super::Parser;

impl Parser {
    pub(super) fn primary(&mut self) -> Result<Expr, Error> {
        let at = self.at();
        let node = match self.peek().clone() {
            Token::Number(number) => Node::Number(number),
            #[expect(clippy::cast_precision_loss, reason = "durations are far below 2^53 ms")]
            Token::Duration(millis) => Node::Number(millis as f64 / 1000.0),
            Token::Text(text) => Node::Text(text),
            Token::Symbol("(") => {
                self.next += 1;
                let expr = self.expr(0)?;
                self.expect(")")?;
                return Ok(Expr { node: Node::Paren(expr.into()), at });
            }
            Token::Symbol("{") => return self.selector(None),
            Token::Word(word) => return self.word(&word),
            _ => return self.unexpected("an expression"),
        };
        self.next += 1;
        Ok(Expr { node, at })
    }

    fn word(&mut self, word: &str) -> Result<Expr, Error> {
        let calls = matches!(self.peek_after(), Token::Symbol("("));
        let groups = matches!(self.peek_after(), Token::Word(next) if is_grouping(next));
        if let Some(op) = AggregateOp::from_word(word)
            && (calls || groups)
        {
            return self.aggregate(op);
        }
        if calls { self.call(word) } else { self.selector(Some(word)) }
    }

    fn aggregate(&mut self, op: AggregateOp) -> Result<Expr, Error> {
        let at = self.at();
        self.next += 1;
        let before = self.grouping()?;
        self.expect("(")?;
        let mut args = self.args()?;
        let grouping = match before {
            Some(grouping) => grouping,
            None => self.grouping()?.unwrap_or(Grouping::By(Vec::new())),
        };
        let wanted = if op.param().is_some() { 2 } else { 1 };
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
        if let (Some(param), Some(wanted)) = (&param, op.param())
            && param.kind() != wanted
        {
            let (wanted, found) = (wanted.as_str(), param.kind().as_str());
            return self.fail(format!("expected type {wanted} in aggregation parameter, got {found}"));
        }
        Ok(Expr { node: Node::Aggregate(Aggregate { op, grouping, param, expr }.into()), at })
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
        let at = self.at();
        let Some(function) = functions::find(name) else {
            if functions::KNOWN_ELSEWHERE.contains(&name) {
                return Err(Error::Unsupported(format!("the function {name}()")));
            }
            return self.fail(format!("unknown function with name {name:?}"));
        };
        self.next += 1;
        self.expect("(")?;
        let args = self.args()?;
        let (least, most) = (function.required, function.most_args());
        if args.len() < least || most.is_some_and(|most| args.len() > most) {
            let found = args.len();
            let expected = match most {
                Some(most) if most == least => least.to_string(),
                Some(most) if args.len() > most => format!("at most {most}"),
                _ => format!("at least {least}"),
            };
            return self.fail(format!("expected {expected} argument(s) in call to {name:?}, got {found}"));
        }
        for (index, arg) in args.iter().enumerate() {
            let Some(wanted) = function.arg(index) else { continue };
            if arg.kind() != wanted {
                let (wanted, found) = (wanted.as_str(), arg.kind().as_str());
                return self
                    .fail(format!("expected type {wanted} in call to function {name:?}, got {found}"));
            }
        }
        Ok(Expr { node: Node::Call { function, args }, at })
    }
}

fn is_grouping(word: &str) -> bool {
    word.eq_ignore_ascii_case("by") || word.eq_ignore_ascii_case("without")
}
