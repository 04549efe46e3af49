//! `/jobs/v1/images`: pictures for [`image.process`](super) in, and what it made out.
//!
//! Both need the scope to enqueue jobs. A picture is asked for by the digest of its bytes, which only who knows the picture or
//! a job's result knows; blobs that are no pictures are not given out.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use quintet_blobs::{BlobError, Blobs, Digest};
use quintet_http::Problem;
use quintet_http::extract::{Path, body_problem};
use quintet_http::middleware::MaxBody;
use quintet_images::{Header, MediaType, Probe, ProbeError};
use quintet_module::{Allowed, conditional};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt as _};
use utoipa_axum::routes;

use crate::permissions::Enqueue;

/// The routes, for who has a token. A picture has at most `max_bytes`.
pub(crate) fn routes(blobs: Blobs, max_bytes: u64) -> OpenApiRouter {
    let limit = usize::try_from(max_bytes).unwrap_or(usize::MAX);
    OpenApiRouter::new()
        .routes(routes!(upload).layer(MaxBody(limit)))
        .routes(routes!(read))
        .with_state(Pictures { blobs, max_bytes })
}

#[derive(Clone)]
struct Pictures {
    blobs: Blobs,
    max_bytes: u64,
}

/// A picture that a job can take as its input.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UploadedImage)]
struct Uploaded {
    /// SHA-256 of its bytes, in hexadecimal digits: what a job names it by.
    digest: String,
    media_type: &'static str,
    /// Pixels across, before any EXIF orientation.
    width: u32,
    /// Pixels down, before any EXIF orientation.
    height: u32,
    size_bytes: u64,
}

/// Put a picture where jobs find it.
#[utoipa::path(
    post, path = "/jobs/v1/images", tag = "images", operation_id = "upload_image",
    request_body(description = "The picture, at most 50 megapixels", content(
        (Vec<u8> = "image/jpeg"), (Vec<u8> = "image/png"), (Vec<u8> = "image/webp"))),
    responses(
        (status = 201, description = "It is there, perhaps since earlier", body = Uploaded),
        (status = 413, description = "`body_too_large`: more than `images.max_mebibytes`"),
        (status = 415, description = "`unsupported_image`: neither JPEG nor PNG nor WebP"),
        (status = 422, description = "`image_damaged` or `image_too_many_pixels`"),
    ),
    security(("oauth2" = ["jobs:enqueue"])),
)]
async fn upload(
    _: Allowed<Enqueue>,
    State(Pictures { blobs, max_bytes }): State<Pictures>,
    request: Request,
) -> Result<(StatusCode, axum::Json<Uploaded>), Problem> {
    let mut writer = blobs.writer(max_bytes).await.map_err(|error| failed(&error))?;
    let mut probe = Probe::default();
    let mut size_bytes = 0u64;
    let mut body = request.into_body().into_data_stream();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| body_problem(&error))?;
        probe.feed(&chunk).map_err(refused)?;
        writer.write(&chunk).await.map_err(|error| failed(&error))?;
        size_bytes = size_bytes.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
    }
    let Header { media_type, width, height } = probe.finish().map_err(refused)?;
    let digest = writer.finish().await.map_err(|error| failed(&error))?.to_string();
    let media_type = media_type.as_str();
    Ok((StatusCode::CREATED, axum::Json(Uploaded { digest, media_type, width, height, size_bytes })))
}

/// Read a picture that was put there or made by a job.
#[utoipa::path(
    get, path = "/jobs/v1/images/{digest}", tag = "images", operation_id = "read_image",
    params(("digest" = String, Path, description = "SHA-256 of its bytes", pattern = "^[0-9a-f]{64}$")),
    responses(
        (status = 200, description = "The file, which never changes", content(
            (Vec<u8> = "image/webp"), (Vec<u8> = "image/jpeg"), (Vec<u8> = "image/png"))),
        (status = 304, description = "`If-None-Match` names it"),
        (status = 404, description = "There is no such picture"),
    ),
    security(("oauth2" = ["jobs:enqueue"])),
)]
async fn read(
    _: Allowed<Enqueue>,
    State(Pictures { blobs, .. }): State<Pictures>,
    Path(digest): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let digest: Digest = digest.parse().map_err(|_: BlobError| Problem::not_found("picture"))?;
    let opened = blobs.open_read(&digest).await.map_err(|error| failed(&error))?;
    let mut reader = opened.ok_or_else(|| Problem::not_found("picture"))?;
    let size = reader.size_bytes();
    let first = reader.chunk().await.map_err(|error| failed(&error))?.unwrap_or_default();
    let media_type = MediaType::of(&first).ok_or_else(|| Problem::not_found("picture"))?;
    let etag = HeaderValue::try_from(format!("\"{digest}\"")).map_err(|error| Problem::internal(&error))?;
    let caching = [
        (header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=31536000, immutable")),
        (header::ETAG, etag.clone()),
    ];
    if conditional::is_fresh(&headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, caching).into_response());
    }
    let about = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type.as_str())),
        (header::CONTENT_LENGTH, HeaderValue::from(size)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    let rest = reader.into_stream().map_err(std::io::Error::other);
    let body = stream::once(async move { Ok::<Bytes, std::io::Error>(first) }).chain(rest);
    Ok((caching, about, Body::from_stream(body)).into_response())
}

fn refused(error: ProbeError) -> Problem {
    let text = error.to_string();
    match error {
        ProbeError::UnknownFormat => {
            Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_image", text)
        }
        ProbeError::TooManyPixels => Problem::unprocessable("image_too_many_pixels", text),
        ProbeError::Damaged => Problem::unprocessable("image_damaged", text),
    }
}

fn failed(error: &BlobError) -> Problem {
    match error {
        BlobError::TooLarge { .. } => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", error.to_string())
        }
        _ => Problem::internal(error),
    }
}
