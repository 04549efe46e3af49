//! Boot entries: unified kernel images whose names carry their version and how often they may still be tried
//! (systemd's Automatic Boot Assessment): `quintet_0.4.2.efi` is good, `quintet_0.4.2+2-1.efi` has been tried once
//! and may be twice more, `quintet_0.4.2+0-3.efi` is bad and is tried only when nothing else is left.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::version::Version;

const PREFIX: &str = "quintet_";
const SUFFIX: &str = ".efi";

/// One generation on the boot partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) version: Version,
    /// None once the generation has been found good.
    pub(crate) tries_left: Option<u32>,
    path: PathBuf,
}

impl Entry {
    pub(crate) fn is_bad(&self) -> bool {
        self.tries_left == Some(0)
    }

    fn parse(path: &Path) -> Option<Self> {
        let stem = path.file_name()?.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        let (version, tries) = match stem.split_once('+') {
            Some((version, tries)) => (version, Some(tries)),
            None => (stem, None),
        };
        let tries_left = match tries {
            Some(tries) => Some(tries.split('-').next()?.parse().ok()?),
            None => None,
        };
        Some(Self { version: version.parse().ok()?, tries_left, path: path.to_owned() })
    }
}

/// All generations, the oldest first.
pub(crate) fn list(directory: &Path) -> anyhow::Result<Vec<Entry>> {
    let listed = fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))?;
    let mut entries = Vec::new();
    for file in listed {
        entries.extend(Entry::parse(&file?.path()));
    }
    entries.sort_by(|one, other| one.version.cmp(&other.version));
    Ok(entries)
}

/// Makes a generation bad, so that the firmware's menu prefers every other.
pub(crate) fn condemn(directory: &Path, version: &Version) -> anyhow::Result<()> {
    let entries = list(directory)?;
    let Some(entry) = entries.iter().find(|entry| entry.version == *version) else {
        bail!("{} has no entry of generation {version}", directory.display());
    };
    if entry.is_bad() {
        return Ok(());
    }
    let bad = directory.join(format!("{PREFIX}{version}+0{SUFFIX}"));
    fs::rename(&entry.path, &bad).with_context(|| format!("rename {}", entry.path.display()))?;
    File::open(directory).and_then(|directory| directory.sync_all()).context("write the boot partition")
}

/// The generation that would boot if `running` were bad: the newest that is not.
pub(crate) fn previous(entries: &[Entry], running: &Version) -> Option<Version> {
    let others = entries.iter().filter(|entry| entry.version != *running && !entry.is_bad());
    others.map(|entry| entry.version.clone()).max()
}

/// The newest generation besides `running` that was found good.
pub(crate) fn proven(entries: &[Entry], running: &Version) -> Option<Version> {
    let others = entries.iter().filter(|entry| entry.version != *running && entry.tries_left.is_none());
    others.map(|entry| entry.version.clone()).max()
}

/// Whether `running` has yet to be found good, or was found bad, and something else would be lost by installing over it.
pub(crate) fn is_on_trial(entries: &[Entry], running: &Version) -> bool {
    let unproven = |entry: &&Entry| entry.version == *running && entry.tries_left.is_some();
    entries.iter().find(unproven).is_some() && proven(entries, running).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(names: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(directory.path().join(name), name).unwrap();
        }
        directory
    }

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn names_say_version_and_tries_and_foreign_files_are_passed_over() {
        let names =
            ["quintet_0.10.efi", "quintet_0.9+2-1.efi", "quintet_0.2+0-3.efi", "other.efi", "quintet_x.efi"];
        let directory = directory(&names);
        let entries = list(directory.path()).unwrap();
        let seen: Vec<(String, Option<u32>)> =
            entries.iter().map(|entry| (entry.version.to_string(), entry.tries_left)).collect();
        let expected = [("0.2", Some(0)), ("0.9", Some(2)), ("0.10", None)];
        assert_eq!(seen, expected.map(|(version, tries)| (version.to_owned(), tries)));
        assert_eq!(previous(&entries, &version("0.10")), Some(version("0.9")));
        assert_eq!(previous(&entries, &version("0.9")), Some(version("0.10")));
    }

    #[test]
    fn only_what_was_found_good_is_gone_back_to_and_a_trial_protects_it() {
        let going_back = |names: &[&str], running: &str| {
            let entries = list(directory(names).path()).unwrap();
            let to = proven(&entries, &version(running)).map(|to| to.to_string());
            (to, is_on_trial(&entries, &version(running)))
        };
        let to_one = Some("1".to_owned());
        assert_eq!(going_back(&["quintet_1.efi", "quintet_2.efi"], "2"), (to_one.clone(), false));
        assert_eq!(going_back(&["quintet_1.efi", "quintet_2+2-1.efi"], "2"), (to_one.clone(), true));
        assert_eq!(going_back(&["quintet_1.efi", "quintet_2+0.efi"], "2"), (to_one, true));
        assert_eq!(going_back(&["quintet_2.efi", "quintet_3+3.efi"], "2"), (None, false));
        assert_eq!(going_back(&["quintet_1+3.efi"], "1"), (None, false));
    }

    #[test]
    fn condemned_generation_keeps_its_content_and_is_no_longer_chosen() {
        let directory = directory(&["quintet_1.efi", "quintet_2+1-2.efi"]);
        condemn(directory.path(), &version("2")).unwrap();
        condemn(directory.path(), &version("2")).unwrap();
        let kept = fs::read_to_string(directory.path().join("quintet_2+0.efi")).unwrap();
        assert_eq!(kept, "quintet_2+1-2.efi");
        assert_eq!(previous(&list(directory.path()).unwrap(), &version("1")), None);
        condemn(directory.path(), &version("3")).unwrap_err();
    }
}
