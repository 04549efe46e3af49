//! The dispatcher against a clock of its own, and the channels against real servers.

mod channels;
mod restarts;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use quintet_types::SystemEntropy;

use super::dispatch::{Dispatcher, Job};
use super::plan::Plan;
use super::settings::Settings;
use super::silences::{Condition, Silence};
use super::store::Alert;
use super::{fingerprint, parse_matcher};
use crate::model::Labels;

const START: i64 = 1_700_000_000_000;
const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

const RECEIVERS: &str = r#"
default_receiver = "ops"
group_by = ["alertname", "cluster"]
[[receiver]]
name = "ops"
webhook = [{ url = "http://127.0.0.1:1/hook?x=1" }]
[[receiver]]
name = "db"
webhook = [{ url = "http://127.0.0.1:1/db", send_resolved = false }]
"#;

fn settings(more: &str) -> Settings {
    toml::from_str(&format!("{RECEIVERS}{more}")).unwrap()
}

struct Scene {
    dispatcher: Dispatcher,
    directory: tempfile::TempDir,
    plan: Arc<Plan>,
}

/// A notification as the tests compare them: receiver, status, and the instances of its alerts.
type Told = (String, &'static str, Vec<String>);

fn told(job: &Job) -> Option<Told> {
    let message = job.message.as_ref()?;
    let names = message.alerts.iter().map(|(_, alert)| {
        let end = if alert.is_resolved(message.now) { "-" } else { "" };
        format!("{end}{}", alert.labels.get("instance").unwrap_or_default())
    });
    Some((message.receiver.clone(), message.status(), names.collect()))
}

impl Scene {
    fn new(more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let plan = Arc::new(Plan::new(&settings(more)).unwrap());
        let dispatcher = open(directory.path(), &plan, START);
        Self { dispatcher, directory, plan }
    }

    fn restart(&mut self, now: i64) {
        self.dispatcher = open(self.directory.path(), &self.plan, now);
    }

    fn fire(&mut self, labels: &[(&str, &str)], now: i64) {
        self.dispatcher.post(alert(labels, START, now + 4 * MINUTE, now), now);
    }

    fn end(&mut self, labels: &[(&str, &str)], now: i64) {
        self.dispatcher.post(alert(labels, START, now, now), now);
    }

    /// What is told at a time when everything arrives.
    fn tick(&mut self, now: i64) -> Vec<Told> {
        self.tick_with(now, true)
    }

    fn tick_with(&mut self, now: i64, delivered: bool) -> Vec<Told> {
        let jobs = self.dispatcher.tick(now);
        let told = jobs.iter().filter_map(told).collect();
        for job in jobs {
            self.dispatcher.finish(job, delivered).unwrap();
        }
        told
    }

    /// Keeps alerts firing while the time passes, and tells what was told when.
    fn pass(&mut self, labels: &[&[(&str, &str)]], from: i64, to: i64, delivered: bool) -> Vec<(i64, Told)> {
        let mut all = Vec::new();
        let mut now = from;
        while now <= to {
            for one in labels {
                self.fire(one, now);
            }
            all.extend(self.tick_with(now, delivered).into_iter().map(|told| (now - START, told)));
            now += 15 * SECOND;
        }
        all
    }
}

fn open(directory: &Path, plan: &Arc<Plan>, now: i64) -> Dispatcher {
    Dispatcher::open(directory, Arc::clone(plan), "https://console.example/", now).unwrap()
}

fn alert(labels: &[(&str, &str)], starts_at: i64, ends_at: i64, now: i64) -> Alert {
    Alert {
        labels: labels.iter().copied().collect(),
        annotations: BTreeMap::from([("summary".to_owned(), "it <is> down".to_owned())]),
        starts_at,
        ends_at,
        updated_at: now,
        generator_url: String::new(),
    }
}

fn ops(status: &'static str, instances: &[&str]) -> Told {
    ("ops".to_owned(), status, instances.iter().map(|one| (*one).to_owned()).collect())
}

const A: &[(&str, &str)] = &[("alertname", "Down"), ("cluster", "x"), ("instance", "a")];
const B: &[(&str, &str)] = &[("alertname", "Down"), ("cluster", "x"), ("instance", "b")];
const OTHER: &[(&str, &str)] = &[("alertname", "Down"), ("cluster", "y"), ("instance", "c")];

#[test]
fn a_group_waits_then_tells_of_changes_and_repeats_when_its_time_has_come() {
    let mut scene = Scene::new("");
    scene.fire(A, START);
    scene.fire(B, START + 10 * SECOND);
    scene.fire(OTHER, START + 10 * SECOND);
    assert_eq!(scene.tick(START + 29 * SECOND), []);
    assert_eq!(scene.tick(START + 30 * SECOND), [ops("firing", &["a", "b"]), ops("firing", &["c"])]);
    // The same alerts again and again are no news, until four hours have passed.
    let told = scene.pass(&[A, B], START + 45 * SECOND, START + 5 * HOUR, true);
    let at_four_hours = START + 30 * SECOND + 4 * HOUR - START;
    let repeated: Vec<_> = told.iter().filter(|(_, told)| told.1 == "firing").collect();
    assert_eq!(repeated, [&(at_four_hours, ops("firing", &["a", "b"]))]);
    // The other one was heard of no more and ended by itself.
    assert!(told.iter().any(|(_, told)| *told == ops("resolved", &["-c"])), "{told:?}");
}

#[test]
fn an_end_is_told_once_and_what_nobody_was_told_of_has_none() {
    let mut scene = Scene::new("");
    scene.fire(A, START);
    scene.tick(START + 30 * SECOND);
    scene.fire(B, START + MINUTE);
    scene.end(B, START + 2 * MINUTE);
    scene.end(A, START + 2 * MINUTE);
    assert_eq!(scene.tick(START + 3 * MINUTE), [], "the interval is not over");
    assert_eq!(scene.tick(START + 30 * SECOND + 5 * MINUTE), [ops("resolved", &["-a", "-b"])]);
    assert_eq!(scene.pass(&[], START + 6 * MINUTE, START + 6 * HOUR, true), []);
}

#[test]
fn a_restart_repeats_nothing_and_forgets_no_end() {
    let mut scene = Scene::new("");
    scene.fire(A, START);
    scene.fire(B, START);
    assert_eq!(scene.tick(START + 30 * SECOND), [ops("firing", &["a", "b"])]);
    scene.restart(START + MINUTE);
    // Only one of them is confirmed after the restart.
    let told = scene.pass(&[A], START + MINUTE, START + HOUR, true);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].1, ops("firing", &["a", "-b"]));
    scene.end(A, START + HOUR);
    scene.restart(START + HOUR + SECOND);
    let told = scene.pass(&[], START + HOUR + MINUTE, START + 2 * HOUR, true);
    assert_eq!(told.iter().map(|(_, told)| told.clone()).collect::<Vec<_>>(), [ops("resolved", &["-a"])]);
}

#[test]
fn a_receiver_that_is_down_for_a_while_misses_nothing_and_hears_nothing_twice() {
    let mut scene = Scene::new("");
    let failed = scene.pass(&[A], START, START + 20 * MINUTE, false);
    assert!((4..=5).contains(&failed.len()), "once an interval: {failed:?}");
    scene.end(A, START + 21 * MINUTE);
    let told = scene.pass(&[B], START + 21 * MINUTE, START + 3 * HOUR, true);
    // It was never told that the first began, so that only the second is firing news.
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].1, ops("firing", &["b", "-a"]));
    // The end arrives although the receiver is away when it comes.
    scene.end(B, START + 3 * HOUR);
    assert!(!scene.pass(&[], START + 3 * HOUR, START + 4 * HOUR, false).is_empty());
    let told = scene.pass(&[], START + 4 * HOUR, START + 8 * HOUR, true);
    assert_eq!(told.iter().map(|(_, told)| told.clone()).collect::<Vec<_>>(), [ops("resolved", &["-b"])]);
    // One that never answers is given up.
    scene.fire(A, START + 8 * HOUR);
    assert_eq!(scene.tick(START + 8 * HOUR + 30 * SECOND), [ops("firing", &["a"])]);
    scene.end(A, START + 9 * HOUR);
    assert!(scene.pass(&[], START + 9 * HOUR, START + 31 * HOUR, false).len() > 100);
    assert_eq!(scene.pass(&[], START + 34 * HOUR, START + 36 * HOUR, false), []);
}

#[test]
fn an_alert_keeps_quiet_while_its_cause_fires() {
    let mut scene = Scene::new(
        "[[inhibit]]\nsource = ['severity=\"critical\"']\ntarget = ['severity=~\"warning|critical\"']\nequal = [\"cluster\"]\n",
    );
    let critical = [("alertname", "Gone"), ("cluster", "x"), ("instance", "k"), ("severity", "critical")];
    let warning = [("alertname", "Slow"), ("cluster", "x"), ("instance", "w"), ("severity", "warning")];
    let elsewhere = [("alertname", "Slow"), ("cluster", "y"), ("instance", "e"), ("severity", "warning")];
    for labels in [&critical, &warning, &elsewhere] {
        scene.fire(labels, START);
    }
    let now = START + 30 * SECOND;
    assert_eq!(scene.tick(now), [ops("firing", &["k"]), ops("firing", &["e"])]);
    let views = scene.dispatcher.alerts(now);
    let quiet: Vec<_> = views.iter().filter(|view| view.standing.state() == "suppressed").collect();
    assert_eq!(quiet.len(), 1);
    assert_eq!(quiet[0].standing.inhibited_by, Some(fingerprint(&critical.iter().copied().collect())));
    scene.end(&critical, now + SECOND);
    scene.fire(&warning, now + 5 * MINUTE);
    let told = scene.tick(now + 5 * MINUTE);
    assert!(told.contains(&ops("firing", &["w"])), "{told:?}");
}

fn silence(name: &str, value: &str, starts_at: i64, ends_at: i64) -> Silence {
    let condition = Condition { name: name.into(), value: value.into(), is_regex: true, is_equal: true };
    Silence {
        id: String::new(),
        matchers: vec![condition],
        starts_at,
        ends_at,
        updated_at: 0,
        created_by: "me".into(),
        comment: "work".into(),
    }
}

#[test]
fn a_silence_keeps_alerts_quiet_until_it_ends_and_across_a_restart() {
    let mut scene = Scene::new("");
    let wanted = silence("instance", "a|c", START, START + HOUR);
    let id = scene.dispatcher.put_silence(wanted, START, &SystemEntropy).unwrap();
    assert_eq!(id.len(), 36);
    scene.restart(START + SECOND);
    let told = scene.pass(&[A], START + SECOND, START + 2 * HOUR, true);
    assert_eq!(told.len(), 1);
    assert!(told[0].0 >= HOUR && told[0].0 <= HOUR + 6 * MINUTE, "{told:?}");
    // One that is ended by hand ends at once, and its record stays.
    let wanted = silence("instance", "b", START, START + 9 * HOUR);
    let id = scene.dispatcher.put_silence(wanted, START + 2 * HOUR, &SystemEntropy).unwrap();
    scene.dispatcher.expire_silence(&id, START + 3 * HOUR).unwrap();
    assert_eq!(scene.dispatcher.silence(&id).unwrap().state(START + 3 * HOUR), "expired");
    assert!(scene.dispatcher.expire_silence(&id, START + 3 * HOUR).is_err());
    assert!(scene.dispatcher.expire_silence("nope", START).is_err());
}

#[test]
fn a_changed_silence_keeps_its_id_where_what_it_silences_stays() {
    let mut scene = Scene::new("");
    let first = silence("instance", "a", START, START + HOUR);
    let id = scene.dispatcher.put_silence(first.clone(), START, &SystemEntropy).unwrap();
    let longer = Silence { id: id.clone(), ends_at: START + 2 * HOUR, ..first.clone() };
    assert_eq!(scene.dispatcher.put_silence(longer.clone(), START + MINUTE, &SystemEntropy).unwrap(), id);
    let other = Silence { matchers: silence("instance", "b", 0, 0).matchers, ..longer };
    let new = scene.dispatcher.put_silence(other, START + MINUTE, &SystemEntropy).unwrap();
    assert_ne!(new, id);
    assert_eq!(scene.dispatcher.silence(&id).unwrap().state(START + MINUTE), "expired");
    for (wrong, why) in [
        (silence("instance", ".*", START, START + HOUR), "empty string"),
        (silence("instance", "(", START, START + HOUR), "regular expression"),
        (silence("instance", "a", START + HOUR, START + MINUTE), "before end time"),
        (Silence { comment: String::new(), ..first.clone() }, "comment"),
        (Silence { id: "unknown".into(), ..first }, "not found"),
    ] {
        let error = scene.dispatcher.put_silence(wrong, START, &SystemEntropy).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn routes_are_tried_in_their_order_and_continue_where_they_say_so() {
    let more = r#"
[[route]]
name = "all"
matchers = ['team=~".+"']
continue = true
[[route]]
name = "database"
matchers = ['team=db']
receiver = "db"
group_by = ["..."]
[[route]]
name = "night"
parent = "database"
matchers = ['severity!="critical"']
mute_time_intervals = ["always"]
[[time_interval]]
name = "always"
"#;
    let mut scene = Scene::new(more);
    let critical = [("alertname", "Full"), ("instance", "a"), ("severity", "critical"), ("team", "db")];
    let warning = [("alertname", "Full"), ("instance", "b"), ("severity", "warning"), ("team", "db")];
    for labels in [&critical, &warning] {
        scene.fire(labels, START);
    }
    let now = START + 30 * SECOND;
    let told = scene.tick(now);
    assert_eq!(told, [ops("firing", &["a", "b"]), ("db".to_owned(), "firing", vec!["a".to_owned()])]);
    let groups = scene.dispatcher.groups(now);
    assert_eq!(groups.len(), 3);
    // A receiver that wants no ends hears none.
    scene.end(&critical, now + SECOND);
    scene.fire(&warning, now + 5 * MINUTE);
    assert_eq!(scene.tick(now + 5 * MINUTE), [ops("firing", &["b", "-a"])]);
}

#[test]
fn another_configuration_repeats_nothing() {
    let mut scene = Scene::new("");
    scene.fire(A, START);
    assert_eq!(scene.tick(START + 30 * SECOND).len(), 1);
    let plan =
        Plan::new(&settings("[[route]]\nname = \"new\"\nmatchers = [\"cluster=y\"]\nreceiver = \"db\"\n"))
            .unwrap();
    scene.dispatcher.replace(Arc::new(plan), "", START + MINUTE);
    assert_eq!(scene.pass(&[A], START + MINUTE, START + HOUR, true), []);
    scene.fire(OTHER, START + HOUR);
    let told = scene.tick(START + HOUR + 30 * SECOND);
    assert_eq!(told, [("db".to_owned(), "firing", vec!["c".to_owned()])]);
}

#[test]
fn a_configuration_that_cannot_work_names_its_key() {
    for (more, key, why) in [
        ("[[route]]\nname = \"a\"\nreceiver = \"nobody here\"\n", "notify.route.a.receiver", "no receiver"),
        ("[[route]]\nname = \"a\"\nparent = \"b\"\n", "notify.route.a.parent", "stands before"),
        ("[[route]]\nname = \"a\"\nmatchers = [\"severity\"]\n", "notify.route.a.matchers", "no matcher"),
        ("[[route]]\nname = \"a\"\nmute_time_intervals = [\"x\"]\n", "notify.route.a", "no time interval"),
        (
            "[[receiver]]\nname = \"m\"\nemail = [{ to = [\"a@b.c\"] }]\n",
            "notify.receiver.m",
            "[notify.smtp]",
        ),
        (
            "[[receiver]]\nname = \"m\"\nwebhook = [{ url = \"hook\" }]\n",
            "notify.receiver.m.webhook",
            "no URL",
        ),
        ("[[receiver]]\nname = \"ops\"\n", "notify.receiver", "name of its own"),
        ("[[inhibit]]\nsource = []\ntarget = [\"a=b\"]\n", "notify.inhibit", "at least one matcher"),
        ("[[time_interval]]\nname = \"t\"\ntimes = [\"9-17\"]\n", "notify.time_interval.t", "09:00-17:30"),
    ] {
        let error = Plan::new(&settings(more)).unwrap_err();
        assert!(error.key == key && error.message.contains(why), "{more}: {error}");
    }
}

#[test]
fn matchers_are_read_as_amtool_writes_them() {
    let labels: Labels = [("job", "a b"), ("x", "1")].into_iter().collect();
    for (text, fits) in [
        ("job=\"a b\"", true),
        ("job = a b", true),
        ("\"job\"=~\"a.*\"", true),
        ("x!=2", true),
        ("x!~\"[0-9]\"", false),
        ("absent=\"\"", true),
    ] {
        let matcher = parse_matcher(text).unwrap();
        assert_eq!(crate::model::matcher::all_accept(&[matcher], &labels), fits, "{text}");
    }
    for text in ["", "x", "=a", "x=\"open", "x~a", "x=~("] {
        assert!(parse_matcher(text).is_err(), "{text}");
    }
}
