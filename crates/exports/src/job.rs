//! The job `report.export`: writes an export's file.
//!
//! At-least-once is enough: the rows are those until a moment that lies before the job, so a second run writes the same file, and
//! the first to end is recorded. One page of rows is in memory at a time.

use async_trait::async_trait;
use quintet_blobs::{BlobError, BlobWriter};
use quintet_jobs::{Handler, HandlerError, Job, Progress};
use quintet_module::Report;
use quintet_module::report::Cell;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::exports::{ExportId, Exports, File, Record};

/// The job's kind.
pub const KIND: &str = "report.export";
/// Rows that are read at once.
const PAGE: i64 = 1_000;
/// The largest file that is written, in bytes.
const MAX_FILE: u64 = 1024 * 1024 * 1024;

/// The job's arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Args {
    /// The export, which says everything else.
    pub(crate) export_id: ExportId,
}

/// What the job says of a file; how to get it says the export.
#[derive(Debug, Serialize)]
struct Written<'a> {
    export_id: ExportId,
    digest: &'a str,
    rows: i64,
    size_bytes: i64,
}

#[derive(Debug, Error)]
enum Refused {
    #[error("this release knows no report `{0}`")]
    Report(String),
    #[error("the file would be larger than 1 GiB; ask for a shorter time")]
    TooLarge,
    #[error("cancelled")]
    Cancelled,
}

/// Writes exports.
pub struct ReportExport(Exports);

impl ReportExport {
    /// A handler that writes the exports that were asked of `exports`.
    pub fn new(exports: Exports) -> Self {
        Self(exports)
    }

    async fn export(&self, job: &Job) -> Result<(), HandlerError> {
        let args: Args = job.args().map_err(HandlerError::discard)?;
        let found = self.0.unfinished(args.export_id).await.map_err(HandlerError::retry)?;
        let Some(record) = found else { return Ok(()) };
        let written = match self.0.report(&record.report) {
            Some(report) => self.write(job, report, &record).await,
            None => Err(HandlerError::discard(Refused::Report(record.report.clone()))),
        };
        match written {
            Ok(file) => {
                self.0.finish(record.id, Ok(&file)).await.map_err(HandlerError::retry)?;
                let size_bytes = file.size_bytes;
                let digest = file.digest.as_str();
                job.set_result(&Written { export_id: record.id, digest, rows: file.rows, size_bytes })?;
                metrics::counter!("quintet_exports_written_total").increment(1);
                Ok(())
            }
            Err(error) => {
                let last = job.attempt() >= job.max_attempts() || job.cancellation().is_cancelled();
                if last || matches!(error, HandlerError::Discard(_)) {
                    let why = error.describe();
                    self.0.finish(record.id, Err(&why)).await.map_err(HandlerError::retry)?;
                }
                Err(error)
            }
        }
    }

    async fn write(&self, job: &Job, report: &Report, record: &Record) -> Result<File, HandlerError> {
        let mut writer = self.0.blobs.writer(MAX_FILE).await.map_err(HandlerError::retry)?;
        let mut text = Vec::new();
        record.format.head(report.columns, &mut text);
        let mut after = String::new();
        let mut rows: i64 = 0;
        loop {
            if job.cancellation().is_cancelled() {
                return Err(HandlerError::discard(Refused::Cancelled));
            }
            let page = report
                .page(&self.0.store, record.selection, &after, PAGE)
                .await
                .map_err(HandlerError::retry)?;
            for cells in &page {
                record.format.row(report.columns, cells, &mut text);
            }
            put(&mut writer, &mut text).await?;
            let read = i64::try_from(page.len()).unwrap_or(i64::MAX);
            rows = rows.saturating_add(read);
            job.set_progress(Progress::new(rows.unsigned_abs(), None));
            match page.last().and_then(|cells| cells.first()) {
                Some(Cell::Text(id)) if read == PAGE => after.clone_from(id),
                _ => break,
            }
        }
        let size_bytes = i64::try_from(writer.size_bytes()).unwrap_or(i64::MAX);
        let digest = writer.finish().await.map_err(HandlerError::retry)?;
        Ok(File { digest, rows, size_bytes })
    }
}

async fn put(writer: &mut BlobWriter, text: &mut Vec<u8>) -> Result<(), HandlerError> {
    let written = writer.write(text).await;
    text.clear();
    written.map_err(|error| match error {
        BlobError::TooLarge { .. } => HandlerError::discard(Refused::TooLarge),
        error => HandlerError::retry(error),
    })
}

#[async_trait]
impl Handler for ReportExport {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn timeout(&self) -> std::time::Duration {
        std::time::Duration::from_hours(1)
    }

    async fn run(&self, job: &Job) -> Result<(), HandlerError> {
        self.export(job).await
    }
}
