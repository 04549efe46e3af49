//! Reads the Prometheus text of `/metrics`, as far as this program writes it.

use std::collections::HashMap;

/// Series by name and by the route or upstream that they are of.
#[derive(Debug, Default)]
pub(super) struct Exposition(HashMap<(String, String), Vec<Series>>);

#[derive(Debug)]
struct Series {
    labels: Vec<(String, String)>,
    value: f64,
}

impl Exposition {
    /// Lines that are no samples are skipped.
    pub(super) fn parse(text: &str) -> Self {
        let mut all = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, labels, value)) = sample(line) else { continue };
            let of = labels.iter().find(|(name, _)| matches!(name.as_str(), "route" | "upstream"));
            let of = of.map(|(_, value)| value.clone()).unwrap_or_default();
            all.0.entry((name.to_owned(), of)).or_default().push(Series { labels, value });
        }
        all
    }

    fn series(&self, name: &str, of: &str) -> &[Series] {
        self.0.get(&(name.to_owned(), of.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// The sum of the series of `of`, a route or upstream; empty for those of neither.
    pub(super) fn sum(&self, name: &str, of: &str) -> f64 {
        self.series(name, of).iter().map(|series| series.value).sum()
    }

    /// The sum of those whose label `label` is one of `values`.
    pub(super) fn sum_where(&self, name: &str, of: &str, label: &str, values: &[&str]) -> f64 {
        let chosen = self.series(name, of).iter().filter(|series| {
            series.labels.iter().any(|(name, value)| name == label && values.contains(&value.as_str()))
        });
        chosen.map(|series| series.value).sum()
    }

    /// The buckets of a histogram, ascending: upper bound and how many observations are at most that.
    pub(super) fn buckets(&self, name: &str, of: &str) -> Vec<(f64, f64)> {
        let bound = |series: &Series| {
            let (_, bound) = series.labels.iter().find(|(name, _)| name == "le")?;
            Some((bound.parse().ok()?, series.value))
        };
        let mut buckets: Vec<(f64, f64)> =
            self.series(&format!("{name}_bucket"), of).iter().filter_map(bound).collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        buckets
    }
}

type Sample<'a> = (&'a str, Vec<(String, String)>, f64);

fn sample(line: &str) -> Option<Sample<'_>> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    Some((name, labels, rest.split_ascii_whitespace().next()?.parse().ok()?))
}

/// `name="value",…}` and what follows it.
fn labels(text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once("=\"")?;
        let (value, after) = quoted(after)?;
        labels.push((name.to_owned(), value));
        rest = after;
    }
}

/// A value up to its closing quotation mark, without its escapes.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# TYPE requests counter\n\
        requests{route=\"a\",status_class=\"2xx\"} 7\nrequests{route=\"a\",status_class=\"5xx\"} 2\n\
        requests{status_class=\"2xx\",route=\"b\\\"{}, \\\\n\\n\"} 1.5\nplain 3\nbroken{a=\"b\nbroken2{} x\n\
        took_bucket{route=\"a\",le=\"+Inf\"} 9\ntook_bucket{route=\"a\",le=\"0.5\"} 4\n";

    #[test]
    fn series_are_found_by_name_route_and_label() {
        let all = Exposition::parse(TEXT);
        assert!((all.sum("requests", "a") - 9.0).abs() < f64::EPSILON);
        assert!((all.sum_where("requests", "a", "status_class", &["5xx"]) - 2.0).abs() < f64::EPSILON);
        assert!((all.sum("requests", "b\"{}, \\n\n") - 1.5).abs() < f64::EPSILON, "{all:?}");
        assert!((all.sum("plain", "") - 3.0).abs() < f64::EPSILON);
        assert!(all.sum("requests", "c").abs() < f64::EPSILON);
        assert_eq!(all.0.len(), 4, "what is no sample is skipped: {all:?}");
    }

    #[test]
    fn buckets_are_in_the_order_of_their_bounds() {
        assert_eq!(Exposition::parse(TEXT).buckets("took", "a"), [(0.5, 4.0), (f64::INFINITY, 9.0)]);
    }
}
