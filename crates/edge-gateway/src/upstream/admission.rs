//! How many requests an upstream has at once, and who waits for a place.
//!
//! Places are counted over all workers. Whoever finds none waits, if few enough wait already and not for long;
//! those who come later do not overtake. A place that falls free wakes one of those who wait.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::adaptive::Adaptive;

/// The places of an upstream.
#[derive(Debug)]
pub(super) struct Admission {
    most: usize,
    adaptive: Option<Adaptive>,
    in_flight: AtomicUsize,
    max_pending: usize,
    pending: AtomicUsize,
    longest_wait: Duration,
    freed: Notify,
}

impl Admission {
    pub(super) fn new(
        most: usize,
        adaptive: Option<Adaptive>,
        max_pending: usize,
        longest_wait: Duration,
    ) -> Self {
        Self {
            most,
            adaptive,
            in_flight: AtomicUsize::new(0),
            max_pending,
            pending: AtomicUsize::new(0),
            longest_wait,
            freed: Notify::new(),
        }
    }

    /// Requests that may be in flight now.
    pub(super) fn limit(&self) -> usize {
        self.adaptive.as_ref().map_or(self.most, Adaptive::limit)
    }

    /// An answer began after this time.
    pub(super) fn answered(&self, took: Duration) {
        if let Some(adaptive) = &self.adaptive {
            let before = adaptive.limit();
            adaptive.answered(took, self.in_flight());
            self.wake_into_room(before, adaptive.limit());
        }
    }

    /// A request failed, or the upstream said that it has too many.
    pub(super) fn failed(&self) {
        if let Some(adaptive) = &self.adaptive {
            adaptive.failed(self.in_flight());
        }
    }

    /// Places that a grown bound makes are there for those who wait.
    fn wake_into_room(&self, before: usize, now: usize) {
        for _ in before..now.min(before + self.pending.load(Ordering::SeqCst)) {
            self.freed.notify_one();
        }
    }

    pub(super) fn inherit(&self, earlier: &Self) {
        if let (Some(adaptive), Some(earlier)) = (&self.adaptive, &earlier.adaptive) {
            adaptive.inherit(earlier);
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }

    /// Takes a place, after a bounded wait where there is none. Pair with [`Self::leave`].
    pub(super) async fn enter(&self) -> bool {
        if self.pending() == 0 && self.claim() {
            return true;
        }
        let Some(_pending) = Pending::new(self) else { return false };
        let claimed = async {
            loop {
                let mut freed = pin!(self.freed.notified());
                // Registered before the look, so that a place freed in between is not missed.
                freed.as_mut().enable();
                if self.claim() {
                    return;
                }
                freed.await;
            }
        };
        tokio::time::timeout(self.longest_wait, claimed).await.is_ok()
    }

    /// Sequentially consistent with [`Self::leave`]: either this sees the freed place, or the one who leaves sees
    /// that somebody waits.
    fn claim(&self) -> bool {
        let limit = self.limit();
        let next = |taken| (taken < limit).then_some(taken + 1);
        self.in_flight.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).is_ok()
    }

    pub(super) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        if self.pending.load(Ordering::SeqCst) > 0 {
            self.freed.notify_one();
        }
    }
}

/// One who waits.
struct Pending<'a>(&'a Admission);

impl<'a> Pending<'a> {
    fn new(admission: &'a Admission) -> Option<Self> {
        let next = |waiting| (waiting < admission.max_pending).then_some(waiting + 1);
        let counted = admission.pending.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
        counted.is_ok().then(|| Self(admission))
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::task::JoinSet;

    use super::*;

    const LONG: Duration = Duration::from_mins(10);

    #[tokio::test]
    async fn who_finds_no_place_waits_for_one() {
        let admission = Arc::new(Admission::new(1, None, 1, LONG));
        assert!(admission.enter().await);
        let mut waiting = JoinSet::new();
        let second = Arc::clone(&admission);
        waiting.spawn(async move { second.enter().await });
        while admission.pending() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(!admission.enter().await, "no more than one may wait");
        admission.leave();
        assert_eq!(waiting.join_next().await.unwrap().ok(), Some(true));
        assert_eq!((admission.in_flight(), admission.pending()), (1, 0));
    }

    #[tokio::test]
    async fn a_wait_ends() {
        let admission = Admission::new(1, None, 1, Duration::from_millis(10));
        assert!(admission.enter().await);
        assert!(!admission.enter().await);
        assert_eq!(admission.pending(), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_wake_up_is_lost_and_no_place_is_taken_twice() {
        let admission = Arc::new(Admission::new(2, None, 1_000, LONG));
        let mut requests = JoinSet::new();
        for _ in 0..500 {
            let admission = Arc::clone(&admission);
            requests.spawn(async move {
                for _ in 0..20 {
                    assert!(admission.enter().await);
                    assert!(admission.in_flight() <= 2);
                    tokio::task::yield_now().await;
                    admission.leave();
                }
            });
        }
        let all = async { while requests.join_next().await.transpose().unwrap().is_some() {} };
        tokio::time::timeout(Duration::from_mins(1), all).await.unwrap();
        assert_eq!((admission.in_flight(), admission.pending()), (0, 0));
    }
}
