//! What systemd's units do, as far as its state directory tells.

use std::collections::HashMap;
use std::path::Path;

use super::{Facts, names};

const MAX_UNITS: usize = 512;
const PREFIX: &str = "invocation:";

/// Each start of a unit has an id of its own, the target of a link in `/run/systemd/units`: another id is another
/// start. Starts before the sink's own are not known, so the first sight of a unit is nought.
#[derive(Debug, Default)]
pub(super) struct Starts {
    seen: HashMap<String, (String, u32)>,
}

impl Starts {
    pub(super) fn collect(&mut self, run: &Path, facts: &mut Facts) {
        let mut present = HashMap::new();
        for (unit, invocation) in invocations(run) {
            let restarts = match self.seen.remove(&unit) {
                Some((known, restarts)) if known == invocation => restarts,
                Some((_, restarts)) => restarts.saturating_add(1),
                None => 0,
            };
            let help = "Starts of a service after the first that was seen.";
            let labels = [("name", unit.as_str())];
            facts.counter("node_systemd_service_restart_total", help, &labels, restarts.into());
            present.insert(unit, (invocation, restarts));
        }
        // A unit that is stopped for a moment keeps its count.
        let room = MAX_UNITS.saturating_sub(present.len());
        present.extend(self.seen.drain().take(room));
        self.seen = present;
    }
}

/// The services that run or ran, with the id of their last start.
pub(crate) fn invocations(run: &Path) -> Vec<(String, String)> {
    let directory = run.join("systemd/units");
    let unit = |name: String| {
        let unit = name.strip_prefix(PREFIX)?.to_owned();
        let target = std::fs::read_link(directory.join(&name)).ok()?;
        (unit.rsplit_once('.')?.1 == "service").then(|| (unit, target.to_string_lossy().into_owned()))
    };
    names(&directory).into_iter().filter_map(unit).take(MAX_UNITS).collect()
}
