//! An answer that no client reads.

use std::pin::Pin;
use std::task::ready;

use bytes::Bytes;
use http_body::{Body as _, Frame};

use super::Forwarded;

/// Reads an answer to its end, as long as `take` wants more, and puts the connection back. Whether the end was reached.
pub(crate) async fn read_out(mut forwarded: Forwarded, mut take: impl FnMut(&Frame<Bytes>) -> bool) -> bool {
    let complete = std::future::poll_fn(|cx| {
        loop {
            match ready!(Pin::new(forwarded.response.body_mut()).poll_frame(cx)) {
                None => return std::task::Poll::Ready(true),
                Some(Ok(frame)) if take(&frame) => {}
                Some(Ok(_) | Err(_)) => return std::task::Poll::Ready(false),
            }
        }
    });
    let complete = complete.await;
    if complete {
        forwarded.give_back();
    }
    complete
}
