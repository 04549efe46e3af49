//! The job `image.thumbnails`: makes the thumbnails of an uploaded picture.
//!
//! At-least-once is enough: thumbnails are blobs named by their content and their rows are
//! inserted once, so a second run, even one that overlaps with the first, changes nothing. A
//! picture that does not decode will not decode later: the job is discarded and the picture
//! marked. Decoding needs up to 256 MB, so a semaphore bounds how many run at once.

use std::sync::Arc;

use async_trait::async_trait;
use quintet_blobs::Digest;
use quintet_jobs::{Handler, HandlerError, Job};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::images::{Finished, ImageError, Images, MAX_UPLOAD, State};
use crate::render;
use quintet_images::{MediaType, PictureError};

/// The job's kind.
pub const KIND: &str = "image.thumbnails";

/// The job's arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Args {
    /// The item whose picture it was, for the log.
    pub item_id: quintet_types::ItemId,
    /// SHA-256 of the picture.
    pub digest: String,
}

/// Makes thumbnails.
pub struct Thumbnails {
    images: Images,
    at_once: Arc<Semaphore>,
}

impl Thumbnails {
    /// A handler that decodes as many pictures at a time as `at_once` has permits, which it may share.
    pub fn new(images: Images, at_once: Arc<Semaphore>) -> Self {
        Self { images, at_once }
    }

    async fn make(&self, args: &Args) -> Result<(), HandlerError> {
        tracing::debug!(item_id = %args.item_id, digest = args.digest, "making thumbnails");
        let digest: Digest = args.digest.parse().map_err(HandlerError::discard)?;
        let Some(original) = self.images.find(&digest).await.map_err(HandlerError::retry)? else {
            return Err(HandlerError::discard(ImageError::NoImage));
        };
        if original.state == State::Ready {
            return Ok(());
        }
        let Some(media_type) = MediaType::from_name(&original.media_type) else {
            return Err(HandlerError::discard(ImageError::NoImage));
        };
        match self.render(&digest, media_type).await? {
            Ok(made) => self.keep(&digest, made).await,
            Err(error) => {
                self.images.fail(&digest, &error.to_string()).await.map_err(HandlerError::retry)?;
                Err(HandlerError::discard(error))
            }
        }
    }

    async fn render(
        &self,
        digest: &Digest,
        media_type: MediaType,
    ) -> Result<Result<Vec<render::Thumbnail>, PictureError>, HandlerError> {
        // Before the file is read: waiting pictures must not lie in memory.
        let permit = self.at_once.clone().acquire_owned().await.map_err(HandlerError::retry)?;
        let bytes = self.images.blobs().get(digest, MAX_UPLOAD).await.map_err(HandlerError::retry)?;
        let Some(bytes) = bytes else { return Err(HandlerError::retry(ImageError::NoImage)) };
        let rendered = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            render::thumbnails(&bytes, media_type)
        });
        rendered.await.map_err(HandlerError::retry)
    }

    async fn keep(&self, source: &Digest, made: Vec<render::Thumbnail>) -> Result<(), HandlerError> {
        let mut finished = Vec::with_capacity(made.len());
        for thumbnail in made {
            let digest = self.images.blobs().put(&thumbnail.bytes).await.map_err(HandlerError::retry)?;
            finished.push(Finished {
                size: thumbnail.size,
                format: thumbnail.format,
                digest: digest.to_string(),
                width: thumbnail.width,
                height: thumbnail.height,
                size_bytes: i64::try_from(thumbnail.bytes.len()).unwrap_or(i64::MAX),
            });
        }
        self.images.finish(source, &finished).await.map_err(HandlerError::retry)?;
        metrics::counter!("quintet_images_processed_total").increment(1);
        Ok(())
    }
}

#[async_trait]
impl Handler for Thumbnails {
    fn kind(&self) -> &'static str {
        KIND
    }

    async fn run(&self, job: &Job) -> Result<(), HandlerError> {
        self.make(&job.args()?).await
    }
}
