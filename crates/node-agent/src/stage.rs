//! An update: fetched, verified, left where systemd-sysupdate finds it, and noted once it is installed.
//!
//! This is its own and not systemd-sysupdate's part because that verifies with GnuPG and fetches with curl: a second
//! TLS library, a keyring and a parser more, in an image that has all of it already. What writes the slots and the
//! boot partition is systemd-sysupdate.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use quintet_service::Code;
use quintet_types::{Clock as _, SystemClock};

use crate::bundle::{self, Manifest};
use crate::config::Config;
use crate::fetch::Source;
use crate::requests::{self, Update};
use crate::status::{self, Books, Progress};
use crate::version::Version;
use crate::{entries, paths};

/// The exit code that says that there is nothing to install; the unit takes it for a success that ends it.
const NOTHING_NEW: Code = Code::Unavailable;

pub(crate) fn run(config: &Config) -> anyhow::Result<Code> {
    let request: Update = requests::take(Path::new(paths::REQUESTS))?;
    let mut books = Books::open();
    books.update = status::Update { reboot: request.reboot, ..status::Update::default() };
    note(&mut books, Progress::Fetching, None)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    match runtime.block_on(fetch(config, &request, &mut books)) {
        Ok(true) => {
            note(&mut books, Progress::Installing, None)?;
            Ok(Code::Ok)
        }
        Ok(false) => {
            note(&mut books, Progress::Current, None)?;
            Ok(NOTHING_NEW)
        }
        Err(error) => {
            note(&mut books, Progress::Failed, Some(format!("{error:#}")))?;
            Err(error)
        }
    }
}

fn note(books: &mut Books, progress: Progress, reason: Option<String>) -> anyhow::Result<()> {
    books.update(progress, reason, SystemClock.now());
    books.close()?;
    status::publish(books)
}

/// Fetches what the source offers; false if that runs already.
async fn fetch(config: &Config, request: &Update, books: &mut Books) -> anyhow::Result<bool> {
    let source = request.source.as_deref().or(config.update.source.as_deref());
    let source = source.context("no source is given; set update.source or name one in the request")?;
    let source = Source::parse(source)?;
    let key = fs::read_to_string(paths::UPDATE_KEY).with_context(|| format!("read {}", paths::UPDATE_KEY))?;
    let manifest = source.small(bundle::MANIFEST).await?;
    let signature = source.small(bundle::SIGNATURE).await?;
    let manifest = bundle::open(&manifest, &signature, &bundle::parse_key(&key)?)?;
    books.update.version = Some(manifest.version.clone());
    let running = Version::running(Path::new(paths::OS_RELEASE))?;
    if !bundle::newer(&manifest.version, &running)? {
        return Ok(false);
    }
    let listed = entries::list(Path::new(paths::ENTRIES))?;
    // The slot that would be written holds the only one that was.
    if entries::is_on_trial(&listed, &running) {
        anyhow::bail!(
            "generation {running} was not found good yet; an update now would erase the one that was"
        );
    }
    if listed.iter().any(|entry| entry.version == manifest.version && entry.is_bad()) {
        anyhow::bail!("generation {} was found bad on this node; publish a newer one", manifest.version);
    }
    let staging = Path::new(paths::STAGING);
    fs::create_dir_all(staging).with_context(|| format!("create {}", staging.display()))?;
    forget_others(staging, &manifest)?;
    for file in &manifest.files {
        source.file(file, staging).await?;
    }
    Ok(true)
}

/// Removes what an earlier update left, so that only one version is offered to systemd-sysupdate.
fn forget_others(staging: &Path, manifest: &Manifest) -> anyhow::Result<()> {
    for entry in fs::read_dir(staging).with_context(|| format!("list {}", staging.display()))? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let whole = name.trim_end_matches(".partial");
        if !manifest.files.iter().any(|file| file.name == whole) {
            fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    Ok(())
}

pub(crate) fn settle() -> anyhow::Result<Code> {
    let mut books = Books::open();
    let version = books.update.version.clone();
    let listed = entries::list(Path::new(paths::ENTRIES))?;
    if version.is_none() || !listed.iter().any(|entry| Some(&entry.version) == version.as_ref()) {
        let reason = "systemd-sysupdate did not install it; its journal says why".to_owned();
        note(&mut books, Progress::Failed, Some(reason))?;
        return Ok(Code::Unavailable);
    }
    let reboot = books.update.reboot;
    note(&mut books, Progress::Installed, None)?;
    fs::remove_dir_all(paths::STAGING).with_context(|| format!("remove {}", paths::STAGING))?;
    if reboot {
        requests::reboot(Path::new(paths::REQUESTS))?;
    }
    Ok(Code::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_bundle_left_is_removed_and_what_was_begun_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["quintet_1.efi", "quintet_2.efi.partial", "quintet_2.efi.partial.x"] {
            fs::write(directory.path().join(name), name).unwrap();
        }
        let file = bundle::File { name: "quintet_2.efi".to_owned(), size: 1, sha256: String::new() };
        let manifest = Manifest { version: "2".parse().unwrap(), files: vec![file] };
        forget_others(directory.path(), &manifest).unwrap();
        let mut left: Vec<_> =
            fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["quintet_2.efi.partial"]);
    }
}
