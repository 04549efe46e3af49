//! Which spans of a trace a query chooses.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Instant;

use super::ast::{Condition, Field, Function, Join, Literal, Op, Operand, Query, Scope, Spans, Stage};
use super::trace::Trace;
use crate::head::Found;
use crate::model::{Span, Value, attribute, hex};

/// A field's value; durations are nanoseconds. Fields of a trace have none without it.
pub(crate) fn field_value(field: &Field, span: &Found<Span>, trace: Option<&Trace>) -> Option<Value> {
    let record = &span.record;
    let text = |text: &str| Some(Value::Text(text.to_owned()));
    match field {
        Field::Attribute { scope, name } => attribute_of(*scope, name, span).cloned().or_else(|| {
            // The service's name is kept apart from its resource's other attributes.
            let is_service = name == "service.name" && matches!(scope, Scope::Any | Scope::Resource);
            is_service.then(|| Value::Text(span.resource.service.clone()))
        }),
        Field::Name => text(&record.name),
        Field::Status => text(record.status.as_str()),
        Field::StatusMessage => text(&record.status_message),
        Field::Kind => text(record.kind.as_str()),
        Field::Duration => Some(Value::Int(record.duration_nanos())),
        Field::SpanId => Some(Value::Text(hex(&record.span_id))),
        Field::ParentId => record.parent.map(|id| Value::Text(hex(&id))),
        Field::TraceId => Some(Value::Text(hex(&record.trace_id))),
        Field::RootName => trace?.root().map(|root| Value::Text(root.record.name.clone())),
        Field::RootService => trace?.root().map(|root| Value::Text(root.resource.service.clone())),
        Field::TraceDuration => Some(Value::Int(trace?.duration_nanos())),
        Field::NestedSetParent => Some(Value::Int(if record.parent.is_none() { -1 } else { 1 })),
        Field::ScopeName => text(&record.scope),
        Field::EventName => record.events.first().map(|event| Value::Text(event.name.clone())),
    }
}

fn attribute_of<'a>(scope: Scope, name: &str, span: &'a Found<Span>) -> Option<&'a Value> {
    let of_span = || attribute(&span.record.attributes, name);
    let of_resource = || attribute(&span.resource.attributes, name);
    match scope {
        Scope::Span => of_span(),
        Scope::Resource => of_resource(),
        Scope::Any => of_span().or_else(of_resource),
        Scope::Event => span.record.events.iter().find_map(|event| attribute(&event.attributes, name)),
    }
}

#[expect(clippy::cast_precision_loss, reason = "comparisons are by floats, as in TraceQL")]
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(value) => Some(*value as f64),
        Value::Double(value) => Some(*value),
        Value::Text(_) | Value::Bool(_) => None,
    }
}

fn holds<T: PartialOrd>(op: Op, left: &T, right: &T) -> bool {
    match op {
        Op::Equal => left == right,
        Op::NotEqual => left != right,
        Op::Greater => left > right,
        Op::GreaterEqual => left >= right,
        Op::Less => left < right,
        Op::LessEqual => left <= right,
        Op::Matches | Op::NotMatches => false,
    }
}

/// An absent field equals only nil; values of different types are never equal.
fn compare(value: Option<&Value>, op: Op, with: &Literal) -> bool {
    let Some(value) = value else { return *with == Literal::Nil && op == Op::Equal };
    match with {
        Literal::Nil => op == Op::NotEqual,
        Literal::Number(right) => number(value).is_some_and(|left| holds(op, &left, right)),
        Literal::Text(right) => matches!(value, Value::Text(left) if holds(op, left, right)),
        Literal::Bool(right) => matches!(value, Value::Bool(left) if holds(op, left, right)),
    }
}

/// Whether a span meets a condition. Without its trace, what needs it counts as met.
pub(super) fn meets(condition: &Condition, span: &Found<Span>, trace: Option<&Trace>) -> bool {
    let unknown = |field: &Field| trace.is_none() && field.is_of_trace();
    match condition {
        Condition::Always => true,
        Condition::And(left, right) => meets(left, span, trace) && meets(right, span, trace),
        Condition::Or(left, right) => meets(left, span, trace) || meets(right, span, trace),
        Condition::Not(inner) => {
            (trace.is_none() && inner.fields().iter().any(|field| field.is_of_trace()))
                || !meets(inner, span, trace)
        }
        Condition::Is(field) => unknown(field) || field_value(field, span, trace) == Some(Value::Bool(true)),
        Condition::Compare { field, op, with } => {
            if unknown(field) || matches!(with, Operand::Field(other) if unknown(other)) {
                return true;
            }
            if let (Operand::Literal(with), Field::Attribute { scope: Scope::Event, name }) = (with, field) {
                let mut values =
                    span.record.events.iter().filter_map(|event| attribute(&event.attributes, name));
                return values.any(|value| compare(Some(value), *op, with));
            }
            if let (Operand::Literal(with), Field::EventName) = (with, field) {
                let names = span.record.events.iter().map(|event| Value::Text(event.name.clone()));
                return names.into_iter().any(|name| compare(Some(&name), *op, with));
            }
            let value = field_value(field, span, trace);
            match with {
                Operand::Literal(literal) => compare(value.as_ref(), *op, literal),
                Operand::Pattern(regex) => {
                    value.is_some_and(|value| regex.is_match(&value.to_text()) == (*op == Op::Matches))
                }
                Operand::Field(other) => match field_value(other, span, trace) {
                    Some(Value::Text(text)) => compare(value.as_ref(), *op, &Literal::Text(text)),
                    Some(Value::Bool(truth)) => compare(value.as_ref(), *op, &Literal::Bool(truth)),
                    Some(other) => {
                        let right = number(&other).unwrap_or(f64::NAN);
                        compare(value.as_ref(), *op, &Literal::Number(right))
                    }
                    None => false,
                },
            }
        }
    }
}

/// A trace that was not judged to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimedOut;

/// The places of the spans that a query chooses of a trace; none where it does not choose the trace.
pub(crate) fn chosen(query: &Query, trace: &Trace, deadline: Instant) -> Result<BTreeSet<usize>, TimedOut> {
    let places = spans(&query.spans, trace, deadline)?;
    let stays = !places.is_empty() && query.stages.iter().all(|stage| passes(stage, &places, trace));
    Ok(if stays { places } else { BTreeSet::new() })
}

fn spans(wanted: &Spans, trace: &Trace, deadline: Instant) -> Result<BTreeSet<usize>, TimedOut> {
    if Instant::now() > deadline {
        return Err(TimedOut);
    }
    Ok(match wanted {
        Spans::Filter(condition) => {
            let all = trace.spans.iter().enumerate();
            all.filter(|(_, span)| meets(condition, span, Some(trace))).map(|(place, _)| place).collect()
        }
        Spans::Joined { op, left, right } => {
            join(*op, &spans(left, trace, deadline)?, spans(right, trace, deadline)?, trace)
        }
    })
}

/// Each operator looks at each span of the trace a few times at most: traces may have tens of thousands.
fn join(op: Join, left: &BTreeSet<usize>, mut right: BTreeSet<usize>, trace: &Trace) -> BTreeSet<usize> {
    let parent_of = |place: usize| trace.parent(place);
    match op {
        Join::And if left.is_empty() || right.is_empty() => right.clear(),
        Join::And | Join::Or => right.extend(left),
        Join::Child { wanted } => {
            right.retain(|place| parent_of(*place).is_some_and(|parent| left.contains(&parent)) == wanted);
        }
        Join::Descendant { wanted } => {
            let below = trace.below(left);
            right.retain(|place| below.contains(place) == wanted);
        }
        Join::Parent { wanted } => {
            let parents: HashSet<usize> = left.iter().filter_map(|place| parent_of(*place)).collect();
            right.retain(|place| parents.contains(place) == wanted);
        }
        Join::Ancestor { wanted } => {
            let above = trace.above(left);
            right.retain(|place| above.contains(place) == wanted);
        }
        Join::Sibling { wanted } => {
            let mut children: HashMap<usize, usize> = HashMap::new();
            for parent in left.iter().filter_map(|place| parent_of(*place)) {
                *children.entry(parent).or_default() += 1;
            }
            right.retain(|place| {
                let beside = parent_of(*place).and_then(|parent| children.get(&parent)).copied();
                (beside.unwrap_or(0) > usize::from(left.contains(place))) == wanted
            });
        }
    }
    right
}

#[expect(clippy::cast_precision_loss, reason = "a trace has far fewer than 2^53 spans")]
fn passes(stage: &Stage, places: &BTreeSet<usize>, trace: &Trace) -> bool {
    let values = || {
        let spans = places.iter().filter_map(|place| trace.spans.get(*place));
        spans.filter_map(|span| number(&field_value(stage.field.as_ref()?, span, Some(trace))?))
    };
    let count = values().count() as f64;
    let value = match stage.function {
        Function::Count => places.len() as f64,
        _ if count == 0.0 => return false,
        Function::Avg => values().sum::<f64>() / count,
        Function::Sum => values().sum(),
        Function::Min => values().fold(f64::INFINITY, f64::min),
        Function::Max => values().fold(f64::NEG_INFINITY, f64::max),
    };
    holds(stage.op, &value, &stage.value)
}
