//! `httpwg-cli`, the cases of RFC 9113, against the gateway's TLS port.
//!
//! The suite speaks in the clear, so a relay adds TLS. It wants a reset or a GOAWAY with exactly one code for each
//! fault. Cases that end otherwise are listed with what happens instead and why that is right or harmless; none of
//! them reaches an upstream as it was sent.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use super::edge::Edge;
use super::{kept, relay};
use crate::{process, workspace};

const SUITE: &str = "httpwg-cli@0.2.5";

/// A GOAWAY with PROTOCOL_ERROR where a more specific code exists: h2 has one code for all faults of its decoder. The
/// connection ends either way.
const GENERAL_CODE: &[&str] = &[
    "4. http frames :: invalid header block fragment",
    "6. frame definitions :: sends ping frame with invalid length",
    "6. frame definitions :: sends priority frame with invalid length",
    "6. frame definitions :: sends rst stream frame with invalid length",
    "6. frame definitions :: sends settings frame with ack and payload",
    "6. frame definitions :: sends settings frame with invalid length",
    "6. frame definitions :: sends settings initial window size with exceeded max window size value",
    "6. frame definitions :: sends settings initial window size with invalid value",
    "6. frame definitions :: sends window update frame with invalid length",
];

/// The same on streams that have ended, where section 5.1.1 asks for PROTOCOL_ERROR when an identifier is not new. Whether
/// the gateway still remembers the stream depends on how far its answer is, so that these pass now and then.
const ENDED_STREAM: &[&str] = &[
    "5. streams and multiplexing :: closed sends headers frame",
    "5. streams and multiplexing :: closed sends headers frame after rst stream",
    "5. streams and multiplexing :: half closed remote sends data frame",
    "5. streams and multiplexing :: half closed remote sends headers frame",
    "6. frame definitions :: sends data frame on invalid stream state",
];

/// Answered instead of reset: section 8.1.1 lets a server "send an HTTP response prior to closing or resetting the
/// stream", and 8.2.1 says that it should be a 400.
const ANSWERED: &[&str] = &[
    "8. expressing http semantics in http2 :: sends connect without authority",
    "8. expressing http semantics in http2 :: sends headers frame with leading space in field value",
    "8. expressing http semantics in http2 :: sends headers frame with mismatched host authority",
    "8. expressing http semantics in http2 :: sends headers frame with trailing tab in field value",
];

/// h2 drops pseudo-headers of trailers; none goes on.
const DROPPED: &[&str] =
    &["8. expressing http semantics in http2 :: sends headers frame with pseudo header in trailer"];

/// A PUSH_PROMISE on a stream that is not open is ignored in some runs and ends the connection in others. No part of it
/// goes on.
const PUSHED: &[&str] = &["8. expressing http semantics in http2 :: client sends push promise frame"];

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
    let known: BTreeSet<&str> =
        [GENERAL_CODE, ENDED_STREAM, ANSWERED, DROPPED, PUSHED].into_iter().flatten().copied().collect();
    let unexpected: Vec<&&str> = failed.difference(&known).collect();
    ensure!(unexpected.is_empty(), "{} cases fail: {unexpected:#?}\n{said}", unexpected.len());
    let unsteady = |case: &str| ENDED_STREAM.contains(&case) || PUSHED.contains(&case);
    let gone: Vec<&&str> = known.difference(&failed).filter(|case| !unsteady(case)).collect();
    ensure!(gone.is_empty(), "these cases are listed as deviations and pass, or did not run: {gone:#?}");
    let all = passed.len() + failed.len();
    // A case that panics says neither; the suite's last line counts it.
    let counted = format!("{}/{all}", passed.len());
    ensure!(said.contains(&counted), "not all cases came to an end; {counted} did:\n{said}");
    println!("httpwg: {counted} cases of RFC 9113 pass; the others are the known deviations");
    Ok(all as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(more: &str) -> String {
        let known = [GENERAL_CODE, ENDED_STREAM, ANSWERED, DROPPED, PUSHED].concat();
        let known: Vec<String> = known.iter().map(|case| format!("{FAILED}{case}")).collect();
        let known = known.join("\n") + "\n";
        let all = known.lines().count() + 1;
        format!(
            "{known}{PASSED}3. starting http2 :: sends client connection preface\n{more}Passed 1/{all} tests"
        )
    }

    #[test]
    fn known_deviations_do_not_fail_the_suite() {
        assert!(judge(&said("")).is_ok());
    }

    #[test]
    fn any_other_case_that_fails_does() {
        let error = judge(&said(&format!("{FAILED}3. starting http2 :: another\n"))).unwrap_err().to_string();
        assert!(error.contains("3. starting http2 :: another"), "{error}");
    }

    #[test]
    fn a_case_that_came_to_no_end_does() {
        let error = judge(&said("").replace("1/21", "1/22")).unwrap_err().to_string();
        assert!(error.contains("not all cases"), "{error}");
    }

    #[test]
    fn a_deviation_that_is_gone_has_to_leave_the_list() {
        let mended = said("").replacen(FAILED, PASSED, 1);
        assert!(judge(&mended).unwrap_err().to_string().contains(GENERAL_CODE[0]));
    }
}
