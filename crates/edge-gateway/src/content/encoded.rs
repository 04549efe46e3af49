//! An answer's body while it is compressed.
//!
//! Nothing is held back: when the source has no more for now, what was written so far is flushed, so a
//! chunked answer arrives piece by piece as it would uncompressed. A stream holds one frame of its source
//! and the output of at most [`PIECE`] bytes beside the encoder itself, and hands the connection what it made after
//! each piece.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame};

use super::encoder::Encoder;
use crate::body::{BodyError, ResponseBody};
use crate::worker::EncoderPlace;

/// Bytes that are encoded between two flushes.
pub(super) const PIECE: usize = 32 * 1024;

/// A body and the encoder it passes through.
pub(crate) struct Encoded {
    source: ResponseBody,
    input: Bytes,
    /// Written and not flushed yet.
    pending: usize,
    /// None when the last byte has been made.
    encoder: Option<Encoder>,
    trailers: Option<HeaderMap>,
    _place: EncoderPlace,
}

impl std::fmt::Debug for Encoded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoded").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Encoded {
    pub(super) fn new(mut source: ResponseBody, encoder: Encoder, place: EncoderPlace) -> Self {
        source.count_elsewhere();
        Self {
            source,
            input: Bytes::new(),
            pending: 0,
            encoder: Some(encoder),
            trailers: None,
            _place: place,
        }
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let Some(encoder) = &mut self.encoder else {
                return Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            };
            if !self.input.is_empty() {
                let piece = self.input.split_to(self.input.len().min(PIECE - self.pending));
                self.pending += piece.len();
                if let Err(error) = encoder.write(&piece) {
                    return self.failed(BodyError::Encode(error));
                }
            }
            if self.pending < PIECE {
                match Pin::new(&mut self.source).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) => {
                            self.input = data;
                            continue;
                        }
                        Err(frame) => {
                            self.trailers = frame.into_trailers().ok();
                            return self.finish();
                        }
                    },
                    Poll::Ready(None) => return self.finish(),
                    Poll::Ready(Some(Err(error))) => return self.failed(error),
                    Poll::Pending if self.pending == 0 => return Poll::Pending,
                    // The source will wake this task; until then the client gets what there is.
                    Poll::Pending => {}
                }
            }
            self.pending = 0;
            match encoder.flush() {
                Ok(made) if made.is_empty() => {}
                Ok(made) => return self.emit(made),
                Err(error) => return self.failed(BodyError::Encode(error)),
            }
        }
    }

    fn finish(&mut self) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.encoder.take().map(Encoder::finish) {
            Some(Ok(made)) => self.emit(made),
            Some(Err(error)) => self.failed(BodyError::Encode(error)),
            None => Poll::Ready(None),
        }
    }

    fn emit(&self, made: Bytes) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.source.count(made.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(made))))
    }

    fn failed(&mut self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.encoder = None;
        Poll::Ready(Some(Err(error)))
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.encoder.is_none() && self.trailers.is_none()
    }
}
