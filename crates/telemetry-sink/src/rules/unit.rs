//! Unit tests of rules, in the format of `promtool test rules`.
//!
//! Time starts at zero. The input series are all there from the start, each rule sees those at or before its time. Groups are
//! evaluated at each multiple of `evaluation_interval`, whatever their own interval is, as promtool does it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use super::alert::State;
use super::file::{self, GroupSpec, RuleError};
use super::group::{Database, Group, Scene};
use super::yaml::{self, Fields, Mistake, Node};
use crate::head::metrics::{Selected, TooManySamples};
use crate::model::matcher::all_accept;
use crate::model::{Labels, Matcher, MetricBatch};
use crate::promql::notation::{self, Values};
use crate::promql::{self, Source, format_float};
use crate::storage::{AppendError, Stored};

const DEFAULT_INTERVAL: i64 = 60_000;
const MAX_EVALUATIONS: i64 = 1_000_000;
const MAX_SAMPLES: usize = 50_000_000;
const TIMEOUT: Duration = Duration::from_mins(1);

/// What a file of tests came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) checks: usize,
    /// One text for each check that failed.
    pub(crate) failures: Vec<String>,
}

/// Series in memory.
#[derive(Default)]
struct Memory(RwLock<BTreeMap<Labels, Vec<(i64, f64)>>>);

impl Source for Memory {
    fn select(
        &self,
        matchers: &[Matcher],
        from: i64,
        to: i64,
        max_samples: usize,
    ) -> Result<Vec<Selected>, TooManySamples> {
        let series = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut left = max_samples;
        let mut found = Vec::new();
        for (labels, samples) in series.iter().filter(|(labels, _)| all_accept(matchers, labels)) {
            let within = |(time, _): &&(i64, f64)| *time > from && *time <= to;
            let samples: Vec<_> = samples.iter().filter(within).copied().collect();
            left = left.checked_sub(samples.len()).ok_or(TooManySamples)?;
            if !samples.is_empty() {
                found.push(Selected { labels: labels.clone(), samples });
            }
        }
        Ok(found)
    }
}

impl Database for Memory {
    fn append(&self, batch: &MetricBatch) -> Result<Stored, AppendError> {
        let mut series = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut stored = Stored::default();
        for sample in &batch.samples {
            let samples = series.entry(sample.labels.clone()).or_default();
            if samples.last().is_none_or(|(last, _)| *last < sample.time) {
                samples.push((sample.time, sample.value));
                stored.kept += 1;
            } else {
                stored.out_of_order += 1;
            }
        }
        Ok(stored)
    }
}

/// Runs the tests of a file; the error is one of the files themselves.
pub(crate) fn run(path: &Path) -> Result<Report, RuleError> {
    const KEYS: [&str; 5] =
        ["rule_files", "evaluation_interval", "group_eval_order", "fuzzy_compare", "tests"];
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| RuleError::of_file(&name, format!("cannot read the file of tests: {error}")))?;
    let whole = |mistake| RuleError::at(&name, "", mistake);
    let Some(root) = yaml::load(&text).map_err(whole)? else {
        return Err(RuleError::of_file(&name, "the file is empty; it needs `rule_files` and `tests`"));
    };
    let fields = root.fields("a file of tests", &KEYS).map_err(whole)?;
    let interval = fields.duration("evaluation_interval").map_err(whole)?.filter(|one| *one > 0);
    let setting = Setting {
        interval: interval.unwrap_or(DEFAULT_INTERVAL),
        fuzzy: fields.text("fuzzy_compare").map_err(whole)? == Some("true"),
    };
    let mut groups = rules(path, fields, &name)?;
    order(&mut groups, fields).map_err(whole)?;
    let mut report = Report::default();
    if let Some(tests) = fields.get("tests") {
        for (index, node) in tests.items("`tests`").map_err(whole)?.iter().enumerate() {
            let place = format!("test {}", index + 1);
            test(node, &place, &groups, setting, &mut report)
                .map_err(|mistake| RuleError::at(&name, &place, mistake))?;
        }
    }
    Ok(report)
}

fn rules(path: &Path, fields: Fields<'_>, name: &str) -> Result<Vec<GroupSpec>, RuleError> {
    let mut groups = Vec::new();
    let Some(list) = fields.get("rule_files") else { return Ok(groups) };
    for node in list.items("`rule_files`").map_err(|mistake| RuleError::at(name, "", mistake))? {
        let pattern = node.text("a rule file").map_err(|mistake| RuleError::at(name, "", mistake))?;
        let pattern = path.parent().unwrap_or(Path::new(".")).join(pattern);
        let found = super::matching(&pattern)?;
        if found.is_empty() {
            let message = format!("no rule file fits {}", pattern.display());
            return Err(RuleError::at(name, "", Mistake::new(node.line, message)));
        }
        for file in found {
            groups.extend(file::read(&file)?);
        }
    }
    Ok(groups)
}

/// Puts the groups into the order of `group_eval_order`; those that it does not name come after.
fn order(groups: &mut [GroupSpec], fields: Fields<'_>) -> Result<(), Mistake> {
    let Some(list) = fields.get("group_eval_order") else { return Ok(()) };
    let names = list
        .items("`group_eval_order`")?
        .iter()
        .map(|node| node.text("a group"))
        .collect::<Result<Vec<_>, _>>()?;
    groups.sort_by_key(|group| names.iter().position(|name| *name == group.name).unwrap_or(usize::MAX));
    Ok(())
}

#[derive(Clone, Copy)]
struct Setting {
    interval: i64,
    fuzzy: bool,
}

fn test(
    node: &Node,
    place: &str,
    groups: &[GroupSpec],
    setting: Setting,
    report: &mut Report,
) -> Result<(), Mistake> {
    const KEYS: [&str; 7] = [
        "name",
        "interval",
        "input_series",
        "alert_rule_test",
        "promql_expr_test",
        "external_labels",
        "external_url",
    ];
    let fields = node.fields("a test", &KEYS)?;
    let named = fields.text("name")?.map_or_else(|| place.to_owned(), |name| format!("{place} ({name})"));
    let step = fields.duration("interval")?.filter(|step| *step > 0).unwrap_or(setting.interval);
    let memory = Memory::default();
    load(fields, step, &memory)?;
    let labels: BTreeMap<String, String> = fields
        .texts("external_labels")?
        .into_iter()
        .map(|(name, text, _)| (name.to_owned(), text.to_owned()))
        .collect();
    let scene = Scene {
        database: &memory,
        max_samples: MAX_SAMPLES,
        timeout: TIMEOUT,
        external_labels: &labels,
        external_url: fields.text("external_url")?.unwrap_or_default(),
    };
    let mut alerts =
        list(fields, "alert_rule_test")?.iter().map(AlertTest::read).collect::<Result<Vec<_>, _>>()?;
    alerts.sort_by_key(|alert| alert.at);
    let queries =
        list(fields, "promql_expr_test")?.iter().map(QueryTest::read).collect::<Result<Vec<_>, _>>()?;
    let last = alerts.iter().map(|one| one.at).chain(queries.iter().map(|one| one.at)).max().unwrap_or(0);
    if last / setting.interval > MAX_EVALUATIONS {
        return Err(Mistake::new(
            fields.line,
            format!("the test needs more than {MAX_EVALUATIONS} evaluations"),
        ));
    }
    let mut groups: Vec<Group> =
        groups.iter().cloned().map(|spec| Group::new(spec, setting.interval, 0)).collect();
    let mut alerts = alerts.into_iter().peekable();
    let mut time = 0;
    while time <= last {
        for group in &mut groups {
            group.evaluate(time, &scene);
            for rule in group.rules.iter().filter(|rule| rule.health.error.is_some()) {
                let error = rule.health.error.clone().unwrap_or_default();
                report.failures.push(format!(
                    "{named}: rule {} of group {:?} failed at {}: {error}",
                    rule.spec.name,
                    group.spec.name,
                    shown(time)
                ));
            }
        }
        while let Some(alert) = alerts.next_if(|alert| alert.at < time + setting.interval) {
            report.checks += 1;
            report.failures.extend(alert.check(&groups).err().map(|failure| format!("{named}: {failure}")));
        }
        time += setting.interval;
    }
    for query in queries {
        report.checks += 1;
        report
            .failures
            .extend(query.check(&scene, setting.fuzzy).err().map(|failure| format!("{named}: {failure}")));
    }
    Ok(())
}

fn shown(millis: i64) -> String {
    let seconds = millis / 1000;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, 0) => format!("{minutes}m"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

fn list<'a>(fields: Fields<'a>, key: &str) -> Result<&'a [Node], Mistake> {
    fields.get(key).map_or(Ok(&[]), |node| node.items(&format!("`{key}`")))
}

fn load(fields: Fields<'_>, step: i64, memory: &Memory) -> Result<(), Mistake> {
    let mut series = memory.0.write().unwrap_or_else(PoisonError::into_inner);
    for node in list(fields, "input_series")? {
        let one = node.fields("an input series", &["series", "values"])?;
        let wrong = |message: String| Mistake::new(node.line, message);
        let (labels, rest) = notation::labels(one.required("series", "an input series")?).map_err(wrong)?;
        if !rest.trim().is_empty() {
            return Err(wrong(format!("unexpected {rest:?} after the labels of a series")));
        }
        let values = notation::values(one.required("values", "an input series")?).map_err(wrong)?;
        match values.timed(step) {
            Values::Floats(samples) => series.insert(labels, samples),
            Values::LeftOut(what) => return Err(wrong(format!("{what} are not stored by this server"))),
        };
    }
    Ok(())
}

fn eval_time(fields: Fields<'_>, what: &str) -> Result<i64, Mistake> {
    fields.required("eval_time", what)?;
    Ok(fields.duration("eval_time")?.unwrap_or(0))
}

type Texts = BTreeMap<String, String>;

/// Which alerts fire at a time.
struct AlertTest {
    line: usize,
    at: i64,
    name: String,
    group: Option<String>,
    expected: Vec<(Texts, Texts)>,
}

impl AlertTest {
    fn read(node: &Node) -> Result<Self, Mistake> {
        let fields =
            node.fields("a test of alerts", &["eval_time", "alertname", "groupname", "exp_alerts"])?;
        let name = fields.required("alertname", "a test of alerts")?.to_owned();
        let texts = |fields: Fields<'_>, key: &str| -> Result<Texts, Mistake> {
            let texts = fields.texts(key)?;
            Ok(texts.into_iter().map(|(name, text, _)| (name.to_owned(), text.to_owned())).collect())
        };
        let mut expected = Vec::new();
        for node in list(fields, "exp_alerts")? {
            let alert = node.fields("an expected alert", &["exp_labels", "exp_annotations"])?;
            let mut labels = texts(alert, "exp_labels")?;
            labels.insert(file::ALERT_NAME.to_owned(), name.clone());
            expected.push((labels, texts(alert, "exp_annotations")?));
        }
        expected.sort();
        let group = fields.text("groupname")?.map(str::to_owned);
        Ok(Self { line: node.line, at: eval_time(fields, "a test of alerts")?, name, group, expected })
    }

    fn check(&self, groups: &[Group]) -> Result<(), String> {
        let groups =
            groups.iter().filter(|group| self.group.as_ref().is_none_or(|name| *name == group.spec.name));
        let rules = groups.flat_map(|group| &group.rules);
        let mut known = false;
        let mut found: Vec<(Texts, Texts)> = Vec::new();
        for rule in rules.filter(|rule| rule.spec.name == self.name && rule.spec.alerting.is_some()) {
            known = true;
            let firing = rule.alerts.values().filter(|alert| alert.state == State::Firing);
            found.extend(firing.map(|alert| {
                let labels = alert.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
                (labels.collect(), alert.annotations.clone())
            }));
        }
        found.sort();
        if found == self.expected {
            return Ok(());
        }
        let hint = if known { "" } else { " (there is no such alert)" };
        Err(format!(
            "line {}: alert {} at {}{hint}:\n  expected: {:?}\n  got:      {found:?}",
            self.line,
            self.name,
            shown(self.at),
            self.expected
        ))
    }
}

/// What a query answers at a time.
struct QueryTest {
    line: usize,
    at: i64,
    expr: String,
    expected: Vec<(Labels, f64)>,
}

impl QueryTest {
    fn read(node: &Node) -> Result<Self, Mistake> {
        let fields = node.fields("a test of a query", &["expr", "eval_time", "exp_samples"])?;
        let mut expected = Vec::new();
        for node in list(fields, "exp_samples")? {
            let sample = node.fields("an expected sample", &["labels", "value"])?;
            let wrong = |message: String| Mistake::new(node.line, message);
            let labels = sample.text("labels")?.unwrap_or("{}");
            let (labels, rest) = notation::labels(labels).map_err(wrong)?;
            if !rest.trim().is_empty() {
                return Err(wrong(format!("unexpected {rest:?} after the labels of a sample")));
            }
            let value = sample.required("value", "an expected sample")?;
            let value = match value.to_ascii_lowercase().as_str() {
                "nan" => f64::NAN,
                other => other.parse().map_err(|_| wrong(format!("{value:?} is no number")))?,
            };
            expected.push((labels, value));
        }
        expected.sort_by(|left, right| left.0.cmp(&right.0));
        let expr = fields.required("expr", "a test of a query")?.to_owned();
        Ok(Self { line: node.line, at: eval_time(fields, "a test of a query")?, expr, expected })
    }

    fn check(&self, scene: &Scene<'_>, fuzzy: bool) -> Result<(), String> {
        let failed =
            |what: String| format!("line {}: {} at {}: {what}", self.line, self.expr, shown(self.at));
        let expr = promql::parse(&self.expr).map_err(|error| failed(error.to_string()))?;
        let mut found = scene.ask(&expr, self.at).map_err(failed)?;
        found.sort_by(|left, right| left.0.cmp(&right.0));
        let same = |left: f64, right: f64| {
            left.to_bits() == right.to_bits()
                || (left.is_nan() && right.is_nan())
                || (left - right).abs() <= if fuzzy { left.abs().max(right.abs()) * 1e-9 } else { 0.0 }
        };
        let equal = found.len() == self.expected.len()
            && found
                .iter()
                .zip(&self.expected)
                .all(|(left, right)| left.0 == right.0 && same(left.1, right.1));
        if equal {
            return Ok(());
        }
        let texts = |samples: &[(Labels, f64)]| {
            let texts: Vec<_> = samples
                .iter()
                .map(|(labels, value)| format!("{labels:?} {}", format_float(*value)))
                .collect();
            if texts.is_empty() { "nothing".to_owned() } else { texts.join(", ") }
        };
        Err(failed(format!("\n  expected: {}\n  got:      {}", texts(&self.expected), texts(&found))))
    }
}
