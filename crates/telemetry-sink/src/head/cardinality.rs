//! Which names and values the series in memory are made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::metrics::MetricsHead;
use crate::model::METRIC_NAME;

/// A name and how much of something there is of it.
pub(crate) type Ranked = (String, usize);

/// The largest contributors, each list largest first and at most as long as was asked.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Cardinality {
    pub(crate) series: usize,
    pub(crate) label_pairs: usize,
    pub(crate) series_by_metric: Vec<Ranked>,
    pub(crate) values_by_label: Vec<Ranked>,
    pub(crate) bytes_by_label: Vec<Ranked>,
    /// Named `label=value`.
    pub(crate) series_by_pair: Vec<Ranked>,
}

type Values = BTreeMap<Arc<str>, Vec<u32>>;

impl MetricsHead {
    pub(crate) fn cardinality(&self, most: usize) -> Cardinality {
        let index = self.index();
        let bytes = |values: &Values| values.iter().map(|(value, series)| value.len() * series.len()).sum();
        let pairs = index
            .iter()
            .flat_map(|(name, values)| values.iter().map(move |(value, series)| (name, value, series.len())));
        let mut largest: Vec<_> = pairs.collect();
        largest.sort_by_key(|(_, _, count)| std::cmp::Reverse(*count));
        Cardinality {
            series: self.series_count(),
            label_pairs: index.values().map(BTreeMap::len).sum(),
            series_by_metric: ranked(
                index.get(METRIC_NAME).into_iter().flatten().map(|(name, series)| (name, series.len())),
                most,
            ),
            values_by_label: ranked(index.iter().map(|(name, values)| (name, values.len())), most),
            bytes_by_label: ranked(index.iter().map(|(name, values)| (name, bytes(values))), most),
            series_by_pair: largest
                .into_iter()
                .take(most)
                .map(|(name, value, count)| (format!("{name}={value}"), count))
                .collect(),
        }
    }
}

fn ranked<'a>(counts: impl Iterator<Item = (&'a Arc<str>, usize)>, most: usize) -> Vec<Ranked> {
    let mut counts: Vec<_> = counts.collect();
    // Names in order where counts are equal, so that a page does not jump.
    counts.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(right.0)));
    counts.into_iter().take(most).map(|(name, count)| (name.to_string(), count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::SeriesLimits;
    use crate::model::Labels;

    #[test]
    fn the_largest_names_come_first() {
        let limits = SeriesLimits { total: 100, per_metric: 100, late_millis: 0 };
        let mut head = MetricsHead::new(1 << 20, limits);
        for (metric, zone) in [("up", "a"), ("up", "b"), ("up", "c"), ("down", "a")] {
            let labels: Labels = [("__name__", metric), ("zone", zone)].into_iter().collect();
            head.resolve(&labels, 0).unwrap();
        }
        let found = head.cardinality(2);
        assert_eq!((found.series, found.label_pairs), (4, 5));
        let named = |rows: &[(&str, usize)]| {
            rows.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect::<Vec<_>>()
        };
        assert_eq!(found.series_by_metric, named(&[("up", 3), ("down", 1)]));
        assert_eq!(found.values_by_label, named(&[("zone", 3), ("__name__", 2)]));
        assert_eq!(found.series_by_pair, named(&[("__name__=up", 3), ("zone=a", 2)]));
        assert_eq!(found.bytes_by_label, named(&[("__name__", 10), ("zone", 4)]));
    }
}
