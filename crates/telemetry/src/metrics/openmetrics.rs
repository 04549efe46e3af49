//! The recorder's text in OpenMetrics' form (version 1.0), with exemplars.
//!
//! What differs from Prometheus' text: a counter's family is named without `_total`, a family whose name ends in a unit says
//! so, quotation marks in a description are escaped, there are no blank lines, and the end is marked.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::exemplars::Exemplar;

/// The units in which our names end.
const UNITS: [&str; 2] = ["seconds", "bytes"];

/// Translates a Prometheus text whose families each stand together, their descriptions first.
pub(super) fn of_prometheus(text: &str, exemplars: &HashMap<String, Exemplar>) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    let mut help = None;
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(described) = line.strip_prefix("# HELP ") {
            // Its name depends on the type, which comes next.
            help = described.split_once(' ').map(|(_, help)| help);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            family(&mut out, name, kind, help.take());
        } else if !line.starts_with('#') {
            out.push_str(line);
            if let Some(exemplar) = series_of(line).and_then(|series| exemplars.get(series)) {
                write(&mut out, exemplar);
            }
            out.push('\n');
        }
    }
    out.push_str("# EOF\n");
    out
}

fn family(out: &mut String, name: &str, kind: &str, help: Option<&str>) {
    // A counter of OpenMetrics has to end in `_total`; what does not is of no known type.
    let (family, kind) = match (kind, name.strip_suffix("_total")) {
        ("counter", Some(family)) => (family, "counter"),
        ("counter", None) | ("untyped", _) => (name, "unknown"),
        _ => (name, kind),
    };
    // Writing to a string cannot fail.
    let _ = writeln!(out, "# TYPE {family} {kind}");
    if let Some(unit) = UNITS.into_iter().find(|unit| ends_in(family, unit)) {
        let _ = writeln!(out, "# UNIT {family} {unit}");
    }
    if let Some(help) = help {
        let _ = writeln!(out, "# HELP {family} {}", help.replace('"', "\\\""));
    }
}

fn ends_in(family: &str, unit: &str) -> bool {
    family.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_'))
}

/// A bucket's name and labels; nothing for other lines.
fn series_of(line: &str) -> Option<&str> {
    let end = line.rfind("\"} ")? + 2;
    let series = line.get(..end)?;
    series.contains("_bucket{").then_some(series)
}

fn write(out: &mut String, exemplar: &Exemplar) {
    let Exemplar { trace_id, span_id, value, time } = exemplar;
    let millis = time.as_millisecond();
    let (seconds, rest) = (millis.div_euclid(1000), millis.rem_euclid(1000));
    let _ = write!(out, " # {{trace_id=\"{trace_id}\",span_id=\"{span_id}\"}} {value} {seconds}.{rest:03}");
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanId, TraceId};

    use super::*;

    #[test]
    fn a_prometheus_text_becomes_openmetrics() {
        let text = "# HELP a_seconds_total Time \"spent\"\n# TYPE a_seconds_total counter\na_seconds_total{b=\"c\"} 1\n\n\
                    # TYPE odd counter\nodd 2\n\n# TYPE d_bytes gauge\nd_bytes 3\n\n\
                    # HELP t_seconds How long\n# TYPE t_seconds histogram\nt_seconds_bucket{r=\"/{id}\",le=\"0.1\"} 1\n\
                    t_seconds_bucket{r=\"/{id}\",le=\"+Inf\"} 2\nt_seconds_sum{r=\"/{id}\"} 2.5\nt_seconds_count{r=\"/{id}\"} 2\n\n";
        let exemplar = Exemplar {
            trace_id: TraceId::from_bytes([0xab; 16]),
            span_id: SpanId::from_bytes([1; 8]),
            value: 2.25,
            time: "2026-11-23T00:00:00.5Z".parse().unwrap(),
        };
        let exemplars = HashMap::from([("t_seconds_bucket{r=\"/{id}\",le=\"+Inf\"}".to_owned(), exemplar)]);
        let trace = "ab".repeat(16);
        assert_eq!(
            of_prometheus(text, &exemplars),
            format!(
                "# TYPE a_seconds counter\n# UNIT a_seconds seconds\n# HELP a_seconds Time \\\"spent\\\"\n\
                 a_seconds_total{{b=\"c\"}} 1\n# TYPE odd unknown\nodd 2\n\
                 # TYPE d_bytes gauge\n# UNIT d_bytes bytes\nd_bytes 3\n\
                 # TYPE t_seconds histogram\n# UNIT t_seconds seconds\n# HELP t_seconds How long\n\
                 t_seconds_bucket{{r=\"/{{id}}\",le=\"0.1\"}} 1\n\
                 t_seconds_bucket{{r=\"/{{id}}\",le=\"+Inf\"}} 2 # {{trace_id=\"{trace}\",span_id=\"0101010101010101\"}} 2.25 1795392000.500\n\
                 t_seconds_sum{{r=\"/{{id}}\"}} 2.5\nt_seconds_count{{r=\"/{{id}}\"}} 2\n# EOF\n"
            )
        );
    }
}
