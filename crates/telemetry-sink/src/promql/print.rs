//! Expressions as Prometheus writes them: in one line or, where that is long, over several.
//!
//! What the syntax tree does not keep is not written either: a unary plus, and that a number was written as a duration.

use std::fmt::Write as _;

use super::ast::{
    Aggregate, At, Binary, BinaryOp, Cardinality, Expr, Grouping, MatchLabels, Matching, Node, Selector,
    Shift, Subquery,
};
use super::value::format_float;
use crate::model::{METRIC_NAME, MatchOp, Matcher};

/// Characters of a line; longer expressions are spread over several.
const LINE: usize = 100;

/// An expression over as many lines as it needs.
pub(crate) fn pretty(expr: &Expr) -> String {
    let mut out = String::new();
    spread(expr, 0, &mut out);
    out
}

fn spread(expr: &Expr, level: usize, out: &mut String) {
    let flat = text(expr);
    let indent = "  ".repeat(level);
    if flat.len() <= LINE {
        out.push_str(&indent);
        out.push_str(&flat);
        return;
    }
    match &expr.node {
        Node::Aggregate(aggregate) => {
            out.push_str(&indent);
            out.push_str(&heading(aggregate));
            let parts: Vec<&Expr> = aggregate.param.iter().chain([&aggregate.expr]).collect();
            spread_all(&parts, level, out);
        }
        Node::Call { function, args } => {
            out.push_str(&indent);
            out.push_str(function.name);
            spread_all(&args.iter().collect::<Vec<_>>(), level, out);
        }
        Node::Paren(inner) => {
            out.push_str(&indent);
            spread_all(&[inner], level, out);
        }
        Node::Binary(binary) => {
            spread(&binary.left, level + 1, out);
            let _ = write!(out, "\n{indent}{}\n", operator(binary));
            spread(&binary.right, level + 1, out);
        }
        Node::Subquery(subquery) => {
            spread(&subquery.expr, level, out);
            out.push_str(&reach(subquery));
        }
        Node::Negate(inner) => {
            let mut below = String::new();
            spread(inner, level, &mut below);
            let _ = write!(out, "{indent}-{}", below.trim_start());
        }
        Node::Number(_) | Node::Text(_) | Node::Selector(_) => {
            out.push_str(&indent);
            out.push_str(&flat);
        }
    }
}

/// Parts in parentheses, each on lines of its own.
fn spread_all(parts: &[&Expr], level: usize, out: &mut String) {
    out.push_str("(\n");
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            out.push_str(",\n");
        }
        spread(part, level + 1, out);
    }
    let _ = write!(out, "\n{})", "  ".repeat(level));
}

fn text(expr: &Expr) -> String {
    match &expr.node {
        Node::Number(number) => format_float(*number),
        Node::Text(text) => quoted(text),
        Node::Selector(selector) => selected(selector),
        Node::Subquery(subquery) => format!("{}{}", text(&subquery.expr), reach(subquery)),
        Node::Call { function, args } => format!("{}({})", function.name, list(args.iter())),
        Node::Aggregate(aggregate) => {
            let parts = aggregate.param.iter().chain([&aggregate.expr]);
            format!("{}({})", heading(aggregate), list(parts))
        }
        Node::Binary(binary) => {
            format!("{} {} {}", text(&binary.left), operator(binary), text(&binary.right))
        }
        Node::Negate(inner) => format!("-{}", text(inner)),
        Node::Paren(inner) => format!("({})", text(inner)),
    }
}

fn list<'e>(parts: impl Iterator<Item = &'e Expr>) -> String {
    parts.map(text).collect::<Vec<_>>().join(", ")
}

fn heading(aggregate: &Aggregate) -> String {
    let op = aggregate.op.as_str();
    match &aggregate.grouping {
        Grouping::Without(labels) => format!("{op} without ({}) ", names(labels)),
        Grouping::By(labels) if labels.is_empty() => op.to_owned(),
        Grouping::By(labels) => format!("{op} by ({}) ", names(labels)),
    }
}

fn is_plain(name: &str, extra: char) -> bool {
    let starts = |letter: char| letter.is_ascii_alphabetic() || letter == '_' || letter == extra;
    name.chars().next().is_some_and(starts)
        && name.chars().all(|letter| starts(letter) || letter.is_ascii_digit())
}

fn name_of(label: &str) -> String {
    if is_plain(label, '_') { label.to_owned() } else { quoted(label) }
}

fn names(labels: &[String]) -> String {
    labels.iter().map(|label| name_of(label)).collect::<Vec<_>>().join(", ")
}

/// The operator with what says how series find each other.
fn operator(binary: &Binary) -> String {
    let mut out = binary.op.as_str().to_owned();
    if binary.returns_bool {
        out.push_str(" bool");
    }
    let Matching { labels, cardinality } = &binary.matching;
    let (word, is_on) = match labels {
        MatchLabels::On(_) => ("on", true),
        MatchLabels::Ignoring(_) => ("ignoring", false),
    };
    if is_on || !labels.names().is_empty() || *cardinality != Cardinality::OneToOne {
        let _ = write!(out, " {word} ({})", names(labels.names()));
    }
    match cardinality {
        Cardinality::OneToOne => {}
        Cardinality::ManyToOne(lent) => {
            let _ = write!(out, " group_left ({})", names(lent));
        }
        Cardinality::OneToMany(lent) => {
            let _ = write!(out, " group_right ({})", names(lent));
        }
    }
    out
}

fn selected(selector: &Selector) -> String {
    let name = metric_name(&selector.matchers).filter(|name| is_plain(name, ':'));
    let rest = selector.matchers.iter().skip(usize::from(name.is_some()));
    let mut rest: Vec<String> = rest
        .map(|matcher| format!("{}{}{}", name_of(&matcher.name), sign(matcher.op), quoted(&matcher.value)))
        .collect();
    rest.sort();
    let mut out = name.unwrap_or_default().to_owned();
    if !rest.is_empty() {
        let _ = write!(out, "{{{}}}", rest.join(","));
    }
    if let Some(range) = selector.range {
        let _ = write!(out, "[{}]", duration(range));
    }
    out + &shifted(selector.shift)
}

/// The name that stands before the braces.
pub(super) fn metric_name(matchers: &[Matcher]) -> Option<&str> {
    let first = matchers.first()?;
    (first.name == METRIC_NAME && first.op == MatchOp::Equal && !first.value.is_empty())
        .then_some(first.value.as_str())
}

pub(super) fn sign(op: MatchOp) -> &'static str {
    match op {
        MatchOp::Equal => "=",
        MatchOp::NotEqual => "!=",
        MatchOp::Regex => "=~",
        MatchOp::NotRegex => "!~",
    }
}

fn reach(subquery: &Subquery) -> String {
    let step = subquery.step.map(duration).unwrap_or_default();
    format!("[{}:{step}]{}", duration(subquery.range), shifted(subquery.shift))
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since the epoch are far below 2^53")]
fn shifted(shift: Shift) -> String {
    let mut out = match shift.at {
        None => String::new(),
        Some(At::Start) => " @ start()".to_owned(),
        Some(At::End) => " @ end()".to_owned(),
        Some(At::Time(time)) => format!(" @ {:.3}", time as f64 / 1000.0),
    };
    if shift.offset != 0 {
        let sign = if shift.offset < 0 { "-" } else { "" };
        let _ = write!(out, " offset {sign}{}", duration(shift.offset.saturating_abs()));
    }
    out
}

/// Milliseconds as `1h30m`; years and weeks only where nothing is left over.
pub(crate) fn duration(millis: i64) -> String {
    const UNITS: [(&str, i64, bool); 7] = [
        ("y", 365 * 86_400_000, true),
        ("w", 7 * 86_400_000, true),
        ("d", 86_400_000, false),
        ("h", 3_600_000, false),
        ("m", 60_000, false),
        ("s", 1000, false),
        ("ms", 1, false),
    ];
    if millis == 0 {
        return "0s".to_owned();
    }
    let (mut left, mut out) = (millis, String::new());
    for (unit, size, only_whole) in UNITS {
        if left >= size && (!only_whole || left % size == 0) {
            let _ = write!(out, "{}{unit}", left / size);
            left %= size;
        }
    }
    out
}

/// A text as Go's `strconv.Quote` writes it.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            letter if letter.is_ascii_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(letter));
            }
            letter if letter.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    out + "\""
}

impl BinaryOp {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::Less => "<",
            Self::GreaterEqual => ">=",
            Self::LessEqual => "<=",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::parse;

    #[test]
    fn expressions_are_written_as_prometheus_writes_them() {
        for (given, written) in [
            (
                "sum(rate(a[5m]))by(b)/on(c)group_left(d)x",
                "sum by (b) (rate(a[5m])) / on (c) group_left (d) x",
            ),
            ("((a))", "((a))"),
            ("sum without()(a)", "sum without () (a)"),
            ("topk(3,a{z='1',b!~\"x\\\\d\"})", r#"topk(3, a{b!~"x\\d",z="1"})"#),
            ("{__name__=~\"a.*\"}", r#"{__name__=~"a.*"}"#),
            ("a offset -1h30m @ 12.5", "a @ 12.500 offset -1h30m"),
            ("max_over_time(rate(a[1m])[90m:] @ end())", "max_over_time(rate(a[1m])[1h30m:] @ end())"),
            ("a >bool 2 and ignoring(x) -b", "a > bool 2 and ignoring (x) -b"),
            ("a[7d]", "a[1w]"),
            ("a[8d]", "a[8d]"),
            ("1e-9 * 0x1f", "0.000000001 * 31"),
        ] {
            assert_eq!(pretty(&parse(given).unwrap()), written);
            assert_eq!(pretty(&parse(written).unwrap()), written, "what is written reads as the same");
        }
    }

    #[test]
    fn long_expressions_take_several_lines() {
        let long = "sum by (job) (rate(http_requests_total{code=~\"5..\"}[5m])) / sum by (job) (rate(http_requests_total[5m])) * 100";
        let written = "    sum by (job) (rate(http_requests_total{code=~\"5..\"}[5m]))\n  /\n    sum by (job) (rate(http_requests_total[5m]))\n*\n  100";
        assert_eq!(pretty(&parse(long).unwrap()), written);
        let inner = "a".repeat(60);
        let deep = format!("topk(2, ({inner} + {inner}))");
        let written = format!("topk(\n  2,\n  (\n      {inner}\n    +\n      {inner}\n  )\n)");
        assert_eq!(pretty(&parse(&deep).unwrap()), written);
    }
}
