//! `httpwg-cli`, the cases of RFC 9113, against the gateway's TLS port.
//!
//! The suite speaks in the clear, so a relay adds TLS. It wants a reset or a GOAWAY with exactly one code for each
//! fault, and gets it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use super::edge::Edge;
use super::{kept, relay};
use crate::{process, workspace};

const SUITE: &str = "httpwg-cli@0.2.5";

const PASSED: &str = "✅ Test passed: RFC 9113 :: ";
const FAILED: &str = "❌ Test failed: RFC 9113 :: ";

fn installed() -> anyhow::Result<PathBuf> {
    let root = kept("httpwg");
    let program = root.join("bin/httpwg");
    if !program.is_file() {
        let mut install = workspace::cargo();
        install.args(["install", "--locked", "--quiet", "--debug", SUITE, "--root"]).arg(&root);
        process::run(install.env_remove("CARGO_TARGET_DIR")).context("install the suite")?;
    }
    Ok(program)
}

pub(super) fn run(edge: &Edge) -> anyhow::Result<u64> {
    let program = installed()?;
    let tls = edge.tls("h2")?;
    let relay = edge.runtime.block_on(relay::listen(&edge.tasks, edge.port, tls))?;
    let output = Command::new(&program)
        .args(["-a", &relay.to_string(), "--connect-timeout", "5000", "--frame-timeout", "5000"])
        // Cases wait for silence, which others on the same two cores would disturb.
        .env("SEQUENTIAL", "1")
        .env("NO_COLOR", "1")
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("run {}", program.display()))?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let cases = judge(&said)?;
    edge.get().context("after the suite another client was not served")?;
    Ok(cases)
}

fn judge(said: &str) -> anyhow::Result<u64> {
    let of =
        |word: &str| -> BTreeSet<&str> { said.lines().filter_map(|line| line.strip_prefix(word)).collect() };
    let (passed, failed) = (of(PASSED), of(FAILED));
    ensure!(failed.is_empty(), "{} cases fail: {failed:#?}\n{said}", failed.len());
    // A case that panics says neither; the suite's last line counts it.
    let counted = format!("{0}/{0}", passed.len());
    ensure!(
        !passed.is_empty() && said.contains(&counted),
        "not all cases came to an end; {} did:\n{said}",
        passed.len()
    );
    println!("httpwg: all {} cases of RFC 9113 pass", passed.len());
    Ok(passed.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "✅ Test passed: RFC 9113 :: 3. starting http2 :: sends client connection preface\n\
                        ✅ Test passed: RFC 9113 :: 4. http frames :: data frame with max length\n";

    #[test]
    fn all_cases_have_to_pass() {
        assert_eq!(judge(&format!("{SAID}Passed 2/2 tests")).unwrap(), 2);
        let failed = format!("{SAID}{FAILED}3. starting http2 :: another\nPassed 2/3 tests");
        let error = judge(&failed).unwrap_err().to_string();
        assert!(error.contains("3. starting http2 :: another"), "{error}");
    }

    #[test]
    fn a_case_that_came_to_no_end_fails_the_suite() {
        let error = judge(&format!("{SAID}Passed 2/3 tests")).unwrap_err().to_string();
        assert!(error.contains("not all cases"), "{error}");
        assert!(judge("Passed 0/0 tests").is_err());
    }
}
