//! Metric queries: range aggregations over lines, and `PromQL` around them.
//!
//! The text of each range aggregation (`rate({…} | … [5m])`) is replaced by a selector of the same length, and what is left
//! is parsed by `PromQL`'s parser, which has the same operators, aggregations and matching. Each range aggregation is
//! computed for all steps first ([`range`]) and its values are given to `PromQL`'s evaluator as that selector's samples, at
//! the steps that have one, with the staleness marker where they end.
//!
//! Only a record's stream and what its stages found name a series; structured metadata does where the query mentions it.

mod cells;
mod measures;
mod range;

pub(crate) use self::measures::Measures;
use super::ast::{LogQuery, Stage, Unit};
use super::lexer::{Token, lex};
use super::parser::Parser;
use super::search::Read;
use super::{Error, parse_error};
use crate::head::metrics::{Selected, TooManySamples};
use crate::model::Matcher;
use crate::promql::ast::{AggregateOp, Expr, Grouping, Node, Selector, Shift};
use crate::promql::{self, Limits, Query, Source, Value};
use crate::storage::Storage;

const MAX_RANGES: usize = 32;
/// The name of the label that numbers a range aggregation within a query.
const PLACE: &str = "l";
/// `PromQL`'s functions that LogQL has, and those that change one value.
const FUNCTIONS: [&str; 19] = [
    "label_replace",
    "label_join",
    "vector",
    "scalar",
    "sort",
    "sort_desc",
    "abs",
    "ceil",
    "floor",
    "round",
    "clamp",
    "clamp_min",
    "clamp_max",
    "exp",
    "ln",
    "log2",
    "log10",
    "sqrt",
    "time",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RangeOp {
    Count,
    Rate,
    RateCounter,
    Bytes,
    BytesRate,
    Absent,
    Sum,
    Avg,
    Min,
    Max,
    First,
    Last,
    Stddev,
    Stdvar,
    Quantile,
}

impl RangeOp {
    fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "count_over_time" => Self::Count,
            "rate" => Self::Rate,
            "rate_counter" => Self::RateCounter,
            "bytes_over_time" => Self::Bytes,
            "bytes_rate" => Self::BytesRate,
            "absent_over_time" => Self::Absent,
            "sum_over_time" => Self::Sum,
            "avg_over_time" => Self::Avg,
            "min_over_time" => Self::Min,
            "max_over_time" => Self::Max,
            "first_over_time" => Self::First,
            "last_over_time" => Self::Last,
            "stddev_over_time" => Self::Stddev,
            "stdvar_over_time" => Self::Stdvar,
            "quantile_over_time" => Self::Quantile,
            _ => return None,
        })
    }

    fn needs_unwrap(self) -> bool {
        !matches!(self, Self::Count | Self::Rate | Self::Bytes | Self::BytesRate | Self::Absent)
    }

    fn takes_unwrap(self) -> bool {
        self.needs_unwrap() || matches!(self, Self::Rate | Self::Absent)
    }

    fn takes_grouping(self) -> bool {
        matches!(
            self,
            Self::Avg
                | Self::Min
                | Self::Max
                | Self::First
                | Self::Last
                | Self::Stddev
                | Self::Stdvar
                | Self::Quantile
        )
    }

    /// Whether sums of its parts are the sum of the whole.
    fn adds_up(self) -> bool {
        matches!(self, Self::Count | Self::Rate | Self::Bytes | Self::BytesRate | Self::Sum)
    }
}

/// `quantile_over_time(0.9, {…} | unwrap took [5m] offset 1m) by (service_name)`.
#[derive(Debug, Clone)]
struct RangeAggregation {
    op: RangeOp,
    /// The stages before the label is measured.
    query: LogQuery,
    unwrap: Option<(String, Unit)>,
    /// The stages after it.
    after: Vec<Stage>,
    /// Nanoseconds.
    range: i64,
    offset: i64,
    param: f64,
    grouping: Option<Grouping>,
    /// Labels that the query around it names.
    mentioned: Vec<String>,
}

/// A query that yields numbers.
#[derive(Debug, Clone)]
pub(crate) struct MetricQuery {
    expr: Expr,
    ranges: Vec<RangeAggregation>,
}

impl MetricQuery {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let (rest, mut ranges) = cut_ranges(text)?;
        let expr = promql::parse(&rest).map_err(|error| in_our_words(text, error))?;
        let mut check = Check { text, ranges: &mut ranges, mentioned: Vec::new() };
        check.expr(&expr, None)?;
        let mentioned = check.mentioned;
        for range in &mut ranges {
            range.mentioned.clone_from(&mentioned);
        }
        Ok(Self { expr, ranges })
    }

    /// The log queries that are measured.
    pub(crate) fn log_queries(&self) -> impl Iterator<Item = &LogQuery> {
        self.ranges.iter().map(|range| &range.query)
    }

    /// What this sink measures of one of the range aggregations, by its place in the query; nothing where there is none.
    pub(crate) fn measure(
        &self,
        place: usize,
        storage: &Storage,
        query: Query,
        limits: Limits,
    ) -> Option<Result<Measures, Error>> {
        let measured = self.ranges.get(place)?.measure(storage, query, limits);
        Some(measured.map(|(measures, _)| measures))
    }

    /// The value at each step. `theirs` asks other sinks what they measure of the range aggregation of a place; nothing is a refusal.
    pub(crate) fn evaluate(
        &self,
        storage: &Storage,
        query: Query,
        limits: Limits,
        theirs: &dyn Fn(usize) -> Option<Vec<Measures>>,
    ) -> Result<(Value, Read), Error> {
        let mut read = Read::default();
        let mut values = Vec::with_capacity(self.ranges.len());
        // All are held until the expression around them is evaluated.
        let mut left = limits.max_samples;
        for (place, range) in self.ranges.iter().enumerate() {
            let theirs = theirs(place).ok_or_else(refused)?;
            let (own, of_range) = range.measure(storage, query, limits)?;
            let all = own.joined(theirs).ok_or_else(range::too_many)?;
            let series = range.values(all, query, limits, &mut left)?;
            read.lines += of_range.lines;
            read.bytes += of_range.bytes;
            values.push(series);
        }
        let answer =
            promql::evaluate(&self.expr, query, &Ranges(values), limits).map_err(|error| match error {
                promql::Error::Timeout => Error::Timeout,
                other => Error::Refused(other.to_string()),
            })?;
        Ok((answer.value, read))
    }
}

fn refused() -> Error {
    let message = "another sink of the fleet refuses its part: it has too many values or series, or a line that cannot be measured";
    Error::Refused(message.to_owned())
}

/// The values of each range aggregation, found by its number.
struct Ranges(Vec<Vec<Selected>>);

impl Source for Ranges {
    fn select(
        &self,
        matchers: &[Matcher],
        from: i64,
        to: i64,
        _: usize,
    ) -> Result<Vec<Selected>, TooManySamples> {
        let place = matchers.first().and_then(|matcher| matcher.value.parse::<usize>().ok());
        let series = place.and_then(|place| self.0.get(place)).map(Vec::as_slice).unwrap_or_default();
        let within = |series: &Selected| Selected {
            labels: series.labels.clone(),
            samples: series.samples.iter().filter(|(time, _)| *time > from && *time <= to).copied().collect(),
        };
        Ok(series.iter().map(within).collect())
    }
}

/// Takes the range aggregations out of the text, leaving selectors of the same length, so that places in the text stay.
fn cut_ranges(text: &str) -> Result<(String, Vec<RangeAggregation>), Error> {
    let tokens = lex(text)?;
    let mut rest = String::with_capacity(text.len());
    let mut ranges: Vec<RangeAggregation> = Vec::new();
    let (mut next, mut copied) = (0, 0);
    while let Some(token) = tokens.get(next) {
        let op = match &token.token {
            Token::Word(word) => RangeOp::from_word(word),
            _ => None,
        };
        let follows = tokens.get(next + 1).is_some_and(|after| after.token == Token::Symbol("("));
        let (Some(op), true) = (op, follows) else {
            next += 1;
            continue;
        };
        if ranges.len() >= MAX_RANGES {
            return Err(parse_error(text, token.at, "the query has too many range aggregations"));
        }
        let mut parser = Parser::at_token(text, tokens.clone(), next + 2);
        let range = range_aggregation(&mut parser, op)?;
        let end = parser.ended();
        next = parser.next;
        rest.push_str(text.get(copied..token.at).unwrap_or_default());
        let place = format!("{{{PLACE}=\"{}\"}}", ranges.len());
        rest.push_str(&place);
        rest.extend(std::iter::repeat_n(' ', (end - token.at).saturating_sub(place.len())));
        copied = end;
        ranges.push(range);
    }
    rest.push_str(text.get(copied..).unwrap_or_default());
    Ok((rest, ranges))
}

fn range_aggregation(parser: &mut Parser<'_>, op: RangeOp) -> Result<RangeAggregation, Error> {
    let mut param = 0.0;
    if op == RangeOp::Quantile {
        param = number(parser)?;
        parser.expect(",")?;
    }
    let range = parser.log_range()?;
    parser.expect(")")?;
    let stages = range.query;
    if stages.unwrap.is_none() && op.needs_unwrap() {
        return parser.fail("invalid aggregation without unwrap");
    }
    if stages.unwrap.is_some() && !op.takes_unwrap() {
        return parser.fail("invalid aggregation with unwrap");
    }
    let grouping = grouping(parser)?;
    if grouping.is_some() && !op.takes_grouping() {
        return parser
            .fail("grouping not allowed for this range aggregation; aggregate its result with sum by (…)");
    }
    Ok(RangeAggregation {
        op,
        query: LogQuery { streams: stages.streams, stages: stages.before },
        unwrap: stages.unwrap,
        after: stages.after,
        range: range.range,
        offset: range.offset,
        param,
        grouping,
        mentioned: Vec::new(),
    })
}

fn number(parser: &mut Parser<'_>) -> Result<f64, Error> {
    let sign = if parser.eat("-") { -1.0 } else { 1.0 };
    let Token::Number(text) = parser.peek() else { return parser.unexpected("a number") };
    let Ok(number) = text.parse::<f64>() else { return parser.unexpected("a number") };
    parser.advance();
    Ok(sign * number)
}

fn grouping(parser: &mut Parser<'_>) -> Result<Option<Grouping>, Error> {
    let by = parser.eat_word("by");
    if !by && !parser.eat_word("without") {
        return Ok(None);
    }
    parser.expect("(")?;
    let mut names = Vec::new();
    while !parser.eat(")") {
        names.push(parser.word()?);
        if !parser.eat(",") && !parser.is(")") {
            return parser.unexpected(") or ,");
        }
    }
    Ok(Some(if by { Grouping::By(names) } else { Grouping::Without(names) }))
}

fn in_our_words(text: &str, error: promql::Error) -> Error {
    match error {
        promql::Error::Parse { position, message } => {
            parse_error(text, position.saturating_sub(1), format!("syntax error: {message}"))
        }
        other => Error::Refused(format!("parse error : {other}")),
    }
}

/// Refuses what `PromQL` has and `LogQL` has not, notes which labels matter, and lets a range aggregation make at once the
/// groups that are all that is left of it.
struct Check<'a> {
    text: &'a str,
    ranges: &'a mut Vec<RangeAggregation>,
    mentioned: Vec<String>,
}

impl Check<'_> {
    fn expr(&mut self, expr: &Expr, summed_by: Option<&Grouping>) -> Result<(), Error> {
        let refuse = |message: &str| Err(parse_error(self.text, expr.at, message));
        match &expr.node {
            Node::Number(_) => Ok(()),
            Node::Text(text) => {
                self.mentioned.push(text.clone());
                Ok(())
            }
            Node::Selector(selector) => match place(selector).and_then(|place| self.ranges.get_mut(place)) {
                Some(range) => {
                    if let Some(by @ Grouping::By(_)) = summed_by
                        && range.grouping.is_none()
                        && range.op.adds_up()
                    {
                        range.grouping = Some(by.clone());
                    }
                    Ok(())
                }
                None => refuse(
                    "syntax error: lines have no number; use a range aggregation such as rate({…}[5m])",
                ),
            },
            Node::Subquery(_) => refuse("syntax error: subqueries are not supported"),
            Node::Call { function, args } => {
                if !FUNCTIONS.contains(&function.name) {
                    return refuse(&format!("syntax error: unknown function {:?}", function.name));
                }
                args.iter().try_for_each(|arg| self.expr(arg, None))
            }
            Node::Aggregate(aggregate) => {
                if let Grouping::By(names) = &aggregate.grouping {
                    self.mentioned.extend(names.iter().cloned());
                }
                if let Some(param) = &aggregate.param {
                    self.expr(param, None)?;
                }
                let sums = aggregate.op == AggregateOp::Sum;
                self.expr(&aggregate.expr, sums.then_some(&aggregate.grouping))
            }
            Node::Binary(binary) => {
                use crate::promql::ast::{Cardinality, MatchLabels};
                if let MatchLabels::On(names) = &binary.matching.labels {
                    self.mentioned.extend(names.iter().cloned());
                }
                if let Cardinality::ManyToOne(names) | Cardinality::OneToMany(names) =
                    &binary.matching.cardinality
                {
                    self.mentioned.extend(names.iter().cloned());
                }
                self.expr(&binary.left, None)?;
                self.expr(&binary.right, None)
            }
            Node::Negate(inner) => self.expr(inner, None),
            Node::Paren(inner) => self.expr(inner, summed_by),
        }
    }
}

/// The number of a range aggregation, if a selector stands for one.
fn place(selector: &Selector) -> Option<usize> {
    let [matcher] = selector.matchers.as_slice() else { return None };
    let stands = matcher.name == PLACE && selector.range.is_none() && selector.shift == Shift::default();
    if stands { matcher.value.parse().ok() } else { None }
}
