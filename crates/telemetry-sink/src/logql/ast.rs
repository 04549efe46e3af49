//! `LogQL`'s syntax tree.

use regex::Regex;

use super::ip::IpRange;
use super::pipeline::json::Path;
use super::pipeline::pattern::Pattern;
use super::template::Template;
use crate::model::{MatchOp, Matcher};

/// Which streams, and what happens to each of their lines.
#[derive(Debug, Clone)]
pub(crate) struct LogQuery {
    pub(crate) streams: Vec<Matcher>,
    pub(crate) stages: Vec<Stage>,
}

#[derive(Debug, Clone)]
pub(crate) enum Stage {
    Line(LineFilter),
    Labels(LabelFilter),
    /// Without fields, every leaf of the object.
    Json(Vec<(String, Path)>),
    Logfmt(Logfmt),
    Pattern(Pattern),
    Regexp(Regex),
    Unpack,
    LineFormat(Template),
    LabelFormat(Vec<(String, NewLabel)>),
    Drop(Vec<Named>),
    Keep(Vec<Named>),
    Decolorize,
}

/// Holds when one of `any` does, or, unless `wanted`, when none does.
#[derive(Debug, Clone)]
pub(crate) struct LineFilter {
    pub(crate) wanted: bool,
    pub(crate) any: Vec<LineTest>,
}

#[derive(Debug, Clone)]
pub(crate) enum LineTest {
    Contains(String),
    Matches(Regex),
    Like(Pattern),
    Ip(IpRange),
}

#[derive(Debug, Clone)]
pub(crate) enum LabelFilter {
    And(Box<LabelFilter>, Box<LabelFilter>),
    Or(Box<LabelFilter>, Box<LabelFilter>),
    Text(Matcher),
    Number { name: String, op: Comparison, value: f64, unit: Unit },
    Ip { name: String, range: IpRange, wanted: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
}

/// How a label's text is read as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Plain,
    /// Seconds.
    Duration,
    Bytes,
}

#[derive(Debug, Clone)]
pub(crate) struct Logfmt {
    pub(crate) strict: bool,
    pub(crate) keeps_empty: bool,
    /// New name and key; without any, every pair.
    pub(crate) fields: Vec<(String, String)>,
}

#[derive(Debug, Clone)]
pub(crate) enum NewLabel {
    /// The value moves here from another label.
    Renamed(String),
    Formatted(Template),
}

/// A label by its name, and by its value where one is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) value: Option<Matcher>,
}

impl LogQuery {
    /// The value that a record's own field must equal, where the query says so before anything could give that name another
    /// value.
    pub(crate) fn equality(&self, name: &str) -> Option<&str> {
        let untouched =
            self.stages.iter().take_while(|stage| matches!(stage, Stage::Line(_) | Stage::Labels(_)));
        untouched.into_iter().find_map(|stage| match stage {
            Stage::Labels(filter) => filter.equality(name),
            _ => None,
        })
    }

    /// Texts that stand in every line that passes, as it was recorded.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        let unchanged = self
            .stages
            .iter()
            .take_while(|stage| !matches!(stage, Stage::LineFormat(_) | Stage::Unpack | Stage::Decolorize));
        unchanged.filter_map(|stage| match stage {
            Stage::Line(LineFilter { wanted: true, any }) => match any.as_slice() {
                [LineTest::Contains(text)] => Some(text.as_str()),
                [LineTest::Like(pattern)] => pattern.longest_text(),
                _ => None,
            },
            _ => None,
        })
    }
}

impl LabelFilter {
    fn equality(&self, name: &str) -> Option<&str> {
        match self {
            Self::And(left, right) => left.equality(name).or_else(|| right.equality(name)),
            // Equal to nothing means without it, which no index knows.
            Self::Text(matcher)
                if matcher.op == MatchOp::Equal && matcher.name == name && !matcher.value.is_empty() =>
            {
                Some(matcher.value.as_str())
            }
            _ => None,
        }
    }
}

impl Comparison {
    pub(crate) fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Equal => total(left, right),
            Self::NotEqual => !total(left, right),
            Self::Greater => left > right,
            Self::GreaterEqual => left >= right,
            Self::Less => left < right,
            Self::LessEqual => left <= right,
        }
    }
}

#[expect(clippy::float_cmp, reason = "a user who writes == means it")]
fn total(left: f64, right: f64) -> bool {
    left == right
}

impl Stage {
    /// Every leaf of a JSON object.
    pub(crate) fn json() -> Self {
        Self::Json(Vec::new())
    }

    /// Every pair of a strictly read logfmt line.
    pub(crate) fn logfmt() -> Self {
        Self::Logfmt(Logfmt { strict: true, keeps_empty: false, fields: Vec::new() })
    }
}
