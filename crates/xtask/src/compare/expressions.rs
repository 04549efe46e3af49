//! What both are asked: expressions that dashboards have, odd ones, and others made up from a seed.

use crate::chaos::lots::Lots;

/// Made-up expressions of a run.
const MADE: usize = 260;
/// Operators and functions around each other.
const DEPTH: usize = 3;

/// A difference that is meant.
pub(super) struct Known {
    /// What stands in the expression.
    texts: &'static [&'static str],
    /// What stands in the difference.
    difference: &'static str,
    pub(super) why: &'static str,
}

/// All that may differ. Debian's Prometheus is 2.42; the sink follows the present one, which changed all of this.
const KNOWN: &[Known] = &[
    Known {
        texts: &["rate(temperature_celsius[1m])"],
        difference: "instead of",
        why: "a series that begins in a window near zero is extended to where it would have been zero, and no further",
    },
    Known {
        texts: &["\"1x\""],
        difference: "instead of error \"invalid destination label name",
        why: "any UTF-8 text is a label's name",
    },
    Known {
        texts: &["count_values(\"0\""],
        difference: "instead of error \"invalid label name",
        why: "any UTF-8 text is a label's name",
    },
    Known {
        texts: &["predict_linear(", "@"],
        difference: "instead of",
        why: "predict_linear looks at the samples that @ says at every step, and not at the first alone",
    },
    Known {
        texts: &["std"],
        difference: "\"NaN\"] instead of",
        why: "the deviation of what is no number is none",
    },
];

/// The entry for a difference that is meant.
pub(super) fn known(text: &str, difference: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| {
        known.texts.iter().all(|part| text.contains(part)) && difference.contains(known.difference)
    })
}

const LISTED: &[&str] = &[
    // What nearly every dashboard asks.
    "sum(rate(requests_total[5m]))",
    "sum by (job) (rate(requests_total[5m]))",
    "sum by (status, job) (irate(requests_total[2m]))",
    "sum(rate(requests_total{status=~\"5..\"}[5m])) / sum(rate(requests_total[5m]))",
    "histogram_quantile(0.99, sum by (le) (rate(latency_seconds_bucket[5m])))",
    "histogram_quantile(0.5, sum by (le, job) (rate(latency_seconds_bucket[10m])))",
    "histogram_quantile(0.9, latency_seconds_bucket)",
    "histogram_quantile(scalar(count(up)) or vector(0.7), rate(latency_seconds_bucket[5m]))",
    "histogram_quantile(-1, latency_seconds_bucket)",
    "histogram_quantile(2, latency_seconds_bucket)",
    "histogram_quantile(NaN, latency_seconds_bucket)",
    "rate(latency_seconds_sum[5m]) / rate(latency_seconds_count[5m])",
    "topk(3, sum by (instance) (rate(requests_total[5m])))",
    "bottomk(2, temperature_celsius)",
    "topk by (sensor) (1, temperature_celsius)",
    "increase(requests_total{method=\"post\"}[17m])",
    "100 - avg by (instance) (rate(cpu_seconds_total[5m])) * 100",
    "memory_bytes / 1024 / 1024",
    "label_replace(temperature_celsius, \"place\", \"$1-x\", \"sensor\", \"(.)n.*\")",
    "label_replace(temperature_celsius, \"sensor\", \"\", \"sensor\", \".*\")",
    "label_replace(temperature_celsius, \"all\", \"$0:${1}\", \"instance\", \"(?P<host>.*):.*\")",
    "label_join(build_info, \"both\", \"/\", \"region\", \"version\", \"none\")",
    "count_values(\"value\", round(temperature_celsius, 5))",
    "count by (version) (build_info)",
    "temperature_celsius * on (instance) group_left (version, region) build_info",
    "build_info * on (instance) group_right (version) temperature_celsius",
    "requests_total * on (instance) build_info",
    "changes(temperature_celsius[30m])",
    "resets(requests_total[1h])",
    "delta(temperature_celsius[20m])",
    "idelta(temperature_celsius[3m])",
    "deriv(temperature_celsius[15m])",
    "predict_linear(memory_bytes[30m], 3600)",
    "avg_over_time(temperature_celsius[9m])",
    "max_over_time(rate(requests_total[2m])[20m:1m])",
    "quantile_over_time(0.75, temperature_celsius[30m])",
    "stddev_over_time(temperature_celsius[30m])",
    "stdvar_over_time(temperature_celsius[30m])",
    "last_over_time(temperature_celsius[40m])",
    "present_over_time(temperature_celsius[3m])",
    "count_over_time(seldom[30m])",
    "seldom",
    "absent(temperature_celsius{instance=\"nobody\", sensor=~\"x.*\"})",
    "absent(temperature_celsius)",
    "absent_over_time(seldom[5m])",
    "absent_over_time(nothing{a=\"b\"}[5m])",
    "rate(temperature_celsius[1m])",
    "stddev(sqrt(-memory_bytes))",
    // Sets, comparisons, precedence.
    "temperature_celsius > 20 and temperature_celsius < 60",
    "temperature_celsius > bool 20",
    "20 < bool 30",
    "temperature_celsius unless on (sensor) temperature_celsius{instance=\"a:1\"}",
    "temperature_celsius{sensor=\"cpu\"} or temperature_celsius or memory_bytes",
    "vector(1) or on () temperature_celsius",
    "2 ^ 3 ^ 2",
    "-2 ^ 2",
    "-temperature_celsius",
    "1 + 2 * 3 % 5 - 4 / 8",
    "temperature_celsius % 7",
    "-temperature_celsius % 7",
    "temperature_celsius atan2 memory_bytes{instance=\"a:1\"}",
    "temperature_celsius atan2 ignoring (sensor) group_left () build_info",
    "1 / 0",
    "-1 / 0",
    "0 / 0",
    "odd / 0",
    "odd ^ 0.5",
    "odd == odd",
    "odd != odd",
    "odd >= bool 5",
    "0x1F + 1e3 + .5 + Inf",
    "sum(odd)",
    "sum(odd{kind=~\"zero|minus_zero|large\"})",
    "avg(odd{kind!~\".*inf|nan\"})",
    "min(odd)",
    "max(odd)",
    "stddev(odd{kind=~\".*zero\"})",
    "stdvar(odd)",
    "quantile(0.5, odd)",
    "quantile(-0.1, odd)",
    "quantile by (kind) (1.1, odd)",
    "topk(4, odd{kind!~\".*zero\"})",
    "bottomk(4, odd{kind!~\".*zero\"})",
    "group(odd)",
    "min_over_time(odd[5m])",
    "max_over_time(odd[5m])",
    "avg_over_time(odd{kind!=\"large\"}[5m])",
    "sum_over_time(odd{kind!=\"large\"}[5m])",
    "quantile_over_time(0.3, odd[5m])",
    "changes(odd[10m])",
    "sgn(odd)",
    "abs(signs)",
    "avg_over_time(signs[7m])",
    "resets(signs[5m])",
    "clamp(odd, 2, 6)",
    "clamp(odd, 6, 2)",
    "clamp_min(odd, 4)",
    "clamp_max(odd, 4)",
    "round(odd)",
    "round(odd, 0.3)",
    "round(temperature_celsius, 0)",
    "floor(-odd)",
    "sort(temperature_celsius)",
    "sort_desc(temperature_celsius)",
    "exp(temperature_celsius / 10)",
    "ln(temperature_celsius)",
    "log2(odd)",
    "log10(odd)",
    "sqrt(temperature_celsius)",
    "sin(odd)",
    "cosh(odd)",
    "atanh(odd / 10)",
    "deg(temperature_celsius)",
    "rad(temperature_celsius)",
    "pi() * 2",
    // Times.
    "time()",
    "time() - timestamp(temperature_celsius)",
    "timestamp(temperature_celsius + 1)",
    "timestamp(seldom)",
    "minute()",
    "hour(vector(time() - 86400))",
    "day_of_month(vector(1e9))",
    "day_of_week()",
    "day_of_year()",
    "days_in_month(vector(951782400))",
    "month(vector(-1))",
    "year(memory_bytes)",
    "temperature_celsius offset 10m",
    "temperature_celsius offset -3m",
    "rate(requests_total[5m] offset 7m)",
    "requests_total @ end()",
    "rate(requests_total[5m] @ start())",
    "sum(rate(requests_total[5m] @ end() offset 5m)) by (job)",
    "sum_over_time((temperature_celsius > 20)[10m:30s])",
    "avg_over_time(sum(temperature_celsius)[30m:5m] offset 3m)",
    "max_over_time(deriv(temperature_celsius[5m])[15m:])",
    "rate(requests_total[1s])",
    "rate(requests_total[20s])",
    "increase(requests_total[2h])",
    "temperature_celsius[3m]",
    "requests_total{job=\"api\", status=\"500\"}[1m] offset 2m",
    "temperature_celsius[5m:1m]",
    "holt_winters_is_gone(temperature_celsius[5m])",
    // Selecting.
    "{__name__=~\"memory.*|seldom\"}",
    "{job=\"api\", __name__!=\"requests_total\"}",
    "temperature_celsius{sensor!=\"\"}",
    "temperature_celsius{none=\"\"}",
    "temperature_celsius{sensor=~\"\"}",
    "temperature_celsius{sensor=~\"in|out\"}",
    "temperature_celsius{sensor=~\"(in|out)let\"}",
    "temperature_celsius{instance!~\"a.*\"}",
    "rate({__name__=~\"requests_total|cpu_seconds_total\", instance=\"a:1\"}[5m])",
    "\"a text\"",
    "'with \\'quotes\\' and \\u00e9'",
    "scalar(temperature_celsius)",
    "scalar(sum(temperature_celsius))",
    "vector(scalar(memory_bytes{instance=\"a:1\"}) * 2)",
    // Refused by both.
    "sum(",
    "temperature_celsius + ",
    "rate(temperature_celsius)",
    "sum(temperature_celsius[5m])",
    "{}",
    "{a=~\".*\"}",
    "1 and 2",
    "temperature_celsius > bool",
    "1 > 2",
    "temperature_celsius * memory_bytes",
    "temperature_celsius * on (instance) memory_bytes * on (nothing) seldom",
    "label_replace(temperature_celsius, \"1x\", \"\", \"sensor\", \"\")",
    "label_replace(temperature_celsius, \"x\", \"\", \"sensor\", \"(\")",
    "count_values(\"0\", temperature_celsius)",
    "topk(temperature_celsius, 3)",
    "temperature_celsius offset",
    "temperature_celsius[5m] offset 5m offset 3m",
    "nosuchfunction(temperature_celsius)",
    "temperature_celsius{sensor=~\"*\"}",
    "sum by (job (requests_total)",
    "temperature_celsius @ nowhere",
    "\"text\" + 1",
    "histogram_quantile(latency_seconds_bucket, 0.5)",
    "clamp(temperature_celsius, 1)",
    "time(1)",
];

/// All expressions of a run.
pub(super) fn all(lots: &mut Lots) -> Vec<String> {
    let mut all: Vec<_> = LISTED.iter().map(|text| (*text).to_owned()).collect();
    all.extend((0..MADE).map(|_| vector(lots, DEPTH)));
    all
}

/// Whether the order of the series of an instant query is part of its meaning.
pub(super) fn is_ordered(text: &str) -> bool {
    text.starts_with("sort")
}

fn pick<'a>(lots: &mut Lots, from: &[&'a str]) -> &'a str {
    from.get(lots.below(from.len())).copied().unwrap_or_default()
}

const COUNTERS: &[&str] = &[
    "requests_total",
    "requests_total{status!=\"200\"}",
    "requests_total{job=\"api\",method=~\"g.*\"}",
    "cpu_seconds_total",
    "latency_seconds_count",
    "latency_seconds_bucket{le=\"0.1\"}",
];

fn selector(lots: &mut Lots) -> String {
    const GAUGES: &[&str] =
        &["temperature_celsius", "temperature_celsius{sensor=\"cpu\"}", "memory_bytes", "seldom"];
    let from = if lots.in_hundred(55) { COUNTERS } else { GAUGES };
    pick(lots, from).to_owned()
}

fn shifted(lots: &mut Lots) -> &'static str {
    pick(lots, &["", "", "", "", " offset 6m", " offset -2m", " @ end()", " @ start()"])
}

fn window(lots: &mut Lots) -> &'static str {
    pick(lots, &["40s", "1m", "3m", "5m", "11m", "25m", "1h"])
}

fn over_time(lots: &mut Lots) -> String {
    const FUNCTIONS: &[&str] = &[
        "irate",
        "delta",
        "idelta",
        "deriv",
        "changes",
        "resets",
        "avg_over_time",
        "min_over_time",
        "max_over_time",
        "sum_over_time",
        "count_over_time",
        "last_over_time",
        "stddev_over_time",
        "stdvar_over_time",
        "present_over_time",
    ];
    let (selector, window, shifted) = (selector(lots), window(lots), shifted(lots));
    let range = format!("{selector}[{window}]{shifted}");
    if lots.in_hundred(30) {
        return format!("{}({}[{window}]{shifted})", pick(lots, &["rate", "increase"]), pick(lots, COUNTERS));
    }
    match lots.below(10) {
        0 => format!("quantile_over_time(0.{}, {range})", lots.below(10)),
        1 => format!("predict_linear({range}, {})", lots.below(5000)),
        _ => format!("{}({range})", pick(lots, FUNCTIONS)),
    }
}

fn aggregated(lots: &mut Lots, depth: usize) -> String {
    const LABELS: &[&str] = &["job", "instance", "status", "sensor", "method", "job, instance"];
    let inner = vector(lots, depth);
    let labels = pick(lots, LABELS);
    let grouping = match lots.below(3) {
        0 => String::new(),
        1 => format!(" by ({labels})"),
        _ => format!(" without ({labels})"),
    };
    match lots.below(8) {
        0 => format!("quantile{grouping} (0.{}, {inner})", lots.below(10)),
        _ => format!(
            "{}{grouping} ({inner})",
            pick(lots, &["sum", "avg", "min", "max", "count", "stddev", "stdvar", "group"])
        ),
    }
}

fn combined(lots: &mut Lots, depth: usize) -> String {
    let operator = pick(lots, &["+", "-", "*", "/", "%", ">", "<", ">=", "<=", "> bool", "<= bool"]);
    let inner = vector(lots, depth);
    match lots.below(4) {
        0 => format!("({inner}) {operator} {}", lots.below(50)),
        1 => format!("{} {operator} ({inner})", lots.below(50)),
        2 => {
            let other = vector(lots, depth);
            format!("sum by (instance) ({inner}) {operator} on (instance) max by (instance) ({other})")
        }
        _ => {
            let (other, set) = (vector(lots, depth), pick(lots, &["and", "or", "unless"]));
            format!("({inner}) {set} on (instance) ({other})")
        }
    }
}

/// The windows end at no time at which the steps of a query around it stand.
fn subquery(lots: &mut Lots, depth: usize) -> String {
    const FUNCTIONS: &[&str] = &[
        "avg_over_time",
        "max_over_time",
        "min_over_time",
        "sum_over_time",
        "count_over_time",
        "last_over_time",
    ];
    let inner = vector(lots, depth);
    let (function, step) = (pick(lots, FUNCTIONS), pick(lots, &["30s", "1m", "2m", ""]));
    format!("{function}(({inner})[{}:{step}])", pick(lots, &["4m1s", "10m1s", "20m1s"]))
}

fn vector(lots: &mut Lots, depth: usize) -> String {
    const FUNCTIONS: &[&str] = &["abs", "sqrt", "ln", "-", "exp", "deg", "log10"];
    if depth == 0 {
        return format!("{}{}", selector(lots), shifted(lots));
    }
    match lots.below(10) {
        0 => format!("{}{}", selector(lots), shifted(lots)),
        1 | 2 => over_time(lots),
        3..=5 => aggregated(lots, depth - 1),
        6 => format!("{}({})", pick(lots, FUNCTIONS), vector(lots, depth - 1)),
        7 => combined(lots, depth - 1),
        // Of what is computed, the last bit would decide.
        8 => format!("{}({})", pick(lots, &["ceil", "floor", "sgn", "round"]), selector(lots)),
        _ => subquery(lots, depth - 1),
    }
}
