//! The SQL of `inventory_images` and `inventory_renditions`.

use quintet_store::{Error, Row, Sql, Store, Tx, args};
use quintet_types::{ItemId, OrganizationId, Timestamp};

use super::{Image, Rendition, State};
use crate::render::{Format, Size};

impl Image {
    pub(crate) fn from_row(row: &Row) -> Result<Self, Error> {
        let state: String = row.get("state")?;
        Ok(Self {
            digest: row.parse("digest")?,
            media_type: row.get("media_type")?,
            width: row.get("width")?,
            height: row.get("height")?,
            size_bytes: row.get("size_bytes")?,
            state: match state.as_str() {
                "ready" => State::Ready,
                "failed" => State::Failed,
                _ => State::Pending,
            },
        })
    }
}

pub(super) async fn item_exists(
    store: &Store,
    organization: OrganizationId,
    item: ItemId,
) -> Result<bool, Error> {
    let sql = "SELECT 1 AS one FROM inventory_items WHERE id = $1 AND organization_id = $2";
    Ok(store.fetch_optional(sql, args![item, organization]).await?.is_some())
}

/// Keeps what is known of an image. One that failed may try again; one that is ready stays so.
pub(super) async fn upsert(tx: &mut Tx, image: &Image, now: Timestamp) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO inventory_images (digest, media_type, width, height, size_bytes, state, failure, created_at)
         VALUES ($1, $2, $3, $4, $5, 'pending', NULL, $6)
         ON CONFLICT (digest) DO UPDATE SET state = 'pending', failure = NULL
         WHERE inventory_images.state = 'failed'",
        args![
            image.digest.as_str(),
            &image.media_type,
            image.width,
            image.height,
            image.size_bytes,
            now
        ],
    )
    .await?;
    Ok(())
}

/// Points the item at an image; whether the item exists.
pub(super) async fn attach(
    tx: &mut Tx,
    organization: OrganizationId,
    item: ItemId,
    image: &Image,
    now: Timestamp,
) -> Result<bool, Error> {
    let changed = tx
        .execute(
            "UPDATE inventory_items SET image_digest = $2, updated_at = $3
             WHERE id = $1 AND organization_id = $4",
            args![item, image.digest.as_str(), now, organization],
        )
        .await?;
    Ok(changed == 1)
}

const BY_DIGEST: &str = "SELECT digest, media_type, width, height, size_bytes, state
     FROM inventory_images WHERE digest = $1";

pub(super) async fn find_in(tx: &mut Tx, digest: &str) -> Result<Option<Image>, Error> {
    tx.fetch_optional(BY_DIGEST, args![digest]).await?.as_ref().map(Image::from_row).transpose()
}

pub(super) async fn find(store: &Store, digest: &str) -> Result<Option<Image>, Error> {
    store.fetch_optional(BY_DIGEST, args![digest]).await?.as_ref().map(Image::from_row).transpose()
}

pub(super) async fn of_item(
    store: &Store,
    organization: OrganizationId,
    item: ItemId,
) -> Result<Option<Image>, Error> {
    let row = store
        .fetch_optional(
            "SELECT m.digest, m.media_type, m.width, m.height, m.size_bytes, m.state
             FROM inventory_items i JOIN inventory_images m ON m.digest = i.image_digest
             WHERE i.id = $1 AND i.organization_id = $2",
            args![item, organization],
        )
        .await?;
    row.as_ref().map(Image::from_row).transpose()
}

pub(super) async fn rendition(
    store: &Store,
    source: &str,
    size: Size,
    format: Format,
) -> Result<Option<Rendition>, Error> {
    let row = store
        .fetch_optional(
            "SELECT digest, size_bytes FROM inventory_renditions
             WHERE source_digest = $1 AND size = $2 AND format = $3",
            args![source, size.pixels(), format.as_str()],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Rendition {
        digest: row.parse("digest")?,
        media_type: format.media_type().to_owned(),
        size_bytes: row.get("size_bytes")?,
    }))
}

/// One finished thumbnail.
pub(crate) struct Finished {
    pub(crate) size: Size,
    pub(crate) format: Format,
    pub(crate) digest: String,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) size_bytes: i64,
}

/// Records thumbnails; a job that runs twice changes nothing the second time.
pub(super) async fn finish(tx: &mut Tx, source: &str, finished: &[Finished]) -> Result<(), Error> {
    for made in finished {
        tx.execute(
            "INSERT INTO inventory_renditions (source_digest, size, format, digest, width, height, size_bytes)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (source_digest, size, format) DO NOTHING",
            args![
                source,
                made.size.pixels(),
                made.format.as_str(),
                &made.digest,
                made.width,
                made.height,
                made.size_bytes
            ],
        )
        .await?;
    }
    tx.execute(
        "UPDATE inventory_images SET state = 'ready', failure = NULL WHERE digest = $1",
        args![source],
    )
    .await?;
    Ok(())
}

const FAIL: Sql = Sql::one(
    "UPDATE inventory_images SET state = 'failed', failure = $2 WHERE digest = $1 AND state = 'pending'",
);

pub(super) async fn fail(tx: &mut Tx, source: &str, failure: &str) -> Result<(), Error> {
    tx.execute(&FAIL, args![source, failure]).await?;
    Ok(())
}
