//! What is remembered of notifications, and what is made of it after a restart.

use std::fmt::Write as _;
use std::sync::Arc;

use quintet_types::SystemEntropy;

use super::{A, B, HOUR, MINUTE, SECOND, START, Scene, Told, ops, settings, silence, told};
use crate::notify::plan::Plan;

/// A journal of as many notifications as are remembered, of groups that are over.
fn remembered() -> String {
    let mut lines = String::new();
    for number in 0..20_000 {
        let json = format!(
            r#"["{{}}:{number}",{{"at":{},"expires":{},"firing":{{}},"resolved":[]}}]"#,
            START + number,
            START + 100 * HOUR
        );
        writeln!(lines, "{:08x} {json}", crc32c::crc32c(json.as_bytes())).unwrap();
    }
    lines
}

#[test]
fn new_notifications_are_remembered_where_many_of_groups_that_are_over_are() {
    let mut scene = Scene::new("");
    let path = scene.directory.path().join("notifications");
    std::fs::write(&path, remembered()).unwrap();
    scene.restart(START);
    scene.fire(A, START);
    assert_eq!(scene.tick(START + 30 * SECOND), [ops("firing", &["a"])]);
    assert_eq!(scene.pass(&[A], START + MINUTE, START + HOUR, true), [], "it is told once");
    scene.end(A, START + HOUR);
    let told = scene.tick(START + HOUR + 5 * MINUTE);
    assert_eq!(told, [ops("resolved", &["-a"])]);
    // The oldest are those that made room.
    let text = std::fs::read_to_string(&path).unwrap();
    let last = |number: i64| text.lines().rev().find(|line| line.contains(&format!("{{}}:{number}\"")));
    assert!(last(0).unwrap().ends_with("null]") && !last(500).unwrap().ends_with("null]"));
}

/// Two receivers are told of everything, of which the second takes no ends.
const BOTH: &str = r#"
[[route]]
name = "all"
matchers = ["cluster=x"]
continue = true
[[route]]
name = "second"
matchers = ["cluster=x"]
receiver = "db"
"#;

fn db(status: &'static str, instances: &[&str]) -> Told {
    ("db".to_owned(), status, instances.iter().map(|one| (*one).to_owned()).collect())
}

#[test]
fn an_end_that_one_receiver_does_not_want_is_no_beginning_for_another_after_a_restart() {
    let mut scene = Scene::new(BOTH);
    scene.fire(A, START);
    scene.fire(B, START);
    let now = START + 30 * SECOND;
    assert_eq!(scene.tick(now), [ops("firing", &["a", "b"]), db("firing", &["a", "b"])]);
    scene.end(B, now + MINUTE);
    let told = scene.pass(&[A], now + MINUTE, now + HOUR, true);
    assert_eq!(told.iter().map(|(_, told)| told.clone()).collect::<Vec<_>>(), [ops("firing", &["a", "-b"])]);
    scene.restart(now + HOUR);
    assert_eq!(scene.pass(&[A], now + HOUR, now + 2 * HOUR, true), []);
    // It fires again, and is told and taken up as any other.
    scene.fire(B, now + 2 * HOUR + 5 * MINUTE);
    scene.fire(A, now + 2 * HOUR + 5 * MINUTE);
    assert_eq!(scene.tick(now + 2 * HOUR + 5 * MINUTE), [ops("firing", &["a", "b"])]);
    scene.restart(now + 2 * HOUR + 6 * MINUTE);
    let told = scene.pass(&[A], now + 2 * HOUR + 6 * MINUTE, now + 3 * HOUR, true);
    assert_eq!(told.iter().map(|(_, told)| told.clone()).collect::<Vec<_>>(), [ops("firing", &["a", "-b"])]);
}

#[test]
fn an_end_in_silence_stays_an_end_after_a_restart() {
    let mut scene = Scene::new("");
    scene.fire(A, START);
    assert_eq!(scene.tick(START + 30 * SECOND), [ops("firing", &["a"])]);
    let quiet = silence("instance", "a", START + MINUTE, START + HOUR);
    scene.dispatcher.put_silence(quiet, START + MINUTE, &SystemEntropy).unwrap();
    scene.end(A, START + 2 * MINUTE);
    assert_eq!(scene.pass(&[], START + 2 * MINUTE, START + 30 * MINUTE, true), []);
    // Late enough for what fires to be repeated.
    scene.restart(START + 5 * HOUR);
    assert_eq!(scene.dispatcher.alerts(START + 5 * HOUR).len(), 0);
    assert_eq!(scene.pass(&[], START + 5 * HOUR, START + 6 * HOUR, true), []);
}

#[test]
fn only_the_receiver_that_did_not_hear_of_an_end_hears_of_it_after_a_restart() {
    let more = BOTH.replace("receiver = \"db\"", "receiver = \"third\"");
    let mut scene = Scene::new(&format!(
        "[[receiver]]\nname = \"third\"\nwebhook = [{{ url = \"http://127.0.0.1:1/\" }}]\n{more}"
    ));
    scene.fire(A, START);
    assert_eq!(scene.tick(START + 30 * SECOND).len(), 2);
    let now = START + 10 * MINUTE;
    scene.end(A, now);
    let jobs = scene.dispatcher.tick(now);
    assert_eq!(jobs.len(), 2);
    for job in jobs {
        let reached = told(&job).unwrap().0 == "ops";
        scene.dispatcher.finish(job, reached).unwrap();
    }
    scene.restart(now + MINUTE);
    let heard = scene.pass(&[], now + MINUTE, now + HOUR, true);
    let expected: Told = ("third".to_owned(), "resolved", vec!["-a".to_owned()]);
    assert_eq!(heard.iter().map(|(_, told)| told.clone()).collect::<Vec<_>>(), [expected]);
    scene.restart(now + HOUR);
    assert_eq!(scene.pass(&[], now + HOUR, now + 2 * HOUR, true), []);
}

#[test]
fn what_was_told_on_a_way_that_is_gone_is_not_told_on_another_after_a_restart() {
    let mut scene = Scene::new("");
    scene.fire(A, START);
    assert_eq!(scene.tick(START + 30 * SECOND), [ops("firing", &["a"])]);
    let other = "[[route]]\nname = \"new\"\nmatchers = [\"cluster=x\"]\nreceiver = \"db\"\n";
    scene.plan = Arc::new(Plan::new(&settings(other)).unwrap());
    scene.restart(START + HOUR);
    assert_eq!(scene.pass(&[], START + HOUR, START + 2 * HOUR, true), []);
    // What fires is told there.
    scene.fire(A, START + 2 * HOUR);
    assert_eq!(scene.tick(START + 2 * HOUR + 30 * SECOND), [db("firing", &["a"])]);
}

#[test]
fn an_end_is_told_although_the_routes_are_read_again_before() {
    let mut scene = Scene::new("");
    scene.fire(A, START);
    assert_eq!(scene.tick(START + 30 * SECOND), [ops("firing", &["a"])]);
    scene.end(A, START + MINUTE);
    let plan = Arc::clone(&scene.plan);
    scene.dispatcher.replace(plan, "", START + 2 * MINUTE);
    let told = scene.pass(&[], START + 2 * MINUTE, START + HOUR, true);
    assert_eq!(told.iter().map(|(_, told)| told.clone()).collect::<Vec<_>>(), [ops("resolved", &["-a"])]);
}
