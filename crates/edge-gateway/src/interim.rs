//! Answers that announce the final one (RFC 9110 section 15.2), on their way from an upstream to the client: 103 Early
//! Hints (RFC 8297) above all, 102 and whatever else is 1xx.
//!
//! They wait here from when the upstream's connection reads them until the client's connection writes them, which it does
//! each time after it has polled the handler. 100 and 101 never come this way: the gateway meets expectations itself, and
//! an upgrade is a final answer.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName};
use http::{Response, StatusCode};

use crate::headers::strip_response;

/// Answers of one request that go on; more are dropped, as a client may do with all of them.
const MOST: u32 = 8;
/// Bytes of their names and values together.
const MOST_BYTES: usize = 16 * 1024;

/// The way to one client; clones lead to the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interim(Option<Rc<Queue>>);

#[derive(Debug, Default)]
struct Queue {
    waiting: RefCell<VecDeque<Response<()>>>,
    answers: Cell<u32>,
    bytes: Cell<usize>,
    /// Headers that the route keeps from clients.
    withheld: RefCell<Vec<HeaderName>>,
}

impl Interim {
    /// To nobody: the client speaks HTTP/1.0, or there is none.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Removes these headers from what is sent from here on.
    pub(crate) fn withhold(&self, names: &[HeaderName]) {
        if let Some(queue) = &self.0 {
            queue.withheld.borrow_mut().extend_from_slice(names);
        }
    }

    /// Passes an upstream's interim answer on, without what concerns its connection alone.
    pub(crate) fn send(&self, status: StatusCode, mut headers: HeaderMap) {
        let Some(queue) = &self.0 else { return };
        if !status.is_informational()
            || matches!(status, StatusCode::CONTINUE | StatusCode::SWITCHING_PROTOCOLS)
            || queue.answers.get() == MOST
        {
            return;
        }
        strip_response(&mut headers);
        // RFC 9110 section 8.6.
        headers.remove(CONTENT_LENGTH);
        for name in &*queue.withheld.borrow() {
            headers.remove(name);
        }
        let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        let bytes = queue.bytes.get().saturating_add(size);
        if bytes > MOST_BYTES {
            return;
        }
        queue.answers.set(queue.answers.get() + 1);
        queue.bytes.set(bytes);
        let mut answer = Response::new(());
        *answer.status_mut() = status;
        *answer.headers_mut() = headers;
        queue.waiting.borrow_mut().push_back(answer);
    }

    /// To a client whose connection asks [`Self::take`].
    pub(crate) fn queued() -> Self {
        Self(Some(Rc::default()))
    }

    /// Forgets the last request, for the next one of the connection.
    pub(crate) fn renew(&self) {
        let Some(queue) = &self.0 else { return };
        if queue.answers.replace(0) != 0 {
            queue.waiting.borrow_mut().clear();
            queue.bytes.set(0);
        }
        queue.withheld.borrow_mut().clear();
    }

    /// The next answer for the client.
    pub(crate) fn take(&self) -> Option<Response<()>> {
        self.0.as_ref()?.waiting.borrow_mut().pop_front()
    }
}

#[cfg(test)]
mod tests {
    use http::header::{CONNECTION, HeaderValue, LINK};

    use super::*;

    fn hints(length: usize) -> HeaderMap {
        let value = HeaderValue::from_bytes(&vec![b'x'; length]).unwrap();
        HeaderMap::from_iter([(LINK, value)])
    }

    fn taken(interim: &Interim) -> Vec<u16> {
        std::iter::from_fn(|| interim.take()).map(|answer| answer.status().as_u16()).collect()
    }

    #[test]
    fn what_concerns_one_hop_or_is_withheld_does_not_go_on() {
        let interim = Interim::queued();
        interim.withhold(&[HeaderName::from_static("x-inner")]);
        let mut headers = hints(1);
        headers.insert(CONNECTION, HeaderValue::from_static("x-hop"));
        for name in ["x-hop", "x-inner", "x-request-id", "content-length", "transfer-encoding"] {
            headers.insert(name, HeaderValue::from_static("1"));
        }
        interim.send(StatusCode::EARLY_HINTS, headers);
        let answer = interim.take().unwrap();
        assert_eq!(answer.headers().keys().collect::<Vec<_>>(), [LINK]);
        interim.renew();
        interim.send(
            StatusCode::EARLY_HINTS,
            HeaderMap::from_iter([(HeaderName::from_static("x-inner"), HeaderValue::from_static("1"))]),
        );
        assert_eq!(interim.take().unwrap().headers().len(), 1, "another request has other headers withheld");
    }

    #[test]
    fn neither_continue_nor_an_upgrade_nor_a_final_answer_is_interim() {
        let interim = Interim::queued();
        for status in [100, 101, 102, 103, 200] {
            interim.send(StatusCode::from_u16(status).unwrap(), HeaderMap::new());
        }
        assert_eq!(taken(&interim), [102, 103]);
    }

    #[test]
    fn a_request_has_few_and_small_ones() {
        let interim = Interim::queued();
        for _ in 0..100 {
            interim.send(StatusCode::EARLY_HINTS, hints(1));
        }
        assert_eq!(taken(&interim).len(), MOST as usize);
        interim.renew();
        for _ in 0..MOST {
            interim.send(StatusCode::EARLY_HINTS, hints(MOST_BYTES / 3));
        }
        assert_eq!(taken(&interim).len(), 2);
        interim.renew();
        interim.send(StatusCode::EARLY_HINTS, hints(1));
        interim.renew();
        assert!(interim.take().is_none(), "what was for the last request reached the next");
    }
}
