//! What templates work with, and how it is written and compared.

use std::collections::BTreeMap;

use super::number::general_go;
use crate::model::Labels;

/// A value in a template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Self>),
    /// A map whose values are all text: an absent name is the empty text, as in Prometheus.
    Texts(BTreeMap<String, String>),
    Map(BTreeMap<String, Self>),
}

impl Value {
    pub(crate) fn texts<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        Self::Texts(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    pub(crate) fn map<const N: usize>(pairs: [(&str, Self); N]) -> Self {
        Self::Map(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// A series of a query's answer.
    pub(super) fn sample(labels: &Labels, value: f64) -> Self {
        Self::map([("Labels", Self::texts(labels.iter())), ("Value", Self::Float(value))])
    }

    /// What it takes in memory, roughly.
    pub(super) fn bytes(&self) -> usize {
        let inner: usize = match self {
            Self::Nil | Self::Bool(_) | Self::Int(_) | Self::Float(_) => 0,
            Self::Text(text) => text.len(),
            Self::List(items) => items.iter().map(Self::bytes).sum(),
            Self::Texts(map) => map.iter().map(|(name, text)| name.len() + text.len() + 64).sum(),
            Self::Map(map) => map.iter().map(|(name, value)| name.len() + value.bytes() + 64).sum(),
        };
        inner + size_of::<Self>()
    }

    /// How many values stand within each other.
    pub(super) fn depth(&self) -> usize {
        match self {
            Self::List(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            Self::Map(map) => 1 + map.values().map(Self::depth).max().unwrap_or(0),
            Self::Nil | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Text(_) | Self::Texts(_) => 1,
        }
    }

    /// Whether `if` takes it: what is not zero and not empty.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Texts(map) => !map.is_empty(),
            Self::Map(map) => !map.is_empty(),
        }
    }

    pub(super) fn field(&self, name: &str) -> Result<Self, String> {
        match self {
            Self::Texts(map) => Ok(Self::Text(map.get(name).cloned().unwrap_or_default())),
            Self::Map(map) => map.get(name).cloned().ok_or_else(|| format!("there is no field .{name}")),
            Self::Nil => Err(format!("nil has no field .{name}")),
            _ => Err(format!("{} has no field .{name}", self.kind())),
        }
    }

    pub(super) fn index(&self, key: &Self) -> Result<Self, String> {
        match (self, key) {
            (Self::List(items), key) => {
                let at = key.as_int()?;
                let found = usize::try_from(at).ok().and_then(|at| items.get(at));
                found.cloned().ok_or_else(|| format!("the list has no item {at}"))
            }
            (Self::Texts(map), Self::Text(key)) => Ok(Self::Text(map.get(key).cloned().unwrap_or_default())),
            (Self::Map(map), Self::Text(key)) => Ok(map.get(key).cloned().unwrap_or(Self::Nil)),
            _ => Err(format!("{} cannot be indexed with {}", self.kind(), key.kind())),
        }
    }

    /// What `range` goes through, with the variable that counts.
    pub(super) fn items(&self) -> Result<Vec<(Self, Self)>, String> {
        Ok(match self {
            Self::List(items) => {
                items.iter().zip(0..).map(|(item, at)| (Self::Int(at), item.clone())).collect()
            }
            Self::Texts(map) => {
                map.iter().map(|(name, text)| (Self::Text(name.clone()), Self::Text(text.clone()))).collect()
            }
            Self::Map(map) => {
                map.iter().map(|(name, value)| (Self::Text(name.clone()), value.clone())).collect()
            }
            Self::Nil => Vec::new(),
            _ => return Err(format!("range cannot go through {}", self.kind())),
        })
    }

    pub(super) fn length(&self) -> Result<i64, String> {
        let length = match self {
            Self::Text(text) => text.len(),
            Self::List(items) => items.len(),
            Self::Texts(map) => map.len(),
            Self::Map(map) => map.len(),
            _ => return Err(format!("{} has no length", self.kind())),
        };
        Ok(i64::try_from(length).unwrap_or(i64::MAX))
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "a truth value",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Texts(_) | Self::Map(_) => "a map",
        }
    }

    /// As Go prints it.
    pub(super) fn to_text(&self) -> String {
        match self {
            Self::Nil => "<no value>".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => general_go(*value),
            Self::Text(text) => text.clone(),
            Self::List(items) => {
                format!("[{}]", items.iter().map(Self::to_text).collect::<Vec<_>>().join(" "))
            }
            Self::Texts(map) => {
                let pairs: Vec<_> = map.iter().map(|(name, text)| format!("{name}:{text}")).collect();
                format!("map[{}]", pairs.join(" "))
            }
            Self::Map(map) => {
                let pairs: Vec<_> =
                    map.iter().map(|(name, value)| format!("{name}:{}", value.to_text())).collect();
                format!("map[{}]", pairs.join(" "))
            }
        }
    }

    /// A number, or a text that is one: Prometheus' functions take both.
    #[expect(clippy::cast_precision_loss, reason = "as Go converts")]
    pub(super) fn as_number(&self) -> Result<f64, String> {
        match self {
            Self::Int(value) => Ok(*value as f64),
            Self::Float(value) => Ok(*value),
            Self::Text(text) => text.trim().parse().map_err(|_| format!("{text:?} is no number")),
            _ => Err(format!("{} is no number", self.kind())),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "saturates")]
    pub(super) fn as_int(&self) -> Result<i64, String> {
        match self {
            Self::Int(value) => Ok(*value),
            Self::Float(value) => Ok(*value as i64),
            _ => Err(format!("{} is no whole number", self.kind())),
        }
    }

    pub(super) fn as_text(&self) -> Result<&str, String> {
        match self {
            Self::Text(text) => Ok(text),
            _ => Err(format!("{} is no text", self.kind())),
        }
    }

    /// The label of a series of a query's answer.
    pub(super) fn label(&self, name: &str) -> Result<String, String> {
        match self.field("Labels")? {
            Self::Texts(map) => Ok(map.get(name).cloned().unwrap_or_default()),
            _ => Err("this is no series".to_owned()),
        }
    }

    pub(super) fn compare(&self, other: &Self) -> Result<std::cmp::Ordering, String> {
        let wrong = || format!("{} and {} cannot be compared", self.kind(), other.kind());
        match (self, other) {
            (Self::Text(left), Self::Text(right)) => Ok(left.cmp(right)),
            (Self::Bool(left), Self::Bool(right)) => Ok(left.cmp(right)),
            (Self::Int(_) | Self::Float(_), Self::Int(_) | Self::Float(_)) => {
                Ok(self.as_number()?.partial_cmp(&other.as_number()?).unwrap_or(std::cmp::Ordering::Less))
            }
            _ => Err(wrong()),
        }
    }
}
