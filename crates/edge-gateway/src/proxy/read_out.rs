//! An answer that no client reads.

use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use http_body::{Body as _, Frame};

use super::Forwarded;

/// Looks at connection and body before a wait: the one may unblock the other.
const PASSES: usize = 2;

/// Reads an answer to its end, as long as `take` wants more, and puts the connection back. Whether the end was reached.
pub(crate) async fn read_out(mut forwarded: Forwarded, mut take: impl FnMut(&Frame<Bytes>) -> bool) -> bool {
    let complete = std::future::poll_fn(|cx| {
        let mut passes = 0;
        while passes < PASSES {
            passes += 1;
            if let Some(wire) = &mut forwarded.wire {
                wire.drive(cx);
            }
            let Poll::Ready(frame) = Pin::new(forwarded.response.body_mut()).poll_frame(cx) else { continue };
            passes = 0;
            match frame {
                None => return Poll::Ready(true),
                Some(Ok(frame)) if take(&frame) => {}
                Some(Ok(_) | Err(_)) => return Poll::Ready(false),
            }
        }
        Poll::Pending
    });
    let complete = complete.await;
    if complete && let Some(wire) = forwarded.wire.take() {
        forwarded.lease.give_back(wire);
    }
    complete
}
