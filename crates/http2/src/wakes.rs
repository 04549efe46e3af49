//! Who of a connection's streams was woken.
//!
//! The connection polls the futures of all its streams; so that it does not poll all of them each time, each place has
//! a waker of its own that sets a bit and then wakes the connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Wake, Waker};

#[derive(Debug)]
pub(crate) struct Wakes {
    shared: Arc<Shared>,
    wakers: Vec<Waker>,
}

#[derive(Debug)]
struct Shared {
    connection: Waker,
    /// The connection is being polled and looks at the bits when it ends.
    polling: AtomicBool,
    woken: Box<[AtomicU64]>,
}

#[derive(Debug)]
struct Place {
    shared: Arc<Shared>,
    at: usize,
}

impl Wake for Place {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(word) = self.shared.woken.get(self.at / 64) {
            word.fetch_or(1 << (self.at % 64), Ordering::SeqCst);
        }
        // Sequentially consistent: either this sees that the poll has ended, or the poll's end sees the bit.
        if !self.shared.polling.load(Ordering::SeqCst) {
            self.shared.connection.wake_by_ref();
        }
    }
}

impl Wakes {
    /// For so many places of a connection whose task `waker` wakes.
    pub(crate) fn new(waker: &Waker, places: usize) -> Self {
        let words = places.div_ceil(64);
        let woken = (0..words).map(|_| AtomicU64::new(0)).collect();
        let shared = Shared { connection: waker.clone(), polling: AtomicBool::new(false), woken };
        Self { shared: Arc::new(shared), wakers: Vec::new() }
    }

    /// Whether these are the wakes of this task.
    pub(crate) fn are_of(&self, waker: &Waker) -> bool {
        self.shared.connection.will_wake(waker)
    }

    /// The waker of a place.
    pub(crate) fn waker(&mut self, at: usize) -> Waker {
        while self.wakers.len() <= at {
            let place = Place { shared: Arc::clone(&self.shared), at: self.wakers.len() };
            self.wakers.push(Waker::from(Arc::new(place)));
        }
        self.wakers.get(at).map_or_else(|| Waker::noop().clone(), Waker::clone)
    }

    /// From here on a place that is woken does not wake the connection.
    pub(crate) fn begin(&self) {
        self.shared.polling.store(true, Ordering::SeqCst);
    }

    /// The poll is over; whether a place was woken since its bits were taken.
    pub(crate) fn end(&self) -> bool {
        self.shared.polling.store(false, Ordering::SeqCst);
        self.any()
    }

    pub(crate) fn any(&self) -> bool {
        self.shared.woken.iter().any(|word| word.load(Ordering::SeqCst) != 0)
    }

    pub(crate) fn words(&self) -> usize {
        self.shared.woken.len()
    }

    /// The places among these 64 that were woken since this was asked last.
    pub(crate) fn take(&self, word: usize) -> u64 {
        self.shared.woken.get(word).map_or(0, |word| word.swap(0, Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_place_wakes_the_connection_unless_it_is_being_polled_and_always_leaves_its_bit() {
        let counted = Arc::new(Counted::default());
        let task = Waker::from(Arc::clone(&counted));
        let mut wakes = Wakes::new(&task, 100);
        let place = wakes.waker(70);
        wakes.begin();
        place.wake_by_ref();
        assert_eq!((counted.0.load(Ordering::Relaxed), wakes.take(0), wakes.take(1)), (0, 0, 1 << 6));
        assert!(!wakes.end());
        place.wake_by_ref();
        assert_eq!(counted.0.load(Ordering::Relaxed), 1);
        assert!(wakes.any() && wakes.are_of(&task));
    }
}
