//! From alerts to notifications, as Prometheus' Alertmanager does it: routing, grouping, inhibition, silences, repeating.
//!
//! [`store`] holds what fires, [`plan`] is the configured routing tree, [`dispatch`] decides what is sent to whom and when,
//! [`send`] carries it there, [`relay`] passes alerts on to other Alertmanagers, [`journal`] keeps silences, what was sent
//! and what ended ([`ends`]) across restarts.
//!
//! Invariants: a notification is repeated only when its alerts change or its time has come, restarts included; one that cannot
//! be delivered is tried again at the group's next interval, for as long as its alerts fire; an end is told to whoever was told
//! the beginning; alerts, groups, silences and remembered notifications are bounded.

pub(crate) mod dispatch;
mod ends;
pub(crate) mod engine;
mod inhibit;
mod intervals;
mod journal;
pub(crate) mod message;
pub(crate) mod plan;
mod relay;
mod send;
pub(crate) mod settings;
pub(crate) mod silences;
pub(crate) mod store;

#[cfg(test)]
mod tests;

use crate::model::{Labels, MatchOp, Matcher};

/// Reads `name="value"`, with `=`, `!=`, `=~` or `!~`; the quotes may be left out.
pub(crate) fn parse_matcher(text: &str) -> Result<Matcher, String> {
    let wrong = || format!("{text:?} is no matcher; write it as severity=\"critical\", with =, !=, =~ or !~");
    let at = text.find(['=', '!']).ok_or_else(wrong)?;
    let (name, rest) = text.split_at(at);
    let operators =
        [("=~", MatchOp::Regex), ("!~", MatchOp::NotRegex), ("!=", MatchOp::NotEqual), ("=", MatchOp::Equal)];
    let found = operators.into_iter().find_map(|(sign, op)| Some((op, rest.strip_prefix(sign)?)));
    let (op, value) = found.ok_or_else(wrong)?;
    let (name, value) = (name.trim().trim_matches('"'), value.trim());
    if name.is_empty() {
        return Err(wrong());
    }
    let value = if value.starts_with('"') {
        serde_json::from_str(value).map_err(|_| wrong())?
    } else if value.contains('"') {
        return Err(wrong());
    } else {
        value.to_owned()
    };
    Matcher::new(name, op, &value)
}

/// FNV-1a over sorted names and values: an alert's identity, the same in every process, as in Prometheus.
pub(crate) fn fingerprint(labels: &Labels) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for (name, value) in labels.iter() {
        add(name.as_bytes());
        add(&[0xff]);
        add(value.as_bytes());
        add(&[0xff]);
    }
    hash
}
