//! One message, by RFC 5424 where it says so and otherwise as much of RFC 3164 as it keeps to.
//!
//! Nothing is refused: what has no form at all is a line of text. The program becomes the service, the host the
//! resource's `host.name`, everything else attributes.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::ingest::severity::{facility, from_syslog};
use crate::model::{LogRecord, Resource, Value};

const UNKNOWN_SERVICE: &str = "unknown_service";
/// What a message without a priority has: user, notice (RFC 3164 section 4.3.3).
const DEFAULT_PRIORITY: u8 = 13;
const MAX_ATTRIBUTES: usize = 128;

struct Parsed<'a> {
    time: Option<Timestamp>,
    host: &'a str,
    program: &'a str,
    attributes: Vec<(String, Value)>,
    body: &'a str,
}

/// Reads a message that arrived at `now`; `peer` is the host where it names none.
pub(crate) fn parse(bytes: &[u8], now: Timestamp, peer: &str) -> (Resource, LogRecord) {
    let text = String::from_utf8_lossy(bytes);
    let (priority, rest) =
        priority(text.trim_end_matches(['\r', '\n', '\0'])).unwrap_or((DEFAULT_PRIORITY, &text));
    let parsed = match rest.strip_prefix("1 ") {
        Some(rest) => rfc5424(rest).unwrap_or_else(|| plain(rest)),
        None => rfc3164(rest, now),
    };
    let mut attributes = vec![text_pair("syslog.facility", facility(priority >> 3))];
    attributes.extend(parsed.attributes);
    let time = parsed.time.unwrap_or(now).as_nanosecond();
    let record = LogRecord {
        time: i64::try_from(time).unwrap_or(i64::MAX),
        severity: from_syslog(priority & 7),
        body: parsed.body.to_owned(),
        attributes,
        ..LogRecord::default()
    };
    let host = if parsed.host.is_empty() { peer } else { parsed.host };
    let service = if parsed.program.is_empty() { UNKNOWN_SERVICE } else { parsed.program };
    let attributes = if host.is_empty() { Vec::new() } else { vec![text_pair("host.name", host)] };
    (Resource { service: service.to_owned(), attributes }, record)
}

fn text_pair(name: &str, value: &str) -> (String, Value) {
    (name.to_owned(), Value::Text(value.to_owned()))
}

fn plain(body: &str) -> Parsed<'_> {
    Parsed { time: None, host: "", program: "", attributes: Vec::new(), body }
}

/// `<PRI>`, 0 to 191.
fn priority(text: &str) -> Option<(u8, &str)> {
    let (number, rest) = text.strip_prefix('<')?.split_once('>')?;
    let number = number.parse().ok().filter(|number| *number <= 191)?;
    Some((number, rest))
}

/// The text up to the next space, empty for the nil value `-`.
fn word<'a>(text: &mut &'a str) -> Option<&'a str> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    *text = rest;
    (!word.is_empty()).then_some(if word == "-" { "" } else { word })
}

/// `TIMESTAMP HOST APP PROCID MSGID STRUCTURED-DATA [MSG]`
fn rfc5424(mut text: &str) -> Option<Parsed<'_>> {
    let rest = &mut text;
    let (time, host, program) = (word(rest)?, word(rest)?, word(rest)?);
    let (process, message) = (word(rest)?, word(rest)?);
    let time = if time.is_empty() { None } else { Some(time.parse().ok()?) };
    let mut attributes = Vec::new();
    if !process.is_empty() {
        attributes.push(text_pair("process.pid", process));
    }
    if !message.is_empty() {
        attributes.push(text_pair("syslog.msgid", message));
    }
    let body = structured_data(rest, &mut attributes)?;
    let body = body.strip_prefix(' ').unwrap_or(body);
    Some(Parsed { time, host, program, attributes, body: body.strip_prefix('\u{feff}').unwrap_or(body) })
}

/// `[id name="value" …]…` or `-`; returns what follows. A parameter becomes the attribute `id.name`.
fn structured_data<'a>(text: &'a str, attributes: &mut Vec<(String, Value)>) -> Option<&'a str> {
    if let Some(rest) = text.strip_prefix('-') {
        return Some(rest);
    }
    let mut rest = text;
    while let Some(inner) = rest.strip_prefix('[') {
        let end = inner.find([' ', ']'])?;
        let (id, mut parameters) = inner.split_at_checked(end)?;
        // RFC 5424 section 6.3.2; it is repeated with each parameter.
        if id.len() > 32 {
            return None;
        }
        loop {
            parameters = parameters.trim_start_matches(' ');
            if let Some(after) = parameters.strip_prefix(']') {
                rest = after;
                break;
            }
            let (name, after) = parameters.split_once("=\"")?;
            let (value, after) = parameter_value(after)?;
            if attributes.len() < MAX_ATTRIBUTES {
                attributes.push((format!("{id}.{name}"), Value::Text(value)));
            }
            parameters = after;
        }
    }
    (rest.len() < text.len()).then_some(rest)
}

/// A value up to its closing quote; quotes, backslashes and brackets are escaped (RFC 5424 section 6.3.3).
fn parameter_value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices().peekable();
    while let Some((index, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, text.get(index + 1..)?)),
            '\\' => match letters.next_if(|(_, next)| matches!(next, '"' | '\\' | ']')) {
                Some((_, escaped)) => value.push(escaped),
                None => value.push('\\'),
            },
            other => value.push(other),
        }
    }
    None
}

/// `Mmm dd hh:mm:ss HOST TAG[PID]: MSG`, or with an RFC 3339 time as rsyslog writes it; each part may be missing.
fn rfc3164(text: &str, now: Timestamp) -> Parsed<'_> {
    let (time, rest) = match old_time(text, now) {
        Some((time, rest)) => (Some(time), rest),
        None => match text.split_once(' ').and_then(|(word, rest)| Some((word.parse().ok()?, rest))) {
            Some((time, rest)) => (Some(time), rest),
            None => (None, text),
        },
    };
    let mut parsed = Parsed { time, ..plain(rest) };
    // Without a time the first word may be anything; local programs leave the host out.
    if let Some((host, after)) = rest.split_once(' ')
        && time.is_some()
        && is_host(host)
    {
        (parsed.host, parsed.body) = (host, after);
    }
    if let Some((program, process, body)) = tag(parsed.body) {
        (parsed.program, parsed.body) = (program, body);
        if !process.is_empty() {
            parsed.attributes.push(text_pair("process.pid", process));
        }
    }
    parsed
}

fn is_host(word: &str) -> bool {
    !word.is_empty()
        && !word.ends_with(':')
        && word.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '.' | '-' | ':' | '_'))
}

/// The time has no year and no zone: it is taken as UTC in the year that brings it closest to now.
fn old_time(text: &str, now: Timestamp) -> Option<(Timestamp, &str)> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (stamp, rest) = text.split_at_checked(15)?;
    let (month, after) = stamp.split_at_checked(3)?;
    let month = i8::try_from(MONTHS.iter().position(|name| *name == month)? + 1).ok()?;
    let (day, clock) = after.trim_start().split_once(' ')?;
    let mut parts = clock.split(':').map(str::parse::<i8>);
    let (hour, minute, second) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    let day = day.parse().ok()?;
    let year = now.to_zoned(TimeZone::UTC).year();
    let candidates = [year - 1, year, year + 1].into_iter().filter_map(|year| {
        let civil = DateTime::new(year, month, day, hour, minute, second.min(59), 0).ok()?;
        Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
    });
    let distance = |time: &Timestamp| time.as_second().abs_diff(now.as_second());
    let time = candidates.min_by_key(distance)?;
    Some((time, rest.strip_prefix(' ')?))
}

/// `program[pid]: ` or `program: `.
fn tag(text: &str) -> Option<(&str, &str, &str)> {
    let end = text
        .find(|letter: char| !(letter.is_alphanumeric() || matches!(letter, '.' | '-' | '_' | '/' | '@')))?;
    let (program, rest) = text.split_at_checked(end)?;
    let (process, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let body = rest.strip_prefix(':')?;
    (!program.is_empty()).then(|| (program, process, body.strip_prefix(' ').unwrap_or(body)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::attribute;

    fn now() -> Timestamp {
        "2026-01-02T00:00:00Z".parse().unwrap()
    }

    fn read(text: &str) -> (Resource, LogRecord) {
        parse(text.as_bytes(), now(), "10.0.0.9")
    }

    fn text_of(attributes: &[(String, Value)], name: &str) -> String {
        attribute(attributes, name).map(Value::to_text).unwrap_or_default()
    }

    fn time(text: &str) -> i64 {
        i64::try_from(text.parse::<Timestamp>().unwrap().as_nanosecond()).unwrap()
    }

    #[test]
    fn the_new_form_with_structured_data() {
        let (resource, record) = read(concat!(
            "<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog 77 ID47 ",
            r#"[exampleSDID@32473 iut="3" eventSource="Appl\"ic\]ation"][other@1 a="b"] "#,
            "\u{feff}An application event"
        ));
        assert_eq!(resource.service, "evntslog");
        assert_eq!(text_of(&resource.attributes, "host.name"), "mymachine.example.com");
        assert_eq!((record.severity, record.body.as_str()), (10, "An application event"));
        assert_eq!(record.time, time("2003-10-11T22:14:15.003Z"));
        for (name, value) in [
            ("syslog.facility", "local4"),
            ("process.pid", "77"),
            ("syslog.msgid", "ID47"),
            ("exampleSDID@32473.iut", "3"),
            ("exampleSDID@32473.eventSource", "Appl\"ic]ation"),
            ("other@1.a", "b"),
        ] {
            assert_eq!(text_of(&record.attributes, name), value, "{name}");
        }
        let (resource, record) = read("<0>1 - - - - - -");
        assert_eq!(
            (resource.service.as_str(), record.severity, record.body.as_str()),
            ("unknown_service", 24, "")
        );
        assert_eq!(text_of(&resource.attributes, "host.name"), "10.0.0.9");
    }

    #[test]
    fn the_old_form_with_as_much_as_it_has() {
        let (resource, record) = read("<34>Oct 11 22:14:15 mymachine su[12]: 'su root' failed");
        assert_eq!((resource.service.as_str(), record.severity), ("su", 21));
        assert_eq!(record.body, "'su root' failed");
        // In January an October is last year's.
        assert_eq!(record.time, time("2025-10-11T22:14:15Z"));
        assert_eq!(text_of(&record.attributes, "process.pid"), "12");
        assert_eq!(text_of(&record.attributes, "syslog.facility"), "auth");

        let (resource, record) = read("<13>Jan  1 01:02:03 cron: started");
        assert_eq!((resource.service.as_str(), record.body.as_str()), ("cron", "started"));
        assert_eq!(record.time, time("2026-01-01T01:02:03Z"));

        let (resource, record) = read("<30>2026-01-01T10:00:00.5+02:00 box app: hi");
        assert_eq!((resource.service.as_str(), record.time), ("app", time("2026-01-01T08:00:00.5Z")));

        let (resource, record) = read("<999>no priority at all");
        assert_eq!((resource.service.as_str(), record.severity), ("unknown_service", 10));
        assert_eq!(
            (record.body.as_str(), record.time),
            ("<999>no priority at all", time("2026-01-02T00:00:00Z"))
        );
    }

    #[test]
    fn the_first_of_march_of_no_leap_year_is_no_error() {
        let (_, record) = read("<13>Feb 30 00:00:00 box a: b");
        assert_eq!(record.time, time("2026-01-02T00:00:00Z"));
    }

    proptest! {
        #[test]
        fn any_message_is_a_record(bytes: Vec<u8>, text in "<1[0-9]>1? ?[-A-Za-z0-9:\\[\\]=\"\\\\ .é]{0,60}") {
            let _ = parse(&bytes, now(), "");
            let _ = parse(text.as_bytes(), now(), "");
        }
    }
}
