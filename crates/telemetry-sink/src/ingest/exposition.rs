//! Prometheus' text format (version 0.0.4) and OpenMetrics (version 1.0).
//!
//! A line that cannot be read is an error of the whole scrape, as in Prometheus: half a scrape would
//! look like series that ended. Of OpenMetrics this holds for exemplars and for a missing `# EOF` too. What
//! OpenMetrics forbids beside (blank lines, families in pieces) is read over, and a counter is described under the
//! name of its series, with `_total`, in either format.

use crate::model::{MetricKind, MetricMeta};

/// One sample line: the series' text as it stands, to be parsed once and remembered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Line<'a> {
    /// `name{labels}` without surrounding space.
    pub(crate) series: &'a str,
    pub(crate) value: f64,
    /// Milliseconds, where the target gives its own time.
    pub(crate) time: Option<i64>,
    /// What stands behind the `#`, for [`exemplar`].
    pub(crate) exemplar: Option<&'a str>,
}

/// How a target writes its metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Format {
    #[default]
    Prometheus,
    OpenMetrics,
}

impl Format {
    /// By the answer's content type.
    pub(crate) fn of(content_type: &str) -> Self {
        let media_type = content_type.split(';').next().unwrap_or("").trim();
        if media_type.eq_ignore_ascii_case("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }
}

/// An observation of the line's series.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Observation<'a> {
    pub(crate) labels: Vec<(&'a str, String)>,
    pub(crate) value: f64,
    /// Milliseconds.
    pub(crate) time: Option<i64>,
}

/// The text is not in the format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is not in the format")]
pub(crate) struct BadLine {
    pub(crate) line: usize,
}

/// Visits every sample, and every family's description as it comes by.
pub(crate) fn read<'a>(
    text: &'a str,
    format: Format,
    mut sample: impl FnMut(Line<'a>),
    mut describe: impl FnMut(MetricMeta),
) -> Result<(), BadLine> {
    let mut describe = |mut meta: MetricMeta| {
        if format == Format::OpenMetrics && meta.kind == MetricKind::Counter && !meta.name.ends_with("_total")
        {
            meta.name.push_str("_total");
        }
        describe(meta);
    };
    let (mut meta, mut ended, mut count) = (MetricMeta::default(), false, 0);
    for (index, line) in text.lines().enumerate() {
        count = index + 1;
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        if let Some(comment) = line.strip_prefix('#') {
            ended = comment == " EOF";
            comment_line(comment.trim_start(), &mut meta, &mut describe);
            continue;
        }
        ended = false;
        sample(sample_line(line, format).ok_or(BadLine { line: count })?);
    }
    if !meta.name.is_empty() {
        describe(meta);
    }
    if format == Format::OpenMetrics && !ended { Err(BadLine { line: count.max(1) }) } else { Ok(()) }
}

fn comment_line(comment: &str, meta: &mut MetricMeta, describe: &mut impl FnMut(MetricMeta)) {
    let mut words = comment.splitn(3, ' ');
    let (Some(keyword @ ("HELP" | "TYPE" | "UNIT")), Some(name)) = (words.next(), words.next()) else {
        return;
    };
    let rest = words.next().unwrap_or("");
    if meta.name != name {
        let ended = std::mem::replace(meta, MetricMeta { name: name.to_owned(), ..MetricMeta::default() });
        if !ended.name.is_empty() {
            describe(ended);
        }
    }
    match keyword {
        "HELP" => meta.help = rest.replace("\\n", "\n").replace("\\\"", "\"").replace("\\\\", "\\"),
        "TYPE" => meta.kind = MetricKind::from_text(rest.trim()),
        _ => rest.trim().clone_into(&mut meta.unit),
    }
}

fn sample_line(line: &str, format: Format) -> Option<Line<'_>> {
    let end = series_end(line)?;
    let (series, rest) = line.split_at_checked(end)?;
    let (rest, exemplar) = match rest.split_once('#') {
        Some((rest, exemplar)) => (rest, Some(exemplar)),
        None => (rest, None),
    };
    let mut words = rest.split_ascii_whitespace();
    let value = parse_value(words.next()?)?;
    let time = match words.next() {
        None => None,
        Some(word) => Some(time(word, format)?),
    };
    Some(Line { series: series.trim_end(), value, time, exemplar })
}

/// Reads what stands behind a sample's `#`: `{trace_id="…"} value time`.
pub(crate) fn exemplar(text: &str) -> Option<Observation<'_>> {
    let text = text.trim_start();
    let (labels_text, rest) = text.split_at_checked(series_end(text)?)?;
    let labels = labels(labels_text.strip_prefix('{')?.strip_suffix('}')?)?;
    let mut words = rest.split_ascii_whitespace();
    let value = parse_value(words.next()?)?;
    let time = match words.next() {
        None => None,
        Some(word) => Some(seconds(word)?),
    };
    words.next().is_none().then_some(Observation { labels, value, time })
}

/// Milliseconds; OpenMetrics has seconds.
fn time(word: &str, format: Format) -> Option<i64> {
    if format == Format::OpenMetrics || word.contains('.') { seconds(word) } else { word.parse().ok() }
}

#[expect(clippy::cast_possible_truncation, reason = "casts of floats end at the largest number")]
fn seconds(word: &str) -> Option<i64> {
    word.parse::<f64>()
        .ok()
        .filter(|seconds| seconds.is_finite())
        .map(|seconds| (seconds * 1000.0).round() as i64)
}

/// Where the labels end: a brace inside a quoted value does not count.
fn series_end(line: &str) -> Option<usize> {
    let open = line.find(['{', ' ', '\t'])?;
    if line.as_bytes().get(open) != Some(&b'{') {
        return (open > 0).then_some(open);
    }
    let (mut quoted, mut escaped) = (false, false);
    for (index, byte) in line.bytes().enumerate().skip(open) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Some(index + 1),
            _ => {}
        }
    }
    None
}

fn parse_value(word: &str) -> Option<f64> {
    match word {
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        word => word.parse().ok(),
    }
}

/// Splits `name{a="b"}` into its name and labels.
pub(crate) fn series(text: &str) -> Option<(&str, Vec<(&str, String)>)> {
    let Some((name, rest)) = text.split_once('{') else { return is_name(text).then(|| (text, Vec::new())) };
    let labels = labels(rest.strip_suffix('}')?)?;
    is_name(name.trim_end()).then(|| (name.trim_end(), labels))
}

/// Splits what stands between the braces.
pub(crate) fn labels(text: &str) -> Option<Vec<(&str, String)>> {
    let mut rest = text.trim();
    let mut labels = Vec::new();
    while !rest.is_empty() {
        let (label, after) = rest.split_once('=')?;
        let (value, after) = quoted(after.trim_start())?;
        let label = label.trim();
        if !is_name(label) {
            return None;
        }
        labels.push((label, value));
        rest = after.trim_start();
        rest = match rest.strip_prefix(',') {
            Some(rest) => rest.trim_start(),
            None if rest.is_empty() => rest,
            None => return None,
        };
    }
    Some(labels)
}

fn is_name(text: &str) -> bool {
    text.chars().next().is_some_and(|first| !first.is_ascii_digit())
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':')
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let text = text.strip_prefix('"')?;
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((index, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, text.get(index + 1..)?)),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(text: &str) -> Result<(Vec<Line<'_>>, Vec<MetricMeta>), BadLine> {
        all_of(text, Format::Prometheus)
    }

    fn all_of(text: &str, format: Format) -> Result<(Vec<Line<'_>>, Vec<MetricMeta>), BadLine> {
        let (mut lines, mut metas) = (Vec::new(), Vec::new());
        read(text, format, |line| lines.push(line), |meta| metas.push(meta))?;
        Ok((lines, metas))
    }

    #[test]
    fn samples_labels_and_descriptions_are_read() {
        let text = "# HELP requests_total All requests.\n# TYPE requests_total counter\n\
                    requests_total{path=\"/a}\\\"\\\\b\\n\",code=\"200\",} 1027 1395066363000\n\
                    # a remark\nup 1\nbuckets{le=\"+Inf\"} +Inf # {trace_id=\"a\"} 1\n";
        let (lines, metas) = all(text).unwrap();
        assert_eq!(lines.iter().map(|line| line.value).collect::<Vec<_>>(), [1027.0, 1.0, f64::INFINITY]);
        assert_eq!(lines[0].time, Some(1_395_066_363_000));
        let (name, labels) = series(lines[0].series).unwrap();
        assert_eq!(name, "requests_total");
        assert_eq!(labels, [("path", "/a}\"\\b\n".to_owned()), ("code", "200".to_owned())]);
        assert_eq!(metas[0].kind, MetricKind::Counter);
        assert_eq!(metas[0].help, "All requests.");
    }

    #[test]
    fn a_broken_line_names_itself() {
        for text in ["up 1\nup one", "up 1\nx{a=\"b 1", "up 1\n{} 1 2 3 x", "up 1\nup"] {
            match all(text) {
                Err(error) => assert_eq!(error, BadLine { line: 2 }, "{text}"),
                Ok((lines, _)) => assert!(lines.iter().any(|line| series(line.series).is_none()), "{text}"),
            }
        }
    }

    #[test]
    fn openmetrics_has_seconds_exemplars_and_an_end() {
        let text = "# TYPE requests counter\n# UNIT requests seconds\n# HELP requests All \\\"of\\\" them.\n\
                    requests_total{a=\"#\"} 3 1520879607.789 # {trace_id=\"ab\",span_id=\"c}\\\"\"} 0.5 1520879607\n\
                    requests_created{a=\"#\"} 5 1520879607\n# EOF\n";
        let (lines, metas) = all_of(text, Format::OpenMetrics).unwrap();
        assert_eq!(lines[0].time, Some(1_520_879_607_789));
        assert_eq!(lines[1].time, Some(1_520_879_607_000), "whole seconds are seconds");
        assert_eq!((metas[0].name.as_str(), metas[0].unit.as_str()), ("requests_total", "seconds"));
        assert_eq!(metas[0].help, "All \"of\" them.");
        let found = exemplar(lines[0].exemplar.unwrap()).unwrap();
        assert_eq!(found.labels, [("trace_id", "ab".to_owned()), ("span_id", "c}\"".to_owned())]);
        assert_eq!((found.value, found.time), (0.5, Some(1_520_879_607_000)));
        assert_eq!(exemplar(" {} 1").unwrap(), Observation { labels: Vec::new(), value: 1.0, time: None });
        for broken in
            ["", " ", "{a=\"b\"}", "{a=\"b\"} x", "{a=\"b\"} 1 x", "{a=\"b\"} 1 2 3", "a 1", "{a=\"b\" 1"]
        {
            assert_eq!(exemplar(broken), None, "{broken}");
        }
        assert_eq!(all_of("a 1\n# EOF\nb 1\n", Format::OpenMetrics), Err(BadLine { line: 3 }), "cut off");
        assert_eq!(
            Format::of("Application/OpenMetrics-text; version=1.0.0; charset=utf-8"),
            Format::OpenMetrics
        );
        assert_eq!(Format::of("text/plain; version=0.0.4"), Format::Prometheus);
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "[a-z{}\"=,\\\\#\n 0-9.é]{0,80}") {
            if let Ok((lines, _)) = all(&text) {
                for line in lines {
                    let _ = series(line.series);
                    let _ = line.exemplar.and_then(exemplar);
                }
            }
        }
    }
}
