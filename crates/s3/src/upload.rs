//! Writing a file of any length, part by part.

use std::path::Path;

use bytes::{Bytes, BytesMut};
use http::header::ETAG;
use rusty_s3::actions::{CompleteMultipartUploadResponse, CreateMultipartUpload};
use tokio::io::AsyncReadExt as _;

use crate::bucket::{Bucket, Error, PART, accepted};

impl Bucket {
    /// Writes a file's content as an object, replacing what has its name. Nothing is there under that name before all of it
    /// is, and a failed upload leaves no parts behind unless the service is out of reach by then. The service compares a file of
    /// less than [`PART`] bytes with `sha256`, as [`put`](Self::put) says.
    pub async fn put_file(&self, key: &str, path: &Path, sha256: &[u8; 32]) -> Result<(), Error> {
        let failed = |source| Error::File { path: path.to_owned(), source };
        let mut file = tokio::fs::File::open(path).await.map_err(failed)?;
        let first = part(&mut file).await.map_err(failed)?;
        if first.len() < PART {
            return self.put(key, first, sha256).await;
        }
        let name = self.name(key);
        let upload = self.begin(&name).await?;
        let sent = self.send_parts(&name, &upload, first, &mut file, path).await;
        let done = match sent {
            Ok(tags) => self.complete(&name, &upload, &tags).await,
            Err(error) => Err(error),
        };
        if done.is_err() {
            let action = self.inner().abort_multipart_upload(Some(self.credentials()), &name, &upload);
            let _ = self.send(action, Bytes::new()).await;
        }
        done
    }

    async fn begin(&self, name: &str) -> Result<String, Error> {
        const WHAT: &str = "begin an upload";
        let action = self.inner().create_multipart_upload(Some(self.credentials()), name);
        let answer = accepted(WHAT, self.send(action, Bytes::new()).await?)?;
        let text = String::from_utf8_lossy(answer.body());
        let begun = CreateMultipartUpload::parse_response(&text)
            .map_err(|error| Error::Answer { what: WHAT, reason: error.to_string() })?;
        Ok(begun.upload_id().to_owned())
    }

    async fn send_parts(
        &self,
        name: &str,
        upload: &str,
        first: Bytes,
        file: &mut tokio::fs::File,
        path: &Path,
    ) -> Result<Vec<String>, Error> {
        const WHAT: &str = "write a part of an object";
        let mut tags = Vec::new();
        let mut next = first;
        while !next.is_empty() {
            let number = u16::try_from(tags.len() + 1).map_err(|_| Error::Answer {
                what: WHAT,
                reason: "the file has too many parts".to_owned(),
            })?;
            let action = self.inner().upload_part(Some(self.credentials()), name, number, upload);
            let answer = accepted(WHAT, self.send(action, next).await?)?;
            let tag = answer.headers().get(ETAG).and_then(|tag| tag.to_str().ok());
            let missing = || Error::Answer { what: WHAT, reason: "no ETag".to_owned() };
            tags.push(tag.ok_or_else(missing)?.to_owned());
            next = part(file).await.map_err(|source| Error::File { path: path.to_owned(), source })?;
        }
        Ok(tags)
    }

    async fn complete(&self, name: &str, upload: &str, tags: &[String]) -> Result<(), Error> {
        const WHAT: &str = "complete an upload";
        let tags = || tags.iter().map(String::as_str);
        let credentials = Some(self.credentials());
        let body = self.inner().complete_multipart_upload(credentials, name, upload, tags()).body();
        let action = self.inner().complete_multipart_upload(credentials, name, upload, tags());
        let answer = accepted(WHAT, self.send(action, body.into()).await?)?;
        // The service may begin its answer with 200 and fail after.
        CompleteMultipartUploadResponse::parse(&String::from_utf8_lossy(answer.body()))
            .map(|_| ())
            .map_err(|error| Error::Answer { what: WHAT, reason: error.to_string() })
    }
}

/// The next [`PART`] bytes, fewer at the end.
async fn part(file: &mut tokio::fs::File) -> std::io::Result<Bytes> {
    let mut part = BytesMut::with_capacity(PART);
    let mut rest = file.take(u64::try_from(PART).unwrap_or(u64::MAX));
    while rest.read_buf(&mut part).await? > 0 {}
    Ok(part.freeze())
}
