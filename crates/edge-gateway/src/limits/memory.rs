//! What one client's requests hold in the gateway's memory, reserved before it is used.
//!
//! Reserved is the most that can come to be held, not what happens to be: a request [`REQUEST_BYTES`] while it is in
//! progress, a body over HTTP/2 its window, a body that is kept for a retry its bytes. So the bound holds whatever a
//! client does with what it was given. A connection keeps the places of requests for its next ones and gives back what
//! is left over when the worker sweeps, so that a request costs no shared write.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A request in progress: its head and the part of its body that was read ahead, at most 64 KiB of HTTP/1.1 and less of
/// HTTP/2, and as much of its answer.
pub(crate) const REQUEST_BYTES: usize = 128 * 1024;

/// One client's connections and memory, over all workers.
#[derive(Debug)]
pub(crate) struct Account {
    /// Changed under the lock of the table alone.
    pub(super) connections: AtomicUsize,
    bytes: AtomicUsize,
    limit: Arc<AtomicUsize>,
}

impl Account {
    pub(super) fn new(limit: &Arc<AtomicUsize>) -> Self {
        Self { connections: AtomicUsize::new(0), bytes: AtomicUsize::new(0), limit: Arc::clone(limit) }
    }

    /// Reserves so many bytes. Each success must be followed by one [`Self::give`].
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= self.limit.load(Ordering::Relaxed);
        if !fits {
            self.give(bytes);
        }
        fits
    }

    pub(crate) fn give(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// What one connection has reserved out of its client's account; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    account: Arc<Account>,
    /// Places for requests.
    requests: Cell<u32>,
    /// Windows of bodies.
    windows: Cell<usize>,
    /// The windows of a connection together.
    most: usize,
}

impl Share {
    /// `most` is the window of the whole connection.
    pub(crate) fn new(account: Arc<Account>, most: usize) -> Self {
        Self { account, requests: Cell::new(0), windows: Cell::new(0), most }
    }

    pub(crate) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Whether there are places for so many requests at once.
    pub(crate) fn holds(&self, requests: u32) -> bool {
        requests <= self.requests.get() || self.grow(requests)
    }

    #[cold]
    fn grow(&self, requests: u32) -> bool {
        let more = requests - self.requests.get();
        let taken = self.account.take(size(more));
        if taken {
            self.requests.set(requests);
        }
        taken
    }

    /// Gives back the places beyond so many.
    pub(crate) fn shrink(&self, requests: u32) {
        let over = self.requests.get().saturating_sub(requests);
        if over > 0 {
            self.account.give(size(over));
            self.requests.set(requests);
        }
    }

    /// Reserves the window of a body of at most `bytes`; what was reserved, or None where there is no room.
    pub(crate) fn open_window(&self, bytes: usize) -> Option<usize> {
        let bytes = bytes.min(self.most.saturating_sub(self.windows.get()));
        let taken = self.account.take(bytes);
        if taken {
            self.windows.set(self.windows.get() + bytes);
        }
        taken.then_some(bytes)
    }

    pub(crate) fn close_window(&self, bytes: usize) {
        self.windows.set(self.windows.get() - bytes);
        self.account.give(bytes);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.account.give(size(self.requests.get()) + self.windows.get());
    }
}

fn size(requests: u32) -> usize {
    usize::try_from(requests).unwrap_or(usize::MAX).saturating_mul(REQUEST_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(limit: usize) -> Arc<Account> {
        Arc::new(Account::new(&Arc::new(AtomicUsize::new(limit))))
    }

    #[test]
    fn connections_of_a_client_share_its_budget() {
        let account = account(3 * REQUEST_BYTES);
        let (a, b) = (Share::new(Arc::clone(&account), 0), Share::new(Arc::clone(&account), 0));
        assert!(a.holds(2) && b.holds(1));
        assert!(!b.holds(2) && b.holds(1), "what does not fit takes nothing");
        a.shrink(1);
        assert!(b.holds(2));
        drop(a);
        assert!(b.holds(3));
        drop(b);
        assert_eq!(account.bytes(), 0);
    }

    #[test]
    fn places_are_kept_for_the_next_requests_until_they_are_swept() {
        let account = account(usize::MAX);
        let share = Share::new(Arc::clone(&account), 0);
        assert!(share.holds(4));
        assert!(share.holds(1));
        assert_eq!(account.bytes(), 4 * REQUEST_BYTES);
        share.shrink(1);
        assert_eq!(account.bytes(), REQUEST_BYTES);
        share.shrink(2);
        assert_eq!(account.bytes(), REQUEST_BYTES);
    }

    #[test]
    fn bodies_reserve_no_more_than_the_window_of_their_connection() {
        let account = account(1_000);
        let share = Share::new(Arc::clone(&account), 500);
        assert_eq!(share.open_window(400), Some(400));
        assert_eq!(share.open_window(400), Some(100));
        assert_eq!(share.open_window(400), Some(0));
        share.close_window(400);
        assert_eq!(account.bytes(), 100);
        let other = Share::new(Arc::clone(&account), 5_000);
        assert_eq!(other.open_window(1_000), None);
        drop(share);
        assert_eq!(other.open_window(1_000), Some(1_000));
    }
}
