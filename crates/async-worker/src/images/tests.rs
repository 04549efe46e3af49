use std::io::Cursor;

use axum::Router;
use axum::body::Body;
use http::{Request, StatusCode, header};
use image::{DynamicImage, ImageFormat};
use quintet_images::job::Result as Made;
use quintet_jobs::{NewJob, Settings, State, Worker, enqueue, lookup};
use quintet_store::Store;
use quintet_testkit::issuer::TestIssuer;
use quintet_testkit::{FakeClock, databases};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::calls;

const LIMITS: Limits = Limits { bytes: 1 << 20, pixels: 1_000_000, time: Duration::from_mins(1) };

fn picture(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::new_rgb8(width, height).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// How a job of `args` ended: its state, its error and its result.
async fn ended(store: &Store, blobs: &Blobs, limits: Limits, args: Value) -> (State, String, Value) {
    let clock = FakeClock::default();
    let mut tx = store.begin().await.unwrap();
    let id = enqueue(&mut tx, &clock, NewJob::new(KIND, &args)).await.unwrap().id;
    tx.commit().await.unwrap();
    let at_once = Arc::new(Semaphore::new(1));
    let handler = ImageProcess { blobs: blobs.clone(), at_once, limits };
    let worker = Worker::new(store.clone(), clock.shared(), Settings::default(), vec![Arc::new(handler)]);
    worker.run_until_idle().await.unwrap();
    let view = lookup(store, id).await.unwrap().unwrap();
    (view.state, view.last_error.unwrap_or_default(), view.notes.result.unwrap_or_default())
}

#[tokio::test]
async fn one_picture_becomes_several_that_are_named_by_their_content() {
    for database in databases().await {
        database.store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open_directory(dir.path()).await.unwrap();
        let input = blobs.put(&picture(400, 200, ImageFormat::Png)).await.unwrap().to_string();
        let outputs = json!([
            { "name": "card", "format": "webp", "resize": { "width": 100, "height": 100, "mode": "fill" } },
            { "name": "strip", "format": "jpeg", "quality": 60,
              "crop": { "x": 300, "y": 0, "width": 100, "height": 20 } },
            { "name": "original", "format": "png" },
        ]);
        let args = json!({ "input": input, "outputs": outputs });
        let (state, error, result) = ended(&database.store, &blobs, LIMITS, args).await;
        assert_eq!((state, error.as_str()), (State::Completed, ""), "{}", database.name);
        let made: Made = serde_json::from_value(result).unwrap();
        let sizes: Vec<_> =
            made.outputs.iter().map(|made| (made.name.as_str(), made.width, made.height)).collect();
        assert_eq!(sizes, [("card", 100, 100), ("strip", 100, 20), ("original", 400, 200)]);
        for output in made.outputs {
            let bytes = blobs.get(&output.digest.parse().unwrap(), 1 << 20).await.unwrap().unwrap();
            assert_eq!(bytes.len() as u64, output.size_bytes);
            assert_eq!(image::guess_format(&bytes).unwrap().to_mime_type(), output.media_type);
            let decoded = image::load_from_memory(&bytes).unwrap();
            assert_eq!((decoded.width(), decoded.height()), (output.width, output.height));
        }
    }
}

#[tokio::test]
async fn what_can_never_be_made_is_a_dead_letter_that_says_why() {
    for database in databases().await {
        database.store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open_directory(dir.path()).await.unwrap();
        let put = async |bytes: &[u8]| blobs.put(bytes).await.unwrap().to_string();
        let small = put(&picture(40, 20, ImageFormat::Jpeg)).await;
        let many = put(&picture(1_100, 1_000, ImageFormat::Png)).await;
        let text = put(b"<svg xmlns='http://www.w3.org/2000/svg'/>").await;
        let whole = picture(40, 20, ImageFormat::Png);
        let torn = put(&whole[..whole.len() / 2]).await;
        let long = put(&vec![0; (1 << 20) + 1]).await;
        let png = json!([{ "name": "a", "format": "png" }]);
        let crop =
            json!([{ "name": "a", "format": "png", "crop": { "x": 30, "y": 0, "width": 20, "height": 20 } }]);
        for (input, outputs, why) in [
            ("00".repeat(32), &png, "there is no blob 0000"),
            ("cat.png".to_owned(), &png, "a digest is 64 lower-case hexadecimal digits"),
            (many, &png, "the picture has 1100000 pixels, the limit is 1000000 (images.max_megapixels)"),
            (text, &png, "the content is neither JPEG nor PNG nor WebP"),
            (torn, &png, "output `a`: cannot decode the picture"),
            (long, &png, "the content is larger than 1048576 bytes"),
            (small.clone(), &crop, "output `a`: a crop of 20x20 at 30,0 does not lie in a picture of 40x20"),
            (small, &json!([]), "outputs has from 1 to 16 entries"),
        ] {
            let args = json!({ "input": input, "outputs": outputs });
            let (state, error, _) = ended(&database.store, &blobs, LIMITS, args).await;
            assert_eq!(state, State::Discarded, "{}: {why}", database.name);
            assert!(error.starts_with(why), "{error}");
        }
    }
}

#[tokio::test]
async fn a_picture_that_takes_too_long_is_given_up() {
    for database in databases().await {
        database.store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open_directory(dir.path()).await.unwrap();
        let input = blobs.put(&picture(900, 900, ImageFormat::Png)).await.unwrap().to_string();
        let args = json!({ "input": input, "outputs": [{ "name": "a", "format": "webp" }] });
        let limits = Limits { time: Duration::ZERO, ..LIMITS };
        let (_, error, result) = ended(&database.store, &blobs, limits, args).await;
        assert_eq!(error, "the picture was not made within 0 s (images.timeout_ms)", "{}", database.name);
        assert_eq!(result, Value::Null);
    }
}

struct Client {
    router: Router,
    issuer: TestIssuer,
}

impl Client {
    async fn send(
        &self,
        method: &str,
        path: &str,
        scope: &str,
        body: Vec<u8>,
    ) -> (StatusCode, String, Vec<u8>) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", self.issuer.bearer("shop", &[scope]))
            .body(Body::from(body))
            .unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let media_type =
            answer.headers().get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap().to_owned());
        let status = answer.status();
        let body = axum::body::to_bytes(answer.into_body(), 1 << 22).await.unwrap();
        (status, media_type.unwrap_or_default(), body.to_vec())
    }
}

#[tokio::test]
async fn a_picture_goes_in_and_comes_out_over_http_and_nothing_else_does() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open_directory(dir.path()).await.unwrap();
    let issuer = TestIssuer::new();
    let router = calls::router(routes(blobs.clone(), 200_000), issuer.verifier());
    let client = Client { router, issuer };
    let sent = picture(300, 200, ImageFormat::Png);
    let (status, _, body) = client.send("POST", "/jobs/v1/images", "jobs:enqueue", sent.clone()).await;
    let uploaded: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (status, &uploaded["width"], &uploaded["height"]),
        (StatusCode::CREATED, &json!(300), &json!(200))
    );
    let path = format!("/jobs/v1/images/{}", uploaded["digest"].as_str().unwrap());
    let (status, media_type, got) = client.send("GET", &path, "jobs:enqueue", Vec::new()).await;
    assert_eq!((status, media_type.as_str()), (StatusCode::OK, "image/png"));
    assert!(got == sent);

    let secret = format!("/jobs/v1/images/{}", blobs.put(b"a report").await.unwrap());
    for (method, path, body, refused) in [
        ("GET", secret.as_str(), Vec::new(), 404),
        ("GET", "/jobs/v1/images/cat", Vec::new(), 404),
        ("POST", "/jobs/v1/images", b"<svg/> and then some".to_vec(), 415),
        ("POST", "/jobs/v1/images", sent[..20].to_vec(), 422),
        ("POST", "/jobs/v1/images", [sent.clone(), vec![0; 200_000]].concat(), 413),
    ] {
        let (status, _, problem) = client.send(method, path, "jobs:enqueue", body).await;
        assert_eq!(status.as_u16(), refused, "{method} {path}: {}", String::from_utf8_lossy(&problem));
    }
    for (method, path) in [("POST", "/jobs/v1/images"), ("GET", path.as_str())] {
        let (status, _, _) = client.send(method, path, "jobs:read", sent.clone()).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{method} {path}");
    }
}
