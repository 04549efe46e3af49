//! Informational answers (RFC 9110 section 15.2) before the final one.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::Waker;

use http::{HeaderMap, StatusCode};

/// Informational answers of a connection that may wait to be written; more are dropped, which a client does not notice.
const QUEUED: usize = 32;

#[derive(Debug)]
pub(crate) struct Informational {
    pub(crate) stream: u32,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
}

pub(crate) type Queue = Rc<RefCell<Vec<Informational>>>;

/// Sends informational answers to the client of one request.
#[derive(Debug, Clone)]
pub struct Interim {
    queue: Queue,
    stream: u32,
    waker: Waker,
}

impl Interim {
    pub(crate) fn new(queue: &Queue, stream: u32, waker: Waker) -> Self {
        Self { queue: Rc::clone(queue), stream, waker }
    }

    /// Sends an answer of the class 1xx, other than 101, which HTTP/2 does not have (RFC 9113 section 8.6). It is
    /// dropped where the final answer has begun, or too many wait already.
    pub fn send(&self, status: StatusCode, headers: HeaderMap) {
        let mut queue = self.queue.borrow_mut();
        let possible = status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS;
        if possible && queue.len() < QUEUED {
            queue.push(Informational { stream: self.stream, status, headers });
            self.waker.wake_by_ref();
        }
    }
}
