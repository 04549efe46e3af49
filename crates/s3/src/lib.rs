//! A client of S3-compatible object storage: one bucket of Amazon S3, Garage, Ceph, RustFS, MinIO and their like.
//!
//! Requests are signed with AWS Signature Version 4 in their query (`rusty-s3`) and sent by [`quintet_http::Client`], so
//! that timeouts, pooling and TLS are those of every other request. Only what can be repeated without harm is done here, so
//! that each request is tried a few times: an answer of 429 or 5xx, a broken exchange and a time-out are worth another try,
//! any other answer is not.
//!
//! Memory is bounded: an object is sent in parts of [`PART`] bytes and read in ranges of the caller's size.

mod bucket;
mod settings;
mod upload;

pub use self::bucket::{Bucket, Error, PART};
pub use self::settings::Settings;
