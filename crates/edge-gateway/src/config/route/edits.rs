//! Headers that a route changes.

use std::collections::BTreeMap;

use http::header::{HeaderName, HeaderValue};
use quintet_service::Invalid;
use serde::Deserialize;

use super::Place;
use crate::router::{HeaderEdits, PathRule, Text, Value, editable_header};

/// Headers removed, replaced and added, in this order. Values may hold `{client_ip}`, `{request_id}`,
/// `{host}`, `{path}`, `{query}`, `{tail}` and captures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct EditsSection {
    pub(crate) remove: Vec<String>,
    pub(crate) set: BTreeMap<String, String>,
    pub(crate) add: BTreeMap<String, String>,
}

pub(super) fn check(
    place: Place,
    field: &str,
    section: &EditsSection,
    path: &PathRule,
) -> Result<HeaderEdits, Invalid> {
    let names = |list: &[String], key: &str| -> Result<Vec<HeaderName>, Invalid> {
        list.iter().map(|name| place.parsed(&format!("{field}.{key}"), editable_header(name))).collect()
    };
    let pairs = |map: &BTreeMap<String, String>, key: &str| {
        let checked = map.iter().map(|(name, text)| {
            let key = format!("{field}.{key}.{name}");
            Ok((place.parsed(&key, editable_header(name))?, value(place, &key, text, path)?))
        });
        checked.collect::<Result<Vec<_>, Invalid>>()
    };
    Ok(HeaderEdits {
        remove: names(&section.remove, "remove")?,
        set: pairs(&section.set, "set")?,
        add: pairs(&section.add, "add")?,
    })
}

fn value(place: Place, key: &str, text: &str, path: &PathRule) -> Result<Value, Invalid> {
    if HeaderValue::from_str(text).is_err() {
        return place.refuse(key, "holds a character that a header value cannot");
    }
    let text = place.parsed(key, Text::parse(text, path))?;
    Ok(match text.constant().and_then(|constant| HeaderValue::from_str(constant).ok()) {
        Some(constant) => Value::Constant(constant),
        None => Value::Made(text),
    })
}
