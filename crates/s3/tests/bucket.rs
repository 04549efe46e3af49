//! A bucket of a real server: what is written is read again, and what goes wrong says so.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use quintet_s3::{Bucket, Error, PART, Settings};
use quintet_service::SecretFile;
use quintet_testkit::s3::{BUCKET, Server};

fn settings(server: &Server) -> Settings {
    Settings {
        endpoint: server.endpoint.clone(),
        bucket: BUCKET.to_owned(),
        region: "eu-central-1".to_owned(),
        prefix: "quintet/".to_owned(),
        path_style: true,
        access_key_id_file: SecretFile::Path(server.key_id_file()),
        secret_access_key_file: SecretFile::Path(server.key_file()),
        ca_file: None,
        timeout_ms: 10_000,
    }
}

/// SHA-256 of `hello, world`.
const HELLO: [u8; 32] = [
    0x09, 0xca, 0x7e, 0x4e, 0xaa, 0x6e, 0x8a, 0xe9, 0xc7, 0xd2, 0x61, 0x16, 0x71, 0x29, 0x18, 0x48, 0x83,
    0x64, 0x4d, 0x07, 0xdf, 0xba, 0x7c, 0xbf, 0xbc, 0x4c, 0x8a, 0x2e, 0x08, 0x36, 0x0d, 0x5b,
];

#[tokio::test]
async fn an_object_is_written_looked_at_read_in_ranges_and_removed() {
    let server = Server::start().await.unwrap();
    let bucket = Bucket::open(&settings(&server), "storage.s3").unwrap();
    bucket.check().await.unwrap();
    assert_eq!(bucket.size("a/b").await.unwrap(), None);
    assert_eq!(bucket.read("a/b", 0..5).await.unwrap(), None);

    bucket.put("a/b", Bytes::from_static(b"hello, world"), &HELLO).await.unwrap();
    assert!(server.has("quintet/a/b"), "the prefix stands before the name");
    assert_eq!(bucket.size("a/b").await.unwrap(), Some(12));
    assert_eq!(bucket.read("a/b", 7..12).await.unwrap().unwrap(), "world");
    assert_eq!(bucket.read("a/b", 7..7).await.unwrap().unwrap(), "");
    assert_eq!(bucket.read("a/b", 0..100).await.unwrap().unwrap(), "hello, world");

    bucket.delete("a/b").await.unwrap();
    bucket.delete("a/b").await.unwrap();
    assert_eq!(bucket.size("a/b").await.unwrap(), None);
}

#[tokio::test]
async fn names_with_signs_that_mean_something_in_a_url_are_names_like_others() {
    let server = Server::start().await.unwrap();
    let bucket = Bucket::open(&settings(&server), "storage.s3").unwrap();
    let name = "ä b+c/100%?d=e&f#g";
    bucket.put(name, Bytes::from_static(b"hello, world"), &HELLO).await.unwrap();
    assert_eq!(bucket.read(name, 0..5).await.unwrap().unwrap(), "hello");
}

#[tokio::test]
async fn a_file_of_more_than_a_part_is_sent_in_parts_and_is_whole() {
    let server = Server::start().await.unwrap();
    let bucket = Bucket::open(&settings(&server), "storage.s3").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("large");
    let content: Vec<u8> = (0..2 * PART + 12_345).map(|at| u8::try_from(at % 251).unwrap()).collect();
    std::fs::write(&path, &content).unwrap();
    bucket.put_file("large", &path, &[0; 32]).await.unwrap();
    assert_eq!(std::fs::read(server.objects().join("quintet/large")).unwrap(), content);
}

#[tokio::test]
async fn an_unknown_key_a_missing_bucket_and_a_server_that_is_away_are_told_apart() {
    let server = Server::start().await.unwrap();
    let wrong = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(wrong.path(), "guessed").unwrap();
    let unknown =
        Settings { secret_access_key_file: SecretFile::Path(wrong.path().to_owned()), ..settings(&server) };
    let error = Bucket::open(&unknown, "storage.s3").unwrap().check().await.unwrap_err();
    assert!(matches!(&error, Error::Refused { status, .. } if status.as_u16() == 403), "{error}");

    let missing = Settings { bucket: "elsewhere".to_owned(), ..settings(&server) };
    let error = Bucket::open(&missing, "storage.s3").unwrap().check().await.unwrap_err();
    assert!(matches!(&error, Error::Refused { status, .. } if status.as_u16() == 404), "{error}");

    let no_file =
        Settings { access_key_id_file: SecretFile::Path(PathBuf::from("/none")), ..settings(&server) };
    let error = Bucket::open(&no_file, "storage.s3").unwrap_err().to_string();
    assert!(error.contains("storage.s3.access_key_id_file") && error.contains("/none"), "{error}");

    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let away = Settings { endpoint: closed.parse().unwrap(), ..settings(&server) };
    let error = Bucket::open(&away, "storage.s3").unwrap().check().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable(_)), "{error}");
}

#[tokio::test]
async fn a_server_that_is_overloaded_for_a_moment_is_asked_again_and_one_that_stays_so_is_given_up() {
    for (refusals, asked) in [(2, 3), (usize::MAX, 4)] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        let serving = std::thread::spawn(move || {
            for stream in listener.incoming().take(asked) {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 4096]).unwrap();
                let number = counted.fetch_add(1, Ordering::SeqCst);
                let status = if number < refusals { "503 Slow Down" } else { "200 OK" };
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let server = Server::start().await.unwrap();
        let busy = Settings { endpoint: endpoint.parse().unwrap(), ..settings(&server) };
        let checked = Bucket::open(&busy, "storage.s3").unwrap().check().await;
        assert_eq!(checked.is_ok(), refusals == 2, "{checked:?}");
        serving.join().unwrap();
        assert_eq!(requests.load(Ordering::SeqCst), asked);
    }
}
