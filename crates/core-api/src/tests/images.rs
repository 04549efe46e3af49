//! Pictures: upload, background thumbnails, caching, hostile input.

use std::io::Cursor;
use std::sync::Arc;

use axum::body::Body;
use axum::http::Method;
use image::{DynamicImage, ImageFormat};
use quintet_inventory::Images;
use quintet_inventory::thumbnails::Thumbnails;
use quintet_jobs::Worker;
use tokio::sync::Semaphore;

use super::{Answer, Api, apis, content_type};

fn picture(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::new_rgb8(width, height).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

async fn put(api: &Api, item: &str, media_type: &str, body: impl Into<Body>) -> Answer {
    let bearer = api.everything();
    let headers = [("authorization", &*bearer), ("content-type", media_type)];
    api.send(Method::PUT, &format!("/api/v1/items/{item}/image"), &headers, body).await
}

/// Runs queued thumbnails, as the worker does.
async fn work(api: &Api) -> usize {
    let images = Images::new(api.store.clone(), api.blobs.clone(), api.shared_clock());
    let settings = quintet_jobs::Settings::default();
    let worker = Worker::new(
        api.store.clone(),
        api.shared_clock(),
        settings,
        vec![Arc::new(Thumbnails::new(images, Arc::new(Semaphore::new(1))))],
    );
    worker.run_until_idle().await.unwrap()
}

#[tokio::test]
async fn an_uploaded_picture_is_served_with_thumbnails_once_they_are_made() {
    for api in apis().await {
        let item = api.item("MUG", 0).await;
        let path = format!("/api/v1/items/{item}/image");
        api.get(&path).await.refused(404, "image_not_found");

        let original = picture(1600, 800, ImageFormat::Png);
        let known = put(&api, &item, "image/png", original.clone()).await.expect(200).json();
        assert_eq!(
            (&known["width"], &known["height"], &known["thumbnails"]),
            (&1600.into(), &800.into(), &"pending".into())
        );
        let served = api.get(&path).await.expect(200);
        assert_eq!((content_type(&served), &served.bytes[..]), ("image/png", &original[..]));
        api.get(&format!("{path}?size=256")).await.refused(404, "thumbnail_pending");

        assert_eq!(work(&api).await, 1);
        for (size, format, width, height) in
            [(256, "webp", 256, 128), (256, "jpeg", 256, 128), (1024, "jpeg", 1024, 512)]
        {
            let thumbnail = api.get(&format!("{path}?size={size}&format={format}")).await.expect(200);
            assert_eq!(content_type(&thumbnail), format!("image/{format}"));
            let decoded = image::load_from_memory(&thumbnail.bytes).unwrap();
            assert_eq!((decoded.width(), decoded.height()), (width, height));
        }
        let item = api.get(&format!("/api/v1/items/{item}")).await.json();
        assert_eq!(item["image"]["thumbnails"], "ready");

        let pinned = api.get(item["image"]["url"].as_str().unwrap()).await.expect(200);
        assert_eq!(pinned.header("cache-control"), "private, max-age=31536000, immutable");
        let loose = api.get(&path).await.expect(200);
        assert_eq!(loose.header("cache-control"), "private, no-cache");
        assert_eq!(loose.header("etag"), format!("\"{}\"", item["image"]["digest"].as_str().unwrap()));
        let bearer = api.everything();
        let headers = [("authorization", &*bearer), ("if-none-match", loose.header("etag"))];
        assert!(api.send(Method::GET, &path, &headers, "").await.expect(304).bytes.is_empty());
        api.get(&format!("{path}?digest={}", "0".repeat(64))).await.refused(404, "image_not_found");
    }
}

#[tokio::test]
async fn the_same_picture_again_is_not_worked_on_twice() {
    for api in apis().await {
        let (mug, tea) = (api.item("MUG", 0).await, api.item("TEA", 0).await);
        let bytes = picture(600, 600, ImageFormat::Jpeg);
        put(&api, &mug, "image/jpeg", bytes.clone()).await.expect(200);
        put(&api, &mug, "image/jpeg", bytes.clone()).await.expect(200);
        assert_eq!(work(&api).await, 2);
        let shared = put(&api, &tea, "image/jpeg", bytes).await.expect(200);
        assert_eq!(shared.text("thumbnails"), "ready");
        assert_eq!(api.queued("image.thumbnails").await, 0);
        let renditions = api.count("SELECT COUNT(*) AS n FROM inventory_renditions", vec![]).await;
        assert_eq!(renditions, 4);
    }
}

#[tokio::test]
async fn hostile_and_mistaken_uploads_are_refused_and_leave_nothing() {
    let api = apis().await.remove(0);
    let item = api.item("MUG", 0).await;
    put(&api, &item, "image/gif", "GIF89a").await.refused(415, "unsupported_media_type");
    put(&api, &item, "image/png", "<svg onload='alert(1)'/>").await.refused(415, "unsupported_image");
    let jpeg = picture(9, 9, ImageFormat::Jpeg);
    put(&api, &item, "image/png", jpeg).await.refused(415, "unsupported_image");
    put(&api, &item, "image/png", "").await.refused(415, "unsupported_image");
    let mut bomb = picture(1, 1, ImageFormat::Png);
    bomb[16..24].copy_from_slice(&[0, 0, 0x3f, 0xff, 0, 0, 0x3f, 0xff]);
    put(&api, &item, "image/png", bomb).await.refused(422, "image_too_many_pixels");
    let mut large = picture(9, 9, ImageFormat::Png);
    large.resize(11 << 20, 0);
    put(&api, &item, "image/png", large).await.refused(413, "body_too_large");
    let nowhere = "itm_01k0000000e008000000000000";
    put(&api, nowhere, "image/png", picture(9, 9, ImageFormat::Png)).await.refused(404, "not_found");

    assert_eq!(api.queued("image.thumbnails").await, 0);
    api.get(&format!("/api/v1/items/{item}/image")).await.refused(404, "image_not_found");
}

#[tokio::test]
async fn a_picture_larger_than_other_bodies_may_be_is_taken_in() {
    let api = apis().await.remove(0);
    let item = api.item("MUG", 0).await;
    let mut bytes = picture(9, 9, ImageFormat::Png);
    bytes.resize(9 << 20, 0);
    put(&api, &item, "image/png", bytes).await.expect(200);
}

#[tokio::test]
async fn a_damaged_picture_is_given_up_and_says_so() {
    for api in apis().await {
        let item = api.item("MUG", 0).await;
        let mut bytes = picture(400, 400, ImageFormat::Png);
        bytes.truncate(60);
        put(&api, &item, "image/png", bytes).await.expect(200);
        assert_eq!(work(&api).await, 1);
        assert_eq!(api.queued("image.thumbnails").await, 0);
        api.get(&format!("/api/v1/items/{item}/image?size=256")).await.refused(404, "thumbnail_failed");
        // A sound picture takes its place.
        put(&api, &item, "image/png", picture(400, 400, ImageFormat::Png)).await.expect(200);
        work(&api).await;
        api.get(&format!("/api/v1/items/{item}/image?size=256")).await.expect(200);
    }
}
