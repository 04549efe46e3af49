//! Panics and catches it. `cargo xtask dist` runs this program as it was linked with the five: a static link whose
//! unwinder does not work aborts here instead of in production.

use std::process::ExitCode;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    let caught = std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new("on purpose")));
    if caught.is_err() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
