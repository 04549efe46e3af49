//! Secrets come from files, never from the configuration itself, and are never printed.
//!
//! A [`SecretFile`] is a path or the name of a systemd credential. Reading it gives a [`Secret`],
//! which wipes its memory when dropped and shows nothing when formatted.
//!
//! Invariant: an error names the key and the file, never a byte of the content.

use std::fmt;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{self, Deserializer};
use zeroize::{Zeroize, Zeroizing};

/// The largest secret file that is read.
const MAX_BYTES: u64 = 64 * 1024;

/// Where a secret is kept: `"/path/to/file"`, or `"credential:NAME"` for a file of that name in the
/// directory of systemd's credentials (`LoadCredential=`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretFile {
    /// A file, with its path.
    Path(PathBuf),
    /// A systemd credential, with its name.
    Credential(String),
}

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("key `{key}`: {reason}")]
pub struct Error {
    key: String,
    #[source]
    reason: Reason,
}

#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error("secret file {} does not exist", .0.display())]
    Missing(PathBuf),
    #[error("cannot read secret file {}: {}", path.display(), error)]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("secret file {} is empty", .0.display())]
    Empty(PathBuf),
    #[error("secret file {} is larger than {MAX_BYTES} bytes", .0.display())]
    TooLarge(PathBuf),
    #[error("secret file {} is not UTF-8 text", .0.display())]
    NotText(PathBuf),
    #[error(
        "secret file {} is open to other users (mode {mode:04o}); run: chmod 0600 {}",
        path.display(),
        path.display()
    )]
    Exposed { path: PathBuf, mode: u32 },
    #[error(
        "credential `{0}` is wanted but systemd passed none; add LoadCredential={0}:FILE to the unit, \
         or name a file"
    )]
    NoCredentials(String),
}

impl SecretFile {
    /// Reads the secret. `key` is the configuration key it is set by; errors name it.
    ///
    /// White space around the content is not part of the secret, so that a file made with an
    /// editor works.
    pub fn read(&self, key: &str) -> Result<Secret, Error> {
        let bytes = self.read_bytes(key)?;
        let text = std::str::from_utf8(&bytes).map(str::trim);
        let path = self.path(key)?;
        match text {
            Ok("") => Err(error(key, Reason::Empty(path))),
            Ok(text) => Ok(Secret(Zeroizing::new(text.to_owned()))),
            Err(_) => Err(error(key, Reason::NotText(path))),
        }
    }

    /// Reads the secret's bytes as they stand, for keys that are not text.
    pub fn read_bytes(&self, key: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
        let path = self.path(key)?;
        let bytes = read(&path).map_err(|reason| error(key, reason))?;
        if bytes.is_empty() { Err(error(key, Reason::Empty(path))) } else { Ok(bytes) }
    }

    /// The file behind the secret.
    pub fn path(&self, key: &str) -> Result<PathBuf, Error> {
        self.resolve(std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from).as_deref())
            .map_err(|reason| error(key, reason))
    }

    fn resolve(&self, credentials: Option<&Path>) -> Result<PathBuf, Reason> {
        match (self, credentials) {
            (Self::Path(path), _) => Ok(path.clone()),
            (Self::Credential(name), Some(directory)) => Ok(directory.join(name)),
            (Self::Credential(name), None) => Err(Reason::NoCredentials(name.clone())),
        }
    }
}

fn error(key: &str, reason: Reason) -> Error {
    Error { key: key.to_owned(), reason }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Reason> {
    let unreadable = |error| Reason::Unreadable { path: path.to_owned(), error };
    let file = std::fs::File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Reason::Missing(path.to_owned()),
        _ => unreadable(error),
    })?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(unreadable(io::Error::other("it is not a regular file")));
    }
    let mode = metadata.permissions().mode() & 0o7777;
    // The group may read (a service's group), nobody else may read or change it.
    if mode & 0o027 != 0 {
        return Err(Reason::Exposed { path: path.to_owned(), mode });
    }
    if metadata.len() > MAX_BYTES {
        return Err(Reason::TooLarge(path.to_owned()));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0)));
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

impl std::str::FromStr for SecretFile {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("credential:") {
            Some(name) if name.is_empty() || name.contains('/') || name.starts_with('.') => {
                Err("expected \"credential:NAME\" with the name of a systemd credential")
            }
            Some(name) => Ok(Self::Credential(name.to_owned())),
            None if text.starts_with('/') => Ok(Self::Path(PathBuf::from(text))),
            None => Err("expected an absolute path or \"credential:NAME\"; secrets are kept in files"),
        }
    }
}

impl<'de> Deserialize<'de> for SecretFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A secret pasted in place of its file must not come back in the error.
        let mut text = String::deserialize(deserializer)?;
        let parsed = text.parse().map_err(de::Error::custom);
        text.zeroize();
        parsed
    }
}

/// A secret's text. Formatting shows `[redacted]`; dropping it wipes the memory.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a secret that was made, not read.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text. Hand it to what needs it; keep no copy.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    fn file(content: &[u8], mode: u32) -> (tempfile::TempDir, SecretFile) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pepper");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        (directory, SecretFile::Path(path))
    }

    fn refusal(content: &[u8], mode: u32) -> String {
        let (directory, file) = file(content, mode);
        let error = file.read("login.pepper_file").unwrap_err();
        error.to_string().replace(&directory.path().display().to_string(), "DIR")
    }

    #[test]
    fn a_secret_is_trimmed_and_never_shown() {
        let (_directory, file) = file(b"  correct horse \n", 0o600);
        let secret = file.read("login.pepper_file").unwrap();
        assert_eq!(secret.expose(), "correct horse");
        assert_eq!(format!("{secret} {secret:?}"), "[redacted] [redacted]");
    }

    #[test]
    fn the_group_may_read_a_secret() {
        let (_directory, file) = file(b"x", 0o640);
        assert_eq!(file.read("k").unwrap().expose(), "x");
    }

    #[test]
    fn a_secret_open_to_others_is_refused_with_the_command_that_mends_it() {
        assert_eq!(
            refusal(b"x", 0o644),
            "key `login.pepper_file`: secret file DIR/pepper is open to other users (mode 0644); \
             run: chmod 0600 DIR/pepper"
        );
        assert!(refusal(b"x", 0o660).contains("(mode 0660)"));
    }

    #[test]
    fn a_missing_or_empty_secret_names_key_and_file() {
        assert_eq!(refusal(b" \n", 0o600), "key `login.pepper_file`: secret file DIR/pepper is empty");
        let missing = SecretFile::Path("/nonexistent/pepper".into());
        assert_eq!(
            missing.read("login.pepper_file").unwrap_err().to_string(),
            "key `login.pepper_file`: secret file /nonexistent/pepper does not exist"
        );
    }

    #[test]
    fn bytes_that_are_not_text_are_refused_as_text_only() {
        let (_directory, file) = file(&[0xff, 0xfe], 0o600);
        assert!(file.read("k").unwrap_err().to_string().contains("not UTF-8"));
        assert_eq!(file.read_bytes("k").unwrap().as_slice(), [0xff, 0xfe]);
    }

    #[test]
    fn a_credential_is_a_file_in_systemds_directory() {
        let credential: SecretFile = "credential:pepper".parse().unwrap();
        let path = credential.resolve(Some(Path::new("/run/credentials/x"))).unwrap();
        assert_eq!(path, Path::new("/run/credentials/x/pepper"));
        let error = credential.resolve(None).unwrap_err().to_string();
        assert!(error.contains("LoadCredential=pepper:FILE"), "{error}");
    }

    #[test]
    fn a_secret_pasted_in_place_of_a_file_is_not_echoed() {
        let error = "hunter2".parse::<SecretFile>().unwrap_err();
        assert!(!error.contains("hunter2"));
        for bad in ["credential:", "credential:../x", "credential:a/b", "relative/path"] {
            assert!(bad.parse::<SecretFile>().is_err(), "{bad}");
        }
    }
}
