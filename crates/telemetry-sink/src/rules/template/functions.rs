//! The functions that templates may call: Go's own, and Prometheus'.

use std::cmp::Ordering;

use super::number::{
    fixed, general, general_go, humanize, humanize_1024, humanize_duration, humanize_percentage,
    humanize_timestamp, scientific,
};
use super::{Expansion, MAX_OUTPUT, Value};
use crate::limited::{self, Limited};
use crate::model::matcher::compile;
use crate::promql::parse_duration;

const KNOWN: [&str; 42] = [
    "and",
    "args",
    "eq",
    "externalURL",
    "first",
    "ge",
    "graphLink",
    "gt",
    "html",
    "humanize",
    "humanize1024",
    "humanizeDuration",
    "humanizePercentage",
    "humanizeTimestamp",
    "index",
    "label",
    "le",
    "len",
    "lt",
    "match",
    "ne",
    "not",
    "or",
    "parseDuration",
    "pathPrefix",
    "print",
    "printf",
    "println",
    "query",
    "reReplaceAll",
    "safeHtml",
    "sortByLabel",
    "strvalue",
    "stripDomain",
    "stripPort",
    "tableLink",
    "title",
    "toLower",
    "toUpper",
    "urlquery",
    "value",
    "join",
];
/// The widest that `printf` pads to.
const MAX_WIDTH: usize = 1000;
/// How deep `args` puts values into each other; they are freed by recursion.
const MAX_DEPTH: usize = 16;
/// What compiling a pattern counts as.
const COMPILING: usize = 64 * 1024;

pub(super) fn is_known(name: &str) -> bool {
    KNOWN.contains(&name)
}

pub(super) fn call(name: &str, arguments: Vec<Value>, at: &Expansion<'_>) -> Result<Value, String> {
    apply(name, &arguments, at).map_err(|message| format!("error calling {name}: {message}"))
}

fn apply(name: &str, arguments: &[Value], at: &Expansion<'_>) -> Result<Value, String> {
    match (name, arguments) {
        ("externalURL", []) => Ok(text(at.around.external_url())),
        ("pathPrefix", []) => Ok(text(path_of(at.around.external_url()))),
        ("query", [query]) => at.query(query.as_text()?),
        ("not", [value]) => Ok(Value::Bool(!value.is_true())),
        ("and" | "or", values) => decide(values, name == "or"),
        ("eq", [first, others @ ..]) if !others.is_empty() => {
            let mut equal = false;
            for other in others {
                equal = equal || first.compare(other)? == Ordering::Equal;
            }
            Ok(Value::Bool(equal))
        }
        ("ne" | "lt" | "le" | "gt" | "ge", [left, right]) => {
            let order = left.compare(right)?;
            Ok(Value::Bool(match name {
                "ne" => order.is_ne(),
                "lt" => order.is_lt(),
                "le" => order.is_le(),
                "gt" => order.is_gt(),
                _ => order.is_ge(),
            }))
        }
        ("len", [value]) => value.length().map(Value::Int),
        ("index", [value, keys @ ..]) => keys.iter().try_fold(value.clone(), |value, key| value.index(key)),
        ("print", values) => {
            limited::joined(values.iter().map(Value::to_text), "", MAX_OUTPUT).map(Value::Text)
        }
        ("println", values) => {
            let words = limited::joined(values.iter().map(Value::to_text), " ", MAX_OUTPUT)?;
            Ok(Value::Text(words + "\n"))
        }
        ("printf", [format, values @ ..]) => printf(format.as_text()?, values).map(Value::Text),
        ("args", values) if values.iter().any(|value| value.depth() >= MAX_DEPTH) => {
            Err("the values are nested too deeply".to_owned())
        }
        ("args", values) => Ok(Value::Map(
            values.iter().enumerate().map(|(at, value)| (format!("arg{at}"), value.clone())).collect(),
        )),
        ("reReplaceAll", [pattern, replacement, subject]) => {
            at.spend(COMPILING)?;
            let pattern = compile(pattern.as_text()?)?;
            let (subject, replacement) = (subject.as_text()?, replacement.as_text()?);
            limited::replaced_by_pattern(&pattern, subject, replacement, MAX_OUTPUT).map(Value::Text)
        }
        ("match", [pattern, subject]) => {
            at.spend(COMPILING)?;
            Ok(Value::Bool(compile(pattern.as_text()?)?.is_match(subject.as_text()?)))
        }
        ("join", [separator, list]) => {
            let items = list.items()?;
            let words = items.iter().map(|(_, item)| item.to_text());
            limited::joined(words, separator.as_text()?, MAX_OUTPUT).map(Value::Text)
        }
        ("label", [label, sample]) => Ok(Value::Text(sample.label(label.as_text()?)?)),
        ("sortByLabel", [label, list]) => sorted(label.as_text()?, list),
        (name, [value]) => one(name, value),
        (_, values) => Err(format!("wrong number of arguments: {}", values.len())),
    }
}

fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

/// The functions of one argument.
fn one(name: &str, value: &Value) -> Result<Value, String> {
    let number = |shown: fn(f64) -> String| value.as_number().map(|number| text(shown(number)));
    match name {
        "humanize" => number(humanize),
        "humanize1024" => number(humanize_1024),
        "humanizeDuration" => number(humanize_duration),
        "humanizePercentage" => number(humanize_percentage),
        "humanizeTimestamp" => number(humanize_timestamp),
        "first" => {
            value.index(&Value::Int(0)).map_err(|_| "first() called on vector with no elements".to_owned())
        }
        "value" => value.field("Value"),
        "strvalue" => Ok(text(value.label("__value__")?)),
        "title" => Ok(text(title(value.as_text()?))),
        "toUpper" => Ok(text(value.as_text()?.to_uppercase())),
        "toLower" => Ok(text(value.as_text()?.to_lowercase())),
        "stripPort" => Ok(text(without_port(value.as_text()?))),
        "stripDomain" => Ok(text(without_domain(value.as_text()?))),
        "safeHtml" => Ok(value.clone()),
        "html" => Ok(text(escape_html(&value.to_text()))),
        "urlquery" => Ok(text(escape_query(&value.to_text()))),
        "graphLink" => Ok(text(link(value.as_text()?, 0))),
        "tableLink" => Ok(text(link(value.as_text()?, 1))),
        #[expect(clippy::cast_precision_loss, reason = "a duration is far below 2^53 milliseconds")]
        "parseDuration" => {
            let duration = value.as_text()?;
            let millis = parse_duration(duration).ok_or_else(|| format!("{duration:?} is no duration"))?;
            Ok(Value::Float(millis as f64 / 1000.0))
        }
        _ => Err("wrong number of arguments: 1".to_owned()),
    }
}

fn decide(values: &[Value], at: bool) -> Result<Value, String> {
    let decided = values.iter().find(|value| value.is_true() == at).or(values.last());
    decided.cloned().ok_or_else(|| "wrong number of arguments: 0".to_owned())
}

fn sorted(label: &str, list: &Value) -> Result<Value, String> {
    let Value::List(items) = list else { return Err(format!("{} is no list", list.kind())) };
    let mut keyed =
        items.iter().map(|item| Ok((item.label(label)?, item))).collect::<Result<Vec<_>, String>>()?;
    keyed.sort_by(|left, right| left.0.cmp(&right.0));
    Ok(Value::List(keyed.into_iter().map(|(_, item)| item.clone()).collect()))
}

fn title(words: &str) -> String {
    let mut start = true;
    let upper = |letter: char| {
        let shown = if start { letter.to_uppercase().to_string() } else { letter.to_string() };
        start = !letter.is_alphanumeric() && letter != '_' && letter != '\'';
        shown
    };
    words.chars().map(upper).collect()
}

fn without_port(address: &str) -> &str {
    match address.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            host.trim_start_matches('[').trim_end_matches(']')
        }
        _ => address,
    }
}

/// A name's first part, with the port that it had; an address stays whole.
fn without_domain(address: &str) -> String {
    let host = without_port(address);
    if host.parse::<std::net::IpAddr>().is_ok() {
        return address.to_owned();
    }
    let port = address.strip_prefix(host).unwrap_or_default();
    format!("{}{port}", host.split('.').next().unwrap_or_default())
}

fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("").trim_end_matches('/')
}

fn escape_html(plain: &str) -> String {
    plain
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;")
}

/// The text as the value of a query parameter.
pub(crate) fn escape_query(plain: &str) -> String {
    let encoded = serde_urlencoded::to_string([("", plain)]).unwrap_or_default();
    encoded.trim_start_matches('=').to_owned()
}

fn link(expression: &str, tab: u8) -> String {
    format!("/graph?g0.expr={}&g0.tab={tab}", escape_query(expression))
}

/// Go's verbs for texts, numbers and truth values, with flags, width and precision.
fn printf(format: &str, values: &[Value]) -> Result<String, String> {
    let mut out = Limited::new(MAX_OUTPUT);
    let mut letters = format.chars().peekable();
    let mut values = values.iter();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter.encode_utf8(&mut [0; 4]))?;
            continue;
        }
        let (mut left, mut zero, mut plus) = (false, false, false);
        while let Some(flag) = letters.next_if(|next| matches!(next, '-' | '0' | '+' | ' ' | '#')) {
            left |= flag == '-';
            zero |= flag == '0';
            plus |= flag == '+';
        }
        let mut digits = || {
            let mut text = String::new();
            while let Some(digit) = letters.next_if(char::is_ascii_digit) {
                text.push(digit);
            }
            text.parse::<usize>().ok().map(|number| number.min(MAX_WIDTH))
        };
        let width = digits().unwrap_or(0);
        let precision = letters.next_if_eq(&'.').map(|_| {
            let mut text = String::new();
            while let Some(digit) = letters.next_if(char::is_ascii_digit) {
                text.push(digit);
            }
            text.parse::<usize>().unwrap_or(0).min(MAX_WIDTH)
        });
        let Some(verb) = letters.next() else { return Err("the format ends with %".to_owned()) };
        if verb == '%' {
            out.push("%")?;
            continue;
        }
        let Some(value) = values.next() else {
            out.push(&format!("%!{verb}(MISSING)"))?;
            continue;
        };
        let shown = shown(verb, precision, value);
        let shown = if plus && value.as_number().is_ok_and(|number| number >= 0.0) && verb != 's' {
            format!("+{shown}")
        } else {
            shown
        };
        pad(&mut out, &shown, width, left, zero)?;
    }
    Ok(out.finish())
}

fn shown(verb: char, precision: Option<usize>, value: &Value) -> String {
    let wrong = || format!("%!{verb}({})", value.to_text());
    let float = |shown: &dyn Fn(f64) -> String| match value {
        Value::Float(number) => shown(*number),
        _ => wrong(),
    };
    match verb {
        'v' => match (value, precision) {
            (Value::Float(number), Some(precision)) => general(*number, precision),
            (Value::Float(number), None) => general_go(*number),
            _ => value.to_text(),
        },
        's' => match (value, precision) {
            (Value::Text(text), Some(precision)) => text.chars().take(precision).collect(),
            (Value::Float(_) | Value::Int(_) | Value::Bool(_), _) => wrong(),
            _ => value.to_text(),
        },
        'q' => format!("{:?}", value.to_text()),
        'd' => match value {
            Value::Int(number) => number.to_string(),
            _ => wrong(),
        },
        'x' => match value {
            Value::Int(number) => format!("{number:x}"),
            Value::Text(text) => crate::model::hex(text.as_bytes()),
            _ => wrong(),
        },
        't' => match value {
            Value::Bool(truth) => truth.to_string(),
            _ => wrong(),
        },
        'f' | 'F' => float(&|number| fixed(number, precision.unwrap_or(6))),
        'e' => float(&|number| scientific(number, precision.unwrap_or(6))),
        'g' => {
            float(&|number| precision.map_or_else(|| general_go(number), |digits| general(number, digits)))
        }
        _ => wrong(),
    }
}

fn pad(out: &mut Limited, shown: &str, width: usize, left: bool, zero: bool) -> Result<(), String> {
    let missing = width.saturating_sub(shown.chars().count());
    if left {
        out.push(shown)?;
        out.pad(' ', missing)
    } else if zero {
        let (sign, digits) = shown.split_at(usize::from(shown.starts_with(['-', '+'])));
        out.push(sign)?;
        out.pad('0', missing)?;
        out.push(digits)
    } else {
        out.pad(' ', missing)?;
        out.push(shown)
    }
}
