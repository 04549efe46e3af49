//! LogQL: log queries and metric queries over lines.
//!
//! A log query selects streams and sends each of their lines through stages ([`pipeline`]); [`search`] runs one over the
//! storage. A metric query ([`metric`]) counts or measures the lines of log queries; everything around these range
//! aggregations (aggregation over labels, operators, matching) is `PromQL`'s own engine.
//!
//! A stream is a resource and a level: its labels are `service_name`, `level` and the resource's attributes. What else a
//! record carries (ids, scope, attributes) is structured metadata.
//!
//! Invariants: parsing never panics and is bounded in length, depth and stages; a query's memory is bounded by the limits
//! it is given; what is not there is refused by its name.

mod ast;
mod format;
mod ip;
mod lexer;
mod line;
pub(crate) mod metric;
mod parser;
mod pipeline;
pub(crate) mod search;
mod template;
mod units;

use thiserror::Error;

pub(crate) use ast::{LogQuery, Stage};
pub(crate) use format::pretty;
pub(crate) use line::{LEVEL, Line, Stream};
pub(crate) use metric::{Measures, MetricQuery};
pub(crate) use parser::{parse_log, parse_selector};
pub(crate) use pipeline::{Context, run};
pub(crate) use search::{Direction, Range, Search};
pub(crate) use units::{number_like, seconds};

const MAX_LENGTH: usize = 16 * 1024;

/// Why a query has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Error {
    #[error("parse error at line {line}, col {column}: {message}")]
    Parse { line: usize, column: usize, message: String },
    #[error("{0}")]
    Refused(String),
    #[error("query timed out")]
    Timeout,
}

/// A query of either kind.
#[derive(Debug, Clone)]
pub(crate) enum LogQl {
    Log(LogQuery),
    Metric(MetricQuery),
}

/// Parses a query of either kind; the error is for the person who wrote it.
pub(crate) fn parse(text: &str) -> Result<LogQl, Error> {
    if text.len() > MAX_LENGTH {
        return Err(Error::Refused("parse error : the query is too long".to_owned()));
    }
    if text.trim().is_empty() {
        return Err(parse_error(text, 0, "syntax error: unexpected $end"));
    }
    if text.trim_start().starts_with('{') {
        return parse_log(text).map(LogQl::Log);
    }
    MetricQuery::parse(text).map(LogQl::Metric)
}

/// An error at a byte of the text.
fn parse_error(text: &str, at: usize, message: impl Into<String>) -> Error {
    let before = text.get(..at.min(text.len())).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    Error::Parse { line, column, message: message.into() }
}

#[cfg(test)]
mod tests;
