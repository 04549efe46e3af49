//! Going back on request: this generation becomes bad, and so does one that waits for its first boot, so that the previous one
//! is the next to boot. That one must have been found good before: going back is for when something is wrong.
//!
//! State stays as it is. That the older binaries work on it is what every schema change holds to (INV-3).

use std::path::Path;

use anyhow::Context as _;
use quintet_service::Code;
use quintet_types::{Clock as _, SystemClock};

use crate::requests::{self, Rollback};
use crate::status::{self, Books, Outcome};
use crate::version::Version;
use crate::{entries, paths};

pub(crate) fn run() -> anyhow::Result<Code> {
    let request: Rollback = requests::take(Path::new(paths::REQUESTS))?;
    let version = Version::running(Path::new(paths::OS_RELEASE))?;
    let listed = entries::list(Path::new(paths::ENTRIES))?;
    let to = entries::proven(&listed, &version)
        .context("there is no other generation that was found good; publish an update instead")?;
    for entry in listed.iter().filter(|entry| entry.version == version || entry.version > to) {
        entries::condemn(Path::new(paths::ENTRIES), &entry.version)?;
    }
    let mut books = Books::open();
    books.end(&version, Outcome::RolledBack, Some(format!("on request, to {to}")), SystemClock.now());
    books.close()?;
    status::publish(&books)?;
    if request.reboot {
        requests::reboot(Path::new(paths::REQUESTS))?;
    }
    Ok(Code::Ok)
}
