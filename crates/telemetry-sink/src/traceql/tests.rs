//! What queries choose of a trace.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::head::Found;
use crate::model::{Resource, Span, SpanEvent, SpanKind, SpanStatus, Value};

fn span(id: u8, parent: Option<u8>, service: &str, name: &str, millis: i64) -> Found<Span> {
    let start = i64::from(id) * 1_000_000;
    Found {
        resource: Arc::new(Resource {
            service: service.into(),
            attributes: vec![("zone".into(), Value::Text("z1".into()))],
        }),
        record: Span {
            trace_id: [9; 16],
            span_id: [id; 8],
            parent: parent.map(|parent| [parent; 8]),
            name: name.into(),
            kind: if id == 3 { SpanKind::Client } else { SpanKind::Server },
            start,
            end: start + millis * 1_000_000,
            status: if id == 4 { SpanStatus::Error } else { SpanStatus::Unset },
            attributes: vec![
                ("http.status_code".into(), Value::Int(if id == 4 { 500 } else { 200 })),
                ("db statement".into(), Value::Text("select".into())),
                ("cached".into(), Value::Bool(id == 2)),
            ],
            events: vec![SpanEvent {
                name: if id == 4 { "exception".into() } else { "note".into() },
                ..SpanEvent::default()
            }],
            ..Span::default()
        },
    }
}

/// gateway 1 → api 2 → (api 3 → store 4, api 5).
fn trace() -> Trace {
    let spans = vec![
        span(1, None, "gateway", "GET /", 100),
        span(2, Some(1), "api", "orders", 80),
        span(3, Some(2), "api", "call store", 40),
        span(4, Some(3), "store", "query", 30),
        span(5, Some(2), "api", "render", 5),
    ];
    Trace::of([9; 16], spans).unwrap()
}

fn ids(query: &str) -> Vec<usize> {
    let query = parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    chosen(&query, &trace(), soon()).unwrap().into_iter().map(|place| place + 1).collect()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_mins(1)
}

#[test]
fn filters_and_operators_choose_spans() {
    for (query, expected) in [
        ("", vec![1, 2, 3, 4, 5]),
        ("{}", vec![1, 2, 3, 4, 5]),
        ("{ name = \"orders\" }", vec![2]),
        ("{ resource.service.name = \"api\" && duration > 30ms }", vec![2, 3]),
        ("{ .service.name =~ \"a.*|store\" }", vec![2, 3, 4, 5]),
        ("{ span.http.status_code >= 500 || kind = client }", vec![3, 4]),
        ("{ status = error }", vec![4]),
        ("{ status != error && name !~ \"GET.*|orders\" }", vec![3, 5]),
        ("{ span.\"db statement\" = \"select\" && .zone = \"z1\" }", vec![1, 2, 3, 4, 5]),
        ("{ span.cached = true }", vec![2]),
        ("{ span.cached }", vec![2]),
        ("{ !(span.cached) && !(status = error) }", vec![1, 3, 5]),
        ("{ span.missing = nil && name = \"render\" }", vec![5]),
        ("{ span.missing != nil }", vec![]),
        ("{ span.http.status_code = \"500\" }", vec![]),
        ("{ rootName = \"GET /\" && rootServiceName = \"gateway\" && name = \"query\" }", vec![4]),
        ("{ traceDuration > 1s }", vec![]),
        ("{ traceDuration >= 100ms && nestedSetParent < 0 }", vec![1]),
        ("{ event:name = \"exception\" }", vec![4]),
        ("{ trace:id = \"09090909090909090909090909090909\" && span:id = \"0505050505050505\" }", vec![5]),
        ("{ name = \"GET /\" } > { }", vec![2]),
        ("{ name = \"GET /\" } >> { resource.service.name = \"store\" }", vec![4]),
        ("{ name = \"orders\" } >> { kind = server }", vec![4, 5]),
        ("{ status = error } << { resource.service.name = \"api\" }", vec![2, 3]),
        ("{ status = error } < { }", vec![3]),
        ("{ name = \"render\" } ~ { }", vec![3]),
        ("{ name = \"GET /\" } !>> { }", vec![1]),
        ("{ name = \"GET /\" } && { status = error }", vec![1, 4]),
        ("{ name = \"GET /\" } && { status = ok }", vec![]),
        ("{ name = \"nobody\" } || { status = error }", vec![4]),
        ("({ name = \"GET /\" } >> { kind = client }) > { }", vec![4]),
        ("{ resource.service.name = \"api\" } | count() > 2", vec![2, 3, 5]),
        ("{ resource.service.name = \"api\" } | count() > 3", vec![]),
        ("{ } | avg(duration) > 50ms | max(duration) <= 100ms", vec![1, 2, 3, 4, 5]),
        ("{ } | sum(span.http.status_code) = 1300", vec![1, 2, 3, 4, 5]),
        ("{ status = error } | select(span.http.status_code, resource.zone)", vec![4]),
    ] {
        assert_eq!(ids(query), expected, "{query}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (query, message) in [
        ("{ name = }", "col 10: syntax error: unexpected \"}\", expecting a field"),
        ("{ nome = \"x\" }", "col 3: syntax error: unexpected \"nome"),
        ("{ name = \"x }", "the string does not end"),
        ("{ name =~ \"(\" }", "invalid regular expression"),
        ("{ } | rate()", "the stage \"rate\" is not supported"),
        ("{ } | by(name)", "the stage \"by\" is not supported"),
        ("{ } | count()", "expecting a comparison"),
        ("{ }\n{ }", "line 2, col 1"),
        ("{ parent.a = 1 }", "the scope parent is not supported"),
        ("{ duration > 3x }", "expecting a number or a duration"),
        ("name", "expecting \"{\""),
    ] {
        let error = parse(query).unwrap_err();
        assert!(error.contains(message), "{query}: {error}");
    }
}

#[test]
fn spans_that_are_their_own_ancestors_do_not_loop() {
    let spans =
        vec![span(1, Some(2), "a", "x", 1), span(2, Some(1), "a", "y", 1), span(3, Some(3), "a", "z", 1)];
    let trace = Trace::of([9; 16], spans).unwrap();
    let query = parse("{ name = \"x\" } >> { }").unwrap();
    assert!(chosen(&query, &trace, soon()).unwrap().len() <= 2);
}

#[test]
fn a_query_past_its_deadline_judges_no_trace() {
    let query = parse("{ } >> { }").unwrap();
    let late = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
    assert_eq!(chosen(&query, &trace(), late), Err(eval::TimedOut));
}

#[test]
fn structural_operators_look_at_long_traces_once() {
    let id = |number: u32| (u64::from(number) + 1).to_be_bytes();
    let long: Vec<_> = (0..20_000u32)
        .map(|number| {
            let mut found = span(1, None, "api", if number < 10_000 { "upper" } else { "lower" }, 1);
            found.record.span_id = id(number);
            found.record.parent = number.checked_sub(1).map(id);
            found.record.start = i64::from(number);
            found
        })
        .collect();
    let trace = Trace::of([9; 16], long).unwrap();
    let started = Instant::now();
    for (query, count) in [
        ("{ name = \"upper\" } >> { name = \"lower\" }", 10_000),
        ("{ name = \"upper\" } !>> { name = \"lower\" }", 0),
        ("{ name = \"lower\" } << { name = \"upper\" }", 10_000),
        ("{ name = \"upper\" } << { name = \"lower\" }", 0),
        ("{ name = \"lower\" } < { }", 10_000),
        ("{ name = \"upper\" } > { }", 10_000),
        ("{ } ~ { }", 0),
        ("{ } !~ { }", 20_000),
    ] {
        let query = parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
        assert_eq!(chosen(&query, &trace, soon()).unwrap().len(), count, "{query:?}");
    }
    // Pairs of spans would be 10^8 for each query.
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "[{}a-z.=~!|&<>\"` é,0()]{0,60}") {
        let _ = parse(&text);
        let _ = parse(&format!("{{{text}}}"));
        let _ = parse_field(&text);
    }
}
