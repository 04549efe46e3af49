//! Label sets: what names a series or a stream.

use std::fmt;
use std::sync::Arc;

/// The label that carries a metric's name.
pub(crate) const METRIC_NAME: &str = "__name__";

/// A sorted, shared label set; cloning is one reference count.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Labels(Arc<[(Arc<str>, Arc<str>)]>);

impl Labels {
    pub(crate) fn empty() -> Self {
        Self(Arc::from([]))
    }

    /// Wraps pairs that are already sorted, unique and non-empty.
    pub(crate) fn from_sorted(pairs: Vec<(Arc<str>, Arc<str>)>) -> Self {
        Self(Arc::from(pairs))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.binary_search_by(|(key, _)| key.as_ref().cmp(name)).ok()?;
        self.0.get(found).map(|(_, value)| value.as_ref())
    }

    /// The metric's name, empty where the set has none.
    pub(crate) fn name(&self) -> &str {
        self.get(METRIC_NAME).unwrap_or("")
    }

    /// The order by the metric's name first, in which series that are asked for together stand together.
    pub(crate) fn by_metric(left: &Self, right: &Self) -> std::cmp::Ordering {
        left.name().cmp(right.name()).then_with(|| left.cmp(right))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    pub(crate) fn shared(&self) -> &[(Arc<str>, Arc<str>)] {
        &self.0
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Where the set lies: of sets that exist at the same time, clones of one have the same.
    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.0).cast::<()>().addr()
    }

    /// Whether nobody else holds the set.
    pub(crate) fn is_alone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// A copy with only the labels for which `keep` holds.
    pub(crate) fn filtered(&self, keep: impl Fn(&str) -> bool) -> Self {
        Self(self.0.iter().filter(|(name, _)| keep(name)).cloned().collect())
    }

    /// A copy without the metric name, as every operation that changes a value's meaning returns.
    pub(crate) fn without_name(&self) -> Self {
        if self.get(METRIC_NAME).is_none() {
            return self.clone();
        }
        self.filtered(|name| name != METRIC_NAME)
    }

    pub(crate) fn to_builder(&self) -> LabelsBuilder {
        LabelsBuilder { pairs: self.0.to_vec() }
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, (name, value)) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{name}={value:?}")?;
        }
        f.write_str("}")
    }
}

/// Collects labels in any order; the last value of a repeated name wins.
#[derive(Debug, Default, Clone)]
pub(crate) struct LabelsBuilder {
    pairs: Vec<(Arc<str>, Arc<str>)>,
}

impl LabelsBuilder {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) -> &mut Self {
        match self.pairs.iter_mut().find(|(key, _)| key.as_ref() == name) {
            Some(pair) => pair.1 = Arc::from(value),
            None => self.pairs.push((Arc::from(name), Arc::from(value))),
        }
        self
    }

    pub(crate) fn build(&self) -> Labels {
        let mut pairs: Vec<_> = self.pairs.iter().filter(|(_, value)| !value.is_empty()).cloned().collect();
        pairs.sort_unstable_by(|left, right| left.0.cmp(&right.0));
        Labels::from_sorted(pairs)
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Labels {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> Self {
        let mut builder = LabelsBuilder::new();
        for (name, value) in pairs {
            builder.set(name, value);
        }
        builder.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_unique_and_never_empty() {
        let labels: Labels = [("b", "1"), ("a", "2"), ("b", "3"), ("c", "")].into_iter().collect();
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "2"), ("b", "3")]);
        assert_eq!(labels.get("c"), None);
    }
}
