//! The gateway's account with an authority: made once, then read from its file.

use std::path::PathBuf;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};
use serde::{Deserialize, Serialize};

use super::client::Http;
use super::{AcmeError, storage};
use crate::config::{AcmeSection, ExternalAccount};

#[derive(Serialize, Deserialize)]
struct Stored {
    contact: Vec<String>,
    credentials: AccountCredentials,
}

/// One file for each directory, so that an authority is not shown the key of another.
fn path(section: &AcmeSection) -> PathBuf {
    let digest = digest::digest(&digest::SHA256, section.directory.as_bytes());
    let name = URL_SAFE_NO_PAD.encode(digest);
    section.storage.join("accounts").join(format!("{name}.json"))
}

/// Uses the account that is stored, or makes one. Asks the authority for its directory either way.
pub(super) async fn open(section: &AcmeSection, http: Http) -> Result<Account, AcmeError> {
    let path = path(section);
    let builder = Account::builder_with_http(Box::new(http));
    let contact: Vec<&str> = section.contact.iter().map(String::as_str).collect();
    let Some(content) = storage::read(&path)? else {
        let asked = NewAccount {
            contact: &contact,
            terms_of_service_agreed: section.terms_of_service_agreed,
            only_return_existing: false,
        };
        let external = section.external_account.as_ref().map(external_key).transpose()?;
        let (account, credentials) =
            builder.create(&asked, section.directory.clone(), external.as_ref()).await?;
        write(&path, section, credentials)?;
        tracing::info!(account = account.id(), "made an ACME account");
        return Ok(account);
    };
    let damaged = |source| AcmeError::Account(path.clone(), source);
    let stored: Stored = serde_json::from_slice(&content).map_err(damaged)?;
    // The credentials cannot be cloned, and are wanted again where the contact changed.
    let again: Stored = serde_json::from_slice(&content).map_err(damaged)?;
    let account = builder.from_credentials(stored.credentials).await?;
    if stored.contact != section.contact {
        account.update_contacts(&contact).await?;
        write(&path, section, again.credentials)?;
        tracing::info!(account = account.id(), "told the authority of the new contact");
    }
    Ok(account)
}

/// Forgets an account that the authority does not know any more.
pub(super) fn forget(section: &AcmeSection) {
    let path = path(section);
    let file = path.display();
    match std::fs::remove_file(&path) {
        Ok(()) => tracing::warn!(%file, "the authority does not know the account; a new one is made"),
        Err(error) => tracing::error!(%file, %error, "cannot remove an account that is gone"),
    }
}

fn write(
    path: &std::path::Path,
    section: &AcmeSection,
    credentials: AccountCredentials,
) -> Result<(), AcmeError> {
    let stored = Stored { contact: section.contact.clone(), credentials };
    let content =
        serde_json::to_vec_pretty(&stored).map_err(|source| AcmeError::Account(path.to_owned(), source))?;
    storage::replace(path, &content)
}

fn external_key(section: &ExternalAccount) -> Result<ExternalAccountKey, AcmeError> {
    let secret = section.hmac_key_file.read("acme.external_account.hmac_key_file")?;
    let text = secret.expose().trim_end_matches('=');
    let key = URL_SAFE_NO_PAD.decode(text).map_err(|_| AcmeError::ExternalKey)?;
    Ok(ExternalAccountKey::new(section.key_id.clone(), &key))
}
