//! Serde's error texts in an operator's words.
//!
//! Serde gives a text, not a structure. Whatever is not recognised passes through unchanged, except
//! that quoted values are taken out first.

/// What a deserialisation error means.
pub(super) struct Explained {
    /// The unknown or missing field that the error is about, when it names one.
    pub(super) field: Option<String>,
    pub(super) message: String,
}

/// Explains serde's text `raw` about a key whose text, if it has one, is `value`.
pub(super) fn explain(raw: &str, value: &str) -> Explained {
    let raw = raw.trim();
    if let Some(rest) = raw.strip_prefix("unknown field ") {
        return unknown_field(rest);
    }
    if let Some(field) = raw.strip_prefix("missing field ").and_then(first_quoted) {
        return Explained { field: Some(field.to_owned()), message: "this key is required".to_owned() };
    }
    if let Some(rest) = raw.strip_prefix("unknown variant ") {
        return Explained { field: None, message: unknown_variant(rest) };
    }
    for prefix in ["invalid type: ", "invalid value: ", "invalid length: "] {
        if let Some(rest) = raw.strip_prefix(prefix) {
            return Explained { field: None, message: mismatch(rest) };
        }
    }
    Explained { field: None, message: without(raw, value).replace('\n', ", ") }
}

/// `raw` with the text `value` taken out, which types with a form of their own like to quote.
fn without(raw: &str, value: &str) -> String {
    // A short word may be a part of the message itself; quoted it is the value.
    if value.len() >= 8 {
        return raw.replace(value, "…");
    }
    if value.is_empty() {
        return raw.to_owned();
    }
    raw.replace(&format!("`{value}`"), "`…`").replace(&format!("\"{value}\""), "\"…\"")
}

fn unknown_field(rest: &str) -> Explained {
    let field = first_quoted(rest).unwrap_or_default();
    let known: Vec<&str> = quoted(rest).skip(1).collect();
    let message = match nearest(field, &known) {
        Some(near) => format!("unknown key; did you mean `{near}`?"),
        None if known.is_empty() => "unknown key; this section has no keys".to_owned(),
        None => format!("unknown key; known here: {}", known.join(", ")),
    };
    Explained { field: Some(field.to_owned()), message }
}

fn unknown_variant(rest: &str) -> String {
    let given = first_quoted(rest).unwrap_or_default();
    let known: Vec<&str> = quoted(rest).skip(1).collect();
    let all = known.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    match nearest(given, &known) {
        Some(near) => format!("expected one of {all}; did you mean \"{near}\"?"),
        None => format!("expected one of {all}"),
    }
}

/// `string "x", expected u16` without the value, in TOML's words.
fn mismatch(rest: &str) -> String {
    let Some((found, expected)) = rest.rsplit_once(", expected ") else {
        return "the value has the wrong type".to_owned();
    };
    let found = match found.split([' ', '`']).next().unwrap_or_default() {
        "string" => "a string",
        "integer" => "an integer",
        "floating" => "a decimal number",
        "boolean" | "Boolean" => "true or false",
        "map" => "a section",
        "sequence" => "an array",
        "unit" | "Option" => "nothing",
        _ => "another type",
    };
    format!("expected {}, found {found}", form(expected))
}

/// The form of a Rust type as it is written in TOML.
fn form(expected: &str) -> String {
    match expected {
        "u8" => "a whole number from 0 to 255".to_owned(),
        "u16" => "a whole number from 0 to 65535".to_owned(),
        "u32" | "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "a nonzero u16" | "a nonzero u32" | "a nonzero u64" | "a nonzero usize" => {
            "a whole number, 1 or more".to_owned()
        }
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" | "path string" => "a string in double quotes".to_owned(),
        "a sequence" => "an array, [...]".to_owned(),
        "a map" => "a section".to_owned(),
        other => match other.strip_prefix("struct ") {
            Some(_) => "a section with keys".to_owned(),
            None => other.to_owned(),
        },
    }
}

fn nearest<'k>(given: &str, known: &[&'k str]) -> Option<&'k str> {
    // 0.7 accepts a transposed or missing letter in a short key and refuses unrelated words.
    known
        .iter()
        .map(|name| (strsim::jaro_winkler(given, name), *name))
        .filter(|(score, _)| *score >= 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

fn first_quoted(text: &str) -> Option<&str> {
    quoted(text).next()
}

/// The parts of `text` between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}
