//! How many jobs a bulk action would change, before it is done.

use quintet_store::{Sql, Store, Value};
use serde::Serialize;
use utoipa::ToSchema;

use crate::admin::State;
use crate::bulk::MOST_CHANGED;
use crate::error::Error;
use crate::search::{self, Filter};

/// How many jobs there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Count {
    /// Jobs, counted up to [`MOST_CHANGED`].
    pub count: u64,
    /// Whether there are more.
    pub more: bool,
}

/// How many jobs in `state` `filter` means, whatever its own state; `None` for a state whose jobs no bulk action
/// changes. Reads what the action would read.
pub async fn count(store: &Store, filter: &Filter, state: State) -> Result<Option<Count>, Error> {
    let (table, part) = match state {
        State::Ready => ("jobs_ready", "TRUE"),
        State::Discarded => ("jobs_history", search::DISCARDED),
        State::Cancelled => ("jobs_history", search::CANCELLED),
        State::Blocked | State::Running | State::Completed => return Ok(None),
    };
    let most = i64::from(MOST_CHANGED);
    let (conditions, arguments) = filter.conditions(store.dialect(), Value::from(most + 1));
    let sql = format!(
        "SELECT count(*) AS found FROM (SELECT 1 FROM {table} WHERE {part} AND {conditions} LIMIT $6) AS counted"
    );
    let row = store.fetch_optional(Sql::dynamic(sql), arguments).await?;
    let found: i64 = row.map_or(Ok(0), |row| row.get("found"))?;
    Ok(Some(Count { count: found.min(most).unsigned_abs(), more: found > most }))
}
