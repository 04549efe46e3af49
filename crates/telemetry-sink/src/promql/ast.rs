//! PromQL's syntax tree.

use crate::model::Matcher;

/// A node and where it stands in the text, for messages.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Expr {
    pub(crate) node: Node,
    /// Where the expression starts, in bytes.
    pub(crate) at: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Number(f64),
    Text(String),
    Selector(Selector),
    Subquery(Subquery),
    Call {
        function: &'static super::functions::Function,
        args: Vec<Expr>,
    },
    Aggregate(Box<Aggregate>),
    Binary(Box<Binary>),
    Negate(Box<Expr>),
    /// Parentheses, which mean nothing once the tree stands.
    Paren(Box<Expr>),
}

/// Series by their labels, at an instant or over a range before it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Selector {
    pub(crate) matchers: Vec<Matcher>,
    /// Milliseconds; none for an instant vector.
    pub(crate) range: Option<i64>,
    pub(crate) shift: Shift,
}

/// An expression evaluated at regular times of a range, as a range vector.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Subquery {
    pub(crate) expr: Box<Expr>,
    /// Milliseconds.
    pub(crate) range: i64,
    /// Milliseconds; none for the server's own.
    pub(crate) step: Option<i64>,
    pub(crate) shift: Shift,
}

/// When a selector or a subquery looks, other than at the step itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Shift {
    /// Milliseconds into the past.
    pub(crate) offset: i64,
    pub(crate) at: Option<At>,
}

/// A fixed time instead of each step's: the `@` modifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// The first step of the whole query.
    Start,
    /// Its last one.
    End,
    /// Milliseconds since the epoch.
    Time(i64),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Aggregate {
    pub(crate) op: AggregateOp,
    pub(crate) grouping: Grouping,
    pub(crate) param: Option<Expr>,
    pub(crate) expr: Expr,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Binary {
    pub(crate) op: BinaryOp,
    pub(crate) matching: Matching,
    pub(crate) returns_bool: bool,
    pub(crate) left: Expr,
    pub(crate) right: Expr,
}

/// What an expression yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Scalar,
    Vector,
    Matrix,
    Text,
}

impl Type {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
            Self::Text => "string",
        }
    }
}

impl Expr {
    /// Visits every selector in the expression.
    pub(crate) fn each_selector(&self, visit: &mut impl FnMut(&Selector)) {
        match &self.node {
            Node::Number(_) | Node::Text(_) => {}
            Node::Selector(selector) => visit(selector),
            Node::Subquery(subquery) => subquery.expr.each_selector(visit),
            Node::Call { args, .. } => args.iter().for_each(|arg| arg.each_selector(visit)),
            Node::Aggregate(aggregate) => {
                aggregate.param.iter().for_each(|param| param.each_selector(visit));
                aggregate.expr.each_selector(visit);
            }
            Node::Binary(binary) => {
                binary.left.each_selector(visit);
                binary.right.each_selector(visit);
            }
            Node::Negate(expr) | Node::Paren(expr) => expr.each_selector(visit),
        }
    }

    /// What stands in all parentheses around it.
    pub(crate) fn bare(&self) -> &Self {
        let mut expr = self;
        while let Node::Paren(inner) = &expr.node {
            expr = inner;
        }
        expr
    }

    pub(crate) fn kind(&self) -> Type {
        match &self.node {
            Node::Number(_) => Type::Scalar,
            Node::Text(_) => Type::Text,
            Node::Selector(selector) if selector.range.is_some() => Type::Matrix,
            Node::Selector(_) | Node::Aggregate(_) => Type::Vector,
            Node::Subquery(_) => Type::Matrix,
            Node::Call { function, .. } => function.returns,
            Node::Negate(expr) | Node::Paren(expr) => expr.kind(),
            Node::Binary(binary) => {
                if binary.left.kind() == Type::Scalar && binary.right.kind() == Type::Scalar {
                    Type::Scalar
                } else {
                    Type::Vector
                }
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AggregateOp {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    CountValues,
    Group,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    Quantile,
}

impl AggregateOp {
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "sum" => Self::Sum,
            "avg" => Self::Avg,
            "min" => Self::Min,
            "max" => Self::Max,
            "count" => Self::Count,
            "count_values" => Self::CountValues,
            "group" => Self::Group,
            "stddev" => Self::Stddev,
            "stdvar" => Self::Stdvar,
            "topk" => Self::Topk,
            "bottomk" => Self::Bottomk,
            "quantile" => Self::Quantile,
            _ => return None,
        })
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::Count => "count",
            Self::CountValues => "count_values",
            Self::Group => "group",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::Topk => "topk",
            Self::Bottomk => "bottomk",
            Self::Quantile => "quantile",
        }
    }

    /// The type of the argument before the vector.
    pub(crate) fn param(self) -> Option<Type> {
        match self {
            Self::Topk | Self::Bottomk | Self::Quantile => Some(Type::Scalar),
            Self::CountValues => Some(Type::Text),
            _ => None,
        }
    }
}

/// Which labels make a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Grouping {
    By(Vec<String>),
    Without(Vec<String>),
}

/// How the series of two sides find each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Matching {
    pub(crate) labels: MatchLabels,
    pub(crate) cardinality: Cardinality,
}

impl Default for Matching {
    fn default() -> Self {
        Self { labels: MatchLabels::Ignoring(Vec::new()), cardinality: Cardinality::OneToOne }
    }
}

/// Which labels decide that two series belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MatchLabels {
    On(Vec<String>),
    Ignoring(Vec<String>),
}

impl MatchLabels {
    pub(crate) fn names(&self) -> &[String] {
        match self {
            Self::On(names) | Self::Ignoring(names) => names,
        }
    }
}

/// On which side one series may belong to many, and the labels that its partner lends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cardinality {
    OneToOne,
    /// `group_left`
    ManyToOne(Vec<String>),
    /// `group_right`
    OneToMany(Vec<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterEqual,
    LessEqual,
    And,
    Or,
    Unless,
}

impl BinaryOp {
    pub(crate) fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Equal | Self::NotEqual | Self::Greater | Self::Less | Self::GreaterEqual | Self::LessEqual
        )
    }

    pub(crate) fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }

    /// Higher binds tighter.
    pub(crate) fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And | Self::Unless => 2,
            Self::Equal
            | Self::NotEqual
            | Self::Greater
            | Self::Less
            | Self::GreaterEqual
            | Self::LessEqual => 3,
            Self::Add | Self::Sub => 4,
            Self::Mul | Self::Div | Self::Mod | Self::Atan2 => 5,
            Self::Pow => 6,
        }
    }
}
