//! Pictures of items: taking them in, and giving them and their thumbnails out.
//!
//! Layout: bytes are blobs named by their digest; `inventory_images` says what is known of an
//! original, `inventory_renditions` which thumbnails were made of it; an item points at one
//! original. Two items with the same picture share everything, whatever their organizations: bytes and what follows
//! from them alone belong to nobody, and only an item leads to them.
//!
//! Order of writes: the blob is durable before the transaction that points at it and enqueues its
//! thumbnails. A crash in between leaves an unreferenced blob and nothing else.

mod table;

use quintet_blobs::{BlobError, BlobWriter, Blobs, Digest};
use quintet_jobs::NewJob;
use quintet_module::retry::{self, Retryable};
use quintet_store::Store;
use quintet_types::{ItemId, OrganizationId, SharedClock};
use thiserror::Error;

pub(crate) use self::table::Finished;
use crate::render::{Format, Size};
use crate::thumbnails;
use quintet_images::{Header, MediaType, Probe, ProbeError};

/// The largest picture that is taken in, in bytes.
pub(crate) const MAX_UPLOAD: u64 = 10 * 1024 * 1024;

/// What is known of an original.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Its media type, by its magic bytes.
    pub media_type: String,
    /// Pixels across, before any EXIF orientation.
    pub width: i64,
    /// Pixels down, before any EXIF orientation.
    pub height: i64,
    /// Its length.
    pub size_bytes: i64,
    /// How far its thumbnails are.
    pub state: State,
}

/// How far the thumbnails of an image are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The job has not run yet.
    Pending,
    /// All are made.
    Ready,
    /// The picture cannot be decoded.
    Failed,
}

impl State {
    /// The name in the API and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Ready => "ready",
            Self::Failed => "failed",
        }
    }
}

/// A file to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendition {
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its length.
    pub size_bytes: i64,
}

/// Why a picture was not taken in or cannot be given.
#[derive(Debug, Error)]
pub enum ImageError {
    /// There is no such item.
    #[error("item {0} does not exist")]
    UnknownItem(ItemId),
    /// The item has no picture, or another one than the asked digest.
    #[error("the item has no such image")]
    NoImage,
    /// The thumbnail is not made yet.
    #[error("the thumbnail is not made yet")]
    Pending,
    /// The picture could not be decoded, so there is no thumbnail.
    #[error("the image could not be decoded, so it has no thumbnails")]
    Failed,
    /// The bytes are not an acceptable picture.
    #[error(transparent)]
    Content(#[from] ProbeError),
    /// The content is of another format than it was said to be.
    #[error("the content is {found} and was declared as {declared}")]
    Mislabelled {
        /// What the request said.
        declared: &'static str,
        /// What the bytes are.
        found: &'static str,
    },
    /// Blob storage failed, or the picture is too large.
    #[error("cannot keep or read the image file")]
    Blob(#[from] BlobError),
    /// The file of a picture that is known is not there.
    #[error("the blob {0} is missing; is `storage.blobs` the directory that it was uploaded to?")]
    Lost(Digest),
    /// The queue refused the job.
    #[error("cannot enqueue the thumbnails")]
    Jobs(#[from] quintet_jobs::Error),
    /// The database failed.
    #[error("cannot read or write the image")]
    Store(#[from] quintet_store::Error),
}

impl Retryable for ImageError {
    fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::Jobs(error) => error.is_retryable(),
            _ => false,
        }
    }
}

/// The pictures; cheap to clone.
#[derive(Clone)]
pub struct Images {
    store: Store,
    blobs: Blobs,
    clock: SharedClock,
}

/// A picture on its way in; dropped before it is attached it leaves nothing.
#[derive(Debug)]
pub struct Upload {
    organization: OrganizationId,
    item: ItemId,
    declared: MediaType,
    writer: BlobWriter,
    probe: Probe,
    size_bytes: i64,
}

impl Upload {
    /// Takes the next bytes; the first unacceptable ones end the upload.
    pub async fn write(&mut self, chunk: &[u8]) -> Result<(), ImageError> {
        self.probe.feed(chunk)?;
        self.writer.write(chunk).await?;
        self.size_bytes += i64::try_from(chunk.len()).unwrap_or(i64::MAX);
        Ok(())
    }
}

impl Images {
    /// The pictures in `store` and `blobs`.
    pub fn new(store: Store, blobs: Blobs, clock: SharedClock) -> Self {
        Self { store, blobs, clock }
    }

    /// The directory of blobs, to stream a [`Rendition`] from.
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// Starts to take in a picture of `item`.
    pub async fn upload(
        &self,
        organization: OrganizationId,
        item: ItemId,
        declared: MediaType,
    ) -> Result<Upload, ImageError> {
        if !table::item_exists(&self.store, organization, item).await? {
            return Err(ImageError::UnknownItem(item));
        }
        let writer = self.blobs.writer(MAX_UPLOAD).await?;
        Ok(Upload { organization, item, declared, writer, probe: Probe::default(), size_bytes: 0 })
    }

    /// Makes a complete upload the item's picture and enqueues its thumbnails.
    pub async fn attach(&self, upload: Upload) -> Result<Image, ImageError> {
        let Upload { organization, item, declared, writer, probe, size_bytes } = upload;
        let Header { media_type, width, height } = probe.finish()?;
        if media_type != declared {
            return Err(ImageError::Mislabelled { declared: declared.as_str(), found: media_type.as_str() });
        }
        let image = Image {
            digest: writer.finish().await?,
            media_type: media_type.as_str().to_owned(),
            width: width.into(),
            height: height.into(),
            size_bytes,
            state: State::Pending,
        };
        retry::transaction(async || self.point_at(organization, item, &image).await).await
    }

    async fn point_at(
        &self,
        organization: OrganizationId,
        item: ItemId,
        image: &Image,
    ) -> Result<Image, ImageError> {
        let mut tx = self.store.begin().await?;
        table::upsert(&mut tx, image, self.clock.now()).await?;
        if !table::attach(&mut tx, organization, item, image, self.clock.now()).await? {
            return Err(ImageError::UnknownItem(item));
        }
        let kept = table::find_in(&mut tx, image.digest.as_str()).await?.ok_or(ImageError::NoImage)?;
        if kept.state == State::Pending {
            let args = thumbnails::Args { item_id: item, digest: kept.digest.to_string() };
            quintet_jobs::enqueue(&mut tx, &*self.clock, NewJob::new(thumbnails::KIND, &args)).await?;
        }
        tx.commit().await?;
        Ok(kept)
    }

    /// The item's original.
    pub async fn original(&self, organization: OrganizationId, item: ItemId) -> Result<Image, ImageError> {
        match table::of_item(&self.store, organization, item).await? {
            Some(image) => Ok(image),
            None if table::item_exists(&self.store, organization, item).await? => Err(ImageError::NoImage),
            None => Err(ImageError::UnknownItem(item)),
        }
    }

    /// A thumbnail of an original.
    pub async fn thumbnail(
        &self,
        original: &Image,
        size: Size,
        format: Format,
    ) -> Result<Rendition, ImageError> {
        if original.state == State::Failed {
            return Err(ImageError::Failed);
        }
        let made = table::rendition(&self.store, original.digest.as_str(), size, format).await?;
        made.ok_or(ImageError::Pending)
    }

    pub(crate) async fn find(&self, digest: &Digest) -> Result<Option<Image>, ImageError> {
        Ok(table::find(&self.store, digest.as_str()).await?)
    }

    /// Records finished thumbnails, once however often it is called.
    pub(crate) async fn finish(&self, source: &Digest, made: &[Finished]) -> Result<(), ImageError> {
        retry::transaction(async || {
            let mut tx = self.store.begin().await?;
            table::finish(&mut tx, source.as_str(), made).await?;
            Ok(tx.commit().await?)
        })
        .await
    }

    /// Records that the original cannot be decoded.
    pub(crate) async fn fail(&self, source: &Digest, reason: &str) -> Result<(), ImageError> {
        retry::transaction(async || {
            let mut tx = self.store.begin().await?;
            table::fail(&mut tx, source.as_str(), reason).await?;
            Ok(tx.commit().await?)
        })
        .await
    }
}
