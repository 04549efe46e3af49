//! What is sealed of jobs in the database: arguments, results and checkpoints of the kinds that the configuration names.
//!
//! A [`Store`] that has [`Seals`] attached seals whatever goes into the queue through it, so no caller can forget to. What
//! is sealed is text that cannot be JSON, `sealed:1:KEY:BOX`: the id of its key, and nonce, ciphertext and tag in base64.
//! Everything that was written before, or by a program without keys, is JSON, and is read as it stands.
//!
//! A box is AES-256-GCM under a key of its own, HMAC-SHA256 of what it holds, its job and its kind under the key of the
//! configuration: random nonces are safe for 2^32 messages of one key (NIST SP 800-38D, 8.3), which a busy queue has in
//! a day, and the jobs of a derived key are one. The same three are associated data too. So what was sealed for one job
//! does not open as another's, nor a result as arguments.
//!
//! Not sealed: errors, progress, partition keys, unique keys that a caller chose, and what kinds and queues are called.

mod section;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use quintet_store::{Store, args};
use quintet_types::JobId;
use thiserror::Error;

use crate::error::Error as QueueError;
use crate::row::Waiting;

pub use section::Sealing;

const PREFIX: &str = "sealed:1:";
/// Bytes of a key's id: enough to tell keys apart, and nothing of the key.
const ID_BYTES: usize = 8;

/// What a box holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Args,
    Result,
    Checkpoint,
}

impl Content {
    fn name(self) -> &'static str {
        match self {
            Self::Args => "args",
            Self::Result => "result",
            Self::Checkpoint => "checkpoint",
        }
    }
}

/// What a box is bound to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) content: Content,
    pub(crate) job: JobId,
    pub(crate) kind: &'a str,
}

impl Place<'_> {
    /// No part can run into the next: the first two have no zero byte.
    fn context(&self) -> Vec<u8> {
        format!("quintet job\0{}\0{}\0{}", self.content.name(), self.job, self.kind).into_bytes()
    }
}

/// Why what is sealed cannot be read.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum SealError {
    /// Its key is not there: it can be read once it is.
    #[error(
        "it is sealed under the key {key}, which is not here; add the file of that key to sealing.key_files of this program"
    )]
    MissingKey {
        /// The key's id, as each program says it at its start.
        key: String,
    },
    /// It was changed, or belongs to another job or another kind.
    #[error("it does not open as what was sealed for this job: it was changed, or is another job's")]
    Broken,
    /// It cannot be sealed.
    #[error("it cannot be sealed")]
    Seal,
    /// A key is not what it should be.
    #[error("a sealing key is 32 bytes in hexadecimal; make one with: openssl rand -hex 32")]
    Key,
}

/// A key of the configuration.
struct Key {
    id: String,
    /// Derives the keys of boxes.
    root: hmac::Key,
}

impl Key {
    fn new(text: &str) -> Result<Self, SealError> {
        let bytes = from_hex(text).filter(|bytes| bytes.len() == 32).ok_or(SealError::Key)?;
        let id = digest::digest(&digest::SHA256, &[b"quintet sealing key\0", bytes.as_slice()].concat());
        let id = to_hex(id.as_ref().iter().take(ID_BYTES));
        Ok(Self { id, root: hmac::Key::new(hmac::HMAC_SHA256, &bytes) })
    }

    fn of_box(&self, context: &[u8]) -> Result<RandomizedNonceKey, SealError> {
        let key = hmac::sign(&self.root, context);
        RandomizedNonceKey::new(&AES_256_GCM, key.as_ref()).map_err(|_| SealError::Seal)
    }
}

/// The keys, and the kinds that are sealed with them.
pub struct Seals {
    kinds: HashSet<String>,
    /// The first seals, all open.
    keys: Vec<Key>,
    /// Makes unique keys of arguments, which must be the same however the other keys change.
    unique: hmac::Key,
}

impl std::fmt::Debug for Seals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seals").field("kinds", &self.kinds).finish_non_exhaustive()
    }
}

impl Seals {
    /// Seals these kinds under the first of `keys` and opens under all of them; each is 32 bytes in hexadecimal.
    ///
    /// # Errors
    /// [`SealError::Key`] when a key is something else, or there is none.
    pub fn new<'a>(
        kinds: impl IntoIterator<Item = String>,
        keys: impl IntoIterator<Item = &'a str>,
        unique: &str,
    ) -> Result<Self, SealError> {
        let keys = keys.into_iter().map(Key::new).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err(SealError::Key);
        }
        Ok(Self { kinds: kinds.into_iter().collect(), keys, unique: Key::new(unique)?.root })
    }

    /// The ids of its keys, as [`SealError::MissingKey`] names them.
    pub fn key_ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.id.as_str())
    }

    pub(crate) fn seals(&self, kind: &str) -> bool {
        self.kinds.contains(kind)
    }

    fn seal(&self, place: Place<'_>, text: &str) -> Result<String, SealError> {
        let (key, context) = (self.keys.first().ok_or(SealError::Seal)?, place.context());
        let mut body = text.as_bytes().to_vec();
        let nonce = key
            .of_box(&context)?
            .seal_in_place_append_tag(Aad::from(&context), &mut body)
            .map_err(|_| SealError::Seal)?;
        let sealed = BASE64.encode([nonce.as_ref().as_slice(), &body].concat());
        Ok(format!("{PREFIX}{}:{sealed}", key.id))
    }

    fn open(&self, place: Place<'_>, key: &str, sealed: &str) -> Result<String, SealError> {
        let missing = || SealError::MissingKey { key: key.to_owned() };
        let key = self.keys.iter().find(|known| known.id == key).ok_or_else(missing)?;
        let sealed = BASE64.decode(sealed).map_err(|_| SealError::Broken)?;
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or(SealError::Broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Broken)?;
        let (context, mut body) = (place.context(), body.to_vec());
        let plain = key
            .of_box(&context)?
            .open_in_place(nonce, Aad::from(&context), &mut body)
            .map_err(|_| SealError::Broken)?;
        String::from_utf8(plain.to_vec()).map_err(|_| SealError::Broken)
    }

    /// A key of fixed length that says nothing of `text` to who does not have this one.
    pub(crate) fn unique(&self, text: &str) -> String {
        let tag = hmac::sign(&self.unique, text.as_bytes());
        format!("hmac-sha256:{}", to_hex(tag.as_ref()))
    }
}

/// Whether a stored text is sealed; JSON never is.
pub(crate) fn is_sealed(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// `text` as it is to be stored.
pub(crate) fn seal(seals: Option<&Seals>, place: Place<'_>, text: String) -> Result<String, SealError> {
    match seals {
        Some(seals) if seals.seals(place.kind) && !is_sealed(&text) => seals.seal(place, &text),
        _ => Ok(text),
    }
}

/// Seals the arguments of jobs that go into the queue. Those that are sealed already stay as they are.
pub(crate) fn seal_args(seals: Option<&Seals>, jobs: &mut [Waiting]) -> Result<(), SealError> {
    if seals.is_none() {
        return Ok(());
    }
    for job in jobs {
        let place = Place { content: Content::Args, job: job.id, kind: &job.kind };
        job.args = seal(seals, place, std::mem::take(&mut job.args))?;
    }
    Ok(())
}

/// A stored text as it was before it was sealed; nothing if it never was.
pub(crate) fn open(seals: Option<&Seals>, place: Place<'_>, text: &str) -> Result<Option<String>, SealError> {
    let Some(sealed) = text.strip_prefix(PREFIX) else { return Ok(None) };
    let (key, sealed) = sealed.split_once(':').ok_or(SealError::Broken)?;
    match seals {
        Some(seals) => seals.open(place, key, sealed).map(Some),
        None => Err(SealError::MissingKey { key: key.to_owned() }),
    }
}

/// A stored text as JSON, opened if it is sealed.
pub(crate) fn open_json(
    seals: Option<&Seals>,
    place: Place<'_>,
    text: &str,
) -> Result<serde_json::Value, QueueError> {
    let opened = open(seals, place, text)?;
    Ok(serde_json::from_str(opened.as_deref().unwrap_or(text))?)
}

/// A stored text as those see it who only look on: what is sealed is not opened for them.
pub(crate) fn shown(text: &str) -> Result<serde_json::Value, serde_json::Error> {
    if is_sealed(text) { Ok(serde_json::Value::from("encrypted")) } else { serde_json::from_str(text) }
}

/// The store with these seals, which every transaction that it begins has from then on. Kinds that any program on this
/// database seals must be sealed by all of them: a program that would write them in the clear is refused.
///
/// # Errors
/// [`QueueError::SealedElsewhere`] when others seal kinds that `seals` does not.
pub async fn attach_seals(
    store: Store,
    seals: Option<Seals>,
    no_longer: &[String],
) -> Result<Store, QueueError> {
    let mut tx = store.begin().await?;
    for kind in no_longer {
        tx.execute("DELETE FROM jobs_sealed_kinds WHERE kind = $1", args![kind]).await?;
    }
    let rows = tx.fetch_all("SELECT kind FROM jobs_sealed_kinds ORDER BY kind", args![]).await?;
    let mut elsewhere = Vec::new();
    for row in &rows {
        let kind: String = row.get("kind")?;
        if !seals.as_ref().is_some_and(|seals| seals.seals(&kind)) {
            elsewhere.push(kind);
        }
    }
    if !elsewhere.is_empty() {
        return Err(QueueError::SealedElsewhere { kinds: elsewhere.join(", ") });
    }
    let Some(seals) = seals else {
        tx.commit().await?;
        return Ok(store);
    };
    for kind in &seals.kinds {
        let sql = "INSERT INTO jobs_sealed_kinds (kind) VALUES ($1) ON CONFLICT (kind) DO NOTHING";
        tx.execute(sql, args![kind]).await?;
    }
    tx.commit().await?;
    Ok(store.attach(Arc::new(seals)))
}

/// Bytes in hexadecimal.
pub(crate) fn to_hex<'a>(bytes: impl IntoIterator<Item = &'a u8>) -> String {
    let mut text = String::new();
    for byte in bytes {
        // Writing into a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}
