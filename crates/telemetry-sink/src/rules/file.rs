//! Rule files: from YAML to rules that can be evaluated, or an error that says file, line, group, rule and what to change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use thiserror::Error;

use super::template::{ALERT_VARIABLES, Template};
use super::yaml::{self, Fields, Mistake, Node};
use crate::model::METRIC_NAME;
use crate::promql::{self, Expr, Type};

/// The label that carries an alert's name.
pub(crate) const ALERT_NAME: &str = "alertname";

/// Why a rule file was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{file}{}: {}{message}", line.map(|line| format!(":{line}")).unwrap_or_default(), prefix(place))]
pub(crate) struct RuleError {
    file: String,
    line: Option<usize>,
    /// The group and the rule, where they are known.
    place: String,
    message: String,
}

fn prefix(place: &str) -> String {
    if place.is_empty() { String::new() } else { format!("{place}: ") }
}

impl RuleError {
    pub(super) fn of_file(file: &str, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: None, place: String::new(), message: message.into() }
    }

    pub(super) fn at(file: &str, place: &str, mistake: Mistake) -> Self {
        Self {
            file: file.to_owned(),
            line: Some(mistake.line),
            place: place.to_owned(),
            message: mistake.message,
        }
    }
}

/// Rules that are evaluated one after the other at the same time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GroupSpec {
    pub(crate) file: String,
    pub(crate) name: String,
    /// Milliseconds; the server's own unless set.
    pub(crate) interval: Option<i64>,
    /// The most series or alerts that one rule may yield; zero for any number.
    pub(crate) limit: usize,
    /// Milliseconds; the server's own unless set.
    pub(crate) query_offset: Option<i64>,
    pub(crate) rules: Vec<RuleSpec>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RuleSpec {
    /// The recorded metric, or the alert.
    pub(crate) name: String,
    /// The expression as it was written.
    pub(crate) text: String,
    pub(crate) expr: Arc<Expr>,
    /// Those of the group included; a rule's own win.
    pub(crate) labels: BTreeMap<String, Template>,
    /// None for a recording rule.
    pub(crate) alerting: Option<Alerting>,
}

/// What only an alerting rule has.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Alerting {
    /// `for`, milliseconds.
    pub(crate) hold: i64,
    /// Milliseconds.
    pub(crate) keep_firing: i64,
    pub(crate) annotations: BTreeMap<String, Template>,
}

impl RuleSpec {
    pub(crate) fn kind(&self) -> &'static str {
        if self.alerting.is_some() { "alerting" } else { "recording" }
    }

    pub(crate) fn label_texts(&self) -> BTreeMap<&str, &str> {
        self.labels.iter().map(|(name, template)| (name.as_str(), template.text())).collect()
    }

    /// Whether this is the same rule in another version of its file.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.name == other.name && self.kind() == other.kind() && self.label_texts() == other.label_texts()
    }
}

/// Reads a rule file.
pub(crate) fn read(path: &Path) -> Result<Vec<GroupSpec>, RuleError> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| RuleError::of_file(&name, format!("cannot read the rule file: {error}")))?;
    parse(&name, &text)
}

/// Understands the text of a rule file; `file` is its name in errors.
pub(crate) fn parse(file: &str, text: &str) -> Result<Vec<GroupSpec>, RuleError> {
    let whole = |mistake| RuleError::at(file, "", mistake);
    let Some(root) = yaml::load(text).map_err(whole)? else { return Ok(Vec::new()) };
    let fields = root.fields("a rule file", &["groups"]).map_err(whole)?;
    let Some(list) = fields.get("groups") else { return Ok(Vec::new()) };
    let mut groups: Vec<GroupSpec> = Vec::new();
    for node in list.items("`groups`").map_err(whole)? {
        let group = group(file, node)?;
        if groups.iter().any(|known| known.name == group.name) {
            let message = format!("the group {:?} stands twice; give one another name", group.name);
            return Err(whole(Mistake::new(node.line, message)));
        }
        groups.push(group);
    }
    Ok(groups)
}

fn group(file: &str, node: &Node) -> Result<GroupSpec, RuleError> {
    const KEYS: [&str; 6] = ["name", "interval", "limit", "query_offset", "labels", "rules"];
    let plain = |mistake| RuleError::at(file, "", mistake);
    let fields = node.fields("a group", &KEYS).map_err(plain)?;
    let name = fields.required("name", "a group").map_err(plain)?.to_owned();
    let place = format!("group {name:?}");
    let inside = |mistake| RuleError::at(file, &place, mistake);
    let interval = fields.duration("interval").map_err(inside)?.filter(|interval| *interval > 0);
    let limit = fields.count("limit").map_err(inside)?.unwrap_or(0);
    let query_offset = fields.duration("query_offset").map_err(inside)?;
    let labels = labels(fields, "labels", &[]).map_err(inside)?;
    let mut rules = Vec::new();
    if let Some(list) = fields.get("rules") {
        for (index, node) in list.items("`rules`").map_err(inside)?.iter().enumerate() {
            let named = ["alert", "record"].iter().find_map(|key| {
                let entries = node.entries("a rule").ok()?;
                let (.., value) = entries.iter().find(|(known, ..)| known == key)?;
                value.text(key).ok().map(|name| format!(" ({name})"))
            });
            let place = format!("{place}, rule {}{}", index + 1, named.unwrap_or_default());
            rules.push(rule(node, &labels).map_err(|mistake| RuleError::at(file, &place, mistake))?);
        }
    }
    Ok(GroupSpec { file: file.to_owned(), name, interval, limit, query_offset, rules })
}

fn rule(node: &Node, of_group: &BTreeMap<String, Template>) -> Result<RuleSpec, Mistake> {
    const KEYS: [&str; 7] = ["record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations"];
    let fields = node.fields("a rule", &KEYS)?;
    let (record, alert) = (fields.text("record")?, fields.text("alert")?);
    let name = match (record, alert) {
        (Some(name), None) | (None, Some(name)) if !name.is_empty() => name.to_owned(),
        (Some(_), Some(_)) => {
            return Err(Mistake::new(fields.line, "`record` and `alert` exclude each other; keep one"));
        }
        _ => return Err(Mistake::new(fields.line, "a rule needs `record: METRIC` or `alert: NAME`")),
    };
    let text = fields.required("expr", "a rule")?.trim().to_owned();
    let line = fields.get("expr").map_or(fields.line, |node| node.line);
    let expr = promql::parse(&text)
        .map_err(|error| Mistake::new(line, format!("`expr` cannot be used: {error}")))?;
    if !matches!(expr.kind(), Type::Scalar | Type::Vector) {
        let kind = expr.kind().as_str();
        return Err(Mistake::new(
            line,
            format!("`expr` is a {kind}; a rule needs an instant vector or a scalar"),
        ));
    }
    let mut labels = of_group.clone();
    let alerting = if alert.is_some() {
        labels.extend(self::labels(fields, "labels", &ALERT_VARIABLES)?);
        Some(Alerting {
            hold: fields.duration("for")?.unwrap_or(0),
            keep_firing: fields.duration("keep_firing_for")?.unwrap_or(0),
            annotations: self::labels(fields, "annotations", &ALERT_VARIABLES)?,
        })
    } else {
        labels.extend(self::labels(fields, "labels", &[])?);
        only_recording(fields, &name)?;
        None
    };
    Ok(RuleSpec { name, text, expr: Arc::new(expr), labels, alerting })
}

fn only_recording(fields: Fields<'_>, name: &str) -> Result<(), Mistake> {
    if let Some((key, node)) =
        ["for", "keep_firing_for", "annotations"].iter().find_map(|key| Some((key, fields.get(key)?)))
    {
        return Err(Mistake::new(node.line, format!("`{key}` belongs to alerting rules; remove it")));
    }
    if !is_metric_name(name) {
        let message = format!("{name:?} is no metric name; use letters, digits, underscores and colons");
        return Err(Mistake::new(fields.line, message));
    }
    Ok(())
}

/// Names and templates. Without variables the texts are taken as they are: recording rules have no templates.
fn labels(fields: Fields<'_>, key: &str, variables: &[&str]) -> Result<BTreeMap<String, Template>, Mistake> {
    let mut labels = BTreeMap::new();
    for (name, text, line) in fields.texts(key)? {
        if !is_label_name(name) || name == METRIC_NAME || (key == "labels" && name == ALERT_NAME) {
            let message =
                format!("{name:?} cannot be a name in `{key}`; use letters, digits and underscores");
            return Err(Mistake::new(line, message));
        }
        let template = Template::parse(text, variables)
            .map_err(|error| Mistake::new(line, format!("`{key}.{name}`: {error}")))?;
        labels.insert(name.to_owned(), template);
    }
    Ok(labels)
}

pub(crate) fn is_label_name(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

fn is_metric_name(name: &str) -> bool {
    let parts: BTreeSet<char> = name.chars().collect();
    !name.starts_with(|first: char| first.is_ascii_digit())
        && parts.iter().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '_' | ':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_file_is_understood() {
        let groups = parse(
            "a.yml",
            "groups:\n- name: one\n  interval: 15s\n  limit: 10\n  query_offset: 1m\n  labels: {team: ops}\n  rules:\n  \
             - record: job:up:sum\n    expr: sum by (job) (up)\n  - alert: Down\n    expr: up == 0\n    for: 5m\n    \
             keep_firing_for: 1m\n    labels: {severity: page}\n    annotations: {summary: '{{ $labels.job }} is down'}\n",
        )
        .unwrap();
        let group = &groups[0];
        assert_eq!((group.interval, group.limit, group.query_offset), (Some(15_000), 10, Some(60_000)));
        assert_eq!(group.rules[0].label_texts(), BTreeMap::from([("team", "ops")]));
        let alerting = group.rules[1].alerting.as_ref().unwrap();
        assert_eq!((alerting.hold, alerting.keep_firing), (300_000, 60_000));
        assert_eq!(group.rules[1].label_texts(), BTreeMap::from([("severity", "page"), ("team", "ops")]));
    }

    #[test]
    fn mistakes_say_file_line_group_rule_and_what_to_change() {
        let rule =
            |lines: &str| format!("groups:\n- name: g\n  rules:\n  - {}\n", lines.replace('\n', "\n    "));
        for (text, expected) in [
            (
                rule("alert: A\nexpr: up ==\nfor: 1m"),
                "r.yml:5: group \"g\", rule 1 (A): `expr` cannot be used: parse error",
            ),
            (
                rule("alert: A\nexpr: up\nfro: 1m"),
                "r.yml:6: group \"g\", rule 1 (A): a rule has no key `fro`; it has `record`",
            ),
            (
                rule("alert: A\nexpr: up\nfor: soon"),
                "`for` must be a duration such as 30s or 5m, not \"soon\"",
            ),
            (rule("record: a\nexpr: up\nfor: 1m"), "`for` belongs to alerting rules; remove it"),
            (rule("record: a-b\nexpr: up"), "\"a-b\" is no metric name"),
            (rule("record: a\nalert: b\nexpr: up"), "exclude each other"),
            (rule("expr: up"), "a rule needs `record: METRIC` or `alert: NAME`"),
            (rule("alert: A\nexpr: up[5m]"), "`expr` is a range vector"),
            (rule("alert: A\nexpr: up\nlabels:\n  alertname: x"), "cannot be a name in `labels`"),
            (
                rule("alert: A\nexpr: up\nannotations:\n  text: '{{ $lables.x }}'"),
                "r.yml:7: group \"g\", rule 1 (A): `annotations.text`: undefined variable $lables",
            ),
            ("groups:\n- name: a\n- name: a\n".to_owned(), "the group \"a\" stands twice"),
            ("group: []\n".to_owned(), "r.yml:1: a rule file has no key `group`; it has `groups`"),
            ("groups:\n- rules: []\n".to_owned(), "a group needs the key `name`"),
        ] {
            let error = parse("r.yml", &text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}\n{error}");
        }
    }
}
