//! How the worker's sweep asks an idle connection to give its buffers back.

use std::cell::{Cell, RefCell};
use std::task::Waker;

#[derive(Debug, Default)]
pub(super) struct Parking {
    /// Wakes the connection's task.
    waker: RefCell<Option<Waker>>,
    asked: Cell<bool>,
    /// Asked already; not again before the connection has done something.
    parked: Cell<bool>,
}

impl Parking {
    pub(super) fn register(&self, waker: &Waker) {
        self.waker.replace(Some(waker.clone()));
    }

    /// Wakes the connection's task, which then finds the request; at most once until [`Self::left`].
    pub(super) fn ask(&self) {
        if self.parked.replace(true) {
            return;
        }
        self.asked.set(true);
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    pub(super) fn take_request(&self) -> bool {
        self.asked.replace(false)
    }

    /// The connection has something to do again.
    pub(super) fn left(&self) {
        self.parked.set(false);
    }
}
