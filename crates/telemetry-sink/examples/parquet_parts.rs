//! Writes parts of known content below a directory and prints the sink's own answers about them as JSON.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is its purpose")]

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: parquet_parts DIRECTORY");
        return ExitCode::FAILURE;
    };
    match telemetry_sink::conformance::write_parts(&directory) {
        Ok(answers) => {
            println!("{answers}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
