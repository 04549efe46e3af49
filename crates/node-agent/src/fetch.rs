//! Fetching a file in ranges: bounded memory, and after a power cut the rest instead of all of it.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::header::RANGE;
use http::{Request, StatusCode};
use quintet_http::{Client, Origin};
use sha2::{Digest as _, Sha256};

use crate::bundle;
use crate::secrets::hex;

/// Bytes in one request.
const RANGE_BYTES: u64 = 4 * 1024 * 1024;
const TIMEOUT: Duration = Duration::from_mins(1);
/// How often a range is asked for again.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(2);

/// Where bundles come from: an origin and a directory there.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    client: Client,
    directory: String,
}

impl Source {
    /// `https://host/path` or `http://host:port/path`.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let form = || format!("`{text}` is no source; write https://HOST/PATH");
        let (scheme, rest) = text.split_once("://").with_context(form)?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let origin: Origin = format!("{scheme}://{authority}").parse().ok().with_context(form)?;
        ensure!(path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte)), form());
        let directory = match path.trim_end_matches('/') {
            "" => String::new(),
            path => format!("/{path}"),
        };
        let largest = usize::try_from(RANGE_BYTES).unwrap_or(usize::MAX).max(bundle::LARGEST_MANIFEST);
        Ok(Self { client: Client::new(origin).timeout(TIMEOUT).max_body(largest), directory })
    }

    /// A small file, whole.
    pub(crate) async fn small(&self, name: &str) -> anyhow::Result<Bytes> {
        let path = format!("{}/{name}", self.directory);
        let answer = self.client.get(&path).await.with_context(|| format!("fetch {path}"))?;
        ensure!(answer.body().len() <= bundle::LARGEST_MANIFEST, "{path} is larger than a manifest");
        Ok(answer.into_body())
    }

    /// A file of a bundle into `directory`, verified; one that is there already is kept if its hash is right.
    pub(crate) async fn file(&self, file: &bundle::File, directory: &Path) -> anyhow::Result<()> {
        let whole = directory.join(&file.name);
        let partial = directory.join(format!("{}.partial", file.name));
        if whole.exists() {
            if hash(&whole)? == file.sha256 {
                return Ok(());
            }
            std::fs::remove_file(&whole).with_context(|| format!("remove {}", whole.display()))?;
        }
        let mut output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&partial)
            .with_context(|| format!("open {}", partial.display()))?;
        let mut size = output.seek(SeekFrom::End(0)).context("find the end of what is there")?;
        if size > file.size {
            output.set_len(0).context("begin anew")?;
            size = 0;
        }
        while size < file.size {
            let last = (size + RANGE_BYTES).min(file.size) - 1;
            let part = self.range(&file.name, size, last).await?;
            output.write_all(&part).with_context(|| format!("write {}", partial.display()))?;
            size += part.len() as u64;
        }
        output.sync_all().with_context(|| format!("write {}", partial.display()))?;
        let found = hash(&partial)?;
        if found != file.sha256 {
            std::fs::remove_file(&partial).with_context(|| format!("remove {}", partial.display()))?;
            bail!(
                "{} has the SHA-256 {found} and not that of the signed manifest; it was removed",
                file.name
            );
        }
        std::fs::rename(&partial, &whole).with_context(|| format!("put {} in place", whole.display()))
    }

    /// Bytes `first..=last`.
    async fn range(&self, name: &str, first: u64, last: u64) -> anyhow::Result<Bytes> {
        let path = format!("{}/{name}", self.directory);
        let mut attempt = 1;
        loop {
            let request = Request::get(&path).header(RANGE, format!("bytes={first}-{last}"));
            let request = request.body(Bytes::new()).context("build a request")?;
            let answer = match self.client.request(request).await {
                Ok(answer) if answer.status() == StatusCode::PARTIAL_CONTENT => answer,
                Ok(answer) if answer.status().is_success() => {
                    bail!(
                        "the server of {path} does not answer ranges; use one that does (RFC 9110, section 14)"
                    )
                }
                Ok(answer) if !answer.status().is_server_error() => {
                    bail!("{path} answers {}", answer.status())
                }
                Ok(answer) if attempt == ATTEMPTS => bail!("{path} answers {}", answer.status()),
                Err(error) if attempt == ATTEMPTS => {
                    return Err(error).with_context(|| format!("fetch {path}"));
                }
                Ok(_) | Err(_) => {
                    attempt += 1;
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let expected = last - first + 1;
            ensure!(
                answer.body().len() as u64 == expected,
                "{path} answers another range than was asked for"
            );
            return Ok(answer.into_body());
        }
    }
}

/// A file's SHA-256 in hexadecimal.
fn hash(path: &Path) -> anyhow::Result<String> {
    let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer).with_context(|| format!("read {}", path.display()))?;
        if read == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(buffer.get(..read).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::extract::State;
    use http::HeaderMap;

    use super::*;

    const CONTENT: &[u8] = b"a generation";

    type Seen = Arc<Mutex<Vec<String>>>;

    async fn ranges(State(seen): State<Seen>, headers: HeaderMap) -> (StatusCode, Vec<u8>) {
        let range = headers[RANGE].to_str().unwrap().to_owned();
        let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        let part = CONTENT[first.parse().unwrap()..=last.parse().unwrap()].to_vec();
        seen.lock().unwrap().push(range);
        (StatusCode::PARTIAL_CONTENT, part)
    }

    async fn source(router: Router) -> (Source, tokio::task::JoinSet<()>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut server = tokio::task::JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        (Source::parse(&format!("http://127.0.0.1:{port}/bundles/")).unwrap(), server)
    }

    fn file(sha256: &str) -> bundle::File {
        bundle::File {
            name: "quintet_1.root".to_owned(),
            size: CONTENT.len() as u64,
            sha256: sha256.to_owned(),
        }
    }

    #[tokio::test]
    async fn the_rest_is_fetched_and_what_has_another_hash_is_removed() {
        let seen = Seen::default();
        let router = Router::new().fallback(ranges).with_state(Arc::clone(&seen));
        let (source, _server) = source(router).await;
        let directory = tempfile::tempdir().unwrap();
        let partial = directory.path().join("quintet_1.root.partial");
        std::fs::write(&partial, &CONTENT[..5]).unwrap();
        let right = file(&hex(&Sha256::digest(CONTENT)));
        source.file(&right, directory.path()).await.unwrap();
        assert_eq!(*seen.lock().unwrap(), ["bytes=5-11"]);
        assert_eq!(std::fs::read(directory.path().join(&right.name)).unwrap(), CONTENT);
        // It is there: nothing more is fetched.
        source.file(&right, directory.path()).await.unwrap();
        assert_eq!(seen.lock().unwrap().len(), 1);
        let error = source.file(&file(&"0".repeat(64)), directory.path()).await.unwrap_err();
        assert!(error.to_string().contains("SHA-256"), "{error}");
        assert!(!directory.path().join("quintet_1.root").exists() && !partial.exists());
    }

    #[tokio::test]
    async fn a_server_without_ranges_is_named() {
        let (source, _server) = source(Router::new().fallback(|| async { "whole" })).await;
        let directory = tempfile::tempdir().unwrap();
        let error = source.file(&file("00"), directory.path()).await.unwrap_err();
        assert!(error.to_string().contains("ranges"), "{error}");
    }

    #[test]
    fn a_source_is_a_directory_of_an_origin() {
        for text in ["https://updates.example", "http://10.0.2.2:8000/a/b/"] {
            Source::parse(text).unwrap();
        }
        for text in ["updates.example", "ftp://x/", "https://x/?a", "unix:/run/x", "https://x/ y"] {
            assert!(Source::parse(text).is_err(), "{text}");
        }
    }
}
