//! Attributes, events and links as the JSON text in which parts hold them, so that other engines can read them.
//!
//! Attributes become one object in their own order. A double is written with a point or an exponent, an
//! integer without; a double that is no number has no form in JSON and comes back as text.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::{SpanEvent, SpanLink, Value, hex, parse_hex};

/// Attributes in their order.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Attributes(pub(super) Vec<(String, Value)>);

struct Borrowed<'a>(&'a [(String, Value)]);

impl Serialize for Borrowed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0 {
            match value {
                Value::Text(text) => map.serialize_entry(name, text)?,
                Value::Bool(value) => map.serialize_entry(name, value)?,
                Value::Int(value) => map.serialize_entry(name, value)?,
                Value::Double(value) if value.is_finite() => map.serialize_entry(name, value)?,
                Value::Double(value) => map.serialize_entry(name, &value.to_string())?,
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Attributes;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Attributes, A::Error> {
                let mut attributes = Vec::new();
                while let Some((name, Scalar(value))) = map.next_entry::<String, Scalar>()? {
                    attributes.push((name, value));
                }
                Ok(Attributes(attributes))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

struct Scalar(Value);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Any {
            Bool(bool),
            Int(i64),
            Double(f64),
            Text(String),
        }
        Ok(Self(match Any::deserialize(deserializer)? {
            Any::Bool(value) => Value::Bool(value),
            Any::Int(value) => Value::Int(value),
            Any::Double(value) => Value::Double(value),
            Any::Text(text) => Value::Text(text),
        }))
    }
}

#[derive(Serialize)]
struct EventOut<'a> {
    time: i64,
    name: &'a str,
    attributes: Borrowed<'a>,
}

#[derive(Deserialize)]
struct EventIn {
    time: i64,
    name: String,
    attributes: Attributes,
}

#[derive(Serialize, Deserialize)]
struct Link {
    trace_id: String,
    span_id: String,
}

const EMPTY_OBJECT: &str = "{}";
const EMPTY_LIST: &str = "[]";

pub(super) fn attributes(attributes: &[(String, Value)]) -> String {
    if attributes.is_empty() {
        return EMPTY_OBJECT.to_owned();
    }
    // Writing plain values to memory does not fail.
    serde_json::to_string(&Borrowed(attributes)).unwrap_or_else(|_| EMPTY_OBJECT.to_owned())
}

pub(super) fn parse_attributes(text: &str) -> Option<Vec<(String, Value)>> {
    if text == EMPTY_OBJECT {
        return Some(Vec::new());
    }
    serde_json::from_str::<Attributes>(text).ok().map(|attributes| attributes.0)
}

pub(super) fn events(events: &[SpanEvent]) -> String {
    if events.is_empty() {
        return EMPTY_LIST.to_owned();
    }
    let events: Vec<_> = events
        .iter()
        .map(|event| EventOut {
            time: event.time,
            name: &event.name,
            attributes: Borrowed(&event.attributes),
        })
        .collect();
    serde_json::to_string(&events).unwrap_or_else(|_| EMPTY_LIST.to_owned())
}

pub(super) fn parse_events(text: &str) -> Option<Vec<SpanEvent>> {
    if text == EMPTY_LIST {
        return Some(Vec::new());
    }
    let events: Vec<EventIn> = serde_json::from_str(text).ok()?;
    let event =
        |event: EventIn| SpanEvent { time: event.time, name: event.name, attributes: event.attributes.0 };
    Some(events.into_iter().map(event).collect())
}

pub(super) fn links(links: &[SpanLink]) -> String {
    if links.is_empty() {
        return EMPTY_LIST.to_owned();
    }
    let links: Vec<_> = links
        .iter()
        .map(|link| Link { trace_id: hex(&link.trace_id), span_id: hex(&link.span_id) })
        .collect();
    serde_json::to_string(&links).unwrap_or_else(|_| EMPTY_LIST.to_owned())
}

pub(super) fn parse_links(text: &str) -> Option<Vec<SpanLink>> {
    if text == EMPTY_LIST {
        return Some(Vec::new());
    }
    let links: Vec<Link> = serde_json::from_str(text).ok()?;
    let link = |link: Link| {
        Some(SpanLink { trace_id: parse_hex(&link.trace_id)?, span_id: parse_hex(&link.span_id)? })
    };
    links.into_iter().map(link).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<String>().prop_map(Value::Text),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            prop::num::f64::NORMAL.prop_map(Value::Double),
            (-1000i32..1000).prop_map(|value| Value::Double(value.into())),
        ]
    }

    proptest! {
        #[test]
        fn attributes_keep_their_order_and_kind(given in prop::collection::vec((any::<String>(), value()), 0..8)) {
            prop_assert_eq!(parse_attributes(&attributes(&given)), Some(given));
        }
    }

    #[test]
    fn events_and_links_survive() {
        let event = SpanEvent {
            time: -5,
            name: "exception".into(),
            attributes: vec![("b".into(), Value::Int(1)), ("a".into(), Value::Double(2.0))],
        };
        assert_eq!(parse_events(&events(std::slice::from_ref(&event))), Some(vec![event]));
        let link = SpanLink { trace_id: [7; 16], span_id: [9; 8] };
        assert_eq!(parse_links(&links(std::slice::from_ref(&link))), Some(vec![link]));
    }

    #[test]
    fn a_number_that_json_cannot_write_becomes_text() {
        let given = [("ratio".to_owned(), Value::Double(f64::NAN))];
        let back = parse_attributes(&attributes(&given));
        assert_eq!(back, Some(vec![("ratio".into(), Value::Text("NaN".into()))]));
    }
}
