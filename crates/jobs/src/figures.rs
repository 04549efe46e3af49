//! The depth of the queues, for metrics: counted by one node every few seconds, shown by all.
//!
//! Counting reads every job that waits, so not each node does it. The last count is a row of `jobs_figures`; whoever
//! finds it too old takes it over by an update that names its age, counts, and writes the result there. Every node
//! shows what the row says, so the figures are the same wherever they are scraped and outlive any node. Queue names may
//! come from clients: beyond [`MOST_QUEUES`] the smaller ones are shown together.

use std::collections::BTreeMap;
use std::time::Duration;

use quintet_store::{Store, args};
use quintet_types::Clock;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::lease;

/// How old the count may become.
pub(crate) const FRESH: Duration = Duration::from_secs(5);
/// Queues with figures of their own.
const MOST_QUEUES: usize = 100;
/// What the others are shown as; no queue's name.
const OTHERS: &str = "(others)";

/// What a queue holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Depth {
    /// Jobs that are due.
    pub(crate) due: i64,
    /// Jobs that wait for their time.
    pub(crate) scheduled: i64,
    /// Jobs that wait for other jobs.
    #[serde(default)]
    pub(crate) blocked: i64,
    /// Jobs that run.
    pub(crate) running: i64,
    /// Dead letters.
    pub(crate) discarded: i64,
    /// When the oldest due job became due.
    pub(crate) oldest: Option<i64>,
}

impl Depth {
    fn jobs(&self) -> i64 {
        self.due + self.scheduled + self.blocked + self.running + self.discarded
    }

    fn add(&mut self, other: Self) {
        self.due += other.due;
        self.scheduled += other.scheduled;
        self.blocked += other.blocked;
        self.running += other.running;
        self.discarded += other.discarded;
        self.oldest = self.oldest.into_iter().chain(other.oldest).min();
    }
}

/// The depth of each queue.
pub(crate) type Figures = BTreeMap<String, Depth>;

/// The last count, made anew if it is too old and no other node is about to.
pub(crate) async fn read(store: &Store, clock: &dyn Clock) -> Result<Figures, Error> {
    let now = clock.now_micros();
    let fresh = i64::try_from(FRESH.as_micros()).unwrap_or(i64::MAX);
    let sql = "SELECT counted_at, figures FROM jobs_figures WHERE id = 1";
    let row = store.fetch_optional(sql, args![]).await?;
    let counted_at = row.as_ref().map(|row| row.get::<i64>("counted_at")).transpose()?;
    let stale = counted_at.is_none_or(|at| now.saturating_sub(at) >= fresh);
    if stale && take_over(store, counted_at, now).await? {
        let figures = count(store, now).await?;
        let mut tx = store.begin().await?;
        let sql = "UPDATE jobs_figures SET figures = $1 WHERE id = 1";
        tx.execute(sql, args![serde_json::to_string(&figures)?]).await?;
        tx.commit().await?;
        return Ok(figures);
    }
    row.map_or(Ok(Figures::new()), |row| Ok(serde_json::from_str(&row.get::<String>("figures")?)?))
}

/// Whether this node counts, and no other that saw the same age.
async fn take_over(store: &Store, counted_at: Option<i64>, now: i64) -> Result<bool, Error> {
    let sql = "INSERT INTO jobs_figures (id, counted_at, figures) VALUES (1, $1, '{}')
               ON CONFLICT (id) DO UPDATE SET counted_at = $1 WHERE jobs_figures.counted_at = $2
               RETURNING id";
    Ok(!store.write_one(sql, args![now, counted_at]).await?.is_empty())
}

const WAITING: &str = "
    SELECT queue, CAST(sum(CASE WHEN run_at <= $1 THEN 1 ELSE 0 END) AS BIGINT) AS due, count(*) AS waiting,
           min(run_at) AS oldest
    FROM jobs_ready GROUP BY queue";
/// As the partial index has it.
const DISCARDED: &str = "
    SELECT queue, count(*) AS discarded FROM jobs_history
    WHERE state <> 'completed' AND state = 'discarded' GROUP BY queue";

async fn count(store: &Store, now: i64) -> Result<Figures, Error> {
    let mut figures = Figures::new();
    // One view of all tables: a job that moves meanwhile is counted once.
    let mut snapshot = store.read().await?;
    for row in snapshot.fetch_all(WAITING, args![now]).await? {
        let depth = figures.entry(row.get("queue")?).or_default();
        depth.due = row.get("due")?;
        depth.scheduled = row.get::<i64>("waiting")? - depth.due;
        depth.oldest = if depth.due > 0 { Some(row.get("oldest")?) } else { None };
    }
    let blocked = "SELECT queue, count(*) AS blocked FROM jobs_blocked GROUP BY queue";
    for row in snapshot.fetch_all(blocked, args![]).await? {
        figures.entry(row.get("queue")?).or_default().blocked = row.get("blocked")?;
    }
    for row in snapshot.fetch_all("SELECT queue, ended FROM jobs_lease", args![]).await? {
        let running = row.get::<String>("ended")?.bytes().filter(|mark| *mark == lease::RUNNING).count();
        figures.entry(row.get("queue")?).or_default().running += i64::try_from(running).unwrap_or(i64::MAX);
    }
    for row in snapshot.fetch_all(DISCARDED, args![]).await? {
        figures.entry(row.get("queue")?).or_default().discarded = row.get("discarded")?;
    }
    Ok(bounded(figures))
}

/// The largest queues, and the others as one.
fn bounded(figures: Figures) -> Figures {
    if figures.len() <= MOST_QUEUES {
        return figures;
    }
    let mut queues: Vec<(String, Depth)> = figures.into_iter().collect();
    queues.sort_by_key(|(_, depth)| std::cmp::Reverse(depth.jobs()));
    let mut bounded = Figures::new();
    for (place, (name, depth)) in queues.into_iter().enumerate() {
        let name = if place < MOST_QUEUES { name } else { OTHERS.to_owned() };
        bounded.entry(name).or_default().add(depth);
    }
    bounded
}

#[cfg(test)]
mod tests {
    use quintet_testkit::{FakeClock, databases};

    use super::*;
    use crate::{After, NewJob, NewWorkflow, RemoteOutcome, RemoteWorker, Wanted};

    async fn put(store: &Store, clock: &FakeClock, job: NewJob) {
        let mut tx = store.begin().await.unwrap();
        crate::enqueue(&mut tx, clock, job).await.unwrap();
        tx.commit().await.unwrap();
    }

    #[tokio::test]
    async fn jobs_are_counted_by_queue_and_state_and_not_anew_while_the_count_is_fresh() {
        for database in databases().await {
            let store = &database.store;
            store.migrate(&[&crate::MODULE]).await.unwrap();
            let (clock, worker) = (FakeClock::default(), RemoteWorker::new("w"));
            let later = clock.now().checked_add(Duration::from_mins(1)).unwrap();
            for _ in 0..3 {
                put(store, &clock, NewJob::new("k", &())).await;
            }
            put(store, &clock, NewJob::new("k", &()).run_at(later)).await;
            put(store, &clock, NewJob::new("k", &()).queue("later").run_at(later)).await;
            let one = || NewJob::new("k", &()).queue("later").run_at(later);
            let flow = NewWorkflow::new("n").job("a", one(), &[]).job("b", one(), &[After::success("a")]);
            let mut tx = store.begin().await.unwrap();
            crate::enqueue_workflow(&mut tx, &clock, flow).await.unwrap();
            tx.commit().await.unwrap();
            let (policies, kinds) = (crate::Policies::default(), ["k".to_owned()]);
            let hold = Duration::from_mins(1);
            let wanted = Wanted { queue: "default", kinds: &kinds, limit: 2, hold };
            let claimed = crate::claim(store, &clock, &policies, &worker, wanted).await.unwrap().unwrap();
            let dead = [(claimed.jobs[0].id(), RemoteOutcome::Discarded("no".to_owned()))];
            crate::acknowledge(store, &clock, &policies, &worker, &claimed.lease, &dead).await.unwrap();
            clock.advance(Duration::from_secs(30));

            let first = read(store, &clock).await.unwrap();
            let due_since = Some(clock.now_micros() - 30_000_000);
            let default =
                Depth { due: 1, scheduled: 1, blocked: 0, running: 1, discarded: 1, oldest: due_since };
            let later = Depth { scheduled: 2, blocked: 1, ..Depth::default() };
            let expected = Figures::from([("default".to_owned(), default), ("later".to_owned(), later)]);
            assert_eq!(first, expected, "{}", database.name);

            put(store, &clock, NewJob::new("k", &())).await;
            assert_eq!(read(store, &clock).await.unwrap(), expected, "{}", database.name);
            clock.advance(FRESH);
            assert_eq!(read(store, &clock).await.unwrap()["default"].due, 2, "{}", database.name);
        }
    }

    #[tokio::test]
    async fn of_nodes_that_find_the_count_too_old_one_counts() {
        for database in databases().await {
            let store = &database.store;
            store.migrate(&[&crate::MODULE]).await.unwrap();
            assert!(take_over(store, None, 1).await.unwrap());
            assert!(!take_over(store, None, 1).await.unwrap(), "{}", database.name);
            assert!(take_over(store, Some(1), 2).await.unwrap());
            assert!(!take_over(store, Some(1), 3).await.unwrap(), "{}", database.name);
            let rows = store.fetch_one("SELECT counted_at AS n FROM jobs_figures", args![]).await.unwrap();
            assert_eq!(rows.get::<i64>("n").unwrap(), 2, "{}", database.name);
        }
    }

    #[test]
    fn names_that_clients_make_up_do_not_make_series_without_end() {
        let figures: Figures = (0..1_000i64)
            .map(|turn| (format!("q{turn}"), Depth { due: turn, oldest: Some(turn), ..Depth::default() }))
            .collect();
        let bounded = bounded(figures);
        assert_eq!(bounded.len(), MOST_QUEUES + 1);
        let others = bounded[OTHERS];
        assert_eq!((others.due, others.oldest), ((0..900).sum(), Some(0)));
        assert_eq!(bounded["q999"].due, 999);
    }
}
