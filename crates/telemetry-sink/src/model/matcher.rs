//! Label matchers, the part that PromQL and LogQL selectors share.

use regex::{Regex, RegexBuilder};

use super::Labels;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MatchOp {
    Equal,
    NotEqual,
    Regex,
    NotRegex,
}

/// One condition on one label; an absent label counts as the empty text.
#[derive(Debug, Clone)]
pub(crate) struct Matcher {
    pub(crate) name: String,
    pub(crate) op: MatchOp,
    pub(crate) value: String,
    regex: Option<Regex>,
}

/// The compiled size a pattern may reach; matching time is linear in any case.
const REGEX_SIZE_LIMIT: usize = 1 << 20;

/// Compiles a pattern within the size limit.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern)
        .size_limit(REGEX_SIZE_LIMIT)
        .dfa_size_limit(REGEX_SIZE_LIMIT)
        .build()
        .map_err(|error| format!("invalid regular expression {pattern:?}: {error}"))
}

impl Matcher {
    pub(crate) fn new(name: &str, op: MatchOp, value: &str) -> Result<Self, String> {
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            // Prometheus anchors patterns at both ends and lets the dot match newlines.
            MatchOp::Regex | MatchOp::NotRegex => Some(compile(&format!("^(?s:{value})$"))?),
        };
        Ok(Self { name: name.to_owned(), op, value: value.to_owned(), regex })
    }

    pub(crate) fn equal(name: &str, value: &str) -> Self {
        Self { name: name.to_owned(), op: MatchOp::Equal, value: value.to_owned(), regex: None }
    }

    pub(crate) fn accepts(&self, text: &str) -> bool {
        let matched = self.regex.as_ref().map_or(text == self.value, |regex| regex.is_match(text));
        match self.op {
            MatchOp::Equal | MatchOp::Regex => matched,
            MatchOp::NotEqual | MatchOp::NotRegex => !matched,
        }
    }

    /// Whether this matcher needs the label to be there, so that the index can narrow by it.
    pub(crate) fn needs_presence(&self) -> bool {
        !self.accepts("")
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

/// Whether a label set meets every matcher.
pub(crate) fn all_accept(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.accepts(labels.get(&matcher.name).unwrap_or("")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_anchored_and_an_absent_label_is_empty() {
        let labels: Labels = [("job", "core-api")].into_iter().collect();
        let check =
            |name: &str, op, value: &str| all_accept(&[Matcher::new(name, op, value).unwrap()], &labels);
        assert!(check("job", MatchOp::Regex, "core.*"));
        assert!(!check("job", MatchOp::Regex, "core"));
        assert!(check("job", MatchOp::Regex, "x|core-api"));
        assert!(check("zone", MatchOp::Equal, ""));
        assert!(check("zone", MatchOp::NotEqual, "a"));
        assert!(!check("zone", MatchOp::Regex, ".+"));
    }

    #[test]
    fn an_exploding_pattern_is_refused_rather_than_compiled() {
        assert!(Matcher::new("a", MatchOp::Regex, "((a{100}){100}){100}").is_err());
        assert!(Matcher::new("a", MatchOp::Regex, "(").is_err());
    }
}
