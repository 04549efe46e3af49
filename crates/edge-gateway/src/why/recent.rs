//! What each worker refused or failed lately, in bounded memory.
//!
//! A worker writes into a ring of its own, so that no request waits for another worker; only the admin
//! listener reads. Refusals (4xx) and failures (5xx) have separate halves: a flood of the former, as under
//! an attack, does not wash the latter away.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// Incidents of each half of a ring.
pub(super) const CAPACITY: usize = 1_024;
/// Bytes of a text that a client chose.
const MAX_TEXT: usize = 256;

/// One request that the gateway itself refused or failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Incident {
    pub(crate) request_id: String,
    /// When it ended, RFC 3339.
    pub(crate) at: String,
    pub(crate) duration_ms: u64,
    pub(crate) method: String,
    /// Without query.
    pub(crate) path: String,
    pub(crate) client: String,
    pub(crate) status: Option<u16>,
    /// The problem's code.
    pub(crate) code: String,
    /// The access log's `error`.
    pub(crate) reason: String,
    /// What the client was told.
    pub(crate) detail: String,
    pub(crate) route: Option<String>,
    pub(crate) upstream: Option<String>,
}

/// The incidents of one worker.
#[derive(Debug, Default)]
pub(crate) struct Ring(Mutex<Halves>);

#[derive(Debug, Default)]
struct Halves {
    refusals: VecDeque<Incident>,
    failures: VecDeque<Incident>,
}

/// The rings of all workers.
#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<Vec<Arc<Ring>>>);

impl Ring {
    /// Takes note of an incident and forgets the oldest of its kind beyond the capacity.
    pub(crate) fn note(&self, mut incident: Incident) {
        cut(&mut incident.path);
        cut(&mut incident.method);
        cut(&mut incident.detail);
        let mut halves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = incident.status.is_some_and(|status| status < 500);
        let half = if refused { &mut halves.refusals } else { &mut halves.failures };
        if half.len() >= CAPACITY {
            half.pop_front();
        }
        half.push_back(incident);
    }

    fn find(&self, request_id: &str) -> Option<Incident> {
        let halves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = halves.failures.iter().chain(&halves.refusals);
        all.find(|incident| incident.request_id == request_id).cloned()
    }
}

impl Recent {
    /// A ring for one more worker.
    pub(crate) fn ring(&self) -> Arc<Ring> {
        let ring = Arc::default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&ring));
        ring
    }

    pub(crate) fn find(&self, request_id: &str) -> Option<Incident> {
        let rings = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        rings.iter().find_map(|ring| ring.find(request_id))
    }
}

fn cut(text: &mut String) {
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incident(request_id: usize, status: u16) -> Incident {
        let text = String::new;
        Incident {
            request_id: request_id.to_string(),
            at: text(),
            duration_ms: 0,
            method: text(),
            path: "ü".repeat(MAX_TEXT),
            client: text(),
            status: Some(status),
            code: text(),
            reason: text(),
            detail: text(),
            route: None,
            upstream: None,
        }
    }

    #[test]
    fn a_flood_of_refusals_does_not_wash_failures_away() {
        let recent = Recent::default();
        let ring = recent.ring();
        ring.note(incident(0, 503));
        for id in 1..=CAPACITY + 1 {
            ring.note(incident(id, 429));
        }
        assert!(recent.find("0").is_some());
        assert!(recent.find("1").is_none(), "the oldest refusal is forgotten");
        assert!(recent.find("2").is_some());
        assert!(ring.find("2").unwrap().path.len() <= MAX_TEXT + '…'.len_utf8());
    }
}
