//! How many jobs of a kind run at once, and how often one begins.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use quintet_jobs::{
    Claimed, Handler, HandlerError, Job, Limits, NewJob, Policies, Policy, QueueSettings, Rate,
    RemoteOutcome, RemoteWorker, Settings, Wanted, Worker, acknowledge, cancel, claim, enqueue_many, limits,
    redrive,
};
use quintet_store::{Settings as Database, Store, args};
use quintet_testkit::{FakeClock, TestDatabase, databases};
use quintet_types::{SharedClock, SystemClock};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{put, quick, until};

/// A queue with a limited kind, and workers elsewhere that claim from it.
struct Fixture {
    database: TestDatabase,
    fake: FakeClock,
    clock: SharedClock,
    policies: Arc<Policies>,
}

fn settings(limits: Limits) -> Settings {
    let policy = Policy { limits, ..Policy::default() };
    Settings { policies: HashMap::from([("limited".to_owned(), policy)]), ..quick("limited") }
}

async fn fixtures(limits: Limits) -> Vec<Fixture> {
    let mut fixtures = Vec::new();
    for database in databases().await {
        database.store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let fake = FakeClock::default();
        let clock = fake.shared();
        let worker = Worker::new(database.store.clone(), clock.clone(), settings(limits.clone()), Vec::new());
        fixtures.push(Fixture { database, fake, clock, policies: worker.policies() });
    }
    fixtures
}

impl Fixture {
    /// Enqueues a job for each key, in this order.
    async fn put(&self, keys: &[&str]) {
        let jobs = keys.iter().map(|key| NewJob::new("limited", key).partition_key(*key)).collect();
        let mut tx = self.database.store.begin().await.unwrap();
        enqueue_many(&mut tx, self.clock.as_ref(), jobs).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn claim_by(&self, client: &str, limit: usize) -> Option<Claimed> {
        let kinds = ["limited".to_owned(), "other".to_owned()];
        let hold = Duration::from_millis(10);
        let wanted = Wanted { queue: "default", kinds: &kinds, limit, hold };
        let (store, clock) = (&self.database.store, self.clock.as_ref());
        claim(store, clock, &self.policies, &RemoteWorker::new(client), wanted).await.unwrap()
    }

    /// The keys of the jobs that a claim gives.
    async fn claim(&self, limit: usize) -> Vec<String> {
        keys(self.claim_by("w", limit).await.as_ref())
    }

    async fn end(&self, client: &str, claimed: &Claimed) {
        let ended: Vec<_> = claimed.jobs.iter().map(|job| (job.id(), RemoteOutcome::Completed)).collect();
        let (store, clock) = (&self.database.store, self.clock.as_ref());
        let worker = RemoteWorker::new(client);
        let refused =
            acknowledge(store, clock, &self.policies, &worker, &claimed.lease, &ended).await.unwrap();
        assert!(refused.is_empty(), "{}", self.database.name);
    }
}

fn keys(claimed: Option<&Claimed>) -> Vec<String> {
    let jobs = claimed.map_or(&[][..], |claimed| &claimed.jobs);
    let mut keys: Vec<String> =
        jobs.iter().map(|job| job.partition_key().unwrap_or_default().to_owned()).collect();
    keys.sort_unstable();
    keys
}

#[tokio::test]
async fn no_more_jobs_of_a_kind_run_than_all_processes_or_one_may_have() {
    let limits = Limits { global: Some(3), local: Some(2), ..Limits::default() };
    for fixture in fixtures(limits).await {
        fixture.put(&[""; 6]).await;
        put(&fixture.database.store, &fixture.clock, NewJob::new("other", &())).await;
        let mut claimed = Vec::new();
        // The other kind's job comes first or last, as the lot says.
        for _ in 0..3 {
            claimed.extend(fixture.claim_by("one", 9).await);
        }
        let limited = claimed.iter().find(|claimed| claimed.jobs[0].kind() == "limited").unwrap();
        assert_eq!((limited.jobs.len(), claimed.len()), (2, 2), "{}", fixture.database.name);
        let second = fixture.claim_by("two", 9).await.unwrap();
        assert_eq!(second.jobs.len(), 1, "{}", fixture.database.name);
        assert!(fixture.claim_by("three", 9).await.is_none(), "{}", fixture.database.name);
        fixture.end("two", &second).await;
        assert!(fixture.claim_by("one", 9).await.is_none(), "{}", fixture.database.name);
        assert_eq!(fixture.claim_by("three", 9).await.unwrap().jobs.len(), 1);
    }
}

#[tokio::test]
async fn a_key_has_its_own_limit_and_jobs_without_a_key_have_none() {
    let by_key = Limits { per_key: Some(2), ..Limits::default() };
    for fixture in fixtures(by_key).await {
        fixture.put(&["a", "a", "a", "a", "b", "", "", ""]).await;
        let first = fixture.claim_by("one", 99).await.unwrap();
        assert_eq!(keys(Some(&first)), ["", "", "", "a", "a", "b"], "{}", fixture.database.name);
        assert!(fixture.claim(99).await.is_empty());
        let views = limits(&fixture.database.store, &fixture.policies).await.unwrap();
        let running: Vec<_> = views[0].keys.iter().map(|key| (&*key.key, key.running)).collect();
        assert_eq!((views[0].running, running), (6, vec![("a", 2), ("b", 1)]), "{}", fixture.database.name);
        fixture.end("one", &first).await;
        assert_eq!(fixture.claim(99).await, ["a", "a"], "{}", fixture.database.name);
    }
}

#[tokio::test]
async fn a_backlog_of_one_key_does_not_hold_up_another() {
    for fixture in fixtures(Limits { global: Some(4), ..Limits::default() }).await {
        fixture.put(&["a"; 500]).await;
        // Fewer runs count for more than a longer wait.
        let mut running: Vec<Claimed> = fixture.claim_by("w", 2).await.into_iter().collect();
        fixture.put(&["b", "b"]).await;
        for _ in 0..2 {
            fixture.fake.advance(Duration::from_millis(1));
            let next = fixture.claim_by("w", 1).await.unwrap();
            assert_eq!(keys(Some(&next)), ["b"], "{}", fixture.database.name);
            running.push(next);
        }
        assert!(fixture.claim(1).await.is_empty(), "{}", fixture.database.name);
        for claimed in running.drain(..) {
            fixture.end("w", &claimed).await;
        }
        for keys in [&["b", "b"][..], &["c"]] {
            fixture.put(keys).await;
            fixture.fake.advance(Duration::from_millis(1));
        }
        // While runs go on the key with the fewest is next, …
        let mut order = Vec::new();
        for _ in 0..4 {
            let claimed = fixture.claim_by("w", 1).await;
            order.extend(keys(claimed.as_ref()));
            running.extend(claimed);
        }
        assert_eq!(order, ["c", "a", "b", "a"], "{}", fixture.database.name);
        for claimed in &running {
            fixture.end("w", claimed).await;
        }
        // … and where each ends before the next begins, the one that waited longest for its turn.
        fixture.put(&["b", "c"]).await;
        order.clear();
        for _ in 0..5 {
            fixture.fake.advance(Duration::from_millis(1));
            let claimed = fixture.claim_by("w", 1).await.unwrap();
            order.extend(keys(Some(&claimed)));
            fixture.end("w", &claimed).await;
        }
        order.truncate(3);
        order.sort_unstable();
        assert_eq!(order, ["a", "b", "c"], "{}", fixture.database.name);
        // Several at once are shared out as well.
        fixture.put(&["d", "d", "d"]).await;
        assert_eq!(fixture.claim(4).await, ["a", "a", "d", "d"], "{}", fixture.database.name);
    }
}

#[tokio::test]
async fn runs_begin_as_often_as_the_rates_of_the_kind_and_of_the_key_say() {
    let minute = Duration::from_mins(1);
    let kind = Limits { rate: Some(Rate::new(6, minute).burst(2)), ..Limits::default() };
    let key = Limits { rate_per_key: Some(Rate::new(6, minute).burst(2)), ..Limits::default() };
    for (limits, at_once, after) in [(kind, 2, 1), (key, 4, 2)] {
        for fixture in fixtures(limits.clone()).await {
            let said = format!("{}: {limits:?}", fixture.database.name);
            fixture.put(&["a", "a", "a", "a", "a", "b", "b", "b", "b", "b"]).await;
            assert_eq!(fixture.claim(99).await.len(), at_once, "{said}");
            fixture.fake.advance(Duration::from_secs(9));
            assert!(fixture.claim(99).await.is_empty(), "{said}");
            fixture.fake.advance(Duration::from_secs(1));
            assert_eq!(fixture.claim(99).await.len(), after, "{said}");
            // A pause pays for the burst and for no more.
            fixture.fake.advance(Duration::from_hours(2));
            assert_eq!(fixture.claim(99).await.len(), at_once, "{said}");
        }
    }
}

#[tokio::test]
async fn a_job_keeps_its_key_through_a_failure_and_a_redrive() {
    for fixture in fixtures(Limits { per_key: Some(1), ..Limits::default() }).await {
        let (store, clock) = (&fixture.database.store, fixture.clock.as_ref());
        let id = put(store, &fixture.clock, NewJob::new("limited", &()).partition_key("a")).await;
        let claimed = fixture.claim_by("w", 1).await.unwrap();
        let failed = RemoteOutcome::Failed { error: "no".to_owned(), retry_after: Some(Duration::ZERO) };
        let worker = RemoteWorker::new("w");
        acknowledge(store, clock, &fixture.policies, &worker, &claimed.lease, &[(id, failed)]).await.unwrap();
        let view = quintet_jobs::lookup(store, id).await.unwrap().unwrap();
        assert_eq!(view.partition_key.as_deref(), Some("a"), "{}", fixture.database.name);
        cancel(store, clock, id).await.unwrap();
        assert!(redrive(store, clock, id).await.unwrap());
        assert_eq!(fixture.claim(9).await, ["a"], "{}", fixture.database.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_place_of_a_worker_that_stopped_comes_back_with_its_lease() {
    for fixture in fixtures(Limits { global: Some(1), ..Limits::default() }).await {
        fixture.put(&["", ""]).await;
        // It never says anything again.
        assert_eq!(fixture.claim(9).await.len(), 1, "{}", fixture.database.name);
        assert!(fixture.claim(9).await.is_empty(), "{}", fixture.database.name);
        let settings = Settings { lease: Duration::from_millis(300), ..settings(Limits::default()) };
        let rescuer =
            Worker::new(fixture.database.store.clone(), fixture.clock.clone(), settings, Vec::new());
        let stop = CancellationToken::new();
        let running = JoinSet::from_iter([Arc::new(rescuer).run(stop.clone())]);
        until("the lease is over", async || !fixture.claim(9).await.is_empty()).await;
        stop.cancel();
        for result in running.join_all().await {
            result.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_at_the_same_time_share_one_limit() {
    for fixture in fixtures(Limits { global: Some(3), ..Limits::default() }).await {
        // The kind has been claimed from before.
        fixture.put(&[""]).await;
        let first = fixture.claim_by("w", 1).await.unwrap();
        fixture.end("w", &first).await;
        // A queue each, so that the claims do not meet at the jobs.
        let queues = (0..8).flat_map(|turn| [turn, turn]);
        let jobs = queues.map(|turn| NewJob::new("limited", &()).queue(format!("q{turn}"))).collect();
        let mut tx = fixture.database.store.begin().await.unwrap();
        enqueue_many(&mut tx, fixture.clock.as_ref(), jobs).await.unwrap();
        tx.commit().await.unwrap();
        let start = Arc::new(Barrier::new(8));
        let mut claiming = JoinSet::new();
        for turn in 0..8 {
            // Its own connections, as another process has.
            let store = Store::connect(&Database::for_url(&fixture.database.url)).await.unwrap();
            let (clock, policies) = (fixture.clock.clone(), Arc::clone(&fixture.policies));
            let start = Arc::clone(&start);
            claiming.spawn(async move {
                let kinds = ["limited".to_owned()];
                let hold = Duration::from_mins(1);
                let queue = format!("q{turn}");
                let wanted = Wanted { queue: &queue, kinds: &kinds, limit: 2, hold };
                let worker = RemoteWorker::new(&queue);
                start.wait().await;
                let claimed = claim(&store, clock.as_ref(), &policies, &worker, wanted).await.unwrap();
                claimed.map_or(0, |claimed| claimed.jobs.len())
            });
        }
        let claimed: usize = claiming.join_all().await.into_iter().sum();
        assert_eq!(claimed, 3, "{}", fixture.database.name);
    }
}

/// Counts how many of its runs there are at once.
#[derive(Clone, Default)]
struct Crowd {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

#[async_trait]
impl Handler for Crowd {
    fn kind(&self) -> &'static str {
        "limited"
    }

    async fn run(&self, _: &Job) -> Result<(), HandlerError> {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_claim_at_once_never_exceed_the_limit_and_run_everything() {
    for database in databases().await {
        database.store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let (clock, crowd) = (SystemClock::shared(), Crowd::default());
        let mut tx = database.store.begin().await.unwrap();
        let jobs = (0..60).map(|turn| NewJob::new("limited", &turn).partition_key(["a", "b", "c"][turn % 3]));
        enqueue_many(&mut tx, clock.as_ref(), jobs.collect()).await.unwrap();
        tx.commit().await.unwrap();
        let stop = CancellationToken::new();
        let mut running = JoinSet::new();
        for _ in 0..3 {
            let store = Store::connect(&Database::for_url(&database.url)).await.unwrap();
            let queues = vec![QueueSettings::new("default", 8)];
            let settings = Settings { queues, ..settings(Limits { global: Some(2), ..Limits::default() }) };
            let handlers: Vec<Arc<dyn Handler>> = vec![Arc::new(crowd.clone())];
            running.spawn(Arc::new(Worker::new(store, clock.clone(), settings, handlers)).run(stop.clone()));
        }
        until("all jobs have ended", async || {
            let sql = "SELECT count(*) AS n FROM jobs_history WHERE state = 'completed'";
            database.store.fetch_one(sql, args![]).await.unwrap().get::<i64>("n").unwrap() == 60
        })
        .await;
        stop.cancel();
        for result in running.join_all().await {
            result.unwrap();
        }
        assert!(crowd.most.load(Ordering::SeqCst) <= 2, "{}", database.name);
    }
}
