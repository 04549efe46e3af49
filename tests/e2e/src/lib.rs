//! A fleet of the real binaries for one test: its own data directory, its own ports, started and stopped by
//! `cargo xtask up` and `down` as a person would, and seen only through the gateway's TLS port.

pub mod disk;
pub mod fleet;
pub mod shop;

use std::time::{Duration, Instant};

/// Asks until the answer is there. Panics with `what` when it never is: waiting is bounded by `within`.
pub async fn eventually<T>(
    what: &str,
    within: Duration,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> Option<T> {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return Some(answer);
        }
        if begun.elapsed() > within {
            eprint_missing(what, within);
            return None;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

#[expect(clippy::print_stderr, reason = "test output")]
fn eprint_missing(what: &str, within: Duration) {
    eprintln!("{what}: not within {within:?}");
}

/// Says that a test is left out on this machine, and why; on CI that is an error.
#[expect(clippy::print_stderr, reason = "test output")]
fn left_out(why: &str) -> anyhow::Result<()> {
    anyhow::ensure!(std::env::var_os("CI").is_none(), "{why}; on CI no test is left out");
    eprintln!("left out: {why}");
    Ok(())
}
