//! PromQL: lexer, parser and a vectorised evaluator.
//!
//! An expression is evaluated for all its steps at once: each node yields a matrix of series × steps
//! ([`value::Value`]), so that labels are matched and grouped once and not per step. An instant query
//! is a range query of one step.
//!
//! What is missing answers [`Error::Unsupported`] with its name and never a wrong number: native histograms are not stored,
//! and what Prometheus has behind a flag is not there except for some functions ([`functions`]).
//!
//! One thing differs from Prometheus' defaults: an operation that changes what a value means takes the metric's name off at
//! the end of the query and not at once, as Prometheus does with `promql-delayed-name-removal`. It matters only where the
//! name is used on the way.
//!
//! Invariants: parsing and evaluation never panic and are bounded in depth, samples, points and time.

mod aggregate;
mod annotations;
pub(crate) mod ast;
mod binary;
mod eval;
mod functions;
mod histogram;
mod lexer;
pub(crate) mod notation;
mod over_time;
mod parser;
mod print;
mod rate;
#[cfg(any(test, feature = "conformance"))]
pub(crate) mod script;
mod statistics;
mod tree;
pub(crate) mod value;

use thiserror::Error;

pub(crate) use annotations::Annotations;
pub(crate) use ast::{Expr, Type};
pub(crate) use eval::{Answer, Limits, Query, Source, evaluate};
pub(crate) use lexer::parse_duration;
pub(crate) use parser::{parse, parse_selector};
pub(crate) use print::{duration, pretty};
pub(crate) use statistics::quantile;
pub(crate) use tree::tree;
pub(crate) use value::{Series, Value, format_float, format_sample, format_short};

/// How long a sample stays the current one (Prometheus' default look-back).
pub(crate) const LOOKBACK_MILLIS: i64 = 5 * 60 * 1000;

/// Why an expression has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Error {
    #[error("parse error at char {position}: {message}")]
    Parse { position: usize, message: String },
    #[error("{0} is not supported by this server")]
    Unsupported(String),
    #[error("{0}")]
    Execution(String),
    #[error("query processing would load too many samples into memory in query execution")]
    TooManySamples,
    #[error("query timed out in query execution")]
    Timeout,
}

#[cfg(test)]
mod tests;
