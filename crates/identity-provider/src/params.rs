//! Request parameters as OAuth reads them (RFC 6749 §3.1): form-urlencoded, none twice, an empty
//! value is an absent one, unknown names are ignored.

use std::collections::HashMap;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use thiserror::Error;
use zeroize::Zeroizing;

/// The largest form or query that is read; the biggest honest one carries an ID token as a hint.
pub(crate) const MAX_BYTES: usize = 16 * 1024;

/// Bounds the map, whatever the names are.
const MAX_PARAMETERS: usize = 64;

/// Why parameters could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum ParamsError {
    /// The same name twice.
    #[error("the parameter {0} is given twice")]
    Duplicate(String),
    /// Too many bytes or too many names.
    #[error("the request is too large")]
    TooLarge,
    /// The body is not a form.
    #[error("the body must be sent with Content-Type: application/x-www-form-urlencoded")]
    MediaType,
    /// The body ended early.
    #[error("the body ended before it was complete")]
    Incomplete,
}

impl ParamsError {
    /// The HTTP status that fits.
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::Duplicate(_) | Self::Incomplete => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }
}

/// The parameters of one request. They may hold passwords, so they are wiped when dropped and
/// have no `Debug`.
#[derive(Default)]
pub(crate) struct Params(HashMap<String, Zeroizing<String>>);

impl Params {
    /// Parses a query string or a form body.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ParamsError> {
        if bytes.len() > MAX_BYTES {
            return Err(ParamsError::TooLarge);
        }
        let mut params = HashMap::new();
        for (name, value) in url::form_urlencoded::parse(bytes) {
            if params.len() >= MAX_PARAMETERS {
                return Err(ParamsError::TooLarge);
            }
            let value = Zeroizing::new(value.into_owned());
            if params.insert(name.clone().into_owned(), value).is_some() {
                return Err(ParamsError::Duplicate(name.chars().take(64).collect()));
            }
        }
        Ok(Self(params))
    }

    /// Reads a form body.
    pub(crate) async fn read(headers: &HeaderMap, body: Body) -> Result<Self, ParamsError> {
        let media_type =
            headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(ParamsError::MediaType);
        }
        if declared_length(headers).is_some_and(|length| length > MAX_BYTES) {
            return Err(ParamsError::TooLarge);
        }
        let bytes = axum::body::to_bytes(body, MAX_BYTES).await.map_err(|error| {
            // axum names the limit only through the source of its error.
            if std::error::Error::source(&error)
                .is_some_and(|source| source.to_string().contains("length limit"))
            {
                ParamsError::TooLarge
            } else {
                ParamsError::Incomplete
            }
        })?;
        Self::parse(&bytes)
    }

    /// Parameters from elsewhere than a form; of two with one name the first counts.
    pub(crate) fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut params = HashMap::new();
        for (name, value) in pairs.into_iter().take(MAX_PARAMETERS) {
            params.entry(name).or_insert(Zeroizing::new(value));
        }
        Self(params)
    }

    /// Every parameter with its value.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Writes a parameter, over one that is there.
    pub(crate) fn set(&mut self, name: &str, value: String) {
        self.0.insert(name.to_owned(), Zeroizing::new(value));
    }

    /// Takes a parameter out.
    pub(crate) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// A parameter with a value.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.as_str()).filter(|value| !value.is_empty())
    }

    /// A secret parameter, kept wiped on drop; empty when absent.
    pub(crate) fn secret(&self, name: &str) -> Zeroizing<String> {
        self.0.get(name).cloned().unwrap_or_default()
    }
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
            let _ = Params::parse(&bytes);
        }
    }

    #[test]
    fn a_parameter_given_twice_is_an_error_and_an_empty_one_is_absent() {
        assert_eq!(Params::parse(b"a=1&a=1").err(), Some(ParamsError::Duplicate("a".to_owned())));
        let params = Params::parse(b"a=&b=x+y%26").unwrap();
        assert_eq!(params.get("a"), None);
        assert_eq!(params.get("b"), Some("x y&"));
    }

    #[test]
    fn a_flood_of_names_is_too_large() {
        let many = (0..100).map(|n| format!("p{n}=1")).collect::<Vec<_>>().join("&");
        assert_eq!(Params::parse(many.as_bytes()).err(), Some(ParamsError::TooLarge));
    }

    #[tokio::test]
    async fn an_oversize_body_and_another_media_type_are_told_apart() {
        let mut headers = HeaderMap::new();
        assert_eq!(Params::read(&headers, Body::empty()).await.err(), Some(ParamsError::MediaType));
        headers.insert(
            header::CONTENT_TYPE,
            "application/x-www-form-urlencoded; charset=UTF-8".parse().unwrap(),
        );
        let body = Body::from(vec![b'a'; MAX_BYTES + 1]);
        assert_eq!(Params::read(&headers, body).await.err(), Some(ParamsError::TooLarge));
    }
}
