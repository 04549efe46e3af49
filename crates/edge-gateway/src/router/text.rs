//! Texts of the configuration with places for what a request brings: header values, redirect targets,
//! rewritten paths.

use super::pattern::PathRule;

/// Names that no capture may have.
pub(crate) const RESERVED: [&str; 6] = ["client_ip", "request_id", "host", "path", "query", "tail"];

/// A text with `{name}` in it; `{{` stands for one brace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    ClientIp,
    RequestId,
    Host,
    Path,
    Query,
    Tail,
    Capture(usize),
}

/// What a request puts into texts.
#[derive(Debug)]
pub(crate) struct Values<'r> {
    pub(crate) client_ip: &'r str,
    pub(crate) request_id: &'r str,
    /// As the client wrote it, with its port.
    pub(crate) host: &'r str,
    /// Canonical.
    pub(crate) path: &'r str,
    pub(crate) query: Option<&'r str>,
    /// The rule of the route that the request took.
    pub(crate) rule: &'r PathRule,
}

impl Text {
    /// Reads a text for a route with this rule; the error says what to write instead.
    pub(crate) fn parse(text: &str, rule: &PathRule) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            literal.push_str(before);
            if let Some(after) = from.strip_prefix("{{") {
                literal.push('{');
                rest = after;
                continue;
            }
            if let Some(after) = from.strip_prefix('}') {
                literal.push('}');
                rest = after.strip_prefix('}').unwrap_or(after);
                continue;
            }
            let Some((name, after)) = from.get(1..).and_then(|inner| inner.split_once('}')) else {
                return Err("holds a `{` without its `}`; write `{{` for a brace".to_owned());
            };
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(Part::named(name, rule)?);
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self(parts))
    }

    /// Reads a path to send upstream: canonical whatever the captures are.
    pub(crate) fn parse_path(text: &str, rule: &PathRule) -> Result<Self, String> {
        let parsed = Self::parse(text, rule)?;
        for (at, part) in parsed.0.iter().enumerate() {
            let last = at + 1 == parsed.0.len();
            match part {
                Part::Literal(literal) if literal.contains(['?', '#']) => {
                    return Err("must be a path; the query is kept as it is".to_owned());
                }
                Part::Literal(_) => {}
                Part::Capture(capture) if !rule.is_rest(*capture) => {}
                // What may be empty would leave two slashes in a row anywhere else.
                Part::Capture(_) | Part::Tail if last => {}
                Part::Capture(_) | Part::Tail => {
                    return Err("may hold `{tail}` or a `{name*}` capture only at its end".to_owned());
                }
                _ => return Err("may hold captures and `{tail}` only".to_owned()),
            }
        }
        let sample = parsed.fill(|part| match part {
            Part::Tail | Part::Capture(_) => "x",
            _ => "",
        });
        match crate::path::canonical(&sample) {
            Ok(canonical) if canonical == sample => Ok(parsed),
            Ok(canonical) => Err(format!("is not in canonical form; write it as `{canonical}`")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The text where it is the same for all requests.
    pub(crate) fn constant(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Part::Literal(only)] => Some(only),
            _ => None,
        }
    }

    /// The text for one request.
    pub(crate) fn expand(&self, values: &Values<'_>) -> String {
        let captures = values.rule.captures(values.path);
        self.fill(|part| match part {
            Part::Literal(literal) => literal,
            Part::ClientIp => values.client_ip,
            Part::RequestId => values.request_id,
            Part::Host => values.host,
            Part::Path => values.path,
            Part::Query => values.query.unwrap_or_default(),
            Part::Tail => values.rule.tail(values.path),
            Part::Capture(at) => captures.get(*at).copied().unwrap_or_default(),
        })
    }

    fn fill<'t>(&'t self, value: impl Fn(&'t Part) -> &'t str) -> String {
        let pieces = self.0.iter().map(|part| match part {
            Part::Literal(literal) => literal.as_str(),
            other => value(other),
        });
        pieces.collect()
    }
}

impl Part {
    fn named(name: &str, rule: &PathRule) -> Result<Self, String> {
        Ok(match name {
            "client_ip" => Self::ClientIp,
            "request_id" => Self::RequestId,
            "host" => Self::Host,
            "path" => Self::Path,
            "query" => Self::Query,
            "tail" if matches!(rule, PathRule::Prefix(_)) => Self::Tail,
            "tail" => return Err("`{tail}` is what follows a `path_prefix`; this route has none".to_owned()),
            _ => {
                let at = rule.names().iter().position(|other| other == name);
                Self::Capture(at.ok_or_else(|| {
                    let known = RESERVED.iter().copied().chain(rule.names().iter().map(String::as_str));
                    format!("`{{{name}}}` is unknown; known here: {}", known.collect::<Vec<_>>().join(", "))
                })?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::pattern::Template;

    fn rule(template: &str) -> PathRule {
        PathRule::Template(Template::parse(template).unwrap())
    }

    fn expand(text: &str, rule: &PathRule, path: &str) -> String {
        let values = Values {
            client_ip: "192.0.2.1",
            request_id: "id",
            host: "a.example:8443",
            path,
            query: Some("q=1"),
            rule,
        };
        Text::parse(text, rule).unwrap().expand(&values)
    }

    #[test]
    fn places_are_filled_from_the_request() {
        let users = rule("/users/{id}/{rest*}");
        let text = "{client_ip} {request_id} {host} {path}?{query} {id}/{rest} {{literal}}";
        assert_eq!(
            expand(text, &users, "/users/7/a/b"),
            "192.0.2.1 id a.example:8443 /users/7/a/b?q=1 7/a/b {literal}"
        );
        assert_eq!(expand("/v2/{tail}", &PathRule::Prefix("/v1".to_owned()), "/v1/x/y"), "/v2/x/y");
    }

    #[test]
    fn unknown_and_unclosed_places_are_refused() {
        let users = rule("/users/{id}");
        assert!(Text::parse("{nam}", &users).unwrap_err().contains("known here: client_ip"));
        assert!(Text::parse("{id", &users).unwrap_err().contains("without its"));
        assert!(Text::parse("{tail}", &users).unwrap_err().contains("path_prefix"));
    }

    #[test]
    fn a_path_stays_canonical_whatever_is_captured() {
        let users = rule("/users/{id}/{rest*}");
        let check = |text: &str, expected: Option<&str>| match (Text::parse_path(text, &users), expected) {
            (Ok(_), None) => {}
            (Err(error), Some(expected)) => assert!(error.contains(expected), "{text}: {error}"),
            (outcome, _) => panic!("{text}: {outcome:?}"),
        };
        check("/v2/{id}/x/{rest}", None);
        check("/v2/{rest}/x", Some("only at its end"));
        check("/v2/{client_ip}", Some("captures and `{tail}` only"));
        check("v2/{id}", Some("begin with a slash"));
        check("/a//{id}", Some("empty segment"));
        check("/a?x={id}", Some("query is kept"));
        check("/%7e/{id}", Some("write it as"));
    }
}
