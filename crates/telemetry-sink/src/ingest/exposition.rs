//! Prometheus' text format (version 0.0.4), and as much of OpenMetrics as differs in harmless ways.
//!
//! A line that cannot be read is an error of the whole scrape, as in Prometheus: half a scrape would
//! look like series that ended.

use crate::model::{MetricKind, MetricMeta};

/// One sample line: the series' text as it stands, to be parsed once and remembered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Line<'a> {
    /// `name{labels}` without surrounding space.
    pub(crate) series: &'a str,
    pub(crate) value: f64,
    /// Milliseconds, where the target gives its own time.
    pub(crate) time: Option<i64>,
}

/// The text is not in the format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is not in the Prometheus text format")]
pub(crate) struct BadLine {
    pub(crate) line: usize,
}

/// Visits every sample, and every family's description as it comes by.
pub(crate) fn read<'a>(
    text: &'a str,
    mut sample: impl FnMut(Line<'a>),
    mut describe: impl FnMut(MetricMeta),
) -> Result<(), BadLine> {
    let mut meta = MetricMeta::default();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        if let Some(comment) = line.strip_prefix('#') {
            comment_line(comment.trim_start(), &mut meta, &mut describe);
            continue;
        }
        sample(sample_line(line).ok_or(BadLine { line: index + 1 })?);
    }
    if !meta.name.is_empty() {
        describe(meta);
    }
    Ok(())
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
        "HELP" => meta.help = rest.replace("\\n", "\n").replace("\\\\", "\\"),
        "TYPE" => meta.kind = MetricKind::from_text(rest.trim()),
        _ => rest.trim().clone_into(&mut meta.unit),
    }
}

fn sample_line(line: &str) -> Option<Line<'_>> {
    let end = series_end(line)?;
    let (series, rest) = line.split_at_checked(end)?;
    let mut words = rest.split_ascii_whitespace();
    let value = parse_value(words.next()?)?;
    // What follows a `#` is an exemplar.
    let time = match words.next() {
        None | Some("#") => None,
        Some(word) => Some(time(word)?),
    };
    Some(Line { series: series.trim_end(), value, time })
}

/// Milliseconds; OpenMetrics has seconds with a fraction.
#[expect(clippy::cast_possible_truncation, reason = "casts of floats end at the largest number")]
fn time(word: &str) -> Option<i64> {
    if !word.contains('.') {
        return word.parse().ok();
    }
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
        let (mut lines, mut metas) = (Vec::new(), Vec::new());
        read(text, |line| lines.push(line), |meta| metas.push(meta))?;
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

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "[a-z{}\"=,\\\\#\n 0-9.é]{0,80}") {
            if let Ok((lines, _)) = all(&text) {
                for line in lines {
                    let _ = series(line.series);
                }
            }
        }
    }
}
