//! The functions of templates, under Loki's names.

use super::{MAX_OUTPUT, Value};
use crate::logql::line::Line;
use crate::logql::units;
use crate::model::matcher::compile;

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

pub(super) fn call(name: &str, args: &[Value], line: &Line<'_>) -> Result<Value, String> {
    let text = |index: usize| {
        args.get(index).map(Value::text).ok_or_else(|| format!("wrong number of args for {name}"))
    };
    let last = || args.last().map(Value::text).ok_or_else(|| format!("wrong number of args for {name}"));
    let ok = |text: String| Ok(Value::Text(text));
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
        "replace" => bounded(text(2)?.replace(&text(0)?, &text(1)?)),
        "Replace" => {
            let count = count(args.get(3).map_or(-1.0, as_number)).unwrap_or(usize::MAX);
            bounded(text(0)?.replacen(&text(1)?, &text(2)?, count))
        }
        "contains" => Ok(Value::Bool(text(1)?.contains(&text(0)?))),
        "hasPrefix" => Ok(Value::Bool(text(1)?.starts_with(&text(0)?))),
        "hasSuffix" => Ok(Value::Bool(text(1)?.ends_with(&text(0)?))),
        "regexReplaceAll" => {
            bounded(compile(&text(0)?)?.replace_all(&text(1)?, text(2)?.as_str()).into_owned())
        }
        "regexReplaceAllLiteral" => {
            let (old, new) = (text(1)?, text(2)?);
            bounded(compile(&text(0)?)?.replace_all(&old, regex::NoExpand(&new)).into_owned())
        }
        "count" => Ok(whole(compile(&text(0)?)?.find_iter(&text(1)?).count())),
        "default" => ok(if last()?.is_empty() || args.len() < 2 { text(0)? } else { last()? }),
        "len" => Ok(whole(last()?.len())),
        "print" => ok(args.iter().map(Value::text).collect::<Vec<_>>().concat()),
        "printf" => bounded(printf(&text(0)?, args.get(1..).unwrap_or_default())),
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
        "eq" => Ok(Value::Bool(
            args.iter().skip(1).any(|arg| arg.text() == args.first().map(Value::text).unwrap_or_default()),
        )),
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
    let letters: Vec<char> = letters.chars().collect();
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
            let pad = " ".repeat(size.min(256));
            let lines = text.lines().map(|line| format!("{pad}{line}")).collect::<Vec<_>>().join("\n");
            if name == "nindent" { format!("\n{lines}") } else { lines }
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
fn printf(format: &str, args: &[Value]) -> String {
    let mut args = args.iter();
    let mut out = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
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
            out.push('%');
            continue;
        }
        let (width, precision) = size.split_once('.').unwrap_or((&size, ""));
        let Some(value) = args.next() else {
            out.push_str("%!(MISSING)");
            continue;
        };
        let shown = match verb {
            Some('f') => format!("{:.*}", precision.parse::<usize>().unwrap_or(6).min(20), as_number(value)),
            Some('d') => format!("{:.0}", as_number(value)),
            Some('q') => format!("{:?}", value.text()),
            _ => value.text(),
        };
        let columns = width.trim_start_matches('-').parse::<usize>().unwrap_or(0).min(1024);
        let padding = std::iter::repeat_n(' ', columns.saturating_sub(shown.chars().count()));
        if width.starts_with('-') {
            out.push_str(&shown);
            out.extend(padding);
        } else {
            out.extend(padding);
            out.push_str(&shown);
        }
    }
    out
}
