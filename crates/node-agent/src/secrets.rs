//! Secrets that nobody gave: made at the first boot, kept on the state partition, put where units look for
//! credentials.
//!
//! A credential that the machine was given (by the firmware, the hypervisor or a file on the boot partition) always
//! wins: systemd looks there first, so for such a name nothing is made.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::files;

/// Enough for a key of AES-256 or HMAC-SHA-256.
const KEY_BYTES: usize = 32;
/// Crockford's alphabet in lower case: no letter is mistaken for a digit.
const READABLE: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// How a secret is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// 32 bytes in hexadecimal.
    Key,
    /// A password that a person types: 100 bits in four groups.
    Password,
}

/// The first administrator's, which a person must get to know.
pub(crate) const ADMINISTRATOR_PASSWORD: &str = "identity-provider.admin-password";

/// The credentials of the units in `packaging/systemd` that can be made by chance.
pub(crate) const MADE: [(&str, Kind); 6] = [
    ("async-worker.webhook-key", Kind::Key),
    ("edge-gateway.session-key", Kind::Key),
    ("identity-provider.client-operator", Kind::Key),
    ("identity-provider.sealing-key", Kind::Key),
    ("quintet.console-client-secret", Kind::Key),
    (ADMINISTRATOR_PASSWORD, Kind::Password),
];

/// Where secrets come from and go to.
#[derive(Debug)]
pub(crate) struct Secrets {
    /// What the machine was given.
    pub(crate) given: Vec<PathBuf>,
    /// What was made, for good.
    pub(crate) kept: PathBuf,
    /// Where systemd finds it during this boot.
    pub(crate) credentials: PathBuf,
}

impl Secrets {
    /// Whether the machine was given a credential of that name.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.given.iter().any(|directory| directory.join(name).exists())
    }

    /// The credential's text, if the machine was given it.
    pub(crate) fn given_text(&self, name: &str) -> anyhow::Result<Option<String>> {
        let Some(path) = self.given.iter().map(|directory| directory.join(name)).find(|path| path.exists())
        else {
            return Ok(None);
        };
        let text = fs::read_to_string(&path).with_context(|| format!("read the credential {name}"))?;
        Ok(Some(text.trim().to_owned()))
    }

    /// Makes what is missing and offers all of it to units. Returns the names that were made just now.
    pub(crate) fn ensure(&self) -> anyhow::Result<Vec<&'static str>> {
        let mut made = Vec::new();
        for (name, kind) in MADE {
            if self.is_given(name) {
                continue;
            }
            if self.offer_kept(name)? {
                continue;
            }
            self.keep(name, make(kind)?.as_bytes())?;
            made.push(name);
        }
        Ok(made)
    }

    /// Offers what an earlier boot kept under that name; false if it kept nothing.
    pub(crate) fn offer_kept(&self, name: &str) -> anyhow::Result<bool> {
        match fs::read(self.kept.join(name)) {
            Ok(content) => {
                files::replace(&self.credentials.join(name), &content, 0o600)?;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).with_context(|| format!("read the secret {name}")),
        }
    }

    /// Keeps a secret for good and offers it.
    pub(crate) fn keep(&self, name: &str, content: &[u8]) -> anyhow::Result<()> {
        // First the place that lasts: a key that sealed something must never be another one after a power cut.
        files::replace(&self.kept.join(name), content, 0o600)?;
        files::replace(&self.credentials.join(name), content, 0o600)
    }

    /// What was kept under that name.
    pub(crate) fn kept_text(&self, name: &str) -> anyhow::Result<String> {
        let path = self.kept.join(name);
        fs::read_to_string(&path).with_context(|| format!("read the secret {name}"))
    }
}

/// The directory of the credentials that the unit imports. Those of the boot partition are encrypted where systemd keeps them for
/// all units, and are readable only there.
pub(crate) fn given() -> Vec<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from).into_iter().collect()
}

fn make(kind: Kind) -> anyhow::Result<String> {
    let mut bytes = [0; KEY_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).ok().context("the system gave no randomness")?;
    Ok(match kind {
        Kind::Key => hex(&bytes),
        Kind::Password => readable(&bytes),
    })
}

fn readable(bytes: &[u8]) -> String {
    let letter = |byte: &u8| READABLE.get(usize::from(byte % 32)).copied().map_or('0', char::from);
    let groups: Vec<String> =
        bytes.chunks(5).take(4).map(|group| group.iter().map(letter).collect()).collect();
    groups.join("-")
}

/// Lowercase hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().map_or('0', char::from);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The directory in which units find credentials that were made here.
pub(crate) fn credential_store() -> &'static Path {
    Path::new("/run/credstore")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_made_once_and_never_where_one_was_given() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let secrets = Secrets { given: vec![at("given")], kept: at("kept"), credentials: at("run") };
        fs::create_dir(at("given")).unwrap();
        fs::write(at("given").join(ADMINISTRATOR_PASSWORD), "theirs\n").unwrap();
        assert_eq!(secrets.ensure().unwrap().len(), MADE.len() - 1);
        assert!(!at("run").join(ADMINISTRATOR_PASSWORD).exists());
        assert_eq!(secrets.given_text(ADMINISTRATOR_PASSWORD).unwrap().unwrap(), "theirs");
        let key = fs::read(at("run/edge-gateway.session-key")).unwrap();
        assert_eq!(key.len(), 64);
        // The next boot: the place of credentials is empty again.
        fs::remove_dir_all(at("run")).unwrap();
        assert!(secrets.ensure().unwrap().is_empty());
        assert_eq!(fs::read(at("run/edge-gateway.session-key")).unwrap(), key);
    }

    #[test]
    fn a_password_has_four_groups_that_can_be_typed() {
        let password = make(Kind::Password).unwrap();
        let groups: Vec<&str> = password.split('-').collect();
        assert_eq!(groups.len(), 4);
        assert!(
            groups.iter().all(|group| group.len() == 5 && group.bytes().all(|byte| READABLE.contains(&byte)))
        );
    }
}
