//! `name{label="value"} 1 2+3x4 _ stale`: a series and its values, one for each step, as in the tests of Prometheus and of
//! its rules.

use crate::model::{Labels, stale};
use crate::promql::parse_selector;

/// More values than this in one line would be a mistake.
const MOST_VALUES: usize = 1_000_000;

/// Marks a line that gives the start times of a series' samples, which are not stored.
pub(crate) const START_TIMES: &str = "@st";

/// What a line holds for its series.
pub(crate) enum Values<V> {
    Floats(Vec<V>),
    /// What this server does not store.
    LeftOut(&'static str),
}

impl Values<Option<f64>> {
    /// The values with their times, one each `step` milliseconds from zero.
    pub(crate) fn timed(self, step: i64) -> Values<(i64, f64)> {
        match self {
            Self::LeftOut(what) => Values::LeftOut(what),
            Self::Floats(values) => {
                let times = (0i64..).map(|index| index * step);
                Values::Floats(times.zip(values).filter_map(|(time, value)| Some((time, value?))).collect())
            }
        }
    }
}

/// Splits a line into the series' labels and what follows them.
pub(crate) fn labels(line: &str) -> Result<(Labels, &str), String> {
    let (selector, rest) = line.split_at(end_of_selector(line));
    let selector = selector.trim_end_matches(START_TIMES);
    if selector.trim() == "{}" {
        return Ok((Labels::empty(), rest));
    }
    let matchers = parse_selector(selector).map_err(|error| format!("{selector:?}: {error}"))?;
    let pairs = matchers.iter().map(|matcher| (matcher.name.as_str(), matcher.value.as_str()));
    Ok((pairs.collect(), rest))
}

/// Where the selector ends: after its closing brace, or before the first blank when it has none.
fn end_of_selector(line: &str) -> usize {
    let mut quote = None;
    let mut letters = line.char_indices();
    let mut inside = false;
    while let Some((at, letter)) = letters.next() {
        match (quote, letter) {
            (Some('"'), '\\') => drop(letters.next()),
            (Some(open), _) if open == letter => quote = None,
            (None, '"' | '\'' | '`') => quote = Some(letter),
            (None, '{') => inside = true,
            (None, '}') => return at + 1,
            (None, _) if letter.is_whitespace() && !inside => {
                // `name {label="value"}` is one selector too.
                let rest = line.get(at..).unwrap_or_default().trim_start();
                if !rest.starts_with('{') || rest.starts_with("{{") {
                    return at;
                }
            }
            _ => {}
        }
    }
    line.len()
}

/// The values of a line, none where a step has no sample.
pub(crate) fn values(text: &str) -> Result<Values<Option<f64>>, String> {
    for (mark, what) in [("{{", "native histograms"), (START_TIMES, "start timestamps")] {
        if text.contains(mark) {
            return Ok(Values::LeftOut(what));
        }
    }
    let mut values = Vec::new();
    for item in text.split_whitespace() {
        expand(item, &mut values)?;
        if values.len() > MOST_VALUES {
            return Err(format!("too many values in {text:?}"));
        }
    }
    Ok(Values::Floats(values))
}

/// `5`, `_`, `_x3`, `stale`, `1x3`, `1+2x3`, `1-2x3`; the count is of the values after the first.
fn expand(item: &str, values: &mut Vec<Option<f64>>) -> Result<(), String> {
    let wrong = || format!("bad value {item:?}");
    if item == "stale" {
        values.push(Some(stale()));
        return Ok(());
    }
    if let Some(rest) = item.strip_prefix('_') {
        let count = match rest.strip_prefix('x') {
            Some(count) => count.parse().map_err(|_| wrong())?,
            None => 1,
        };
        values.extend(std::iter::repeat_n(None, usize::min(count, MOST_VALUES)));
        return Ok(());
    }
    let Some((start, count)) = item.rsplit_once('x') else {
        values.push(Some(number(item).ok_or_else(wrong)?));
        return Ok(());
    };
    let count: u32 = count.parse().map_err(|_| wrong())?;
    let (first, step) = progression(start).ok_or_else(wrong)?;
    let mut value = first;
    for _ in 0..=count.min(u32::try_from(MOST_VALUES).unwrap_or(u32::MAX)) {
        values.push(Some(value));
        value += step;
    }
    Ok(())
}

/// `1+2` or `1-2`, or a value that stays.
fn progression(text: &str) -> Option<(f64, f64)> {
    let signs = text.char_indices().skip(1).filter(|(_, letter)| matches!(letter, '+' | '-'));
    for (at, sign) in signs {
        let (first, rest) = text.split_at(at);
        // The sign of an exponent belongs to its number.
        if first.ends_with(['e', 'E']) {
            continue;
        }
        let step = number(rest.get(1..)?)?;
        return Some((number(first)?, if sign == '-' { -step } else { step }));
    }
    Some((number(text)?, 0.0))
}

/// A number as Prometheus' scripts write it.
pub(crate) fn number(text: &str) -> Option<f64> {
    let (sign, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (if text.starts_with('-') { -1.0 } else { 1.0 }, digits),
        None => (1.0, text),
    };
    if let Some(hex) = digits.strip_prefix("0x") {
        return u32::from_str_radix(hex, 16).ok().map(|value| sign * f64::from(value));
    }
    match digits.to_ascii_lowercase().as_str() {
        "inf" => Some(sign * f64::INFINITY),
        "nan" => Some(f64::NAN),
        digits if digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') => {
            digits.parse::<f64>().ok().map(|value| sign * value)
        }
        _ => None,
    }
}
