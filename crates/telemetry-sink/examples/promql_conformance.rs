//! Runs the scripts of a directory, in the language of Prometheus' PromQL tests, and writes what became of them as JSON.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is its purpose")]

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: promql_conformance DIRECTORY");
        return ExitCode::FAILURE;
    };
    match telemetry_sink::conformance::run_directory(&directory) {
        Ok(tally) => {
            let report = json!({
                "passed": tally.passed,
                "failed": tally.failed,
                "left_out": tally.left_out,
                "failures": tally.lines,
                "scripts": tally.files,
            });
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
