//! What telemetry costs the four that are watched.
//!
//! Two fleets run side by side and take the same load in turn, a slice each, so that what disturbs the machine disturbs both. One
//! records a share of the traces, sends spans and log lines to its sink and is scraped; the other does nothing of it and has no
//! sink. Counted is the processor time of the gateway, core-api, the worker and the identity provider. The idle fleet's is left
//! out, since only one fleet's is read in a slice.

use std::path::Path;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::fleet::{BINARIES, Fleet, Settings, bin_dir};
use e2e::shop::Shop;
use http::StatusCode;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::fleet::{start, stop};
use crate::report::Report;
use crate::usage;

/// What a slice's load left to be written, sent and scraped.
const SETTLE: Duration = Duration::from_secs(2);
const SINK: &str = "telemetry-sink";

/// How much is measured.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Choice {
    /// The share of traces that is recorded.
    #[arg(long, default_value_t = 0.01)]
    sample_ratio: f64,
    /// Orders a second.
    #[arg(long, default_value_t = 150)]
    rate: u32,
    /// Seconds of a slice; metrics are scraped every ten.
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// Slices of each fleet.
    #[arg(long, default_value_t = 6)]
    slices: u32,
}

/// A fleet under load.
struct Watched {
    shop: std::sync::Arc<Shop>,
    name: &'static str,
    /// The processor time of an order in each slice, for each of the four, in milliseconds.
    slices: Vec<Vec<f64>>,
}

pub(crate) async fn measure(choice: Choice) -> anyhow::Result<Report> {
    let mut report = Report::new();
    report.setup("sample_ratio", json!(choice.sample_ratio));
    report.setup("orders_per_second", json!(choice.rate));
    report.setup("slices", json!({ "of_each": choice.slices, "seconds": choice.seconds }));
    let mut settings = Settings::default();
    for binary in BINARIES {
        let name = format!("QUINTET_{}__TELEMETRY__SAMPLE_RATIO", binary.replace('-', "_").to_uppercase());
        settings = settings.variable(name, choice.sample_ratio.to_string());
    }
    let told = settings.start().context("start the fleet with telemetry")?;
    let quiet = Settings::default().start().context("start the fleet without")?;
    let mut running = without_telemetry(&quiet).await?;
    let mut fleets = [Watched::new(&told, "with telemetry").await?, Watched::new(&quiet, "without").await?];
    let measured = slices(choice, [&told, &quiet], &mut fleets).await;
    for child in running.iter_mut().rev() {
        stop(child)?;
    }
    measured?;
    tell(&fleets, &mut report);
    Ok(report)
}

/// Starts the four again, with what `xtask up` configured but for telemetry.
async fn without_telemetry(fleet: &Fleet) -> anyhow::Result<Vec<Child>> {
    fleet.down()?;
    let directory = bin_dir()?;
    let mut running = Vec::new();
    for binary in BINARIES.into_iter().filter(|binary| *binary != SINK) {
        silence(&fleet.data().join(format!("config/{binary}.toml")))?;
        running.push(start(&directory, binary, fleet).await?.0);
    }
    Ok(running)
}

fn silence(config: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(config).with_context(|| format!("read {}", config.display()))?;
    let mut table: toml::Table = text.parse().context("the configuration is no TOML")?;
    table.insert(
        "telemetry".to_owned(),
        toml::Table::from_iter([("sample_ratio".to_owned(), 0.0.into())]).into(),
    );
    std::fs::write(config, table.to_string()).with_context(|| format!("write {}", config.display()))
}

impl Watched {
    async fn new(fleet: &Fleet, name: &'static str) -> anyhow::Result<Self> {
        let shop = Shop::open(&fleet.signed_in().await?, "bench", 10_000_000).await.context(name)?;
        Ok(Self { shop: shop.into(), name, slices: Vec::new() })
    }

    /// Offers orders at an even rate and waits for all of them.
    async fn offer(&self, prefix: &str, choice: Choice) -> anyhow::Result<()> {
        let (begun, mut orders) = (Instant::now(), JoinSet::new());
        for turn in 0..choice.rate * choice.seconds {
            tokio::time::sleep_until(begun + Duration::from_secs(1) * turn / choice.rate).await;
            let (shop, key) = (std::sync::Arc::clone(&self.shop), format!("{prefix}-{turn:08}"));
            orders.spawn(async move { shop.order(&key).await });
        }
        while let Some(order) = orders.join_next().await {
            let status = order?.with_context(|| self.name)?.status;
            ensure!(
                status == StatusCode::CREATED,
                "an order of the fleet {} was answered {status}",
                self.name
            );
        }
        tokio::time::sleep(SETTLE).await;
        Ok(())
    }
}

async fn slices(choice: Choice, fleets: [&Fleet; 2], watched: &mut [Watched; 2]) -> anyhow::Result<()> {
    let orders = f64::from(choice.rate * choice.seconds);
    // The first slice of each warms up.
    for slice in 0..=choice.slices {
        for (fleet, watched) in fleets.into_iter().zip(watched.iter_mut()) {
            let before = used(fleet)?;
            watched.offer(&format!("bench-{slice}"), choice).await?;
            let after = used(fleet)?;
            let spent = after.iter().zip(&before);
            let spent =
                spent.map(|(after, before)| after.saturating_sub(*before).as_secs_f64() * 1000.0 / orders);
            if slice > 0 {
                watched.slices.push(spent.collect());
            }
        }
    }
    Ok(())
}

/// Processor time so far of each of the four.
fn used(fleet: &Fleet) -> anyhow::Result<Vec<Duration>> {
    let watched = BINARIES.into_iter().filter(|binary| *binary != SINK);
    watched
        .map(|binary| {
            let pid = fleet.process(binary).with_context(|| format!("{binary} does not run"))?;
            let pid = u32::try_from(pid).context("a process has a number above zero")?;
            Ok(usage::cpu(&[pid])?.total())
        })
        .collect()
}

fn tell(fleets: &[Watched; 2], report: &mut Report) {
    let [told, quiet] = fleets;
    for watched in fleets {
        for (at, binary) in BINARIES.into_iter().filter(|binary| *binary != SINK).enumerate() {
            let each = watched.slices.iter().filter_map(|slice| slice.get(at).copied());
            report.row(json!({
                "fleet": watched.name,
                "of": binary,
                "milliseconds_an_order": median(each),
            }));
        }
        report
            .row(json!({ "fleet": watched.name, "of": "the four", "milliseconds_an_order": sums(watched) }));
    }
    // Slices that follow each other are compared, and the median of these counts.
    let pairs = sums(told).into_iter().zip(sums(quiet)).map(|(told, quiet)| 100.0 * (told / quiet - 1.0));
    report.at_most("processor time of the four that telemetry adds, %", median(pairs), 3.0);
}

fn sums(watched: &Watched) -> Vec<f64> {
    watched.slices.iter().map(|slice| slice.iter().sum()).collect()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().saturating_sub(1) / 2, values.len() / 2);
    f64::midpoint(values.get(low).copied().unwrap_or_default(), values.get(high).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_of_an_even_number_is_between() {
        assert!((median([4.0, 1.0, 2.0, 3.0].into_iter()) - 2.5).abs() < 1e-9);
        assert!((median([3.0, 1.0, 2.0].into_iter()) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn a_configuration_loses_its_sink_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("core-api.toml");
        std::fs::write(&path, "[telemetry]\notlp = \"unix:/s\"\n[listen]\nhttp = \"unix:/h\"\n").unwrap();
        silence(&path).unwrap();
        let table: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
        let telemetry = table.get("telemetry").unwrap().as_table().unwrap();
        assert!(telemetry.get("otlp").is_none() && telemetry.contains_key("sample_ratio"));
        assert!(table.contains_key("listen"));
    }
}
