//! `TraceQL`'s syntax tree.

use regex::Regex;

#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub(crate) spans: Spans,
    pub(crate) stages: Vec<Stage>,
    /// Fields that the answer shows beside those that the filters name.
    pub(crate) selected: Vec<Field>,
}

/// Which spans of a trace.
#[derive(Debug, Clone)]
pub(crate) enum Spans {
    Filter(Condition),
    Joined { op: Join, left: Box<Spans>, right: Box<Spans> },
}

/// How the spans on the right stand to those on the left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Join {
    And,
    Or,
    Child { wanted: bool },
    Descendant { wanted: bool },
    Parent { wanted: bool },
    Ancestor { wanted: bool },
    Sibling { wanted: bool },
}

#[derive(Debug, Clone)]
pub(crate) enum Condition {
    Always,
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
    Not(Box<Condition>),
    Compare {
        field: Field,
        op: Op,
        with: Operand,
    },
    /// A field that is true, or any condition that is one value.
    Is(Field),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Equal,
    NotEqual,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    Matches,
    NotMatches,
}

#[derive(Debug, Clone)]
pub(crate) enum Operand {
    Literal(Literal),
    Pattern(Regex),
    Field(Field),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    Text(String),
    /// A number; of nanoseconds for durations.
    Number(f64),
    Bool(bool),
    Nil,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// A span's attribute, or its resource's.
    Any,
    Span,
    Resource,
    Event,
}

/// What of a span is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Field {
    Attribute {
        scope: Scope,
        name: String,
    },
    Name,
    Status,
    StatusMessage,
    Kind,
    Duration,
    SpanId,
    ParentId,
    TraceId,
    RootName,
    RootService,
    TraceDuration,
    /// Negative for a root; other values are not numbered here.
    NestedSetParent,
    ScopeName,
    EventName,
}

impl Field {
    /// Whether its value needs the whole trace.
    pub(crate) fn is_of_trace(&self) -> bool {
        matches!(self, Self::RootName | Self::RootService | Self::TraceDuration)
    }
}

/// Drops a trace whose spans do not add up to this.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    pub(crate) function: Function,
    /// None for `count`.
    pub(crate) field: Option<Field>,
    pub(crate) op: Op,
    pub(crate) value: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Count,
    Avg,
    Min,
    Max,
    Sum,
}

impl Spans {
    /// Every filter.
    pub(crate) fn filters(&self) -> Vec<&Condition> {
        match self {
            Self::Filter(condition) => vec![condition],
            Self::Joined { left, right, .. } => {
                let mut all = left.filters();
                all.extend(right.filters());
                all
            }
        }
    }
}

impl Condition {
    /// Every field that is compared.
    pub(crate) fn fields(&self) -> Vec<&Field> {
        match self {
            Self::Always => Vec::new(),
            Self::And(left, right) | Self::Or(left, right) => {
                let mut all = left.fields();
                all.extend(right.fields());
                all
            }
            Self::Not(inner) => inner.fields(),
            Self::Compare { field, with: Operand::Field(other), .. } => vec![field, other],
            Self::Compare { field, .. } | Self::Is(field) => vec![field],
        }
    }
}
