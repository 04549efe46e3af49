//! What becomes of a request that took a route: sent to an upstream, redirected, or answered.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::text::{Text, Values};
use crate::files::StaticFiles;
use crate::headers::cookie;
use crate::upstream::spread;

/// The end of a route.
#[derive(Debug)]
pub(crate) enum Action {
    /// By index of the configuration.
    Upstream(usize),
    Split(Split),
    Redirect(Redirect),
    Respond(Fixed),
    Files(Arc<StaticFiles>),
}

/// Upstreams that share the requests by weight.
#[derive(Debug)]
pub(crate) struct Split {
    /// With the sum of the weights up to and including each.
    shares: Vec<(usize, u64)>,
    total: u64,
    key: Option<SplitKey>,
}

/// What keeps a client on one side of a split.
#[derive(Debug)]
pub(crate) enum SplitKey {
    Cookie(String),
    Header(HeaderName),
}

/// A redirect.
#[derive(Debug)]
pub(crate) struct Redirect {
    pub(crate) status: StatusCode,
    pub(crate) to: Text,
    pub(crate) keep_query: bool,
}

/// An answer that is the same for everyone.
#[derive(Debug)]
pub(crate) struct Fixed {
    pub(crate) status: StatusCode,
    pub(crate) content_type: Option<HeaderValue>,
    pub(crate) body: Bytes,
}

impl Split {
    /// `weights` in the order of the configuration, at least one of them above zero.
    pub(crate) fn new(weights: &[(usize, u32)], key: Option<SplitKey>) -> Self {
        let mut total = 0u64;
        let shares = weights
            .iter()
            .map(|&(at, weight)| {
                total += u64::from(weight);
                (at, total)
            })
            .collect();
        Self { shares, total, key }
    }

    /// What keeps clients on one side, for people.
    pub(crate) fn key_text(&self) -> Option<String> {
        self.key.as_ref().map(|key| match key {
            SplitKey::Cookie(name) => format!("cookie {name}"),
            SplitKey::Header(name) => format!("header {name}"),
        })
    }

    /// The upstreams with their weights.
    pub(crate) fn weights(&self) -> Vec<(usize, u64)> {
        let mut before = 0;
        let weight = |(at, up_to): &(usize, u64)| {
            let weight = up_to - before;
            before = *up_to;
            (*at, weight)
        };
        self.shares.iter().map(weight).collect()
    }

    /// The upstream that the key of a request decides on, if it has one.
    pub(crate) fn decided(&self, headers: &HeaderMap) -> Option<usize> {
        self.key.as_ref()?.of(headers).map(|key| self.at(spread(key)))
    }

    /// A client with the key stays where its hash puts it: while the weights keep their sum, only
    /// clients whose share moved change sides.
    pub(crate) fn choose(&self, headers: &HeaderMap, random: u64) -> usize {
        self.decided(headers).unwrap_or_else(|| self.at(random))
    }

    fn at(&self, draw: u64) -> usize {
        let point = u64::try_from((u128::from(draw) * u128::from(self.total)) >> 64).unwrap_or_default();
        let share = self.shares.iter().find(|(_, up_to)| point < *up_to).or_else(|| self.shares.last());
        share.map_or(0, |(at, _)| *at)
    }
}

impl SplitKey {
    fn of<'h>(&self, headers: &'h HeaderMap) -> Option<&'h [u8]> {
        match self {
            Self::Cookie(name) => cookie(headers, name).map(str::as_bytes),
            Self::Header(name) => headers.get(name).map(HeaderValue::as_bytes),
        }
    }
}

impl Redirect {
    pub(crate) fn location(&self, values: &Values<'_>) -> String {
        let mut location = self.to.expand(values);
        if self.keep_query
            && let Some(query) = values.query
        {
            location.push(if location.contains('?') { '&' } else { '?' });
            location.push_str(query);
        }
        location
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static("x-user"), HeaderValue::from_str(value).unwrap())])
    }

    fn by_header(weights: &[(usize, u32)]) -> Split {
        Split::new(weights, Some(SplitKey::Header(HeaderName::from_static("x-user"))))
    }

    #[test]
    fn shares_follow_the_weights() {
        let split = by_header(&[(0, 90), (1, 10)]);
        let second = (0..10_000).filter(|n| split.choose(&headers(&format!("user-{n}")), 0) == 1).count();
        assert!((800..1_200).contains(&second), "{second}");
        let random = Split::new(&[(0, 1), (1, 0), (2, 1)], None);
        assert_eq!(random.choose(&HeaderMap::new(), 0), 0);
        assert_eq!(random.choose(&HeaderMap::new(), u64::MAX), 2);
        assert_eq!(random.choose(&HeaderMap::new(), 1 << 63), 2);
    }

    #[test]
    fn a_client_stays_and_only_the_moved_share_changes_sides() {
        let (before, after) = (by_header(&[(0, 90), (1, 10)]), by_header(&[(0, 80), (1, 20)]));
        for n in 0..1_000 {
            let user = headers(&format!("user-{n}"));
            assert_eq!(before.choose(&user, n), before.choose(&user, !n));
            if before.choose(&user, 0) == 1 {
                assert_eq!(after.choose(&user, 0), 1, "a client of the canary must stay there as it grows");
            }
        }
    }

    #[test]
    fn hashes_are_the_same_in_every_version() {
        assert_eq!(spread(b"user-1"), spread(b"user-1"));
        assert_eq!(spread(b""), 0xefd0_1f60_ba99_2926);
    }
}
