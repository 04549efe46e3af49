//! Figures of several proxies over several rounds, and what they come to.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::proxy::{Proxy, Running};

/// What one round of one proxy gave: names with their unit last, and values.
pub(super) type Sample = Vec<(&'static str, f64)>;

/// All rounds of one figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    rounds: Vec<f64>,
}

impl Spread {
    fn of(rounds: Vec<f64>) -> Self {
        let mut sorted = rounds.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
        let last = sorted.len().saturating_sub(1);
        let median = f64::midpoint(at(last / 2), at(sorted.len() / 2));
        Self { median, min: at(0), max: at(last), rounds }
    }
}

/// One proxy's figures in one case.
#[derive(Debug)]
struct Row {
    proxy: Proxy,
    values: Vec<(&'static str, Spread)>,
}

/// One case of the comparison.
#[derive(Debug)]
pub(super) struct Figures {
    case: String,
    what: String,
    rows: Vec<Row>,
    absent: Vec<Absent>,
}

/// A proxy that has no part in a case, and why.
pub(super) type Absent = (Proxy, &'static str);

impl Figures {
    /// Measures every proxy once a round. Each second round goes the other way (A B C, C B A, …), so that a
    /// machine that slows down during a run slows all of them.
    pub(super) fn interleave<'a>(
        case: &str,
        what: &str,
        running: &[&'a Running],
        rounds: usize,
        mut measure: impl FnMut(&'a Running) -> anyhow::Result<Sample>,
    ) -> anyhow::Result<Self> {
        let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); running.len()];
        for round in 0..rounds {
            let mut order: Vec<_> = running.iter().copied().zip(&mut samples).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for (running, samples) in order {
                samples.push(measure(running)?);
            }
        }
        let rows = running.iter().zip(samples).map(|(it, samples)| Row::of(it.proxy, &samples)).collect();
        Ok(Self { case: case.to_owned(), what: what.to_owned(), rows, absent: Vec::new() })
    }

    /// Records who has no part in it.
    pub(super) fn without(mut self, absent: Vec<Absent>) -> Self {
        self.absent = absent;
        self
    }

    /// Why a proxy has no figures.
    pub(super) fn absence(&self, proxy: Proxy) -> Option<&'static str> {
        self.absent.iter().find(|(absent, _)| *absent == proxy).map(|(_, why)| *why)
    }

    /// Whether these are the figures of this case.
    pub(super) fn is(&self, case: &str) -> bool {
        self.case == case
    }

    /// The median of one figure of one proxy.
    pub(super) fn median(&self, proxy: Proxy, figure: &str) -> Option<f64> {
        let row = self.rows.iter().find(|row| row.proxy == proxy)?;
        row.values.iter().find(|(name, _)| *name == figure).map(|(_, spread)| spread.median)
    }

    /// The smallest median of one figure among these proxies.
    pub(super) fn least(&self, proxies: &[Proxy], figure: &str) -> Option<f64> {
        proxies.iter().filter_map(|&proxy| self.median(proxy, figure)).min_by(f64::total_cmp)
    }

    /// What the report keeps: medians with their rounds, and ours divided by each peer's.
    pub(super) fn json(&self) -> Value {
        let proxies: Map<String, Value> = self
            .rows
            .iter()
            .map(|row| {
                let values: Map<String, Value> =
                    row.values.iter().map(|(name, spread)| ((*name).to_owned(), json!(spread))).collect();
                (row.proxy.name().to_owned(), Value::Object(values))
            })
            .collect();
        let absent: Map<String, Value> =
            self.absent.iter().map(|(proxy, why)| (proxy.name().to_owned(), json!(why))).collect();
        json!({
            "case": self.case,
            "what": self.what,
            "proxies": proxies,
            "absent": absent,
            "ours_to_peer": self.ratios(),
        })
    }

    fn ratios(&self) -> Map<String, Value> {
        let Some(ours) = self.rows.iter().find(|row| row.proxy == Proxy::Ours) else { return Map::new() };
        let against = |peer: &Row| -> Map<String, Value> {
            let both = ours.values.iter().filter_map(|(name, spread)| {
                let peer = self.median(peer.proxy, name)?;
                (peer != 0.0).then(|| ((*name).to_owned(), json!(spread.median / peer)))
            });
            both.collect()
        };
        let peers = self.rows.iter().filter(|row| row.proxy != Proxy::Ours);
        peers.map(|peer| (peer.proxy.name().to_owned(), Value::Object(against(peer)))).collect()
    }

    /// A table for the terminal: a line for each figure, medians with the extremes below them.
    pub(super) fn table(&self) -> String {
        let mut lines = vec![format!("\n{}: {}", self.case, self.what)];
        let heads: Vec<String> = self.rows.iter().map(|row| format!("{:>24}", row.proxy.name())).collect();
        lines.push(format!("  {:<26}{}", "median (min–max)", heads.concat()));
        let names: Vec<&str> = self
            .rows
            .iter()
            .max_by_key(|row| row.values.len())
            .map(|row| row.values.iter().map(|(name, _)| *name).collect())
            .unwrap_or_default();
        for name in names {
            let cells: Vec<String> = self.rows.iter().map(|row| format!("{:>24}", row.cell(name))).collect();
            lines.push(format!("  {name:<26}{}", cells.concat()));
        }
        for (proxy, why) in &self.absent {
            lines.push(format!("  {} NOT MEASURED: {why}", proxy.name()));
        }
        lines.join("\n")
    }
}

impl Row {
    fn of(proxy: Proxy, samples: &[Sample]) -> Self {
        let mut names: Vec<&'static str> = Vec::new();
        for (name, _) in samples.iter().flatten() {
            if !names.contains(name) {
                names.push(name);
            }
        }
        let values = names.into_iter().map(|name| {
            let rounds =
                samples.iter().flatten().filter(|(other, _)| *other == name).map(|(_, value)| *value);
            (name, Spread::of(rounds.collect()))
        });
        Self { proxy, values: values.collect() }
    }

    fn cell(&self, figure: &str) -> String {
        match self.values.iter().find(|(name, _)| *name == figure) {
            Some((_, one)) if one.rounds.len() == 1 => shown(one.median),
            Some((_, all)) => format!("{} ({}–{})", shown(all.median), shown(all.min), shown(all.max)),
            None => "-".to_owned(),
        }
    }
}

fn shown(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 100.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        let row = |proxy, values: [f64; 3]| Row::of(proxy, &values.map(|value| vec![("cpu_us", value)]));
        Figures {
            case: "case".to_owned(),
            what: "what".to_owned(),
            rows: vec![
                row(Proxy::Ours, [12.0, 10.0, 11.0]),
                row(Proxy::Nginx, [22.0, 20.0, 90.0]),
                row(Proxy::Haproxy, [5.5, 5.5, 5.5]),
            ],
            absent: vec![(Proxy::Caddy, "has no such thing")],
        }
    }

    #[test]
    fn median_is_not_moved_by_one_bad_round() {
        assert_eq!(figures().median(Proxy::Nginx, "cpu_us"), Some(22.0));
    }

    #[test]
    fn median_of_an_even_number_of_rounds_lies_between_the_middle_two() {
        let spread = Spread::of(vec![4.0, 1.0, 3.0, 2.0]);
        assert_eq!((spread.median, spread.min, spread.max), (2.5, 1.0, 4.0));
    }

    #[test]
    fn ratio_is_ours_to_the_peers_median() {
        let json = figures().json();
        assert_eq!(json.pointer("/ours_to_peer/nginx/cpu_us"), Some(&json!(0.5)));
        assert_eq!(json.pointer("/ours_to_peer/haproxy/cpu_us"), Some(&json!(2.0)));
        assert_eq!(json.pointer("/proxies/nginx/cpu_us/rounds/2"), Some(&json!(90.0)));
    }

    #[test]
    fn who_has_no_part_is_named_with_the_reason() {
        let figures = figures();
        assert_eq!(figures.absence(Proxy::Caddy), Some("has no such thing"));
        assert_eq!(figures.absence(Proxy::Nginx), None);
        assert_eq!(figures.json().pointer("/absent/caddy"), Some(&json!("has no such thing")));
        assert!(figures.table().ends_with("caddy NOT MEASURED: has no such thing"));
    }

    #[test]
    fn least_looks_only_at_the_proxies_named() {
        assert_eq!(figures().least(&[Proxy::Ours, Proxy::Nginx], "cpu_us"), Some(11.0));
        assert_eq!(figures().least(&[Proxy::Caddy], "cpu_us"), None);
    }
}
