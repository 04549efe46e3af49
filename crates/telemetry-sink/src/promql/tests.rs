//! Behaviour taken from Prometheus' documentation and test data, as `check(expression, expected)`.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::head::metrics::{Selected, TooManySamples};
use crate::model::matcher::all_accept;
use crate::model::{Labels, METRIC_NAME, Matcher, stale};

struct Memory(Vec<Selected>);

impl Source for Memory {
    fn select(
        &self,
        matchers: &[Matcher],
        from: i64,
        to: i64,
        max_samples: usize,
    ) -> Result<Vec<Selected>, TooManySamples> {
        let mut found = Vec::new();
        let mut left = max_samples;
        for series in self.0.iter().filter(|series| all_accept(matchers, &series.labels)) {
            let samples: Vec<_> =
                series.samples.iter().filter(|(time, _)| *time > from && *time <= to).copied().collect();
            left = left.checked_sub(samples.len()).ok_or(TooManySamples)?;
            if !samples.is_empty() {
                found.push(Selected { labels: series.labels.clone(), samples });
            }
        }
        Ok(found)
    }
}

/// Series in the notation of Prometheus' own tests: `name{a="b"} 0+10x3 _ stale 7`, one sample each
/// `step` from time zero.
fn load(step: Duration, text: &str) -> Memory {
    let step = i64::try_from(step.as_millis()).unwrap();
    let mut memory = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let split = line.find('}').map_or_else(|| line.find(' ').unwrap(), |brace| brace + 1);
        let (selector, values) = line.split_at(split);
        let matchers = parse_selector(selector).unwrap();
        let labels: Labels =
            matchers.iter().map(|matcher| (matcher.name.as_str(), matcher.value.as_str())).collect();
        let mut samples = Vec::new();
        let mut time = 0;
        for item in values.split_whitespace() {
            for value in expand(item) {
                if let Some(value) = value {
                    samples.push((time, value));
                }
                time += step;
            }
        }
        memory.push(Selected { labels, samples });
    }
    memory.sort_by(|left, right| left.labels.cmp(&right.labels));
    Memory(memory)
}

fn expand(item: &str) -> Vec<Option<f64>> {
    if item == "_" {
        return vec![None];
    }
    if item == "stale" {
        return vec![Some(stale())];
    }
    let Some((start, rest)) = item.split_once('+') else { return vec![Some(item.parse().unwrap())] };
    let (step, count) = rest.split_once('x').unwrap();
    let (start, step): (f64, f64) = (start.parse().unwrap(), step.parse().unwrap());
    (0..=count.parse::<u32>().unwrap()).map(|n| Some(start + step * f64::from(n))).collect()
}

fn limits() -> Limits {
    Limits { max_samples: 100_000, deadline: Instant::now() + Duration::from_mins(1) }
}

fn show(labels: &Labels) -> String {
    let rest: Vec<_> =
        labels.iter().filter(|(name, _)| *name != METRIC_NAME).map(|(n, v)| format!("{n}={v}")).collect();
    format!("{}{{{}}}", labels.name(), rest.join(","))
}

fn number(value: f64) -> String {
    let rounded = (value * 1e6).round() / 1e6;
    if value.is_nan() { "NaN".into() } else { rounded.to_string() }
}

fn run(memory: &Memory, expr: &str, query: Query) -> Result<String, Error> {
    let parsed = parse(expr)?;
    Ok(match evaluate(&parsed, query, memory, limits())?.value {
        Value::Scalar(values) => values.into_iter().map(number).collect::<Vec<_>>().join(" "),
        Value::Text(text) => text,
        Value::Vector(series) => series
            .iter()
            .map(|series| {
                let values: Vec<_> =
                    series.values.iter().map(|value| value.map_or("_".into(), number)).collect();
                format!("{} {}", show(&series.labels), values.join(" "))
            })
            .collect::<Vec<_>>()
            .join("; "),
        Value::Matrix(series) => series
            .iter()
            .map(|(labels, samples)| {
                let values: Vec<_> = samples
                    .iter()
                    .map(|(time, value)| format!("{}@{}", number(*value), time / 1000))
                    .collect();
                format!("{} {}", show(labels), values.join(" "))
            })
            .collect::<Vec<_>>()
            .join("; "),
    })
}

fn check_at(memory: &Memory, seconds: i64, cases: &[(&str, &str)]) {
    for (expr, expected) in cases {
        let found =
            run(memory, expr, Query::instant(seconds * 1000)).unwrap_or_else(|error| format!("{error}"));
        assert_eq!(&found, expected, "{expr} at {seconds} s");
    }
}

fn requests() -> Memory {
    load(
        Duration::from_mins(5),
        r#"
        http_requests{job="api", instance="0", group="production"} 0+10x10
        http_requests{job="api", instance="1", group="production"} 0+20x10
        http_requests{job="api", instance="0", group="canary"}     0+30x10
        http_requests{job="app", instance="0", group="production"} 0+50x10
        "#,
    )
}

#[test]
fn selectors_match_by_equality_and_pattern() {
    check_at(
        &requests(),
        3000,
        &[
            (r#"http_requests{group="canary"}"#, "http_requests{group=canary,instance=0,job=api} 300"),
            (r#"http_requests{instance!="0"}"#, "http_requests{group=production,instance=1,job=api} 200"),
            (
                r#"http_requests{job=~"a.i",group!~"prod.*"}"#,
                "http_requests{group=canary,instance=0,job=api} 300",
            ),
            (
                r#"{__name__="http_requests",job="app"}"#,
                "http_requests{group=production,instance=0,job=app} 500",
            ),
            (r#"{"http_requests", job="app"}"#, "http_requests{group=production,instance=0,job=app} 500"),
            (
                r#"http_requests{job="app"} offset 5m"#,
                "http_requests{group=production,instance=0,job=app} 450",
            ),
            (r#"http_requests{job="none"}"#, ""),
            (
                r#"http_requests{job="app"}[10m]"#,
                "http_requests{group=production,instance=0,job=app} 450@2700 500@3000",
            ),
        ],
    );
}

#[test]
fn aggregations_group_by_and_without() {
    check_at(
        &requests(),
        3000,
        &[
            ("sum(http_requests)", "{} 1100"),
            ("sum by (group) (http_requests)", "{group=canary} 300; {group=production} 800"),
            (
                "sum(http_requests) by (group, job)",
                "{group=canary,job=api} 300; {group=production,job=api} 300; {group=production,job=app} 500",
            ),
            ("sum without (instance, group) (http_requests)", "{job=api} 600; {job=app} 500"),
            ("avg(http_requests)", "{} 275"),
            ("min(http_requests)", "{} 100"),
            ("max by (job) (http_requests)", "{job=api} 300; {job=app} 500"),
            ("count(http_requests)", "{} 4"),
            ("group(http_requests)", "{} 1"),
            ("stddev(http_requests)", "{} 147.901995"),
            ("quantile(0.5, http_requests)", "{} 250"),
            ("topk(1, http_requests)", "http_requests{group=production,instance=0,job=app} 500"),
            ("bottomk(1, http_requests)", "http_requests{group=production,instance=0,job=api} 100"),
            ("sum(none)", ""),
        ],
    );
}

#[test]
fn arithmetic_follows_precedence_and_drops_the_name() {
    check_at(
        &requests(),
        3000,
        &[
            ("1 + 2 * 3", "7"),
            ("2 ^ 3 ^ 2", "512"),
            ("-2 ^ 2", "-4"),
            ("(1 + 2) * 3 % 4", "1"),
            ("1 / 0", "inf"),
            ("-1 / 0", "-inf"),
            ("0 / 0", "NaN"),
            ("1 > bool 2", "0"),
            ("5m", "300"),
            ("0x1F", "31"),
            ("1e3", "1000"),
            (r#"http_requests{job="app"} / 2"#, "{group=production,instance=0,job=app} 250"),
            (r#"-http_requests{job="app"}"#, "{group=production,instance=0,job=app} -500"),
            (
                "http_requests > 250",
                "http_requests{group=canary,instance=0,job=api} 300; http_requests{group=production,instance=0,job=app} 500",
            ),
            (r#"http_requests{job="app"} > bool 600"#, "{group=production,instance=0,job=app} 0"),
            ("sum(http_requests) > 2000", ""),
        ],
    );
}

#[test]
fn vectors_match_one_to_one() {
    let memory = load(
        Duration::from_mins(1),
        r#"
        errors{method="get", code="500"} 24
        errors{method="post", code="500"} 6
        requests{method="get"} 600
        requests{method="del"} 34
        requests{method="post"} 120
        "#,
    );
    check_at(
        &memory,
        0,
        &[
            ("errors / ignoring(code) requests", "{method=get} 0.04; {method=post} 0.05"),
            ("errors / on(method) requests", "{method=get} 0.04; {method=post} 0.05"),
            ("errors / requests", ""),
            ("requests and on(method) errors", "requests{method=get} 600; requests{method=post} 120"),
            ("requests unless on(method) errors", "requests{method=del} 34"),
            (
                r#"requests{method="del"} or on(method) errors"#,
                "requests{method=del} 34; errors{code=500,method=get} 24; errors{code=500,method=post} 6",
            ),
            (
                "requests == requests",
                "requests{method=del} 34; requests{method=get} 600; requests{method=post} 120",
            ),
            (
                "requests + on() errors",
                "found duplicate series for the match group {} on the right hand-side of the operation: \
                 [{__name__=\"errors\", code=\"500\", method=\"get\"}, \
                 {__name__=\"errors\", code=\"500\", method=\"post\"}];\
                 many-to-many matching not allowed: matching labels must be unique on one side",
            ),
        ],
    );
}

#[test]
fn rates_survive_resets_and_extrapolate_to_the_window() {
    let memory = load(
        Duration::from_secs(15),
        "
        steady 0+15x40
        reset 0 15 30 45 5 20 35
        gauge 10 8 6 4 2
        lonely _ _ 7
        ",
    );
    check_at(
        &memory,
        600,
        &[("rate(steady[1m])", "{} 1"), ("increase(steady[1m])", "{} 60"), ("irate(steady[1m])", "{} 1")],
    );
    check_at(
        &memory,
        90,
        &[
            // 15 + 15 + 15 + 5 (after the reset) + 15 + 15 over the 90 s from the first sample on.
            ("increase(reset[2m])", "{} 80"),
            ("resets(reset[2m])", "{} 1"),
            ("changes(reset[2m])", "{} 6"),
            ("rate(lonely[2m])", ""),
        ],
    );
    check_at(
        &memory,
        60,
        &[("delta(gauge[1m])", "{} -8"), ("irate(reset[1m])", "{} 0.333333"), ("idelta(gauge[1m])", "{} -2")],
    );
}

#[test]
fn extrapolation_stops_half_an_interval_beyond_samples_that_do_not_reach_the_edge() {
    // Samples at 120..=180 s in a window of 0..=300 s: half an average interval at either end, but a
    // counter is not carried below zero.
    let memory = load(Duration::from_mins(1), "late _ _ 60 120 \n young _ _ 0 60 ");
    check_at(
        &memory,
        300,
        &[("increase(late[5m])", "{} 120"), ("increase(young[5m])", "{} 90"), ("rate(young[5m])", "{} 0.3")],
    );
}

#[test]
fn a_range_is_open_on_the_left() {
    let memory = load(Duration::from_mins(1), "counts 1+1x10");
    check_at(
        &memory,
        300,
        &[
            ("count_over_time(counts[1m])", "{} 1"),
            ("count_over_time(counts[2m])", "{} 2"),
            ("sum_over_time(counts[3m])", "{} 15"),
            ("avg_over_time(counts[3m])", "{} 5"),
            ("max_over_time(counts[3m] offset 1m)", "{} 5"),
            ("last_over_time(counts[3m])", "counts{} 6"),
            ("quantile_over_time(0.5, counts[3m])", "{} 5"),
        ],
    );
}

#[test]
fn a_sample_is_current_for_five_minutes_or_until_marked_stale() {
    let memory = load(Duration::from_mins(1), "gone 1 \n marked 1 1 stale \n back 1 stale 3");
    check_at(&memory, 60, &[("gone", "gone{} 1"), ("marked", "marked{} 1"), ("back", "")]);
    check_at(&memory, 120, &[("marked", ""), ("count_over_time(marked[10m])", "{} 2"), ("back", "back{} 3")]);
    check_at(&memory, 299, &[("gone", "gone{} 1")]);
    check_at(&memory, 300, &[("gone", "")]);
}

#[test]
fn quantiles_of_classic_histograms_interpolate() {
    let memory = load(
        Duration::from_mins(1),
        r#"
        h_bucket{le="0.1", job="a"} 4
        h_bucket{le="0.2", job="a"} 8
        h_bucket{le="1e0", job="a"} 8
        h_bucket{le="+Inf", job="a"} 10
        negative_bucket{le="-0.2"} 1
        negative_bucket{le="-0.1"} 2
        negative_bucket{le="+Inf"} 2
        open_bucket{le="0.1"} 4
        "#,
    );
    check_at(
        &memory,
        0,
        &[
            ("histogram_quantile(0.4, h_bucket)", "{job=a} 0.1"),
            ("histogram_quantile(0.6, h_bucket)", "{job=a} 0.15"),
            ("histogram_quantile(0.99, h_bucket)", "{job=a} 1"),
            ("histogram_quantile(0, h_bucket)", "{job=a} 0"),
            ("histogram_quantile(-1, h_bucket)", "{job=a} -inf"),
            ("histogram_quantile(2, h_bucket)", "{job=a} inf"),
            ("histogram_quantile(0.25, negative_bucket)", "{} -0.2"),
            ("histogram_quantile(0.75, negative_bucket)", "{} -0.15"),
            ("histogram_quantile(0.5, open_bucket)", "{} NaN"),
            ("histogram_quantile(0.6, sum by (le) (h_bucket))", "{} 0.15"),
        ],
    );
}

#[test]
fn functions_of_values_and_labels() {
    let memory = load(
        Duration::from_mins(1),
        r#"v{a="x-1"} -2.5 
        w{a="y"} 3"#,
    );
    check_at(
        &memory,
        0,
        &[
            ("abs(v)", "{a=x-1} 2.5"),
            ("ceil(v)", "{a=x-1} -2"),
            ("round(v)", "{a=x-1} -2"),
            ("round(w, 2)", "{a=y} 4"),
            ("clamp(v, -1, 1)", "{a=x-1} -1"),
            ("clamp_min(v, 0)", "{a=x-1} 0"),
            ("sgn(v)", "{a=x-1} -1"),
            ("scalar(w)", "3"),
            ("vector(1)", "{} 1"),
            ("time()", "0"),
            ("timestamp(w)", "{a=y} 0"),
            (r#"absent(nothing{job="a", x=~"b"})"#, "{job=a} 1"),
            ("absent(v)", ""),
            (r#"label_replace(v, "b", "$1", "a", "(.*)-.*")"#, "v{a=x-1,b=x} -2.5"),
            (r#"label_join(v, "b", "/", "a", "a")"#, "v{a=x-1,b=x-1/x-1} -2.5"),
            (r#"sort_desc({a=~".+"})"#, "w{a=y} 3; v{a=x-1} -2.5"),
        ],
    );
}

#[test]
fn a_range_query_evaluates_every_step() {
    let query = Query { start: 0, end: 1_200_000, step: 300_000 };
    let found = run(&requests(), r#"sum(http_requests{job="api"})"#, query).unwrap();
    assert_eq!(found, "{} 0 60 120 180 240");
    let found = run(&requests(), r#"rate(http_requests{job="app"}[10m])"#, query).unwrap();
    assert_eq!(
        found,
        "{group=production,instance=0,job=app} _ 0.166667 0.166667 0.166667 0.166667"
            .replace("_ 0.166667", "_ 0.083333")
    );
}

#[test]
fn wrong_expressions_say_what_is_wrong() {
    for (expr, message) in [
        ("", "no expression found in input"),
        ("sum(", "unexpected end of input"),
        ("{}", "at least one non-empty matcher"),
        (r#"{job=~".*"}"#, "at least one non-empty matcher"),
        ("nope(1)", "unknown function with name \"nope\""),
        ("rate(up)", "expected type range vector in call to function \"rate\", got instant vector"),
        ("1 > 2", "comparisons between scalars must use BOOL modifier"),
        ("up[5m] + 1", "must contain only scalar and instant vector types"),
        ("sum(1)", "expected type instant vector"),
        ("up[5m", "unexpected end of input"),
        ("up{a=}", "expected string"),
        ("up{a=~\"(\"}", "invalid regular expression"),
        ("1 and 2", "set operators are not allowed"),
        ("up offset", "expected duration"),
        ("\"abc", "unterminated quoted string"),
        ("5x", "bad number or duration syntax"),
        ("rate(up[5m:0s])", "duration must be greater than 0"),
        ("up[5m][5m:]", "subquery is only allowed on instant vector, got range vector instead"),
        ("up offset 1m offset 2m", "offset may not be set multiple times"),
        ("up @ 5 @ 6", "@ <timestamp> may not be set multiple times"),
        ("up @ 5 [5m]", "no @ modifiers allowed before range"),
        ("up @ inf", "timestamp out of bounds for @ modifier"),
        (
            "sum(up) offset 5m",
            "must be preceded by an instant vector selector or range vector selector or a subquery",
        ),
        ("a * on(b) group_left(b) c", "label \"b\" must not occur in ON and GROUP clause at once"),
        ("a and on(b) group_left c", "no grouping allowed for set operations"),
        ("limitk(2, up)", "the function limitk() is not supported by this server"),
    ] {
        let error = parse(expr).unwrap_err().to_string();
        assert!(error.contains(message), "{expr}: {error}");
    }
}

#[test]
fn cost_is_bounded() {
    let memory = load(Duration::from_secs(1), "many 0+1x1000");
    let tight = Limits { max_samples: 100, ..limits() };
    let run = |limits| evaluate(&parse("many[1h]").unwrap(), Query::instant(1_000_000), &memory, limits);
    assert_eq!(run(tight).unwrap_err(), Error::TooManySamples);
    let late = Limits { deadline: Instant::now().checked_sub(Duration::from_secs(1)).unwrap(), ..limits() };
    let sum = evaluate(&parse("sum(many)").unwrap(), Query::instant(0), &memory, late);
    assert_eq!(sum.unwrap_err(), Error::Timeout);
    assert!(parse(&"(".repeat(100_000)).is_err());
    assert!(parse(&vec!["1"; 20_000].join("+")).is_err());
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,60}") {
        let _ = parse(&text);
    }

    #[test]
    fn arbitrary_tokens_never_panic(words in prop::collection::vec(prop::sample::select(vec![
        "sum", "rate", "(", ")", "up", "{", "}", "a", "=", "\"x\"", "[", "5m", "]", "by", "on", "-", "+", "*", "^",
        "offset", "1", ",", "bool", ">", "==", "and", "histogram_quantile", "0.5", "topk", "without", "time", "vector",
        "label_replace", "quantile_over_time", "clamp",
    ]), 0..14)) {
        let text = words.join(" ");
        if let Ok(expr) = parse(&text) {
            let query = Query { start: 0, end: 60_000, step: 15_000 };
            let _ = evaluate(&expr, query, &load(Duration::from_secs(15), "up{a=\"x\"} 0+1x5"), limits());
            let _ = evaluate(&expr, Query::instant(60_000), &load(Duration::from_secs(15), "a 0+1x5"), limits());
        }
    }
}

#[test]
fn a_duration_beyond_what_times_can_bear_is_refused() {
    for expression in [
        "depth offset 9223372036854775807ms",
        "depth offset -9223372036854775807ms",
        "rate(depth[9223372036854775807ms])",
        "depth offset -293y",
        "depth offset -9e15",
    ] {
        let message = "duration out of range";
        let expr = parse(expression);
        assert!(
            matches!(&expr, Err(Error::Parse { message: said, .. }) if said == message),
            "{expression}: {expr:?}"
        );
    }
    assert!(parse("depth offset -292y").is_ok());
}

/// Ours, in the language of Prometheus' own tests, which `cargo xtask promql` runs.
#[test]
fn scripts_of_our_own_pass() {
    for evaluation in script::run(include_str!("../../tests/promql/engine.test")).unwrap() {
        let at = format!("line {}: {}", evaluation.line, evaluation.query);
        assert_eq!(evaluation.outcome, script::Outcome::Passed, "{at}");
    }
}
