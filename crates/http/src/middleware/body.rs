//! The limit on request bodies, enforced on the stream as it is read.
//!
//! The limit sits in a shared cell until the first read, so that a route can raise or lower the
//! listener's limit with [`MaxBody`]. A declared `Content-Length` above it fails before anything
//! is read, so `Expect: 100-continue` is never answered with 100.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use thiserror::Error;
use tower::{Layer, Service};

/// The request body is larger than the route allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the request body is larger than {limit} bytes")]
pub struct BodyTooLarge {
    /// The limit in bytes.
    pub limit: usize,
}

#[derive(Clone)]
struct Limit(Arc<AtomicUsize>);

pub(super) fn limit(mut request: Request, max: usize) -> Request {
    let limit = Arc::new(AtomicUsize::new(max));
    request.extensions_mut().insert(Limit(limit.clone()));
    request.map(|inner| Body::new(Limited { inner, limit, read: 0 }))
}

struct Limited {
    inner: Body,
    limit: Arc<AtomicUsize>,
    read: usize,
}

impl http_body::Body for Limited {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let limit = self.limit.load(Ordering::Relaxed);
        let too_large = || Poll::Ready(Some(Err(BodyTooLarge { limit }.into())));
        if self.read == 0 && self.inner.size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
            return too_large();
        }
        let frame = match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => frame,
            other => return other.map_err(Into::into),
        };
        self.read = self.read.saturating_add(frame.data_ref().map_or(0, Bytes::len));
        if self.read > limit { too_large() } else { Poll::Ready(Some(Ok(frame))) }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A layer that gives a route another body limit, in bytes, than its listener's.
#[derive(Debug, Clone, Copy)]
pub struct MaxBody(pub usize);

impl<S> Layer<S> for MaxBody {
    type Service = MaxBodyService<S>;

    fn layer(&self, inner: S) -> MaxBodyService<S> {
        MaxBodyService { inner, max: self.0 }
    }
}

/// The service that [`MaxBody`] makes.
#[derive(Debug, Clone)]
pub struct MaxBodyService<S> {
    inner: S,
    max: usize,
}

impl<S: Service<Request>> Service<Request> for MaxBodyService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> S::Future {
        let request = match request.extensions().get::<Limit>() {
            Some(Limit(limit)) => {
                limit.store(self.max, Ordering::Relaxed);
                request
            }
            // Without the standard layers around it the route still keeps its own limit.
            None => limit(request, self.max),
        };
        self.inner.call(request)
    }
}
