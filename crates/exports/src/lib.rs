//! The exports module: reports of the other modules as files.
//!
//! Owns the table `exports_exports`, the routes `/reports` and `/exports` and the job `report.export`. It knows no other module:
//! each says what of it can be exported ([`quintet_module::Report`]), and the binaries hand the reports over.

mod exports;
mod format;
mod job;
mod routes;
mod schema;

pub use exports::{Exports, State};
pub use format::Format;
pub use job::{KIND, ReportExport};
pub use routes::{ExportsRead, ExportsWrite};
pub use schema::SCHEMA;

/// The module, ready to be mounted.
pub fn module(exports: Exports) -> quintet_module::Module {
    quintet_module::Module { schema: &SCHEMA, routes: routes::router(exports), reports: &[] }
}
