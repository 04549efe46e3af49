//! Both places behave alike.

use quintet_s3::Settings as Bucket;
use quintet_testkit::s3::{BUCKET, Server};

use super::*;

struct Fixture {
    name: &'static str,
    blobs: Blobs,
    directory: tempfile::TempDir,
    _server: Option<Server>,
}

async fn places() -> Vec<Fixture> {
    let directory = tempfile::tempdir().unwrap();
    let blobs = Blobs::open_directory(directory.path()).await.unwrap();
    let in_directory = Fixture { name: "directory", blobs, directory, _server: None };

    let server = Server::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings { blobs: directory.path().to_owned(), s3: Some(bucket(&server)) };
    let blobs = Blobs::open(&settings).await.unwrap();
    vec![in_directory, Fixture { name: "bucket", blobs, directory, _server: Some(server) }]
}

fn bucket(server: &Server) -> Bucket {
    serde_json::from_value(serde_json::json!({
        "endpoint": server.endpoint,
        "bucket": BUCKET,
        "access_key_id_file": server.key_id_file(),
        "secret_access_key_file": server.key_file(),
    }))
    .unwrap()
}

fn temporaries(fixture: &Fixture) -> usize {
    std::fs::read_dir(fixture.directory.path().join("tmp")).unwrap().count()
}

#[tokio::test]
async fn what_is_written_is_read_again_by_its_digest_and_twice_is_once() {
    for fixture in places().await {
        let name = fixture.name;
        let digest = fixture.blobs.put(b"hello, world").await.unwrap();
        assert_eq!(
            digest.as_str(),
            "09ca7e4eaa6e8ae9c7d261167129184883644d07dfba7cbfbc4c8a2e08360d5b",
            "{name}"
        );
        assert_eq!(fixture.blobs.put(b"hello, world").await.unwrap(), digest, "{name}");
        assert_eq!(fixture.blobs.get(&digest, 12).await.unwrap().unwrap(), b"hello, world", "{name}");
        let refused = fixture.blobs.get(&digest, 11).await;
        assert!(matches!(refused, Err(BlobError::TooLarge { limit: 11 })), "{name}: {refused:?}");
        let other = Digest::of(&[7; 32]);
        assert_eq!(fixture.blobs.get(&other, 100).await.unwrap(), None, "{name}");
        assert_eq!(temporaries(&fixture), 0, "{name}");
    }
}

#[tokio::test]
async fn a_large_blob_is_read_in_pieces() {
    for fixture in places().await {
        let content: Vec<u8> = (0..3_500_000_u32).map(|at| at.to_le_bytes()[0]).collect();
        let digest = fixture.blobs.put(&content).await.unwrap();
        let mut reader = fixture.blobs.open_read(&digest).await.unwrap().unwrap();
        assert_eq!(reader.size_bytes(), 3_500_000, "{}", fixture.name);
        let mut read = Vec::new();
        let mut pieces = 0;
        while let Some(chunk) = reader.chunk().await.unwrap() {
            read.extend_from_slice(&chunk);
            pieces += 1;
        }
        assert!(pieces > 3 && read == content, "{}: {pieces} pieces", fixture.name);
    }
}

#[tokio::test]
async fn an_unfinished_or_too_long_blob_leaves_nothing() {
    for fixture in places().await {
        let mut writer = fixture.blobs.writer(10).await.unwrap();
        writer.write(b"12345").await.unwrap();
        assert_eq!(writer.size_bytes(), 5);
        assert!(matches!(writer.write(b"678901").await, Err(BlobError::TooLarge { limit: 10 })));
        drop(writer);
        assert_eq!(temporaries(&fixture), 0, "{}", fixture.name);
    }
}

#[tokio::test]
async fn a_bucket_that_refuses_ends_the_start_and_one_that_is_away_does_not() {
    let server = Server::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let missing = Bucket { bucket: "elsewhere".to_owned(), ..bucket(&server) };
    let opened = Blobs::open(&Settings { blobs: directory.path().to_owned(), s3: Some(missing) }).await;
    assert!(matches!(opened, Err(BlobError::Bucket(_))), "{opened:?}");

    let away = Bucket { endpoint: "http://127.0.0.1:1".parse().unwrap(), ..bucket(&server) };
    let blobs = Blobs::open(&Settings { blobs: directory.path().to_owned(), s3: Some(away) }).await.unwrap();
    assert!(matches!(blobs.put(b"x").await, Err(BlobError::Bucket(_))));
    assert_eq!(std::fs::read_dir(directory.path().join("tmp")).unwrap().count(), 0);
}
