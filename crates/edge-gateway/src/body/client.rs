//! A request's body as its connection brings it, whatever protocol the client speaks.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use quintet_http2::RequestBody;

use crate::connection::Http1Body;

/// Bytes and trailers of one request, in the order they arrive.
#[derive(Debug)]
pub(crate) enum ClientBody {
    Http1(Http1Body),
    Http2(RequestBody),
    #[cfg(feature = "http3")]
    Http3(Box<crate::http3::RequestStream>),
}

/// The body broke off: the client went away, reset its stream, or broke the protocol.
pub(crate) type ClientBodyError = Box<dyn Error + Send + Sync>;

impl Body for ClientBody {
    type Data = Bytes;
    type Error = ClientBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        match self.get_mut() {
            Self::Http1(body) => body.poll_frame(cx),
            Self::Http2(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            #[cfg(feature = "http3")]
            Self::Http3(stream) => Pin::new(&mut **stream).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
            #[cfg(feature = "http3")]
            Self::Http3(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
            #[cfg(feature = "http3")]
            Self::Http3(stream) => stream.size_hint(),
        }
    }
}
