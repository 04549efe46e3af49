//! A Maildir (<https://cr.yp.to/proto/maildir.html>): what `cargo xtask up` delivers to, so that a
//! newcomer sees the mails without a mail server, and any mail reader can open it.
//!
//! A message is written to `tmp`, flushed and renamed into `new`. Its name is its key, so that the
//! second delivery of the same message finds the first and does nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use mail_parser::MessageParser;
use quintet_types::Timestamp;
use serde::Serialize;
use thiserror::Error;
use tokio::io::AsyncWriteExt as _;
use utoipa::ToSchema;

/// Messages listed, newest first; the directory of a demo under load holds many more.
const MAX_LISTED: usize = 100;
const MAX_MESSAGE_BYTES: u64 = 2 * 1024 * 1024;

/// The directory cannot be used.
#[derive(Debug, Error)]
#[error("cannot use the mail directory {path}")]
pub(crate) struct MaildirError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// A mail directory; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Maildir {
    dir: PathBuf,
}

/// A delivered message, as the console shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Mail)]
pub(crate) struct Delivered {
    pub(crate) id: String,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) subject: String,
    pub(crate) message_id: String,
    pub(crate) date: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) html: Option<String>,
}

impl Maildir {
    pub(crate) async fn open(dir: &Path) -> Result<Self, MaildirError> {
        for part in ["tmp", "new", "cur"] {
            let path = dir.join(part);
            tokio::fs::create_dir_all(&path).await.map_err(|source| MaildirError { path, source })?;
        }
        Ok(Self { dir: dir.to_path_buf() })
    }

    /// Files a message under its key, once.
    pub(crate) async fn deliver(&self, key: &str, message: &[u8]) -> Result<(), MaildirError> {
        let target = self.dir.join("new").join(key);
        if tokio::fs::try_exists(&target).await.unwrap_or(false) {
            return Ok(());
        }
        let temporary = self.dir.join("tmp").join(format!("{key}.{}", std::process::id()));
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source| MaildirError { path, source }
        };
        let mut file = tokio::fs::File::create(&temporary).await.map_err(failed(&temporary))?;
        file.write_all(message).await.map_err(failed(&temporary))?;
        file.sync_all().await.map_err(failed(&temporary))?;
        tokio::fs::rename(&temporary, &target).await.map_err(failed(&target))?;
        let new = self.dir.join("new");
        let directory = tokio::fs::File::open(&new).await.map_err(failed(&new))?;
        directory.sync_all().await.map_err(failed(&new))
    }

    /// The newest messages, without their bodies.
    pub(crate) async fn list(&self) -> Result<Vec<Delivered>, MaildirError> {
        let new = self.dir.join("new");
        let mut entries =
            tokio::fs::read_dir(&new).await.map_err(|source| MaildirError { path: new.clone(), source })?;
        let mut names = Vec::new();
        while let Ok(Some(entry)) = entries.next_entry().await {
            let modified =
                entry.metadata().await.ok().and_then(|meta| meta.modified().ok()).unwrap_or(UNIX_EPOCH);
            if let Ok(name) = entry.file_name().into_string() {
                names.push((modified, name));
            }
        }
        names.sort_unstable_by(|one, other| other.cmp(one));
        names.truncate(MAX_LISTED);
        let mut messages = Vec::with_capacity(names.len());
        for (_, name) in names {
            if let Some(message) = self.read(&name).await? {
                messages.push(Delivered { text: None, html: None, ..message });
            }
        }
        Ok(messages)
    }

    /// One message with its bodies.
    pub(crate) async fn read(&self, id: &str) -> Result<Option<Delivered>, MaildirError> {
        // Names are made by `deliver`; anything else could walk out of the directory.
        let plain =
            |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.');
        if id.is_empty() || id.starts_with('.') || !id.chars().all(plain) {
            return Ok(None);
        }
        let path = self.dir.join("new").join(id);
        match tokio::fs::metadata(&path).await {
            Ok(meta) if meta.is_file() && meta.len() <= MAX_MESSAGE_BYTES => {}
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(MaildirError { path, source }),
        }
        let bytes = tokio::fs::read(&path).await.map_err(|source| MaildirError { path, source })?;
        Ok(parse(id, &bytes))
    }
}

fn parse(id: &str, bytes: &[u8]) -> Option<Delivered> {
    let message = MessageParser::default().parse(bytes)?;
    let address = |address: Option<&mail_parser::Address<'_>>| {
        address.and_then(|address| address.first()?.address()).unwrap_or_default().to_owned()
    };
    Some(Delivered {
        id: id.to_owned(),
        from: address(message.from()),
        to: address(message.to()),
        subject: message.subject().unwrap_or_default().to_owned(),
        message_id: message.message_id().unwrap_or_default().to_owned(),
        date: message.date().and_then(|date| Timestamp::from_second(date.to_timestamp()).ok()),
        text: message.body_text(0).map(std::borrow::Cow::into_owned),
        html: message.body_html(0).map(std::borrow::Cow::into_owned),
    })
}
