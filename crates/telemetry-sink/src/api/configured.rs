//! What is configured, in the words and the YAML of Prometheus and Alertmanager, for tools that read theirs.
//!
//! Secrets stand as `<secret>`; what only this server has is left out. What is shown is what is in force, not a file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Map, Value as JsonValue, json};

use super::Api;
use crate::config::Scrape;
use crate::promql::duration;
use crate::relabel::Step;

const SECRET: &str = "<secret>";
const MAX_TIMEOUT_MS: u64 = 10_000;

fn millis(millis: u64) -> String {
    duration(i64::try_from(millis).unwrap_or(i64::MAX))
}

/// Prometheus' `prometheus.yml`.
pub(super) fn prometheus(api: &Api) -> String {
    let mut jobs: BTreeMap<String, (Scrape, BTreeSet<String>)> = BTreeMap::new();
    for target in api.targets.all() {
        let settings = target.settings.as_ref();
        let job = jobs.entry(settings.name.clone()).or_insert_with(|| (settings.clone(), BTreeSet::new()));
        job.1.insert(target.discovered.get("__address__").cloned().unwrap_or_default());
    }
    let groups = api.rules.all();
    let files: BTreeSet<&str> = groups.iter().map(|group| group.spec.file.as_str()).collect();
    let mut shown = Map::new();
    let relays = api.notifier.relayed_to();
    if !relays.is_empty() {
        shown.insert(
            "alerting".to_owned(),
            json!({ "alertmanagers": [{ "static_configs": [{ "targets": relays }] }] }),
        );
    }
    if !files.is_empty() {
        shown.insert("rule_files".to_owned(), json!(files));
    }
    let jobs: Vec<_> = jobs.values().map(|(settings, addresses)| job(settings, addresses)).collect();
    if !jobs.is_empty() {
        shown.insert("scrape_configs".to_owned(), JsonValue::Array(jobs));
    }
    yaml(&JsonValue::Object(shown))
}

fn job(settings: &Scrape, addresses: &BTreeSet<String>) -> JsonValue {
    let mut shown = Map::new();
    let mut put = |name: &str, value: JsonValue| {
        shown.insert(name.to_owned(), value);
    };
    put("job_name", json!(settings.name));
    put("honor_labels", json!(settings.honor_labels));
    put("honor_timestamps", json!(settings.honor_timestamps));
    put("scrape_interval", json!(millis(settings.interval_ms)));
    put("scrape_timeout", json!(millis(settings.interval_ms.min(MAX_TIMEOUT_MS))));
    put("metrics_path", json!(settings.path));
    put("scheme", json!(settings.scheme));
    put("sample_limit", json!(settings.sample_limit));
    if !settings.params.is_empty() {
        put("params", json!(settings.params));
    }
    if let Some(name) = &settings.username {
        put("basic_auth", json!({ "username": name, "password": SECRET }));
    }
    if settings.bearer_token_file.is_some() {
        put("authorization", json!({ "type": "Bearer", "credentials": SECRET }));
    }
    if let Some(file) = &settings.ca_file {
        put("tls_config", json!({ "ca_file": file }));
    }
    if settings.files.is_empty() {
        let mut group = json!({ "targets": addresses });
        if !settings.labels.is_empty()
            && let Some(group) = group.as_object_mut()
        {
            group.insert("labels".to_owned(), json!(settings.labels));
        }
        put("static_configs", json!([group]));
    } else {
        put("file_sd_configs", json!([{ "files": settings.files }]));
    }
    for (name, list) in
        [("relabel_configs", &settings.relabel), ("metric_relabel_configs", &settings.metric_relabel)]
    {
        if !list.is_empty() {
            put(name, list.iter().map(step).collect());
        }
    }
    JsonValue::Object(shown)
}

fn step(step: &Step) -> JsonValue {
    let mut shown = json!({
        "source_labels": step.source_labels,
        "separator": step.separator,
        "regex": step.regex,
        "replacement": step.replacement,
        "action": format!("{:?}", step.action).to_ascii_lowercase(),
    });
    if let Some(shown) = shown.as_object_mut() {
        if step.modulus > 0 {
            shown.insert("modulus".to_owned(), json!(step.modulus));
        }
        if !step.target_label.is_empty() {
            shown.insert("target_label".to_owned(), json!(step.target_label));
        }
    }
    shown
}

/// A value as YAML in block style; texts that could be read as something else are quoted.
pub(super) fn yaml(value: &JsonValue) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    out
}

fn block(value: &JsonValue, level: usize, out: &mut String) {
    let indent = "  ".repeat(level);
    match value {
        JsonValue::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let _ = write!(out, "{indent}{}:", plain(name));
                below(value, level, out);
            }
        }
        JsonValue::Array(items) if !items.is_empty() => {
            for item in items {
                let mut text = String::new();
                block(item, level + 1, &mut text);
                // The first line of what is nested stands beside the dash.
                let _ = writeln!(out, "{indent}- {}", text.trim_start().trim_end_matches('\n'));
            }
        }
        other => {
            let _ = writeln!(out, "{indent}{}", scalar(other));
        }
    }
}

fn below(value: &JsonValue, level: usize, out: &mut String) {
    let is_empty = match value {
        JsonValue::Object(fields) => fields.is_empty(),
        JsonValue::Array(items) => items.is_empty(),
        _ => true,
    };
    if is_empty {
        let _ = writeln!(out, " {}", scalar(value));
    } else {
        out.push('\n');
        block(value, level + usize::from(value.is_object()), out);
    }
}

fn scalar(value: &JsonValue) -> String {
    value.as_str().map_or_else(|| value.to_string(), plain)
}

/// A text without quotes where it is certain to be read as that text.
fn plain(text: &str) -> String {
    let is_name = text.starts_with(|first: char| first.is_ascii_alphabetic() || matches!(first, '/' | '_'))
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "/._-".contains(letter));
    let is_word = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word));
    let is_duration = text.starts_with(|first: char| first.is_ascii_digit())
        && text.ends_with(['s', 'm', 'h', 'd', 'w', 'y'])
        && text.chars().all(|letter| letter.is_ascii_digit() || "smhdwy".contains(letter));
    // JSON's texts are YAML's, too.
    if (is_name && !is_word) || is_duration { text.to_owned() } else { JsonValue::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_is_nested_and_quoted_where_it_must_be() {
        let value = json!({
            "a": { "job": "x", "empty": [], "no": "yes", "count": 5, "t": "1m30s" },
            "list": ["<secret>", { "k": "v", "deep": [{ "x": "1e5" }] }, []],
        });
        let expected = "a:\n  count: 5\n  empty: []\n  job: x\n  \"no\": \"yes\"\n  t: 1m30s\nlist:\n- \"<secret>\"\n- deep:\n  - x: \"1e5\"\n  k: v\n- []\n";
        let written = yaml(&value);
        assert_eq!(written, expected);
        assert!(crate::rules::yaml::load(&written).is_ok_and(|read| read.is_some()));
    }
}
