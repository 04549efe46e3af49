//! The SQL of `exports_exports`; no rule of the business is here.

use quintet_module::report::Selection;
use quintet_store::{Error, Row, Store, Tx, args};
use quintet_types::time::from_micros;
use quintet_types::{OrganizationId, Timestamp};
use thiserror::Error;

use super::{ExportId, File, Record, State};
use crate::format::Format;

const COLUMNS: &str =
    "id, organization_id, report, format, from_at, until_at, requested_by, created_at, state,
    failure, digest, row_count, size_bytes, finished_at";

#[derive(Debug, Error)]
#[error("this release does not know it; is a newer one running too?")]
struct Unknown;

fn known<T>(column: &'static str, found: Option<T>) -> Result<T, Error> {
    found.ok_or_else(|| Error::Decode { column, source: Box::new(Unknown) })
}

fn record(row: &Row) -> Result<Record, Error> {
    let digest: Option<String> = row.get("digest")?;
    let file = match digest {
        None => None,
        Some(_) => Some(File {
            digest: row.parse("digest")?,
            rows: row.get("row_count")?,
            size_bytes: row.get("size_bytes")?,
        }),
    };
    Ok(Record {
        id: row.parse("id")?,
        report: row.get("report")?,
        format: known("format", Format::from_name(&row.get::<String>("format")?))?,
        selection: Selection {
            organization: row.parse("organization_id")?,
            from: row.timestamp("from_at")?,
            until: row.timestamp("until_at")?,
        },
        requested_by: row.get("requested_by")?,
        created_at: row.timestamp("created_at")?,
        state: known("state", State::from_name(&row.get::<String>("state")?))?,
        failure: row.get("failure")?,
        file,
        finished_at: row.get::<Option<i64>>("finished_at")?.map(from_micros),
    })
}

pub(super) async fn find(store: &Store, id: ExportId) -> Result<Option<Record>, Error> {
    let sql = quintet_store::Sql::dynamic(format!("SELECT {COLUMNS} FROM exports_exports WHERE id = $1"));
    store.fetch_optional(sql, args![id.to_string()]).await?.as_ref().map(record).transpose()
}

pub(super) async fn list(
    store: &Store,
    organization: OrganizationId,
    below: String,
    limit: i64,
) -> Result<Vec<Record>, Error> {
    let sql = quintet_store::Sql::dynamic(format!(
        "SELECT {COLUMNS} FROM exports_exports
         WHERE organization_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3"
    ));
    let rows = store.fetch_all(sql, args![organization, below, limit]).await?;
    rows.iter().map(record).collect()
}

pub(super) async fn insert(tx: &mut Tx, record: &Record) -> Result<(), Error> {
    let Selection { organization, from, until } = record.selection;
    tx.execute(
        "INSERT INTO exports_exports
            (id, organization_id, report, format, from_at, until_at, requested_by, created_at, state)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        args![
            record.id.to_string(),
            organization,
            &record.report,
            record.format.as_str(),
            from,
            until,
            &record.requested_by,
            record.created_at,
            record.state.as_str()
        ],
    )
    .await?;
    Ok(())
}

/// Of two runs of its job the first to end is recorded.
pub(super) async fn finish(
    tx: &mut Tx,
    id: ExportId,
    ended: Result<&File, &str>,
    now: Timestamp,
) -> Result<(), Error> {
    let (state, failure, file) = match ended {
        Ok(file) => (State::Ready, None, Some(file)),
        Err(failure) => (State::Failed, Some(failure.to_owned()), None),
    };
    tx.execute(
        "UPDATE exports_exports
         SET state = $2, failure = $3, digest = $4, row_count = $5, size_bytes = $6, finished_at = $7
         WHERE id = $1 AND state <> 'ready'",
        args![
            id.to_string(),
            state.as_str(),
            failure,
            file.map(|file| file.digest.to_string()),
            file.map(|file| file.rows),
            file.map(|file| file.size_bytes),
            now
        ],
    )
    .await?;
    Ok(())
}
