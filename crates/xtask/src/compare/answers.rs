//! Whether two answers of Prometheus' HTTP API say the same.

use std::collections::BTreeMap;

use serde_json::Value;

/// How far two numbers may be apart, as a part of the larger.
const RELATIVE: f64 = 1e-9;
/// How far they may be apart at all: what is left of numbers around one that cancel each other out.
const ABSOLUTE: f64 = 1e-15;

/// What differs; `None` where nothing does. `ordered` says that the order of the series is part of the answer.
pub(super) fn difference(theirs: &Value, ours: &Value, ordered: bool) -> Option<String> {
    let (failed, fails) = (error(theirs), error(ours));
    if failed.is_some() || fails.is_some() {
        return (failed.is_some() != fails.is_some()).then(|| {
            let shown =
                |error: Option<&str>| error.map_or("an answer".to_owned(), |e| format!("error {e:?}"));
            format!("{} instead of {}", shown(fails), shown(failed))
        });
    }
    let (theirs, ours) = (&theirs["data"], &ours["data"]);
    let kinds = (theirs["resultType"].as_str(), ours["resultType"].as_str());
    if kinds.0 != kinds.1 || kinds.0.is_none() {
        return Some(format!("type {kinds:?}"));
    }
    let (theirs, ours) = (&theirs["result"], &ours["result"]);
    match kinds.0 {
        Some("scalar" | "string") => point(theirs, ours),
        _ => series(theirs, ours, ordered),
    }
}

fn error(answer: &Value) -> Option<&str> {
    (answer["status"] != "success").then(|| answer["error"].as_str().unwrap_or("without a word"))
}

fn series(theirs: &Value, ours: &Value, ordered: bool) -> Option<String> {
    let (Some(theirs), Some(ours)) = (theirs.as_array(), ours.as_array()) else {
        return Some("the result is no list of series".to_owned());
    };
    let names = |list: &[Value]| list.iter().map(|series| series["metric"].to_string()).collect::<Vec<_>>();
    let (their_names, our_names) = (names(theirs), names(ours));
    if ordered && their_names != our_names {
        return Some(format!("the order {our_names:?} instead of {their_names:?}"));
    }
    let theirs: BTreeMap<_, _> = their_names.iter().zip(theirs).collect();
    let ours: BTreeMap<_, _> = our_names.iter().zip(ours).collect();
    if let Some(missing) = theirs.keys().find(|name| !ours.contains_key(*name)) {
        return Some(format!("{} instead of {} series: {missing} is missing", ours.len(), theirs.len()));
    }
    if let Some(more) = ours.keys().find(|name| !theirs.contains_key(*name)) {
        return Some(format!("{} instead of {} series: {more} is too many", ours.len(), theirs.len()));
    }
    theirs.iter().find_map(|(name, theirs)| {
        let found = values(theirs, ours.get(name)?)?;
        Some(format!("{name}: {found}"))
    })
}

fn values(theirs: &Value, ours: &Value) -> Option<String> {
    if let (Some(theirs), Some(ours)) = (theirs.get("value"), ours.get("value")) {
        return point(theirs, ours);
    }
    let empty = Vec::new();
    let points = |series: &Value| series["values"].as_array().unwrap_or(&empty).clone();
    let (theirs, ours) = (points(theirs), points(ours));
    if theirs.len() != ours.len() {
        return Some(format!("{} instead of {} values", ours.len(), theirs.len()));
    }
    theirs.iter().zip(&ours).find_map(|(theirs, ours)| point(theirs, ours))
}

fn point(theirs: &Value, ours: &Value) -> Option<String> {
    let same_time = match (theirs[0].as_f64(), ours[0].as_f64()) {
        (Some(left), Some(right)) => (left - right).abs() < 0.0005,
        _ => false,
    };
    let (Some(left), Some(right)) = (theirs[1].as_str(), ours[1].as_str()) else {
        return Some(format!("{ours} instead of {theirs}"));
    };
    (!same_time || !(left == right || near(left, right))).then(|| format!("{ours} instead of {theirs}"))
}

fn near(left: &str, right: &str) -> bool {
    let (Ok(left), Ok(right)) = (left.parse::<f64>(), right.parse::<f64>()) else { return false };
    let (far, size) = ((left - right).abs(), left.abs().max(right.abs()));
    left.to_bits() == right.to_bits()
        || (left.is_nan() && right.is_nan())
        || far <= (size * RELATIVE).max(ABSOLUTE) && size.is_finite()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn vector(values: &[(&str, &str)]) -> Value {
        let series = |(name, value): &(&str, &str)| json!({ "metric": { "a": name }, "value": [1.5, value] });
        let result: Vec<_> = values.iter().map(series).collect();
        json!({ "status": "success", "data": { "resultType": "vector", "result": result } })
    }

    #[test]
    fn answers_differ_in_series_values_order_and_errors() {
        let theirs = vector(&[("x", "1"), ("y", "NaN")]);
        assert_eq!(difference(&theirs, &vector(&[("y", "NaN"), ("x", "1.0000000001")]), false), None);
        for (ours, what) in [
            (vector(&[("x", "1")]), "is missing"),
            (vector(&[("x", "1"), ("y", "NaN"), ("z", "1")]), "is too many"),
            (vector(&[("x", "1.00001"), ("y", "NaN")]), "instead of"),
            (vector(&[("x", "1"), ("y", "+Inf")]), "instead of"),
            (json!({ "status": "error", "error": "no" }), "error \"no\" instead of an answer"),
        ] {
            let found = difference(&theirs, &ours, false).unwrap();
            assert!(found.contains(what), "{found}");
        }
        assert!(difference(&theirs, &vector(&[("y", "NaN"), ("x", "1")]), true).is_some());
    }
}
