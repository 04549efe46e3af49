//! Measures what the README claims, on the machine it runs on, and writes it as JSON.
//!
//! Run it with `cargo xtask bench SUITE`, which builds what is measured first. Figures come with the
//! bars they are held to; a missed bar is reported and makes the run fail, it is never rounded away.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a measuring program talks to its terminal")]

mod fleet;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

/// Measures what the README claims.
#[derive(Debug, Parser)]
struct Options {
    /// What to measure.
    suite: Suite,
    /// Where the report goes.
    #[arg(long)]
    json: PathBuf,
    /// Orders a second in the load.
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Seconds of load that count, after a tenth of them to warm up.
    #[arg(long, default_value_t = 20)]
    seconds: u32,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Suite {
    /// The five together: size, memory, start, and the latency of an order through the gateway.
    Fleet,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let measured = match options.suite {
        Suite::Fleet => runtime.block_on(fleet::measure(options.rate, options.seconds)),
    };
    match measured.and_then(|report| report.write(&options.json)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("error: a bar was missed; see {}", options.json.display());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
