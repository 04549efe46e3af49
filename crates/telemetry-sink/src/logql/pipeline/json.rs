//! `| json`: an object's leaves as labels, nested names joined by underscores, or the values at given paths.

use serde_json::Value;

const ERROR: &str = "JSONParserErr";
/// Labels that a parser makes of one line; what is beyond is left out.
pub(super) const MAX_LABELS: usize = 256;

/// Where in an object: `a.b[0]["c d"]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

impl Path {
    pub(crate) fn of_key(key: &str) -> Self {
        Self(vec![Step::Key(key.to_owned())])
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut steps = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (step, tail) = if let Some(quoted) = rest.strip_prefix("[\"") {
                let (key, tail) = quoted.split_once("\"]")?;
                (Step::Key(key.to_owned()), tail)
            } else if let Some(index) = rest.strip_prefix('[') {
                let (index, tail) = index.split_once(']')?;
                (Step::Index(index.trim().parse().ok()?), tail)
            } else {
                let rest = if steps.is_empty() { rest } else { rest.strip_prefix('.')? };
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                let (key, tail) = rest.split_at_checked(end)?;
                (Step::Key((!key.is_empty()).then(|| key.to_owned())?), tail)
            };
            steps.push(step);
            rest = tail;
        }
        (!steps.is_empty()).then_some(Self(steps))
    }

    fn find<'a>(&self, root: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(root, |value, step| match step {
            Step::Key(key) => value.get(key),
            Step::Index(index) => value.get(index),
        })
    }
}

pub(super) fn extract(text: &str, fields: &[(String, Path)]) -> super::Extracted {
    let root: Value = serde_json::from_str(text).map_err(|error| (ERROR, error.to_string()))?;
    if !root.is_object() {
        return Err((ERROR, "the line is no object".to_owned()));
    }
    let mut labels = Vec::new();
    if fields.is_empty() {
        flatten("", &root, &mut labels);
        return Ok(labels);
    }
    for (name, path) in fields {
        let value = path.find(&root).and_then(|value| match value {
            Value::Object(_) | Value::Array(_) => Some(value.to_string()),
            leaf => leaf_text(leaf),
        });
        labels.push((name.clone(), value.unwrap_or_default()));
    }
    Ok(labels)
}

/// Lists have no names and are left out, as in Loki.
fn flatten(prefix: &str, value: &Value, labels: &mut Vec<(String, String)>) {
    let Value::Object(object) = value else { return };
    for (key, value) in object {
        if labels.len() >= MAX_LABELS {
            return;
        }
        let name = if prefix.is_empty() { label(key) } else { format!("{prefix}_{}", underscored(key)) };
        if value.is_object() {
            flatten(&name, value, labels);
        } else if let Some(text) = leaf_text(value) {
            labels.push((name, text));
        }
    }
}

fn leaf_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn underscored(key: &str) -> String {
    key.trim().chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect()
}

/// A key as a label name.
pub(in crate::logql) fn label(key: &str) -> String {
    let name = underscored(key);
    if name.starts_with(|first: char| first.is_ascii_digit()) { format!("_{name}") } else { name }
}
