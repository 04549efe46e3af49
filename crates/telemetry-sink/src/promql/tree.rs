//! Expressions as the JSON of Prometheus' `parse_query`, which its web pages draw.

use serde_json::{Value as JsonValue, json};

use super::ast::{At, Binary, Cardinality, Expr, Grouping, MatchLabels, Node, Selector, Shift, Type};
use super::print::{metric_name, sign};
use super::value::format_float;
use crate::model::{METRIC_NAME, Matcher};

/// An expression as Prometheus' web pages draw it.
pub(crate) fn tree(expr: &Expr) -> JsonValue {
    match &expr.node {
        Node::Number(number) => json!({ "type": "numberLiteral", "val": format_float(*number) }),
        Node::Text(text) => json!({ "type": "stringLiteral", "val": text }),
        Node::Paren(inner) => json!({ "type": "parenExpr", "expr": tree(inner) }),
        Node::Negate(inner) => json!({ "type": "unaryExpr", "op": "-", "expr": tree(inner) }),
        Node::Selector(selector) => selector_tree(selector),
        Node::Subquery(subquery) => with_shift(
            subquery.shift,
            json!({
                "type": "subquery",
                "expr": tree(&subquery.expr),
                "range": subquery.range,
                "rangeExpr": null,
                "step": subquery.step.unwrap_or(0),
                "stepExpr": null,
            }),
        ),
        Node::Call { function, args } => json!({
            "type": "call",
            "func": {
                "name": function.name,
                "argTypes": function.arg_types().iter().map(|kind| type_name(*kind)).collect::<Vec<_>>(),
                "variadic": function.variadic(),
                "returnType": type_name(function.returns),
            },
            "args": args.iter().map(tree).collect::<Vec<_>>(),
        }),
        Node::Aggregate(aggregate) => {
            let (labels, without) = match &aggregate.grouping {
                Grouping::By(labels) => (labels, false),
                Grouping::Without(labels) => (labels, true),
            };
            json!({
                "type": "aggregation",
                "op": aggregate.op.as_str(),
                "expr": tree(&aggregate.expr),
                "param": aggregate.param.as_ref().map(tree),
                "grouping": labels,
                "without": without,
            })
        }
        Node::Binary(binary) => json!({
            "type": "binaryExpr",
            "op": binary.op.as_str(),
            "lhs": tree(&binary.left),
            "rhs": tree(&binary.right),
            "matching": matching_tree(binary),
            "bool": binary.returns_bool,
        }),
    }
}

fn type_name(kind: Type) -> &'static str {
    match kind {
        Type::Scalar => "scalar",
        Type::Vector => "vector",
        Type::Matrix => "matrix",
        Type::Text => "string",
    }
}

fn selector_tree(selector: &Selector) -> JsonValue {
    // Prometheus puts the one of the name last.
    let (named, others): (Vec<&Matcher>, Vec<&Matcher>) =
        selector.matchers.iter().partition(|one| one.name == METRIC_NAME);
    let matchers = others.into_iter().chain(named);
    let matchers: Vec<_> =
        matchers.map(|one| json!({ "name": one.name, "value": one.value, "type": sign(one.op) })).collect();
    let mut shown = json!({
        "type": if selector.range.is_some() { "matrixSelector" } else { "vectorSelector" },
        "name": metric_name(&selector.matchers).unwrap_or_default(),
        "matchers": matchers,
        "anchored": false,
        "smoothed": false,
    });
    if let (Some(range), Some(shown)) = (selector.range, shown.as_object_mut()) {
        shown.insert("range".to_owned(), json!(range));
        shown.insert("rangeExpr".to_owned(), JsonValue::Null);
    }
    with_shift(selector.shift, shown)
}

fn with_shift(shift: Shift, mut shown: JsonValue) -> JsonValue {
    let (time, bound) = match shift.at {
        None => (None, None),
        Some(At::Start) => (None, Some("start")),
        Some(At::End) => (None, Some("end")),
        Some(At::Time(time)) => (Some(time), None),
    };
    if let Some(fields) = shown.as_object_mut() {
        fields.extend([
            ("offset".to_owned(), json!(shift.offset)),
            ("offsetExpr".to_owned(), JsonValue::Null),
            ("timestamp".to_owned(), json!(time)),
            ("startOrEnd".to_owned(), json!(bound)),
        ]);
    }
    shown
}

/// Nothing where a side is a scalar.
fn matching_tree(binary: &Binary) -> JsonValue {
    if [&binary.left, &binary.right].iter().any(|side| side.kind() == Type::Scalar) {
        return JsonValue::Null;
    }
    let (card, lent): (_, &[String]) = match &binary.matching.cardinality {
        _ if binary.op.is_set() => ("many-to-many", &[]),
        Cardinality::OneToOne => ("one-to-one", &[]),
        Cardinality::ManyToOne(lent) => ("many-to-one", lent),
        Cardinality::OneToMany(lent) => ("one-to-many", lent),
    };
    json!({
        "card": card,
        "labels": binary.matching.labels.names(),
        "on": matches!(binary.matching.labels, MatchLabels::On(_)),
        "include": lent,
        "fillValues": { "lhs": null, "rhs": null },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::parse;

    #[test]
    fn a_tree_has_the_fields_of_prometheus() {
        let text = "sum(a{b=\"c\"} offset 1m) by (l) + on (x) group_right (y) (b @ 3)";
        let found = tree(&parse(text).unwrap());
        assert_eq!(
            found,
            json!({
                "type": "binaryExpr", "op": "+", "bool": false,
                "matching": {
                    "card": "one-to-many", "labels": ["x"], "on": true, "include": ["y"],
                    "fillValues": { "lhs": null, "rhs": null },
                },
                "lhs": {
                    "type": "aggregation", "op": "sum", "grouping": ["l"], "without": false, "param": null,
                    "expr": {
                        "type": "vectorSelector", "name": "a", "offset": 60_000, "offsetExpr": null,
                        "timestamp": null, "startOrEnd": null, "anchored": false, "smoothed": false,
                        "matchers": [
                            { "name": "b", "value": "c", "type": "=" },
                            { "name": "__name__", "value": "a", "type": "=" },
                        ],
                    },
                },
                "rhs": {
                    "type": "parenExpr",
                    "expr": {
                        "type": "vectorSelector", "name": "b", "offset": 0, "offsetExpr": null,
                        "timestamp": 3000, "startOrEnd": null, "anchored": false, "smoothed": false,
                        "matchers": [{ "name": "__name__", "value": "b", "type": "=" }],
                    },
                },
            })
        );
        let call = tree(&parse("round(rate(a[1m]), 5)").unwrap());
        assert_eq!(
            call["func"],
            json!({ "name": "round", "argTypes": ["vector", "scalar"], "variadic": 1, "returnType": "vector" })
        );
        assert_eq!(
            (&call["args"][0]["args"][0]["range"], &call["args"][1]["val"]),
            (&json!(60_000), &json!("5"))
        );
    }
}
