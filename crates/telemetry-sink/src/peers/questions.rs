//! What sinks ask one another, as JSON.

use serde::{Deserialize, Serialize};

use crate::api::jaeger::Search;
use crate::model::{MatchOp, Matcher, TraceId, hex, parse_hex};

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MatcherAsked {
    name: String,
    op: String,
    value: String,
}

pub(crate) fn asked(matchers: &[Matcher]) -> Vec<MatcherAsked> {
    let asked = |matcher: &Matcher| MatcherAsked {
        name: matcher.name.clone(),
        op: op(matcher.op).to_owned(),
        value: matcher.value.clone(),
    };
    matchers.iter().map(asked).collect()
}

pub(crate) fn matchers(asked: &[MatcherAsked]) -> Result<Vec<Matcher>, String> {
    let ops = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
    let parse = |asked: &MatcherAsked| {
        let of = ops.into_iter().find(|known| op(*known) == asked.op);
        let of = of.ok_or_else(|| format!("there is no comparison {:?}", asked.op))?;
        Matcher::new(&asked.name, of, &asked.value)
    };
    asked.iter().map(parse).collect()
}

fn op(op: MatchOp) -> &'static str {
    match op {
        MatchOp::Equal => "=",
        MatchOp::NotEqual => "!=",
        MatchOp::Regex => "=~",
        MatchOp::NotRegex => "!~",
    }
}

/// Which series, and of which time: samples with `from < time ≤ to`, milliseconds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SamplesAsked {
    pub(crate) matchers: Vec<MatcherAsked>,
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) max_samples: usize,
}

/// Exemplars of the series that one of the selectors means, with `from ≤ time ≤ to`, milliseconds; the newest.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExemplarsAsked {
    pub(crate) selectors: Vec<Vec<MatcherAsked>>,
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) most: usize,
}

/// Which traces: what is known of each is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SpansAsked {
    trace_ids: Vec<String>,
}

impl SpansAsked {
    pub(crate) fn new(ids: &[TraceId]) -> Self {
        Self { trace_ids: ids.iter().map(|id| hex(id)).collect() }
    }

    pub(crate) fn ids(&self) -> Option<Vec<TraceId>> {
        let whole = |id: &String| parse_hex(id).filter(|_| id.len() == 32);
        self.trace_ids.iter().map(whole).collect()
    }
}

/// Traces that have a span which is meant: their ids, the newest first.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TracesAsked {
    /// A span that passes one of a TraceQL query's filters, with `from ≤ start < to`, nanoseconds.
    Filters {
        query: String,
        from: i64,
        to: i64,
    },
    Tags(Search),
}

/// As much of spans with `from ≤ start < to` (nanoseconds) as shows who calls whom; the newest.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CallsAsked {
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) most: usize,
}

/// Which lines: those of a LogQL query with `from ≤ time < to`, nanoseconds, the newest or the oldest.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogsAsked {
    pub(crate) query: String,
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) limit: usize,
    pub(crate) forward: bool,
}

/// What is measured of the lines of a metric query's range aggregation, by its place in the query; steps in milliseconds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MeasuresAsked {
    pub(crate) query: String,
    pub(crate) place: usize,
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) step: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_kept() {
        let all = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
        let sent: Vec<_> = all.into_iter().map(|op| Matcher::new("a", op, "b").unwrap()).collect();
        let text = serde_json::to_vec(&asked(&sent)).unwrap();
        let back: Vec<MatcherAsked> = serde_json::from_slice(&text).unwrap();
        assert_eq!(matchers(&back).unwrap(), sent);
    }

    #[test]
    fn ids_of_another_length_are_refused() {
        let of = |id: &str| SpansAsked { trace_ids: vec![id.to_owned()] }.ids();
        assert_eq!(of("05").map(|ids| ids.len()), None);
        assert_eq!(of(&hex(&[5u8; 16])), Some(vec![[5; 16]]));
    }
}
