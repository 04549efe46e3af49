//! The functions of templates, under Loki's names.

use std::borrow::Cow;
use std::collections::HashSet;

use regex::Regex;

use super::{MAX_OUTPUT, Value, Work};
use crate::limited::{self, Limited};
use crate::logql::line::Line;
use crate::logql::units;
use crate::model::matcher::compile;

/// What compiling a pattern for one line counts as.
const COMPILING: usize = 128 * 1024;
/// Spaces that an indented line may get.
const MAX_INDENT: usize = 256;

const NAMES: [&str; 57] = [
    "__line__",
    "__timestamp__",
    "lower",
    "ToLower",
    "upper",
    "ToUpper",
    "title",
    "trim",
    "Trim",
    "trimSpace",
    "TrimSpace",
    "trimPrefix",
    "TrimPrefix",
    "trimSuffix",
    "TrimSuffix",
    "trimAll",
    "TrimLeft",
    "TrimRight",
    "trunc",
    "substr",
    "replace",
    "Replace",
    "contains",
    "hasPrefix",
    "hasSuffix",
    "repeat",
    "indent",
    "nindent",
    "alignLeft",
    "alignRight",
    "default",
    "len",
    "printf",
    "print",
    "regexReplaceAll",
    "regexReplaceAllLiteral",
    "count",
    "urlencode",
    "urldecode",
    "add",
    "sub",
    "mul",
    "div",
    "mod",
    "floor",
    "ceil",
    "round",
    "int",
    "float64",
    "duration",
    "duration_seconds",
    "bytes",
    "eq",
    "ne",
    "and",
    "or",
    "not",
];

pub(super) fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
        || matches!(name, "lt" | "le" | "gt" | "ge" | "unixEpoch" | "unixEpochNanos" | "max" | "min")
}

/// Whether the first argument is a regular expression.
pub(super) fn takes_pattern(name: &str) -> bool {
    matches!(name, "regexReplaceAll" | "regexReplaceAllLiteral" | "count")
}

/// Calls a function; `pattern` is its first argument, where that was compiled before.
pub(super) fn call(
    name: &str,
    args: &[Value],
    pattern: Option<&Regex>,
    line: &Line<'_>,
    work: &mut Work,
) -> Result<Value, String> {
    let text = |index: usize| {
        args.get(index).map(Value::text).ok_or_else(|| format!("wrong number of args for {name}"))
    };
    let last = || args.last().map(Value::text).ok_or_else(|| format!("wrong number of args for {name}"));
    let ok = |text: String| Ok(Value::Text(text));
    let mut pattern = || match pattern {
        Some(known) => Ok(Cow::Borrowed(known)),
        None => work.spend(COMPILING).and_then(|()| compile(&text(0)?)).map(Cow::Owned),
    };
    match name {
        "__line__" => ok(line.text().to_owned()),
        // Seconds with a fraction: dates are for who shows them.
        "__timestamp__" | "unixEpoch" => ok((line.found.record.time / 1_000_000_000).to_string()),
        "unixEpochNanos" => ok(line.found.record.time.to_string()),
        "lower" | "ToLower" => ok(text(0)?.to_lowercase()),
        "upper" | "ToUpper" => ok(text(0)?.to_uppercase()),
        "title" => ok(title(&text(0)?)),
        "trim" | "trimSpace" | "TrimSpace" => ok(text(0)?.trim().to_owned()),
        "Trim" => ok(text(0)?.trim_matches(cut(&text(1)?)).to_owned()),
        "trimAll" => ok(text(1)?.trim_matches(cut(&text(0)?)).to_owned()),
        "TrimLeft" => ok(text(0)?.trim_start_matches(cut(&text(1)?)).to_owned()),
        "TrimRight" => ok(text(0)?.trim_end_matches(cut(&text(1)?)).to_owned()),
        "trimPrefix" => ok(without_prefix(&text(1)?, &text(0)?)),
        "TrimPrefix" => ok(without_prefix(&text(0)?, &text(1)?)),
        "trimSuffix" => ok(without_suffix(&text(1)?, &text(0)?)),
        "TrimSuffix" => ok(without_suffix(&text(0)?, &text(1)?)),
        "replace" => {
            limited::replaced(&text(2)?, &text(0)?, &text(1)?, usize::MAX, MAX_OUTPUT).map(Value::Text)
        }
        "Replace" => {
            let most = count(args.get(3).map_or(-1.0, as_number)).unwrap_or(usize::MAX);
            limited::replaced(&text(0)?, &text(1)?, &text(2)?, most, MAX_OUTPUT).map(Value::Text)
        }
        "contains" => Ok(Value::Bool(text(1)?.contains(&*text(0)?))),
        "hasPrefix" => Ok(Value::Bool(text(1)?.starts_with(&*text(0)?))),
        "hasSuffix" => Ok(Value::Bool(text(1)?.ends_with(&*text(0)?))),
        "regexReplaceAll" => {
            limited::replaced_by_pattern(pattern()?.as_ref(), &text(1)?, &text(2)?, MAX_OUTPUT)
                .map(Value::Text)
        }
        "regexReplaceAllLiteral" => {
            limited::replaced_literally(pattern()?.as_ref(), &text(1)?, &text(2)?, MAX_OUTPUT)
                .map(Value::Text)
        }
        "count" => Ok(whole(pattern()?.find_iter(&text(1)?).count())),
        "default" => ok(if last()?.is_empty() || args.len() < 2 { text(0)? } else { last()? }.into_owned()),
        "len" => Ok(whole(last()?.len())),
        "print" => limited::joined(args.iter().map(Value::text), "", MAX_OUTPUT).map(Value::Text),
        "printf" => printf(&text(0)?, args.get(1..).unwrap_or_default()).map(Value::Text),
        "urlencode" => ok(serde_urlencoded::to_string([("", last()?)])
            .unwrap_or_default()
            .trim_start_matches('=')
            .to_owned()),
        "urldecode" => ok(decoded(&last()?)),
        "trunc" | "substr" | "repeat" | "indent" | "nindent" | "alignLeft" | "alignRight" => {
            sized(name, args)
        }
        "duration" | "duration_seconds" => units::seconds(&last()?)
            .map(Value::Number)
            .ok_or_else(|| format!("{name}: {:?} is no duration", last())),
        "bytes" => {
            units::bytes(&last()?).map(Value::Number).ok_or_else(|| "bytes: no count of bytes".to_owned())
        }
        "not" => Ok(Value::Bool(!args.first().is_some_and(Value::is_true))),
        "and" => {
            Ok(args.iter().find(|arg| !arg.is_true()).or(args.last()).cloned().unwrap_or(Value::Bool(true)))
        }
        "or" => {
            Ok(args.iter().find(|arg| arg.is_true()).or(args.last()).cloned().unwrap_or(Value::Bool(false)))
        }
        "eq" => {
            let first = text(0)?;
            Ok(Value::Bool(args.iter().skip(1).any(|arg| arg.text() == first)))
        }
        "ne" => Ok(Value::Bool(text(0)? != text(1)?)),
        "lt" | "le" | "gt" | "ge" => compare(name, args),
        _ => arithmetic(name, args),
    }
}

fn bounded(text: String) -> Result<Value, String> {
    if text.len() > MAX_OUTPUT {
        Err("the template's output is too long".to_owned())
    } else {
        Ok(Value::Text(text))
    }
}

fn cut(letters: &str) -> impl Fn(char) -> bool + use<> {
    let letters: HashSet<char> = letters.chars().collect();
    move |letter| letters.contains(&letter)
}

fn title(text: &str) -> String {
    let mut starts = true;
    text.chars()
        .map(|letter| {
            let shown = if starts { letter.to_ascii_uppercase() } else { letter };
            starts = letter.is_whitespace();
            shown
        })
        .collect()
}

fn without_prefix(text: &str, prefix: &str) -> String {
    text.strip_prefix(prefix).unwrap_or(text).to_owned()
}

fn without_suffix(text: &str, suffix: &str) -> String {
    text.strip_suffix(suffix).unwrap_or(text).to_owned()
}

#[expect(clippy::cast_precision_loss, reason = "lengths of texts are far below 2^53")]
fn whole(count: usize) -> Value {
    Value::Number(count as f64)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked first")]
fn count(number: f64) -> Option<usize> {
    (0.0..=1e9).contains(&number).then_some(number as usize)
}

fn as_number(value: &Value) -> f64 {
    match value {
        Value::Number(number) => *number,
        other => other.text().trim().parse().unwrap_or(0.0),
    }
}

fn decoded(text: &str) -> String {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(&format!("a={text}")).unwrap_or_default();
    pairs.into_iter().next().map_or_else(|| text.to_owned(), |(_, value)| value)
}

/// Functions whose first arguments are lengths and whose last is the text.
fn sized(name: &str, args: &[Value]) -> Result<Value, String> {
    let wrong = || format!("wrong number of args for {name}");
    let first = as_number(args.first().ok_or_else(wrong)?);
    let text = args.get(1..).and_then(<[Value]>::last).ok_or_else(wrong)?.text();
    let letters: Vec<char> = text.chars().collect();
    let length = letters.len();
    let size = count(first.abs()).ok_or_else(|| format!("{name}: {first} is too much"))?;
    let from = |start: usize, end: usize| -> String {
        letters.iter().skip(start).take(end.saturating_sub(start)).collect()
    };
    bounded(match name {
        "trunc" if first < 0.0 => from(length.saturating_sub(size), length),
        "trunc" => from(0, size),
        "substr" => from(
            size,
            args.get(1)
                .filter(|_| args.len() > 2)
                .map_or(length, |end| count(as_number(end)).unwrap_or(length)),
        ),
        "repeat" if size.saturating_mul(text.len()) > MAX_OUTPUT => return Err("repeat: too long".to_owned()),
        "repeat" => text.repeat(size),
        "alignLeft" | "alignRight" if size > MAX_OUTPUT => return Err(format!("{name}: too long")),
        "alignLeft" => format!("{:<size$}", from(0, size)),
        "alignRight" => format!("{:>size$}", from(length.saturating_sub(size), length)),
        _ => {
            let mut out = Limited::new(MAX_OUTPUT);
            for (place, line) in text.lines().enumerate() {
                if place > 0 || name == "nindent" {
                    out.push("\n")?;
                }
                out.pad(' ', size.min(MAX_INDENT))?;
                out.push(line)?;
            }
            out.finish()
        }
    })
}

fn compare(name: &str, args: &[Value]) -> Result<Value, String> {
    let [left, right] = args else { return Err(format!("wrong number of args for {name}")) };
    let order = match (left, right) {
        (Value::Text(left), Value::Text(right)) => left.partial_cmp(right),
        _ => as_number(left).partial_cmp(&as_number(right)),
    };
    Ok(Value::Bool(order.is_some_and(|order| match name {
        "lt" => order.is_lt(),
        "le" => order.is_le(),
        "gt" => order.is_gt(),
        _ => order.is_ge(),
    })))
}

fn arithmetic(name: &str, args: &[Value]) -> Result<Value, String> {
    let mut numbers = args.iter().map(as_number);
    let first = numbers.next().ok_or_else(|| format!("wrong number of args for {name}"))?;
    Ok(Value::Number(match name {
        "add" => numbers.fold(first, |sum, number| sum + number),
        "sub" => numbers.fold(first, |left, number| left - number),
        "mul" => numbers.fold(first, |product, number| product * number),
        "max" => numbers.fold(first, f64::max),
        "min" => numbers.fold(first, f64::min),
        "div" => divided(first, numbers.next(), |left, right| (left / right).trunc())?,
        "mod" => divided(first, numbers.next(), |left, right| left % right)?,
        "floor" => first.floor(),
        "ceil" => first.ceil(),
        "int" => first.trunc(),
        "round" => {
            let scale = 10f64
                .powi(i32::try_from(count(numbers.next().unwrap_or(0.0)).unwrap_or(0).min(15)).unwrap_or(0));
            (first * scale).round() / scale
        }
        _ => first,
    }))
}

fn divided(left: f64, right: Option<f64>, divide: impl Fn(f64, f64) -> f64) -> Result<f64, String> {
    match right {
        Some(right) if right != 0.0 => Ok(divide(left, right)),
        _ => Err("division by zero".to_owned()),
    }
}

/// `%s`, `%v`, `%d`, `%q`, `%f` and `%%`, with a width and, for `%f`, a precision.
fn printf(format: &str, args: &[Value]) -> Result<String, String> {
    let mut args = args.iter();
    let mut out = Limited::new(MAX_OUTPUT);
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter.encode_utf8(&mut [0; 4]))?;
            continue;
        }
        let mut size = String::new();
        let verb = loop {
            match letters.next() {
                Some(digit @ ('0'..='9' | '-' | '.')) if size.len() < 6 => size.push(digit),
                other => break other,
            }
        };
        if verb == Some('%') {
            out.push("%")?;
            continue;
        }
        let (width, precision) = size.split_once('.').unwrap_or((&size, ""));
        let Some(value) = args.next() else {
            out.push("%!(MISSING)")?;
            continue;
        };
        let shown = match verb {
            Some('f') => format!("{:.*}", precision.parse::<usize>().unwrap_or(6).min(20), as_number(value)),
            Some('d') => format!("{:.0}", as_number(value)),
            Some('q') => format!("{:?}", value.text()),
            _ => value.text().into_owned(),
        };
        let columns = width.trim_start_matches('-').parse::<usize>().unwrap_or(0).min(1024);
        let padding = columns.saturating_sub(shown.chars().count());
        if width.starts_with('-') {
            out.push(&shown)?;
            out.pad(' ', padding)?;
        } else {
            out.pad(' ', padding)?;
            out.push(&shown)?;
        }
    }
    Ok(out.finish())
}
