//! Finding jobs: by kind, queue, state, error text and time, newest first, page by page.
//!
//! Jobs are in three places (waiting, claimed, ended), each read downwards by id, which is the order of enqueuing. No
//! place is indexed by what a filter asks for: an index would cost every job more than a search is worth. Instead a
//! page looks at a bounded window of rows, and answers with a cursor when there may be more below it; so a page may
//! have few rows, or none, and still a next page.

use std::fmt::Write as _;

use quintet_store::{Dialect, Row, Snapshot, Sql, Store, Value, args};
use quintet_types::time::micros;
use quintet_types::{JobId, Timestamp};

use crate::admin::{self, JobView, State};
use crate::error::Error;

/// Jobs of one place looked at for one page.
const WINDOW: i64 = 20_000;
/// Rows of one page.
const MOST_ROWS: u32 = 500;
/// Ids in one filter.
pub const MOST_IDS: usize = 500;

/// Which jobs are meant; what is not set is not asked for.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Where they are in their life.
    pub state: Option<State>,
    /// Their kind, whole.
    pub kind: Option<String>,
    /// Their queue, whole.
    pub queue: Option<String>,
    /// A part of the last error, in any case of letters.
    pub error: Option<String>,
    /// Enqueued at or after this.
    pub enqueued_from: Option<Timestamp>,
    /// Enqueued before this.
    pub enqueued_before: Option<Timestamp>,
    /// One of these, if any are named; at most [`MOST_IDS`] are looked at.
    pub ids: Vec<JobId>,
    /// In this batch or workflow.
    pub member_of: Option<String>,
}

/// Jobs found, newest first, without their arguments.
#[derive(Debug, Clone)]
pub struct Page {
    /// The jobs.
    pub jobs: Vec<JobView>,
    /// Where the next page begins, if there may be one.
    pub next: Option<JobId>,
}

/// The conditions of a filter on any of the tables; the same for both dialects. Argument 6 is the caller's.
const CONDITIONS: &str = "
    (CAST($1 AS TEXT) IS NULL OR kind = $1) AND (CAST($2 AS TEXT) IS NULL OR queue = $2)
    AND (CAST($3 AS TEXT) IS NULL OR lower(last_error) LIKE lower($3) ESCAPE '!')
    AND (CAST($4 AS BIGINT) IS NULL OR enqueued_at >= $4) AND (CAST($5 AS BIGINT) IS NULL OR enqueued_at < $5)";

impl Filter {
    /// The filter as conditions and their arguments, of which the sixth is `own`. Ids are a condition only where there
    /// are some: then the database reads those rows and no others.
    pub(crate) fn conditions(&self, dialect: Dialect, own: Value) -> (String, Vec<Value>) {
        let mut arguments = args![
            self.kind.clone(),
            self.queue.clone(),
            self.error.as_deref().map(pattern),
            self.enqueued_from,
            self.enqueued_before,
        ];
        arguments.push(own);
        let mut conditions = CONDITIONS.to_owned();
        if !self.ids.is_empty() {
            let ids: Vec<String> = self.ids.iter().take(MOST_IDS).map(ToString::to_string).collect();
            arguments.push(Value::from(ids));
            conditions.push_str(match dialect {
                Dialect::Sqlite => " AND id IN (SELECT value FROM json_each($7))",
                Dialect::Postgres => " AND id = ANY($7)",
            });
        }
        if let Some(group) = &self.member_of {
            arguments.push(Value::from(group));
            // Writing into a string does not fail.
            let _ = write!(conditions, " AND member_of = ${}", arguments.len());
        }
        (conditions, arguments)
    }

    fn wants(&self, state: State) -> bool {
        self.state.is_none_or(|wanted| wanted == state)
    }

    /// The same conditions for a job that is in a lease.
    fn admits(&self, view: &JobView) -> bool {
        let error = self.error.as_deref().map(str::to_lowercase);
        self.kind.as_ref().is_none_or(|kind| *kind == view.kind)
            && self.queue.as_ref().is_none_or(|queue| *queue == view.queue)
            && error.is_none_or(|part| {
                view.last_error.as_ref().is_some_and(|error| error.to_lowercase().contains(&part))
            })
            && self.enqueued_from.is_none_or(|from| micros(view.enqueued_at) >= micros(from))
            && self.enqueued_before.is_none_or(|before| micros(view.enqueued_at) < micros(before))
            && self.member_of.as_ref().is_none_or(|group| view.member_of.as_ref() == Some(group))
            && (self.ids.is_empty() || self.ids.iter().take(MOST_IDS).any(|id| *id == view.id))
    }
}

/// A text as a LIKE pattern that finds it anywhere.
fn pattern(part: &str) -> String {
    let mut pattern = String::from("%");
    for character in part.chars() {
        if matches!(character, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

/// What one place gave: rows down to `floor`, below which it has not been looked at.
struct Found {
    jobs: Vec<JobView>,
    floor: Option<JobId>,
}

/// The jobs that `filter` means, newest first, from below `cursor` on; at most `limit` (up to 500).
pub async fn search(
    store: &Store,
    filter: &Filter,
    cursor: Option<JobId>,
    limit: u32,
) -> Result<Page, Error> {
    let limit = limit.clamp(1, MOST_ROWS);
    // One view of all places: a job that moves meanwhile is neither missed nor seen twice.
    let mut snapshot = store.read().await?;
    let dialect = store.dialect();
    let mut places = Vec::new();
    for (state, table, view) in WAITING {
        if filter.wants(state) {
            let place = Place { dialect, table, part: "TRUE" };
            places.push(scan(&mut snapshot, place, filter, cursor, limit, view).await?);
        }
    }
    if filter.wants(State::Running) {
        let mut jobs = admin::all_running(&mut snapshot).await?;
        jobs.retain(|view| filter.admits(view) && cursor.is_none_or(|cursor| view.id < cursor));
        places.push(Found { jobs, floor: None });
    }
    if let Some(part) = part_of_history(filter.state) {
        places.push(
            scan(
                &mut snapshot,
                Place { dialect, table: "jobs_history", part },
                filter,
                cursor,
                limit,
                admin::past,
            )
            .await?,
        );
    }
    Ok(merge(places, limit))
}

/// The dead letters; the first condition is that of the index they have with the cancelled jobs.
pub(crate) const DISCARDED: &str = "state <> 'completed' AND state = 'discarded'";
/// The cancelled jobs.
pub(crate) const CANCELLED: &str = "state <> 'completed' AND state = 'cancelled'";

/// The part of the history to read.
fn part_of_history(state: Option<State>) -> Option<&'static str> {
    match state {
        None => Some("TRUE"),
        Some(State::Completed) => Some("state = 'completed'"),
        Some(State::Discarded) => Some(DISCARDED),
        Some(State::Cancelled) => Some(CANCELLED),
        Some(State::Blocked | State::Ready | State::Running) => None,
    }
}

type View = fn(&Row) -> Result<JobView, Error>;

/// The tables of jobs that wait.
const WAITING: [(State, &str, View); 2] =
    [(State::Ready, "jobs_ready", admin::waiting), (State::Blocked, "jobs_blocked", admin::blocked)];

/// A table of jobs, and the part of it to read.
#[derive(Clone, Copy)]
struct Place {
    dialect: Dialect,
    table: &'static str,
    part: &'static str,
}

async fn scan(
    snapshot: &mut Snapshot,
    place: Place,
    filter: &Filter,
    cursor: Option<JobId>,
    limit: u32,
    view: View,
) -> Result<Found, Error> {
    let Place { table, part, .. } = place;
    // Above every id.
    let below = cursor.map_or_else(|| "job_~".to_owned(), |cursor| cursor.to_string());
    let window = format!("FROM {table} WHERE id < $1 AND {part} ORDER BY id DESC LIMIT {WINDOW}");
    let reach = format!("SELECT min(id) AS lowest, count(*) AS seen FROM (SELECT id {window}) AS scanned");
    let reach = snapshot.fetch_all(Sql::dynamic(reach), args![&below]).await?;
    let mut floor = None;
    if let Some(row) = reach.first()
        && row.get::<i64>("seen")? >= WINDOW
    {
        floor = Some(row.parse("lowest")?);
    }
    let window = window.replace("$1", "$6");
    let (conditions, arguments) = filter.conditions(place.dialect, Value::from(below));
    let rows = format!(
        "SELECT * FROM (SELECT * {window}) AS scanned WHERE {conditions} ORDER BY id DESC LIMIT {limit}"
    );
    let rows = snapshot.fetch_all(Sql::dynamic(rows), arguments).await?;
    let jobs = rows.iter().map(view).collect::<Result<Vec<_>, _>>()?;
    if jobs.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
        floor = jobs.last().map(|view| view.id);
    }
    Ok(Found { jobs, floor })
}

fn merge(places: Vec<Found>, limit: u32) -> Page {
    let floor = places.iter().filter_map(|place| place.floor).max();
    let mut jobs: Vec<JobView> = places.into_iter().flat_map(|place| place.jobs).collect();
    jobs.retain(|view| floor.is_none_or(|floor| view.id >= floor));
    jobs.sort_by_key(|view| std::cmp::Reverse(view.id));
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let cut = jobs.len() > limit;
    jobs.truncate(limit);
    for view in &mut jobs {
        view.args = None;
    }
    let next = if cut { jobs.last().map(|view| view.id) } else { floor };
    Page { jobs, next }
}
