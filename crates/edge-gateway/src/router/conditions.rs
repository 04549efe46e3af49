//! What a route asks of a request besides host and path: method, headers, query.

use http::Method;
use http::header::{HeaderMap, HeaderName};
use url::form_urlencoded;

/// All of these must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    /// Any of them; empty for all.
    pub(crate) methods: Vec<Method>,
    pub(crate) headers: Vec<(HeaderName, Test)>,
    /// By decoded parameter name.
    pub(crate) query: Vec<(String, Test)>,
}

/// What a header or parameter must be; of several values one is enough.
#[derive(Debug, Clone)]
pub(crate) enum Test {
    Equals(String),
    /// Linear in the length of the value, whatever the expression. A value that is not UTF-8 matches none.
    Matches(regex_lite::Regex),
    Present,
    Absent,
}

/// The first condition that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unmet<'c> {
    Method,
    Header(&'c HeaderName, &'c Test),
    Query(&'c str, &'c Test),
}

impl PartialEq for Test {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Equals(a), Self::Equals(b)) => a == b,
            (Self::Matches(a), Self::Matches(b)) => a.as_str() == b.as_str(),
            (Self::Present, Self::Present) | (Self::Absent, Self::Absent) => true,
            _ => false,
        }
    }
}

impl Eq for Test {}

impl std::fmt::Display for Test {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Equals(value) => write!(f, "= \"{value}\""),
            Self::Matches(expression) => write!(f, "~ /{}/", expression.as_str()),
            Self::Present => f.write_str("present"),
            Self::Absent => f.write_str("absent"),
        }
    }
}

impl Test {
    fn holds<'v>(&self, mut values: impl Iterator<Item = &'v [u8]>) -> bool {
        match self {
            Self::Equals(wanted) => values.any(|value| value == wanted.as_bytes()),
            Self::Matches(expression) => {
                values.any(|value| str::from_utf8(value).is_ok_and(|value| expression.is_match(value)))
            }
            Self::Present => values.next().is_some(),
            Self::Absent => values.next().is_none(),
        }
    }
}

impl Conditions {
    /// How many there are; a route with more of them comes first.
    pub(crate) fn count(&self) -> usize {
        usize::from(!self.methods.is_empty()) + self.headers.len() + self.query.len()
    }

    /// Why a request does not meet them, or None.
    pub(crate) fn unmet(
        &self,
        method: &Method,
        headers: &HeaderMap,
        query: Option<&str>,
    ) -> Option<Unmet<'_>> {
        if !self.methods.is_empty() && !self.methods.contains(method) {
            return Some(Unmet::Method);
        }
        for (name, test) in &self.headers {
            if !test.holds(headers.get_all(name).iter().map(http::HeaderValue::as_bytes)) {
                return Some(Unmet::Header(name, test));
            }
        }
        if self.query.is_empty() {
            return None;
        }
        let pairs: Vec<_> = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).collect();
        let unmet = self.query.iter().find(|(name, test)| {
            let values = pairs.iter().filter(|(key, _)| key == name);
            !test.holds(values.map(|(_, value)| value.as_bytes()))
        });
        unmet.map(|(name, test)| Unmet::Query(name, test))
    }

    /// Whether every request that meets `other` meets these too, as far as equal tests show it.
    pub(crate) fn cover(&self, other: &Self) -> bool {
        let methods = self.methods.is_empty()
            || (!other.methods.is_empty()
                && other.methods.iter().all(|method| self.methods.contains(method)));
        methods
            && self.headers.iter().all(|condition| other.headers.contains(condition))
            && self.query.iter().all(|condition| other.query.contains(condition))
    }
}

impl std::fmt::Display for Conditions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts: Vec<String> = self.methods.iter().map(ToString::to_string).collect();
        parts.extend(self.headers.iter().map(|(name, test)| format!("{name} {test}")));
        parts.extend(self.query.iter().map(|(name, test)| format!("?{name} {test}")));
        f.write_str(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn check(test: Test, values: &[&'static str], expected: bool) {
        let name = HeaderName::from_static("x-version");
        let conditions = Conditions { headers: vec![(name.clone(), test)], ..Conditions::default() };
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&name, HeaderValue::from_static(value));
        }
        let met = conditions.unmet(&Method::GET, &headers, None).is_none();
        assert_eq!(met, expected, "{conditions} on {values:?}");
    }

    #[test]
    fn one_value_of_a_header_is_enough() {
        let expression = || Test::Matches(regex_lite::Regex::new("^v[0-9]+$").unwrap());
        check(Test::Equals("2".to_owned()), &["1", "2"], true);
        check(Test::Equals("2".to_owned()), &["22"], false);
        check(expression(), &["old", "v17"], true);
        check(expression(), &["v17x"], false);
        check(Test::Present, &[""], true);
        check(Test::Present, &[], false);
        check(Test::Absent, &[], true);
        check(Test::Absent, &["1"], false);
    }

    #[test]
    fn query_parameters_are_decoded_before_they_are_compared() {
        let query = vec![("a b".to_owned(), Test::Equals("ä".to_owned()))];
        let conditions = Conditions { query, ..Conditions::default() };
        let met = |query| conditions.unmet(&Method::GET, &HeaderMap::new(), query).is_none();
        assert!(met(Some("x=1&a%20b=%C3%A4")));
        assert!(met(Some("a+b=%C3%A4")));
        assert!(!met(Some("a+b=a")));
        assert!(!met(None));
    }

    #[test]
    fn conditions_cover_those_that_ask_for_more() {
        let of = |methods: &[Method], headers: &[(&'static str, Test)]| Conditions {
            methods: methods.to_vec(),
            headers: headers.iter().map(|(n, t)| (HeaderName::from_static(n), t.clone())).collect(),
            query: Vec::new(),
        };
        assert!(of(&[], &[]).cover(&of(&[Method::GET], &[("a", Test::Present)])));
        assert!(of(&[Method::GET, Method::PUT], &[]).cover(&of(&[Method::GET], &[])));
        assert!(!of(&[Method::GET], &[]).cover(&of(&[], &[])));
        assert!(!of(&[], &[("a", Test::Present)]).cover(&of(&[], &[])));
        assert!(!of(&[], &[("a", Test::Present)]).cover(&of(&[], &[("a", Test::Absent)])));
    }
}
