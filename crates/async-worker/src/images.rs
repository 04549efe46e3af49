//! The job `image.process`: several pictures made of one that is a blob, for whoever enqueues it.
//!
//! At-least-once is enough: what is made is named by its content, so a second run changes nothing. What cannot be read or
//! made will not be later: such a job is discarded, and its error says why. A picture needs up to 256 MB while it is
//! decoded, and up to 800 MB where a large one is not made smaller, so that permits bound how many are at once; a picture over
//! the limits is refused by its header, before anything is decoded.

mod api;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quintet_blobs::{BlobError, Blobs, Digest};
use quintet_images::job::{Args, KIND, Made, Output};
use quintet_images::{Header, MediaType, Picture, PictureError};
use quintet_jobs::{Handler, HandlerError, Job, Progress};
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc};

pub(crate) use self::api::routes;

/// Waiting for a permit is waiting for pictures before this one.
const PATIENCE: Duration = Duration::from_mins(10);

/// What a picture may be and cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) bytes: u64,
    pub(crate) pixels: u64,
    /// From the permit to the last output.
    pub(crate) time: Duration,
}

#[derive(Debug, Error)]
enum Refused {
    #[error("there is no blob {0}; put the picture there before the job is enqueued")]
    Missing(Digest),
    #[error("the picture has {pixels} pixels, the limit is {limit} (images.max_megapixels)")]
    TooManyPixels { pixels: u64, limit: u64 },
    #[error("output `{name}`")]
    Output {
        name: String,
        #[source]
        source: PictureError,
    },
    #[error("the picture was not made within {} s (images.timeout_ms)", .0.as_secs_f64())]
    TooSlow(Duration),
    #[error("cancelled")]
    Cancelled,
}

/// Makes pictures.
pub(crate) struct ImageProcess {
    pub(crate) blobs: Blobs,
    pub(crate) at_once: Arc<Semaphore>,
    pub(crate) limits: Limits,
}

/// One output, encoded and not stored yet.
struct Encoded {
    bytes: Vec<u8>,
    made: Made,
}

impl ImageProcess {
    async fn process(&self, job: &Job) -> Result<(), HandlerError> {
        let args: Args = job.args()?;
        args.check().map_err(HandlerError::discard)?;
        let input: Digest = args.input.parse().map_err(HandlerError::discard)?;
        // Before the file is read: waiting pictures must not lie in memory.
        let permit = Arc::clone(&self.at_once).acquire_owned().await.map_err(HandlerError::retry)?;
        let working = async {
            let (bytes, header) = self.read(&input).await?;
            let (sender, encoded) = mpsc::channel(1);
            let outputs = args.outputs.clone();
            let making = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                make(&bytes, header.media_type, &outputs, &sender)
            });
            let made = self.keep(job, encoded, args.outputs.len()).await?;
            making.await.map_err(HandlerError::retry)?.map_err(HandlerError::discard)?;
            job.set_result(&quintet_images::job::Result { outputs: made })?;
            Ok(())
        };
        // Whoever makes pictures sees that nobody waits for the next one, and stops after the one it is at.
        tokio::select! {
            ended = tokio::time::timeout(self.limits.time, working) => {
                ended.unwrap_or_else(|_| Err(HandlerError::retry(Refused::TooSlow(self.limits.time))))
            }
            () = job.cancellation().cancelled() => Err(HandlerError::retry(Refused::Cancelled)),
        }
    }

    async fn read(&self, input: &Digest) -> Result<(Vec<u8>, Header), HandlerError> {
        let bytes = match self.blobs.get(input, self.limits.bytes).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Err(HandlerError::discard(Refused::Missing(input.clone()))),
            Err(error @ BlobError::TooLarge { .. }) => return Err(HandlerError::discard(error)),
            Err(error) => return Err(HandlerError::retry(error)),
        };
        let header = Header::read(&bytes).map_err(HandlerError::discard)?;
        if header.pixels() > self.limits.pixels {
            let refused = Refused::TooManyPixels { pixels: header.pixels(), limit: self.limits.pixels };
            return Err(HandlerError::discard(refused));
        }
        Ok((bytes, header))
    }

    /// Stores what is made, one picture while the next is on its way.
    async fn keep(
        &self,
        job: &Job,
        mut encoded: mpsc::Receiver<Encoded>,
        total: usize,
    ) -> Result<Vec<Made>, HandlerError> {
        let mut kept = Vec::with_capacity(total);
        while let Some(Encoded { bytes, mut made }) = encoded.recv().await {
            made.digest = self.blobs.put(&bytes).await.map_err(HandlerError::retry)?.to_string();
            let media_type = made.media_type.clone();
            metrics::counter!("quintet_image_outputs_total", "media_type" => media_type).increment(1);
            kept.push(made);
            let done = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
            job.set_progress(Progress::new(done(kept.len()), Some(done(total))));
        }
        Ok(kept)
    }
}

fn make(
    bytes: &[u8],
    media_type: MediaType,
    outputs: &[Output],
    made: &mpsc::Sender<Encoded>,
) -> Result<(), Refused> {
    let refused = |name: &str| {
        let name = name.to_owned();
        move |source| Refused::Output { name, source }
    };
    let first = outputs.first().map_or("", |output| output.name.as_str());
    let original = Picture::decode(bytes, media_type).map_err(refused(first))?;
    for output in outputs {
        if made.is_closed() {
            return Err(Refused::Cancelled);
        }
        let picture =
            original.render(output.crop.as_ref(), output.resize.as_ref()).map_err(refused(&output.name))?;
        let bytes = picture.encode(output.format, output.quality).map_err(refused(&output.name))?;
        let (width, height) = picture.size();
        let made_one = Made {
            name: output.name.clone(),
            digest: String::new(),
            media_type: output.format.media_type().to_owned(),
            width,
            height,
            size_bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        };
        if made.blocking_send(Encoded { bytes, made: made_one }).is_err() {
            return Err(Refused::Cancelled);
        }
    }
    Ok(())
}

#[async_trait]
impl Handler for ImageProcess {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn timeout(&self) -> Duration {
        PATIENCE + self.limits.time
    }

    async fn run(&self, job: &Job) -> Result<(), HandlerError> {
        self.process(job).await
    }
}
