//! `TraceQL`: traces by what their spans are like and how they stand to each other.
//!
//! `{ span.http.status_code >= 500 && resource.service.name = "api" } >> { duration > 1s } | count() > 2`. A query's filters
//! each choose spans of a trace; operators between them, and stages after them, choose again or drop the trace.
//!
//! A search first looks for spans that a filter may want, newest traces first, and then judges each of their traces as a
//! whole ([`search`]).
//!
//! Invariants: parsing never panics and is bounded in length and depth; a search is bounded in traces and time; what is not
//! there (`by`, `coalesce`, metrics such as `rate()`) is refused by its name.

mod ast;
mod eval;
mod parser;
pub(crate) mod search;
mod trace;

pub(crate) use ast::{Field, Query, Scope};
pub(crate) use eval::field_value;
pub(crate) use parser::{parse, parse_field};
pub(crate) use trace::{MAX_READ, Trace};

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use eval::chosen;

#[cfg(test)]
mod tests;
