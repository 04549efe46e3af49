//! The commands of the README, run as they stand there.

use std::process::Command;

use anyhow::{Context as _, ensure};
use e2e::fleet::Settings;

const README: &str = include_str!("../../../../README.md");

/// The last steps look at what happens after the answer: a person types them seconds later.
const LATER: [(&str, &str); 2] =
    [("# the receipt arrived", "ada@example.com"), ("# one trace runs", "async-worker")];

#[test]
fn the_story_with_curl_works_as_the_readme_tells_it() -> anyhow::Result<()> {
    let fleet = Settings::default().start()?;
    let mut script = story()?
        .replace("cd /tmp/quintet", &format!("cd {}", fleet.data().display()))
        .replace("localhost:9443", &format!("localhost:{}", fleet.https_port()));
    for (step, sign) in LATER {
        script = repeated_until(&script, step, sign)?;
    }
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .output()
        .context("run the README's commands with bash")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}\n{complained}", output.status);

    let placed = said.matches(r#""invoice_number":"#).count();
    ensure!(placed == 2, "the order and its repetition answer, {placed} did: {said}");
    ensure!(said.contains("idempotent-replayed: true"), "the second answer is the first one: {said}");
    for (step, sign) in LATER {
        ensure!(said.contains(&format!("{step}: seen")), "{step} never showed {sign}: {said}");
    }
    ensure!(said.contains("edge-gateway"), "the trace begins at the gateway: {said}");
    Ok(())
}

/// The shell block that follows the one with `xtask up --detach`.
fn story() -> anyhow::Result<String> {
    let (_, rest) = README.split_once("cargo xtask up --detach").context("the README starts a fleet")?;
    let (_, rest) = rest.split_once("```sh\n").context("and then uses it")?;
    let (block, _) = rest.split_once("\n```").context("in a block of its own")?;
    Ok(block.to_owned())
}

/// Repeats the commands below the comment `step`, up to the next empty line, until they print `sign`.
fn repeated_until(script: &str, step: &str, sign: &str) -> anyhow::Result<String> {
    let (before, rest) = script.split_once(step).with_context(|| format!("the README has {step:?}"))?;
    let (comment, rest) = rest.split_once('\n').context("commands follow the comment")?;
    let (commands, after) = rest.split_once("\n\n").unwrap_or((rest, ""));
    Ok(format!(
        "{before}{step}{comment}\nfor attempt in $(seq 100); do\nanswer=$({commands}\n)\n\
         case $answer in *'{sign}'*) echo \"$answer\"; echo '{step}: seen'; break;; esac\nsleep 0.2\ndone\n\n{after}"
    ))
}
