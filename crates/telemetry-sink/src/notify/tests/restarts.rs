//! What is remembered of notifications, and what is made of it after a restart.

use std::fmt::Write as _;

use super::{A, MINUTE, SECOND, START, Scene, ops};

/// A journal of as many notifications as are remembered, of groups that are over or still fire.
fn remembered(firing: &str) -> String {
    let mut lines = String::new();
    for number in 0..20_000 {
        let json = format!(
            r#"["{{}}:{number}",{{"at":{},"expires":{},"firing":{{{firing}}},"resolved":[]}}]"#,
            START + number,
            START + 100 * super::HOUR
        );
        writeln!(lines, "{:08x} {json}", crc32c::crc32c(json.as_bytes())).unwrap();
    }
    lines
}

#[test]
fn new_notifications_are_remembered_where_many_of_groups_that_are_over_are() {
    let mut scene = Scene::new("");
    let path = scene.directory.path().join("notifications");
    std::fs::write(&path, remembered("")).unwrap();
    scene.restart(START);
    scene.fire(A, START);
    assert_eq!(scene.tick(START + 30 * SECOND), [ops("firing", &["a"])]);
    assert_eq!(scene.pass(&[A], START + MINUTE, START + super::HOUR, true), [], "it is told once");
    scene.end(A, START + super::HOUR);
    let told = scene.tick(START + super::HOUR + 5 * MINUTE);
    assert_eq!(told, [ops("resolved", &["-a"])]);
    // The oldest are those that made room.
    let text = std::fs::read_to_string(&path).unwrap();
    let last = |number: i64| text.lines().rev().find(|line| line.contains(&format!("{{}}:{number}\"")));
    assert!(last(0).unwrap().ends_with("null]") && !last(500).unwrap().ends_with("null]"));
}
