//! The HTTP side of pictures: a streamed upload, and files out with caching by digest.
//!
//! `/items/{id}/image` names whatever the picture is now, so it is revalidated; with the query
//! parameter `digest` it names one picture for ever and may be kept for ever. Both are `private`:
//! whoever asks needs a token.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use quintet_blobs::BlobError;
use quintet_http::extract::{Path, Query, body_problem};
use quintet_http::middleware::MaxBody;
use quintet_http::problem::Problem;
use quintet_module::{Within, conditional, store_problem};
use quintet_types::ItemId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt as _};
use utoipa_axum::routes;

use super::{InventoryRead, InventoryWrite};
use crate::images::{Image, ImageError, Images, MAX_UPLOAD, Rendition};
use crate::render::{Format, Size};
use quintet_images::{MediaType, ProbeError};

pub(super) fn router(images: Images) -> OpenApiRouter {
    let limit = usize::try_from(MAX_UPLOAD).unwrap_or(usize::MAX);
    OpenApiRouter::new().routes(routes!(replace, read).layer(MaxBody(limit))).with_state(images)
}

/// An item's picture.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ItemImage {
    /// SHA-256 of the original, in hexadecimal digits.
    digest: String,
    media_type: String,
    /// Pixels across.
    width: i64,
    /// Pixels down.
    height: i64,
    size_bytes: i64,
    /// `pending` until the thumbnails are made, then `ready`, or `failed` for a damaged picture.
    thumbnails: &'static str,
    /// Where the original is; add `size` and `format` for a thumbnail. May be cached for ever.
    url: String,
}

impl ItemImage {
    pub(super) fn new(item: ItemId, image: &Image) -> Self {
        Self {
            digest: image.digest.to_string(),
            media_type: image.media_type.clone(),
            width: image.width,
            height: image.height,
            size_bytes: image.size_bytes,
            thumbnails: image.state.as_str(),
            url: format!("/api/v1/items/{item}/image?digest={}", image.digest),
        }
    }
}

/// Which file of a picture.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct FileQuery {
    /// The original, or a thumbnail by its longest side in pixels.
    #[serde(default)]
    #[param(inline)]
    size: SizeName,
    /// How a thumbnail is encoded; WebP when absent. Not for the original.
    #[param(inline)]
    format: Option<FormatName>,
    /// The picture's digest: makes the answer cacheable for ever and 404 once it is replaced.
    #[param(pattern = "^[0-9a-f]{64}$")]
    digest: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
enum SizeName {
    #[default]
    #[serde(rename = "original")]
    Original,
    #[serde(rename = "256")]
    Small,
    #[serde(rename = "1024")]
    Large,
}

#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum FormatName {
    Webp,
    Jpeg,
}

impl From<FormatName> for Format {
    fn from(name: FormatName) -> Self {
        match name {
            FormatName::Webp => Self::Webp,
            FormatName::Jpeg => Self::Jpeg,
        }
    }
}

/// Shorter than most pictures need; the client is told to ask again.
const PENDING_RETRY: std::time::Duration = std::time::Duration::from_secs(2);

impl From<ImageError> for Problem {
    fn from(error: ImageError) -> Self {
        match &error {
            ImageError::UnknownItem(_) => Self::not_found("item"),
            ImageError::NoImage => Self::new(StatusCode::NOT_FOUND, "image_not_found", error.to_string()),
            ImageError::Pending => Self::new(StatusCode::NOT_FOUND, "thumbnail_pending", error.to_string())
                .with_retry_after(PENDING_RETRY),
            ImageError::Failed => Self::new(StatusCode::NOT_FOUND, "thumbnail_failed", error.to_string()),
            ImageError::Content(ProbeError::UnknownFormat) | ImageError::Mislabelled { .. } => {
                Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_image", error.to_string())
            }
            ImageError::Content(ProbeError::TooManyPixels) => {
                Self::unprocessable("image_too_many_pixels", error.to_string())
            }
            ImageError::Content(ProbeError::Damaged) => {
                Self::unprocessable("image_damaged", error.to_string())
            }
            ImageError::Blob(BlobError::TooLarge { .. }) => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "the picture is larger than 10 MiB",
            ),
            ImageError::Blob(error) => Self::internal(error),
            ImageError::Lost(_) => Self::internal(&error),
            ImageError::Jobs(error) => Self::internal(error),
            ImageError::Store(error) => store_problem(error),
        }
    }
}

/// Set an item's picture; thumbnails are made in the background.
#[utoipa::path(
    put, path = "/items/{id}/image", tag = "inventory", operation_id = "put_item_image",
    params(("id" = String, Path, description = "The item's id", pattern = "^itm_[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    request_body(description = "The picture, at most 10 MiB and 50 megapixels", content(
        (Vec<u8> = "image/jpeg"), (Vec<u8> = "image/png"), (Vec<u8> = "image/webp"))),
    responses(
        (status = 200, description = "What is known of the picture", body = ItemImage),
        (status = 404, description = "There is no such item"),
        (status = 413, description = "`body_too_large`: more than 10 MiB"),
        (status = 415, description = "`unsupported_image`: neither JPEG nor PNG nor WebP, or not what it was declared as"),
        (status = 422, description = "`image_damaged` or `image_too_many_pixels`"),
    ),
    security(("oauth2" = ["inventory:write"])),
)]
async fn replace(
    State(images): State<Images>,
    allowed: Within<InventoryWrite>,
    Path(id): Path<ItemId>,
    request: Request,
) -> Result<axum::Json<ItemImage>, Problem> {
    let declared = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let declared = declared.and_then(MediaType::from_name).ok_or_else(|| {
        Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "the body must be sent with Content-Type: image/jpeg, image/png or image/webp",
        )
    })?;
    let mut upload = images.upload(allowed.organization, id, declared).await?;
    let mut body = request.into_body().into_data_stream();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| body_problem(&error))?;
        upload.write(&chunk).await?;
    }
    let image = images.attach(upload).await?;
    Ok(axum::Json(ItemImage::new(id, &image)))
}

/// Read an item's picture or one of its thumbnails.
#[utoipa::path(
    get, path = "/items/{id}/image", tag = "inventory", operation_id = "read_item_image",
    params(("id" = String, Path, description = "The item's id", pattern = "^itm_[0-7][0-9a-hjkmnp-tv-z]{25}$"), FileQuery),
    responses(
        (status = 200, description = "The file", content(
            (Vec<u8> = "image/webp"), (Vec<u8> = "image/jpeg"), (Vec<u8> = "image/png"))),
        (status = 304, description = "The file is still as named in `If-None-Match`"),
        (status = 404, description = "`thumbnail_pending`: not made yet; `thumbnail_failed`: the picture is damaged; \
            `image_not_found`: no picture, or replaced; `not_found`: no such item"),
    ),
    security(("oauth2" = ["inventory:read"])),
)]
async fn read(
    State(images): State<Images>,
    allowed: Within<InventoryRead>,
    Path(id): Path<ItemId>,
    Query(query): Query<FileQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let original = images.original(allowed.organization, id).await?;
    let pinned = match &query.digest {
        Some(digest) if digest == original.digest.as_str() => true,
        Some(_) => return Err(ImageError::NoImage.into()),
        None => false,
    };
    let format = query.format.map_or(Format::Webp, Format::from);
    let file = match query.size {
        SizeName::Original if query.format.is_some() => {
            return Err(Problem::bad_request(
                "invalid_query",
                "format is for thumbnails; add size=256 or size=1024",
            ));
        }
        SizeName::Original => Rendition {
            digest: original.digest,
            media_type: original.media_type,
            size_bytes: original.size_bytes,
        },
        SizeName::Small => images.thumbnail(&original, Size::Small, format).await?,
        SizeName::Large => images.thumbnail(&original, Size::Large, format).await?,
    };
    send(&images, &file, pinned, &headers).await
}

async fn send(
    images: &Images,
    file: &Rendition,
    pinned: bool,
    asked: &HeaderMap,
) -> Result<Response, Problem> {
    let etag =
        HeaderValue::try_from(format!("\"{}\"", file.digest)).map_err(|error| Problem::internal(&error))?;
    let caching = if pinned { "private, max-age=31536000, immutable" } else { "private, no-cache" };
    let caching = [(header::CACHE_CONTROL, HeaderValue::from_static(caching)), (header::ETAG, etag.clone())];
    if conditional::is_fresh(asked, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, caching).into_response());
    }
    let opened = images.blobs().open_read(&file.digest).await.map_err(|error| Problem::internal(&error))?;
    // What a row points at was durable before the row.
    let reader = opened.ok_or_else(|| Problem::internal(&ImageError::Lost(file.digest.clone())))?;
    let headers = [
        (header::CONTENT_TYPE, file.media_type.clone()),
        (header::CONTENT_LENGTH, file.size_bytes.to_string()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    Ok((caching, headers, Body::from_stream(reader.into_stream())).into_response())
}
