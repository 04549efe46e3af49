//! The executable of the identity provider. The program is the library beside it, so that fuzz targets
//! can reach its parsers.

use std::process::ExitCode;

use quintet_memory as _;

fn main() -> ExitCode {
    identity_provider::run()
}
