//! Conformance suites of others against the shipped gateway, a real process on the loopback interface.
//!
//! Named only: the first run fetches the suites themselves (into `target/suites`), and one of them needs a Python
//! that no distribution has any more. What a suite says of the gateway is held to what is written here, in both
//! directions: a case that fails unexpectedly and a known deviation that is gone are errors.

mod autobahn;
mod edge;
mod httpwg;
mod relay;
mod slow;
mod upstream;

use std::path::PathBuf;

use anyhow::Context as _;

use self::edge::Edge;
use super::Bench;
use crate::workspace;

/// Where suites are kept from one run to the next.
fn kept(name: &str) -> PathBuf {
    workspace::target().join("suites").join(name)
}

/// Runs against the gateway and says how many cases there were.
type Suite = fn(&Edge) -> anyhow::Result<u64>;

const SUITES: [(&str, Suite); 3] =
    [("httpwg", httpwg::run), ("autobahn", autobahn::run), ("slowhttptest", slow::run)];

pub(super) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let program = bench.binaries()?.join("edge-gateway");
    let directory = tempfile::tempdir().context("make a directory for the suites")?;
    let edge = Edge::start(&program, directory.path())?;
    let mut failed = Vec::new();
    for (name, suite) in SUITES {
        match suite(&edge) {
            Ok(cases) => bench.tally.passed += cases,
            Err(error) => {
                bench.tally.failed += 1;
                failed.push(format!("{name}: {error:#}"));
            }
        }
    }
    anyhow::ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}
