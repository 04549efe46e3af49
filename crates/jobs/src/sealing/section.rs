//! `[sealing]`, the same in the configuration of every program that enqueues or runs jobs.

use quintet_service::{Invalid, Secret, SecretFile};
use quintet_store::Store;
use serde::Deserialize;

use super::{Seals, attach_seals};
use crate::error::Error;

/// Jobs that nobody reads in the database. Without it there are none. It must be the same in `core-api` and every `async-worker`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealing {
    /// Kinds whose arguments, results and checkpoints are sealed.
    kinds: Vec<String>,
    /// Keys, each 32 bytes in hexadecimal (`openssl rand -hex 32`). The first one seals, all open.
    key_files: Vec<SecretFile>,
    /// The key by which equal arguments of unique jobs are found, made the same way. It is not changed while such jobs wait.
    unique_key_file: SecretFile,
    /// Kinds that were sealed and are not any more.
    #[serde(default)]
    unsealed_kinds: Vec<String>,
}

impl Sealing {
    /// The keys, read from their files.
    ///
    /// # Errors
    /// When a file cannot be read or holds something else.
    pub fn seals(&self) -> Result<Seals, Invalid> {
        if let Some(kind) = self.unsealed_kinds.iter().find(|kind| self.kinds.contains(kind)) {
            let text = format!("{kind} is in sealing.kinds too; leave it in one of them");
            return Err(Invalid::new("sealing.unsealed_kinds", text));
        }
        let read = |file: &SecretFile, key: &'static str| {
            file.read(key).map_err(|error| Invalid::new(key, error.to_string()))
        };
        let keys = self.key_files.iter().map(|file| read(file, "sealing.key_files"));
        let keys: Vec<Secret> = keys.collect::<Result<_, _>>()?;
        let unique = read(&self.unique_key_file, "sealing.unique_key_file")?;
        Seals::new(self.kinds.iter().cloned(), keys.iter().map(Secret::expose), unique.expose())
            .map_err(|error| Invalid::new("sealing.key_files", error.to_string()))
    }

    /// `store` with the seals of this section, if there is one.
    ///
    /// # Errors
    /// [`Error::SealedElsewhere`], and [`Error::Sealing`] as [`Self::seals`].
    pub async fn attach(section: Option<&Self>, store: Store) -> Result<Store, Error> {
        let Some(section) = section else { return attach_seals(store, None, &[]).await };
        let seals = section.seals().map_err(|error| Error::Sealing(error.to_string()))?;
        let (keys, kinds) = (seals.key_ids().collect::<Vec<_>>().join(" "), section.kinds.join(" "));
        tracing::info!(kinds, keys, "jobs of these kinds are sealed, under the first of these keys");
        attach_seals(store, Some(seals), &section.unsealed_kinds).await
    }
}
