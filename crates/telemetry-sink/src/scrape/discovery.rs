//! Targets from files, as Prometheus' `file_sd_configs` has them, and what relabelling makes of them.
//!
//! A file is a list of `{"targets": ["host:port"], "labels": {…}}`, in JSON where its name ends so and in YAML otherwise. The
//! files are read again at every [`REFRESH`], so that a change counts at once; while one cannot be read or understood, the
//! targets stay as they are.
//!
//! Invariants: a file has at most [`MAX_BYTES`], a job at most [`MAX_TARGETS`]; a target that is gone ends with staleness
//! markers, one that is unchanged goes on undisturbed.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::{Target, Targets, run};
use crate::config::Scrape;
use crate::relabel::{LabelMap, Steps};
use crate::rules::yaml::{self, Mistake, Node};
use crate::storage::Storage;

/// How often the files are looked at.
const REFRESH: Duration = Duration::from_secs(5);
const MAX_BYTES: u64 = 4 * 1024 * 1024;
const MAX_TARGETS: usize = 2000;

/// Some targets with labels in common.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Group {
    #[serde(default)]
    targets: Vec<String>,
    #[serde(default)]
    labels: LabelMap,
}

/// Keeps the targets of a job like its files until `shutdown`.
pub(crate) async fn follow(
    job: Arc<Scrape>,
    targets: Arc<Targets>,
    storage: Arc<Storage>,
    shutdown: CancellationToken,
) {
    let mut running: BTreeMap<LabelMap, (Arc<Target>, CancellationToken)> = BTreeMap::new();
    let (mut tasks, mut last_failure) = (JoinSet::new(), String::new());
    let mut ticks = tokio::time::interval(REFRESH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = tasks.join_next() => continue,
            _ = ticks.tick() => {}
        }
        let reading = Arc::clone(&job);
        let found = tokio::task::spawn_blocking(move || found(&reading)).await;
        let found = match found.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(found) => found,
            Err(error) => {
                metrics::counter!("quintet_sink_discovery_failures_total", "job" => job.name.clone())
                    .increment(1);
                if error != last_failure {
                    tracing::warn!(job = job.name, error, "the targets stay as they were");
                }
                last_failure = error;
                continue;
            }
        };
        last_failure.clear();
        running.retain(|key, (_, gone)| {
            let stays = found.contains_key(key);
            if !stays {
                gone.cancel();
            }
            stays
        });
        for (key, target) in found {
            running.entry(key).or_insert_with(|| {
                let (target, gone) = (Arc::new(target), CancellationToken::new());
                tasks.spawn(run(Arc::clone(&target), Arc::clone(&storage), shutdown.clone(), gone.clone()));
                (target, gone)
            });
        }
        targets.set(&job.name, running.values().map(|(target, _)| Arc::clone(target)).collect());
    }
    while tasks.join_next().await.is_some() {}
}

/// The targets that the files name and relabelling keeps, by all their labels.
fn found(job: &Arc<Scrape>) -> Result<BTreeMap<LabelMap, Target>, String> {
    let steps = Steps::new(&job.relabel)?;
    let mut found = BTreeMap::new();
    for pattern in &job.files {
        for path in crate::rules::matching(pattern).map_err(|error| error.to_string())? {
            for group in read(&path)? {
                for address in &group.targets {
                    let mut labels = group.labels.clone();
                    labels.insert("__meta_filepath".to_owned(), path.display().to_string());
                    let target = Target::found(job, &steps, address, labels)
                        .map_err(|error| format!("{}: {address}: {error}", path.display()))?;
                    found.extend(target.map(|target| (target.identity(), target)));
                    if found.len() > MAX_TARGETS {
                        return Err(format!("more than {MAX_TARGETS} targets; share them out by hashmod"));
                    }
                }
            }
        }
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<Group>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| failed(&error))?;
    let read = file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|error| failed(&error))?;
    if u64::try_from(read).is_ok_and(|read| read > MAX_BYTES) {
        return Err(failed(&format!("it is larger than {MAX_BYTES} bytes")));
    }
    if path.extension().is_some_and(|extension| extension == "json") {
        return serde_json::from_str(&text).map_err(|error| failed(&error));
    }
    groups(&text).map_err(|error| failed(&error))
}

fn groups(text: &str) -> Result<Vec<Group>, Mistake> {
    let Some(root) = yaml::load(text)? else { return Ok(Vec::new()) };
    root.items("a file of targets")?.iter().map(group).collect()
}

fn group(node: &Node) -> Result<Group, Mistake> {
    let fields = node.fields("a group of targets", &["targets", "labels"])?;
    let targets = match fields.get("targets") {
        Some(list) => {
            list.items("`targets`")?.iter().map(|node| Ok(node.text("a target")?.to_owned())).collect()
        }
        None => Ok(Vec::new()),
    };
    let labels = fields.texts("labels")?;
    let labels = labels.into_iter().map(|(name, value, _)| (name.to_owned(), value.to_owned())).collect();
    Ok(Group { targets: targets?, labels })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(directory: &Path, more: &str) -> Arc<Scrape> {
        let files = directory.join("*").display().to_string();
        Arc::new(toml::from_str(&format!("name = \"nodes\"\nfiles = [{files:?}]\n{more}")).unwrap())
    }

    #[test]
    fn files_in_json_and_yaml_name_targets_with_labels() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        write("a.json", r#"[{"targets": ["a:1", "b:2"], "labels": {"zone": "x"}}]"#);
        write("b.yml", "- targets:\n  - c:3\n  labels:\n    __metrics_path__: /other\n    __param_m: 1 2\n");
        let job = job(directory.path(), "scheme = \"https\"\nlabels = { env = \"prod\" }\n");
        let found = found(&job).unwrap();
        let shown: Vec<_> =
            found.values().map(|target| (target.url(), format!("{:?}", target.labels))).collect();
        assert_eq!(
            shown,
            [
                ("https://a:1/metrics", r#"{"env": "prod", "instance": "a:1", "job": "nodes", "zone": "x"}"#),
                ("https://b:2/metrics", r#"{"env": "prod", "instance": "b:2", "job": "nodes", "zone": "x"}"#),
                ("https://c:3/other?m=1+2", r#"{"env": "prod", "instance": "c:3", "job": "nodes"}"#),
            ]
            .map(|(url, labels)| (url.to_owned(), labels.to_owned()))
        );
        write("b.yml", "- target: [c:3]\n");
        assert!(
            super::found(&job).unwrap_err().contains("b.yml: line 1: a group of targets has no key `target`")
        );
    }

    #[test]
    fn relabelling_decides_what_is_scraped_and_how() {
        let directory = tempfile::tempdir().unwrap();
        let text = r#"[{"targets": ["a:1", "b:2"], "labels": {"__meta_rack": "7", "zone": "x"}}]"#;
        std::fs::write(directory.path().join("a.json"), text).unwrap();
        let job = job(
            directory.path(),
            r#"
            [[relabel]]
            source_labels = ["__address__"]
            regex = "b:.*"
            action = "drop"
            [[relabel]]
            source_labels = ["__meta_rack"]
            target_label = "rack"
            [[relabel]]
            target_label = "__scrape_interval__"
            replacement = "45s"
            [[relabel]]
            source_labels = ["__address__"]
            regex = "(.*):.*"
            target_label = "__address__"
            replacement = "${1}:9100"
            "#,
        );
        let found = found(&job).unwrap();
        let target = found.values().next().unwrap();
        assert_eq!((found.len(), target.url().as_str()), (1, "http://a:9100/metrics"));
        assert_eq!(target.interval, Duration::from_secs(45));
        assert_eq!(
            format!("{:?}", target.labels),
            r#"{"instance": "a:9100", "job": "nodes", "rack": "7", "zone": "x"}"#
        );
    }

    #[test]
    fn an_address_that_is_none_is_named() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("a.json"), r#"[{"targets": ["http://a:1/x"]}]"#).unwrap();
        let error = found(&job(directory.path(), "")).map(drop).unwrap_err();
        assert!(error.contains("a.json: http://a:1/x: "), "{error}");
    }
}
