//! Autobahn's WebSocket cases against an echo server, directly and through the gateway: what the suite says of both has
//! to be the same, case by case. A proxy may neither mend nor break what its upstream does. OK and NON-STRICT are both
//! passes and count as the same: in some cases they say only whether the echo of an earlier message left before a bad
//! frame came, which changes from run to run.
//!
//! The suite is written in Python 2. Left out are its cases of throughput and limits (9.*) and all but one of each group
//! of compressed traffic (12.*, 13.*), which take an hour and differ in nothing that a proxy sees.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::json;

use super::edge::{ECHO_SOCKET, Edge};
use super::kept;
use crate::process;

/// The last release that names what it needs; 25.10.1 has the same cases.
const SUITE: &str = "autobahntestsuite==0.8.2";
const CASES: [&str; 10] = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*", "12.1.1", "13.1.1"];

const DIRECT: &str = "direct";
const GATEWAY: &str = "gateway";

/// What the suite says of one case; the rest of its line are times and names of files.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    behavior: String,
    behavior_close: String,
    remote_close_code: Option<u16>,
}

impl Verdict {
    fn passes(&self) -> bool {
        self.behavior == "OK" || self.behavior == "NON-STRICT"
    }

    fn is_like(&self, other: &Self) -> bool {
        let same = self.behavior == other.behavior || self.passes() && other.passes();
        same && self.behavior_close == other.behavior_close
            && self.remote_close_code == other.remote_close_code
    }
}

type Report = BTreeMap<String, BTreeMap<String, Verdict>>;

/// Python 2.7 with the suite beside it.
struct Python {
    program: PathBuf,
    /// Where this Python looks for what was installed for the suite.
    base: PathBuf,
}

impl Python {
    /// On the search path, or one that pyenv made.
    fn find() -> anyhow::Result<Self> {
        let pyenv = std::env::var_os("PYENV_ROOT")
            .map(PathBuf::from)
            .or_else(|| Some(std::env::home_dir()?.join(".pyenv")))
            .map(|root| root.join("versions/2.7.18/bin/python2.7"))
            .filter(|program| program.is_file());
        let program = pyenv.or_else(|| process::find("python2.7")).context(
            "the suite needs Python 2.7, such as `pyenv install 2.7.18` makes; it has never been written for another",
        )?;
        let python = Self { program, base: kept("autobahn") };
        if !python.base.join("bin/wstest").is_file() {
            let mut install = python.command();
            install.args(["-m", "pip", "install", "--quiet", "--user", "--no-warn-script-location", SUITE]);
            process::output(&mut install).context("install the suite")?;
        }
        Ok(python)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        // Python warns of its own age at each step.
        command.env("PYTHONUSERBASE", &self.base).env("PYTHONWARNINGS", "ignore");
        command
    }
}

/// The echo server, ended when dropped.
struct Echo {
    process: Child,
    /// Where it is reached directly.
    port: u16,
}

impl Echo {
    fn start(python: &Python, edge: &Edge) -> anyhow::Result<Self> {
        let mut process = python
            .command()
            .args(["-c", include_str!("echo.py")])
            .arg(edge.directory.join(ECHO_SOCKET))
            .arg(edge.port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the echo server")?;
        let mut line = String::new();
        let output = process.stdout.take().context("the echo server has no output")?;
        BufReader::new(output).read_line(&mut line)?;
        let port = line.trim().parse().context("the echo server did not start")?;
        Ok(Self { process, port })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // It may have ended by itself, which the suite has then seen.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(super) fn run(edge: &Edge) -> anyhow::Result<u64> {
    let python = Python::find()?;
    let echo = Echo::start(&python, edge)?;
    let output = edge.directory.join("autobahn");
    let specification = json!({
        "outdir": output,
        "servers": [
            { "agent": DIRECT, "url": format!("ws://127.0.0.1:{}/echo", echo.port) },
            { "agent": GATEWAY, "url": format!("wss://127.0.0.1:{}/echo", edge.port) },
        ],
        "cases": CASES,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    });
    let file = edge.directory.join("autobahn.json");
    std::fs::write(&file, specification.to_string())?;
    let mut client = python.command();
    client.arg(python.base.join("bin/wstest")).args(["--mode", "fuzzingclient", "--spec"]).arg(&file);
    process::output(client.current_dir(&edge.directory)).context("run the suite")?;
    compare(&report(&output)?)
}

fn report(output: &Path) -> anyhow::Result<Report> {
    let text = std::fs::read_to_string(output.join("index.json")).context("read the suite's report")?;
    serde_json::from_str(&text).context("understand the suite's report")
}

fn compare(report: &Report) -> anyhow::Result<u64> {
    let of = |agent: &str| report.get(agent).with_context(|| format!("the report has nothing of {agent}"));
    let (direct, gateway) = (of(DIRECT)?, of(GATEWAY)?);
    let differing: Vec<String> = direct
        .iter()
        .filter(|(case, verdict)| !gateway.get(*case).is_some_and(|other| verdict.is_like(other)))
        .map(|(case, verdict)| {
            format!("{case}: directly {verdict:?}, through the gateway {:?}", gateway.get(case))
        })
        .collect();
    ensure!(differing.is_empty(), "{} cases differ:\n{}", differing.len(), differing.join("\n"));
    ensure!(direct.len() == gateway.len(), "cases ran through the gateway alone");
    let passed = direct.values().filter(|verdict| verdict.passes()).count();
    ensure!(
        passed * 10 > direct.len() * 9,
        "of {} cases the echo server itself passes {passed}",
        direct.len()
    );
    println!(
        "autobahn: {} cases, the same directly and through the gateway, {passed} of them passed",
        direct.len()
    );
    Ok(direct.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(gateway: &str) -> anyhow::Result<u64> {
        let verdict = |behavior: &str| json!({ "behavior": behavior, "behaviorClose": "OK", "remoteCloseCode": 1000, "duration": 3 });
        let report = json!({ DIRECT: { "1.1": verdict("OK") }, GATEWAY: { "1.1": verdict(gateway) } });
        compare(&serde_json::from_value(report).unwrap())
    }

    #[test]
    fn a_case_that_differs_fails_the_suite() {
        assert_eq!(judged("OK").unwrap(), 1);
        assert!(judged("FAILED").unwrap_err().to_string().contains("1.1: directly"));
    }
}
