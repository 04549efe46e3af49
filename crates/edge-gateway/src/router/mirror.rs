//! A second upstream that gets copies of a route's requests. What it answers is thrown away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Where copies go, and how many.
#[derive(Debug)]
pub(crate) struct Mirror {
    /// By index of the configuration.
    pub(crate) upstream: usize,
    /// Bytes of a request body; a request with more is not copied.
    pub(crate) max_body: usize,
    percent: u64,
    max_in_flight: usize,
    in_flight: Arc<AtomicUsize>,
}

/// A copy's place among those on the way.
#[derive(Debug)]
pub(crate) struct MirrorPermit(Arc<AtomicUsize>);

impl Mirror {
    pub(crate) fn new(upstream: usize, percent: u8, max_in_flight: usize, max_body: usize) -> Self {
        Self { upstream, max_body, percent: percent.into(), max_in_flight, in_flight: Arc::default() }
    }

    /// Whether the request of this random number is to be copied.
    pub(crate) fn takes(&self, random: u64) -> bool {
        random % 100 < self.percent
    }

    /// A place for one copy, unless all are taken.
    pub(crate) fn permit(&self) -> Option<MirrorPermit> {
        if self.in_flight.fetch_add(1, Ordering::Relaxed) >= self.max_in_flight {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(MirrorPermit(Arc::clone(&self.in_flight)))
    }
}

impl Drop for MirrorPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
