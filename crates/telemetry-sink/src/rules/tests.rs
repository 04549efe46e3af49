//! Groups over a real storage, across restarts and reloads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::alert::State;
use super::file::{self, GroupSpec};
use super::group::{Group, Scene};
use super::{DEFAULTS, DEFAULTS_NAME, unit};
use crate::model::{Labels, METRIC_NAME, Matcher, MetricBatch, Sample, is_stale};
use crate::notify::engine::alerts_of;
use crate::promql::Source as _;
use crate::storage::Storage;
use crate::storage::disk::RealDisk;

const MINUTE: i64 = 60_000;
const START: i64 = 1_700_000_000_000;

fn specs(text: &str) -> Vec<GroupSpec> {
    file::parse("r.yml", text).unwrap()
}

fn group(rules: &str) -> Group {
    let text = format!("groups:\n- name: g\n  rules:\n{rules}");
    Group::new(specs(&text).remove(0), MINUTE, 0)
}

fn storage(directory: &std::path::Path) -> Arc<Storage> {
    crate::tests::storage(directory, Arc::new(RealDisk))
}

fn evaluate(group: &mut Group, storage: &Storage, time: i64) {
    evaluate_within(group, storage, time, 100_000);
}

fn evaluate_within(group: &mut Group, storage: &Storage, time: i64, max_samples: usize) {
    let scene = Scene {
        database: storage,
        max_samples,
        timeout: Duration::from_secs(10),
        external_labels: &BTreeMap::new(),
        external_url: "",
    };
    group.evaluate(time, &scene);
}

fn put(storage: &Storage, name: &str, instance: &str, time: i64, value: f64) {
    let labels: Labels = [(METRIC_NAME, name), ("instance", instance)].into_iter().collect();
    let batch = MetricBatch { samples: vec![Sample { labels, time, value }], ..MetricBatch::default() };
    assert_eq!(storage.append_metrics(&batch).unwrap().kept, 1);
}

fn states(group: &Group) -> Vec<(&str, State)> {
    let rules = group.rules.iter().flat_map(|rule| rule.alerts.values());
    let mut states: Vec<_> =
        rules.map(|alert| (alert.labels.get("instance").unwrap_or(""), alert.state)).collect();
    states.sort_by_key(|(instance, _)| instance.to_owned());
    states
}

fn last(storage: &Storage, metric: &str) -> Vec<(String, f64)> {
    let found = storage.select(&[Matcher::equal(METRIC_NAME, metric)], 0, i64::MAX, 100_000).unwrap();
    found.iter().map(|one| (format!("{:?}", one.labels), one.samples.last().unwrap().1)).collect()
}

const DOWN: &str = "  - alert: Down\n    expr: up == 0\n    for: 3m\n";

#[test]
fn an_alert_waits_for_its_time_fires_and_is_over() {
    let directory = tempfile::tempdir().unwrap();
    let storage = storage(directory.path());
    let mut group = group(DOWN);
    for minute in 0..3 {
        put(&storage, "up", "a", START + minute * MINUTE, 0.0);
        evaluate(&mut group, &storage, START + minute * MINUTE);
        assert_eq!(states(&group), [("a", State::Pending)]);
    }
    put(&storage, "up", "a", START + 3 * MINUTE, 0.0);
    evaluate(&mut group, &storage, START + 3 * MINUTE);
    assert_eq!(states(&group), [("a", State::Firing)]);
    let alerts = last(&storage, "ALERTS");
    assert_eq!(alerts.len(), 2, "{alerts:?}");
    assert!(alerts[0].0.contains("firing") && alerts[0].1.to_bits() == 1f64.to_bits());
    assert!(alerts[1].0.contains("pending") && is_stale(alerts[1].1), "the pending series ends");
    put(&storage, "up", "a", START + 4 * MINUTE, 1.0);
    evaluate(&mut group, &storage, START + 4 * MINUTE);
    assert_eq!(states(&group), [("a", State::Inactive)]);
    assert!(last(&storage, "ALERTS").iter().all(|(_, value)| is_stale(*value)));
    // It is told about for a while, then forgotten.
    evaluate(&mut group, &storage, START + 30 * MINUTE);
    assert_eq!(states(&group), []);
}

#[test]
fn a_recorded_series_that_vanishes_ends_and_a_failing_rule_does_not_stop_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let storage = storage(directory.path());
    let mut group = group(
        "  - record: twice\n    expr: 2 * load\n    labels: {by: rule}\n  - record: bad\n    expr: label_replace(load, \"instance\", \"x\", \"\", \"\")\n  \
         - record: next\n    expr: sum(twice)\n",
    );
    put(&storage, "load", "a", START, 3.0);
    put(&storage, "load", "b", START, 4.0);
    evaluate(&mut group, &storage, START);
    assert_eq!(
        group.rules[1].health.error.as_deref().map(|error| error.contains("same labelset")),
        Some(true)
    );
    assert_eq!(last(&storage, "next")[0].1.to_bits(), 14f64.to_bits(), "a rule sees those before it");
    assert!(last(&storage, "twice")[0].0.contains("by=\"rule\""));
    put(&storage, "load", "a", START + MINUTE, 5.0);
    put(&storage, "load", "b", START + MINUTE, crate::model::stale());
    evaluate(&mut group, &storage, START + MINUTE);
    let twice = last(&storage, "twice");
    assert_eq!((twice[0].1.to_bits(), is_stale(twice[1].1)), (10f64.to_bits(), true));
}

#[test]
fn a_rule_that_fails_ends_no_series_and_confirms_no_alert() {
    let directory = tempfile::tempdir().unwrap();
    let storage = storage(directory.path());
    let mut group = group("  - record: twice\n    expr: 2 * up\n  - alert: Down\n    expr: up == 0\n");
    for instance in ["a", "b"] {
        put(&storage, "up", instance, START, 0.0);
    }
    evaluate(&mut group, &storage, START);
    assert_eq!(alerts_of(&group, START, "").len(), 2);
    // A query that reads too much stands for any that fails.
    evaluate_within(&mut group, &storage, START + MINUTE, 1);
    assert!(group.rules.iter().all(|rule| rule.health.error.is_some()), "{:?}", group.rules[0].health);
    for metric in ["twice", "ALERTS", "ALERTS_FOR_STATE"] {
        let found = last(&storage, metric);
        assert!(found.len() == 2 && !found.iter().any(|(_, value)| is_stale(*value)), "{metric}: {found:?}");
    }
    assert_eq!(states(&group), [("a", State::Firing), ("b", State::Firing)]);
    assert_eq!(alerts_of(&group, START + MINUTE, ""), []);
    evaluate(&mut group, &storage, START + 2 * MINUTE);
    let again = alerts_of(&group, START + 2 * MINUTE, "");
    assert!(again.len() == 2 && again.iter().all(|alert| alert.starts_at == START), "{again:?}");
}

#[test]
fn the_time_spent_pending_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let rule = "  - alert: Down\n    expr: up == 0\n    for: 1h\n";
    {
        let storage = storage(directory.path());
        let mut group = group(rule);
        for minute in 0..=40 {
            put(&storage, "up", "a", START + minute * MINUTE, 0.0);
            evaluate(&mut group, &storage, START + minute * MINUTE);
        }
        storage.sync();
    }
    let storage = storage(directory.path());
    let mut group = group(rule);
    let now = START + 45 * MINUTE;
    put(&storage, "up", "a", now, 0.0);
    evaluate(&mut group, &storage, now);
    let alert = group.rules[0].alerts.values().next().unwrap();
    assert_eq!((alert.state, alert.active_at), (State::Pending, START + 5 * MINUTE));
    for minute in 46..=65 {
        put(&storage, "up", "a", START + minute * MINUTE, 0.0);
        evaluate(&mut group, &storage, START + minute * MINUTE);
    }
    assert_eq!(states(&group), [("a", State::Firing)]);
}

#[test]
fn an_alert_is_kept_firing_for_its_time_and_across_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let rule = "  - alert: Down\n    expr: up == 0\n    keep_firing_for: 10m\n    labels: {severity: page}\n    \
                annotations: {summary: '{{ $labels.instance }} is down'}\n";
    {
        let storage = storage(directory.path());
        let mut group = group(rule);
        put(&storage, "up", "a", START, 0.0);
        evaluate(&mut group, &storage, START);
        put(&storage, "up", "a", START + MINUTE, 1.0);
        evaluate(&mut group, &storage, START + MINUTE);
        assert_eq!(states(&group), [("a", State::Firing)]);
        storage.sync();
    }
    let storage = storage(directory.path());
    let mut group = group(rule);
    for minute in 3..=10 {
        put(&storage, "up", "a", START + minute * MINUTE, 1.0);
        evaluate(&mut group, &storage, START + minute * MINUTE);
        assert_eq!(states(&group), [("a", State::Firing)], "minute {minute}");
    }
    let alert = group.rules[0].alerts.values().next().unwrap();
    assert_eq!(alert.annotations["summary"], "a is down");
    evaluate(&mut group, &storage, START + 12 * MINUTE);
    assert_eq!(states(&group), [("a", State::Inactive)]);
}

#[test]
fn a_reload_keeps_the_alerts_of_unchanged_rules_and_ends_the_series_of_others() {
    let directory = tempfile::tempdir().unwrap();
    let storage = storage(directory.path());
    let mut old = group(&format!("{DOWN}  - record: twice\n    expr: 2 * up\n"));
    put(&storage, "up", "a", START, 0.0);
    evaluate(&mut old, &storage, START);
    // The threshold changed and a rule went away: the alert's time goes on.
    let mut new = group(&DOWN.replace("up == 0", "up < 1"));
    new.inherit(old);
    put(&storage, "up", "a", START + 3 * MINUTE, 0.0);
    evaluate(&mut new, &storage, START + 3 * MINUTE);
    assert_eq!(states(&new), [("a", State::Firing)]);
    assert!(is_stale(last(&storage, "twice")[0].1));
}

#[test]
fn the_limit_of_a_group_and_a_failing_query_leave_nothing_half_done() {
    let directory = tempfile::tempdir().unwrap();
    let storage = storage(directory.path());
    let text = "groups:\n- name: g\n  limit: 1\n  rules:\n  - alert: Down\n    expr: up == 0\n  - record: r\n    expr: up\n";
    let mut group = Group::new(specs(text).remove(0), MINUTE, 0);
    put(&storage, "up", "a", START, 0.0);
    put(&storage, "up", "b", START, 0.0);
    evaluate(&mut group, &storage, START);
    for rule in &group.rules {
        assert!(
            rule.health.error.as_ref().unwrap().contains("exceeded limit of 1 with 2"),
            "{:?}",
            rule.health
        );
    }
    assert!(
        states(&group).is_empty() && last(&storage, "ALERTS").is_empty() && last(&storage, "r").is_empty()
    );
}

#[test]
fn the_rules_that_ship_can_be_read() {
    let groups = file::parse(DEFAULTS_NAME, DEFAULTS).unwrap();
    let names: Vec<_> = groups.iter().flat_map(|group| &group.rules).map(|rule| rule.name.clone()).collect();
    let distinct: std::collections::BTreeSet<_> = names.iter().collect();
    assert!(names.len() >= 15 && distinct.len() == names.len(), "{names:?}");
    for rule in groups.iter().flat_map(|group| &group.rules) {
        let alerting = rule.alerting.as_ref().unwrap();
        assert!(
            alerting.annotations.contains_key("summary") && rule.labels.contains_key("severity"),
            "{}",
            rule.name
        );
    }
}

const UNIT: &str = r#"
rule_files: [rules.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    name: down
    external_labels: {region: eu}
    input_series:
      - series: 'up{instance="a", job="x"}'
        values: '1 0x10'
      - series: 'up{instance="b", job="x"}'
        values: '1x11'
    alert_rule_test:
      - eval_time: 3m
        alertname: Down
        exp_alerts: []
      - eval_time: 6m
        alertname: Down
        exp_alerts:
          - exp_labels: {severity: page, instance: a, job: x}
            exp_annotations: {summary: 'a of x in eu is down'}
    promql_expr_test:
      - expr: job:up:sum
        eval_time: 5m
        exp_samples:
          - labels: 'job:up:sum{job="x"}'
            value: 1
"#;

const UNIT_RULES: &str = "groups:\n- name: g\n  rules:\n  - record: job:up:sum\n    expr: sum by (job) (up)\n  - alert: Down\n    \
     expr: up == 0\n    for: 5m\n    labels: {severity: page}\n    annotations:\n      \
     summary: '{{ $labels.instance }} of {{ $labels.job }} in {{ $externalLabels.region }} is down'\n";

#[test]
fn unit_tests_of_rules_pass_and_say_what_they_expected() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tests.yml");
    std::fs::write(directory.path().join("rules.yml"), UNIT_RULES).unwrap();
    std::fs::write(&path, UNIT).unwrap();
    let report = unit::run(&path).unwrap();
    assert_eq!((report.checks, report.failures), (3, Vec::<String>::new()));
    std::fs::write(&path, UNIT.replace("value: 1\n", "value: 2\n").replace("in eu", "in us")).unwrap();
    let report = unit::run(&path).unwrap();
    assert_eq!(report.failures.len(), 2, "{:?}", report.failures);
    assert!(
        report.failures[0].contains("test 1 (down): line 17: alert Down at 6m"),
        "{}",
        report.failures[0]
    );
    std::fs::write(&path, UNIT.replace("rules.yml", "absent*.yml")).unwrap();
    assert!(unit::run(&path).unwrap_err().to_string().contains("no rule file fits"));
}
