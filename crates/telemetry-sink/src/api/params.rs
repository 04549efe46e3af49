//! Parameters as the foreign APIs send them: repeated names, in the query or in a form body; times as
//! seconds or RFC 3339; durations as numbers or `5m`.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use http::header::CONTENT_TYPE;
use quintet_types::Timestamp;

use crate::promql::parse_duration;

const FORM: &str = "application/x-www-form-urlencoded";

/// All parameters in the order they were given.
#[derive(Debug, Clone, Default)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that, when present, must be readable by `parse`.
    pub(super) fn parsed<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, String> {
        match self.get(name) {
            None | Some("") => Ok(None),
            Some(text) => parse(text)
                .map(Some)
                .ok_or_else(|| format!("invalid parameter {name:?}: cannot parse {text:?}")),
        }
    }

    fn extend(&mut self, encoded: &[u8]) {
        // What is no pair is no parameter; percent signs that decode to nothing stay as they are.
        if let Ok(pairs) = serde_urlencoded::from_bytes::<Vec<(String, String)>>(encoded) {
            self.0.extend(pairs);
        }
    }
}

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = quintet_http::Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        let mut params = Self::default();
        if let Some(query) = request.uri().query() {
            params.extend(query.as_bytes());
        }
        let is_form =
            request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|value| {
                value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(FORM))
            });
        if is_form {
            let body = Bytes::from_request(request, state).await.map_err(|error| {
                quintet_http::Problem::new(error.status(), "body_unreadable", "the form could not be read")
            })?;
            params.extend(&body);
        }
        Ok(params)
    }
}

/// Milliseconds from Unix seconds (with a fraction) or RFC 3339.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked first")]
pub(crate) fn time_millis(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return (seconds.is_finite() && seconds.abs() < 9e12).then(|| (seconds * 1000.0).round() as i64);
    }
    text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

/// Milliseconds from seconds or a duration such as `15s`.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked first")]
pub(crate) fn duration_millis(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return (seconds.is_finite() && seconds.abs() < 9e9).then_some((seconds * 1000.0) as i64);
    }
    parse_duration(text)
}

/// Nanoseconds as Loki takes them: a long number is nanoseconds, a short or broken one seconds.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked first")]
pub(crate) fn time_nanos(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse::<i64>() {
        return if number.unsigned_abs() < 10_000_000_000 {
            number.checked_mul(1_000_000_000)
        } else {
            Some(number)
        };
    }
    if let Ok(seconds) = text.parse::<f64>() {
        return (seconds.is_finite() && seconds.abs() < 9e9).then_some((seconds * 1e9) as i64);
    }
    let instant = text.parse::<Timestamp>().ok()?;
    i64::try_from(instant.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_durations_come_in_all_their_forms() {
        assert_eq!(time_millis("1435781430.781"), Some(1_435_781_430_781));
        assert_eq!(time_millis("2015-07-01T20:10:30.781Z"), Some(1_435_781_430_781));
        assert_eq!(time_millis("NaN"), None);
        assert_eq!(duration_millis("15"), Some(15_000));
        assert_eq!(duration_millis("1m30s"), Some(90_000));
        assert_eq!(duration_millis("x"), None);
        assert_eq!(time_nanos("1435781430781000000"), Some(1_435_781_430_781_000_000));
        assert_eq!(time_nanos("1435781430"), Some(1_435_781_430_000_000_000));
        assert_eq!(time_nanos("-9223372036854775808"), Some(i64::MIN));
        assert_eq!(time_nanos("2015-07-01T20:10:30Z"), Some(1_435_781_430_000_000_000));
    }
}
