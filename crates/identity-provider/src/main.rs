//! The executable of the identity provider. The program is the library beside it, so that fuzz targets
//! can reach its parsers.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    identity_provider::run()
}
