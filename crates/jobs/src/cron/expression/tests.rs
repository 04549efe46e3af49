use proptest::prelude::*;

use super::*;

/// The next instants after `after`, as the clock in `zone` shows them.
fn next(expression: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let expression: Expression = expression.parse().unwrap();
    let zone = TimeZone::get(zone).unwrap();
    let mut at: Timestamp = after.parse().unwrap();
    let mut found = Vec::new();
    while found.len() < count
        && let Some(next) = expression.next_after(at, &zone)
    {
        at = next;
        found.push(at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M %:z").to_string());
    }
    found
}

#[test]
fn the_next_runs_are_those_of_crontab() {
    for (expression, expected) in [
        ("*/20 * * * *", ["2026-03-01 12:20 +00:00", "2026-03-01 12:40 +00:00"]),
        ("@hourly", ["2026-03-01 13:00 +00:00", "2026-03-01 14:00 +00:00"]),
        ("30 9-17/4 * * mon-fri", ["2026-03-02 09:30 +00:00", "2026-03-02 13:30 +00:00"]),
        ("0 0 29 2 *", ["2028-02-29 00:00 +00:00", "2032-02-29 00:00 +00:00"]),
        // Both days restricted: either is enough. March 13, 2026 is a Friday.
        ("0 0 13 * FRI", ["2026-03-06 00:00 +00:00", "2026-03-13 00:00 +00:00"]),
        ("0 0 1-7 * *", ["2026-03-02 00:00 +00:00", "2026-03-03 00:00 +00:00"]),
        ("5,10 0 * jan 7", ["2027-01-03 00:05 +00:00", "2027-01-03 00:10 +00:00"]),
    ] {
        assert_eq!(next(expression, "UTC", "2026-03-01T12:00:00Z", 2), expected, "{expression}");
    }
    assert!(next("0 0 30 2 *", "UTC", "2026-03-01T12:00:00Z", 1).is_empty());
}

#[test]
fn a_fixed_hour_that_is_skipped_comes_when_the_clock_goes_on_and_intervals_leave_it_out() {
    // Berlin goes from 02:00 to 03:00 on March 29, 2026.
    let before = "2026-03-28T12:00:00Z";
    assert_eq!(
        next("30 2 * * *", "Europe/Berlin", before, 2),
        ["2026-03-29 03:00 +02:00", "2026-03-30 02:30 +02:00"]
    );
    assert_eq!(
        next("30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 2),
        ["2026-03-29 01:30 +01:00", "2026-03-29 03:30 +02:00"]
    );
}

#[test]
fn a_fixed_hour_that_is_doubled_comes_once_and_intervals_go_through_both() {
    // Berlin goes from 03:00 back to 02:00 on October 25, 2026.
    assert_eq!(
        next("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
        ["2026-10-25 02:30 +02:00", "2026-10-26 02:30 +01:00"]
    );
    assert_eq!(
        next("*/30 * * * *", "Europe/Berlin", "2026-10-24T23:40:00Z", 5),
        [
            "2026-10-25 02:00 +02:00",
            "2026-10-25 02:30 +02:00",
            "2026-10-25 02:00 +01:00",
            "2026-10-25 02:30 +01:00",
            "2026-10-25 03:00 +01:00"
        ]
    );
}

#[test]
fn what_is_no_cron_expression_is_refused() {
    for text in
        ["", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "*/0 * * * *", "5-1 * * * *", "x * * * *"]
    {
        assert!(text.parse::<Expression>().is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "[-*/,0-9a-z @]{0,40}") {
        let _ = text.parse::<Expression>();
    }

    #[test]
    fn the_next_run_is_later_and_on_the_clock(seconds in 1_700_000_000i64..1_900_000_000, minute in 0u8..60) {
        let expression: Expression = format!("{minute} * * * *").parse().unwrap();
        let zone = TimeZone::get("America/New_York").unwrap();
        let after = Timestamp::from_second(seconds).unwrap();
        let next = expression.next_after(after, &zone).unwrap();
        prop_assert!(next > after);
        prop_assert!(next.as_second() - after.as_second() <= 2 * 3600);
        prop_assert_eq!(next.to_zoned(zone).minute(), i8::try_from(minute).unwrap());
    }
}
