//! How many jobs of a whole queue run at once, and how often one begins.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quintet_jobs::{
    Claimed, Handler, HandlerError, Job, Limits, NewJob, Policy, QueueLimits, QueueSettings, Rate,
    RemoteOutcome, RemoteWorker, Settings, Wanted, Worker, acknowledge, claim, enqueue_many, queue_limits,
};
use quintet_store::{Settings as Database, Store, args};
use quintet_testkit::{FakeClock, TestDatabase, databases};
use quintet_types::{SharedClock, SystemClock};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{quick, until};

fn settings(limits: QueueLimits) -> Settings {
    let one_at_once = Limits { global: Some(1), ..Limits::default() };
    let policy = Policy { limits: one_at_once, ..Policy::default() };
    Settings {
        queues: vec![QueueSettings { limits, ..QueueSettings::new("default", 8) }],
        policies: HashMap::from([("limited".to_owned(), policy)]),
        ..quick("queue")
    }
}

/// A limited queue with kinds that have limits of their own, or none, and workers elsewhere that claim from it.
struct Fixture {
    database: TestDatabase,
    fake: FakeClock,
    clock: SharedClock,
    worker: Worker,
}

async fn fixtures(limits: QueueLimits) -> Vec<Fixture> {
    let mut fixtures = Vec::new();
    for database in databases().await {
        database.store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let fake = FakeClock::default();
        let clock = fake.shared();
        let worker = Worker::new(database.store.clone(), clock.clone(), settings(limits.clone()), Vec::new());
        fixtures.push(Fixture { database, fake, clock, worker });
    }
    fixtures
}

impl Fixture {
    async fn put(&self, queue: &str, kind: &str, count: usize) {
        let jobs = (0..count).map(|turn| NewJob::new(kind, &turn).queue(queue)).collect();
        let mut tx = self.database.store.begin().await.unwrap();
        enqueue_many(&mut tx, self.clock.as_ref(), jobs).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn claim(&self, client: &str, queue: &str, limit: usize) -> Option<Claimed> {
        claim_from(&self.database.store, self, client, queue, limit).await
    }

    async fn end(&self, client: &str, claimed: &Claimed) {
        let ended: Vec<_> = claimed.jobs.iter().map(|job| (job.id(), RemoteOutcome::Completed)).collect();
        let (store, clock, policies) = (&self.database.store, self.clock.as_ref(), self.worker.policies());
        let worker = RemoteWorker::new(client);
        let refused = acknowledge(store, clock, &policies, &worker, &claimed.lease, &ended).await.unwrap();
        assert!(refused.is_empty(), "{}", self.database.name);
    }

    async fn running(&self) -> i64 {
        let views = queue_limits(&self.database.store, &self.worker.policies()).await.unwrap();
        let view = views.first().unwrap();
        assert_eq!((views.len(), &*view.queue), (1, "default"));
        view.running
    }
}

async fn claim_from(
    store: &Store,
    fixture: &Fixture,
    client: &str,
    queue: &str,
    limit: usize,
) -> Option<Claimed> {
    let kinds = ["limited", "one", "other"].map(str::to_owned);
    let wanted = Wanted { queue, kinds: &kinds, limit, hold: Duration::from_millis(10) };
    let (clock, policies) = (fixture.clock.as_ref(), fixture.worker.policies());
    claim(store, clock, &policies, &RemoteWorker::new(client), wanted).await.unwrap()
}

fn count(claimed: Option<&Claimed>) -> usize {
    claimed.map_or(0, |claimed| claimed.jobs.len())
}

#[tokio::test]
async fn no_more_jobs_of_a_queue_run_than_all_processes_may_have_whatever_their_kinds() {
    for fixture in fixtures(QueueLimits { global: Some(3), rate: None }).await {
        let name = fixture.database.name;
        for kind in ["limited", "one", "other"] {
            fixture.put("default", kind, 4).await;
        }
        fixture.put("free", "one", 9).await;
        // The limited kind has one place, and the lot says who is first.
        let mut claimed = vec![fixture.claim("one", "default", 2).await.unwrap()];
        while let Some(next) = fixture.claim("two", "default", 9).await {
            claimed.push(next);
        }
        assert_eq!(claimed.iter().map(|claimed| claimed.jobs.len()).sum::<usize>(), 3, "{name}");
        assert_eq!(fixture.running().await, 3, "{name}");
        assert_eq!(count(fixture.claim("one", "free", 9).await.as_ref()), 9, "{name}: another queue's jobs");
        let first = claimed.remove(0);
        fixture.end("one", &first).await;
        let mut again = 0;
        while let Some(next) = fixture.claim("three", "default", 9).await {
            again += next.jobs.len();
        }
        assert_eq!((again, fixture.running().await), (first.jobs.len(), 3), "{name}");
    }
}

#[tokio::test]
async fn runs_begin_as_often_as_the_rate_of_the_queue_says() {
    let rate = Some(Rate::new(6, Duration::from_mins(1)).burst(2));
    for fixture in fixtures(QueueLimits { global: None, rate }).await {
        for kind in ["one", "other"] {
            fixture.put("default", kind, 5).await;
        }
        let mut counts = Vec::new();
        for pause in [0, 9, 1, 7200, 0] {
            fixture.fake.advance(Duration::from_secs(pause));
            counts.push(count(fixture.claim("w", "default", 99).await.as_ref()));
        }
        assert_eq!(counts, [2, 0, 1, 2, 0], "{}", fixture.database.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_at_the_same_time_share_the_limit_of_the_queue() {
    for fixture in fixtures(QueueLimits { global: Some(3), rate: None }).await {
        for kind in ["one", "other", "limited"] {
            fixture.put("default", kind, 8).await;
        }
        let fixture = Arc::new(fixture);
        let start = Arc::new(Barrier::new(8));
        let mut claiming = JoinSet::new();
        for turn in 0..8 {
            // Its own connections, as another process has.
            let store = Store::connect(&Database::for_url(&fixture.database.url)).await.unwrap();
            let (fixture, start) = (Arc::clone(&fixture), Arc::clone(&start));
            claiming.spawn(async move {
                start.wait().await;
                let mut claimed = 0;
                for _ in 0..4 {
                    let some = claim_from(&store, &fixture, &format!("w{turn}"), "default", 1).await;
                    claimed += count(some.as_ref());
                }
                claimed
            });
        }
        let claimed: usize = claiming.join_all().await.into_iter().sum();
        assert_eq!((claimed, fixture.running().await), (3, 3), "{}", fixture.database.name);
    }
}

/// How many runs there are at once, and with the places of a dead worker's lease beside them.
#[derive(Clone)]
struct Crowd {
    store: Store,
    most: Arc<std::sync::atomic::AtomicI64>,
    kind: &'static str,
}

#[async_trait]
impl Handler for Crowd {
    fn kind(&self) -> &'static str {
        self.kind
    }

    async fn run(&self, _: &Job) -> Result<(), HandlerError> {
        let sql = "SELECT ended FROM jobs_lease WHERE queue = 'default'";
        let mut running = 0;
        for lease in self.store.fetch_all(sql, args![]).await? {
            running += lease.get::<String>("ended")?.bytes().filter(|mark| *mark == b'0').count();
        }
        let running = i64::try_from(running).unwrap_or(i64::MAX);
        self.most.fetch_max(running, std::sync::atomic::Ordering::SeqCst);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_never_exceed_the_limit_of_the_queue_also_after_a_third_was_killed() {
    for fixture in fixtures(QueueLimits { global: Some(3), rate: None }).await {
        let (database, clock) = (&fixture.database, SystemClock::shared());
        for kind in ["one", "other", "limited"] {
            fixture.put("default", kind, 20).await;
        }
        // It never says anything again.
        let mut dead = 0;
        while let Some(claimed) = fixture.claim("dead", "default", 2).await {
            dead += claimed.jobs.len();
        }
        assert_eq!(dead, 3, "{}", database.name);
        let most = Arc::default();
        let stop = CancellationToken::new();
        let mut running = JoinSet::new();
        for _ in 0..2 {
            let store = Store::connect(&Database::for_url(&database.url)).await.unwrap();
            let limits = QueueLimits { global: Some(3), rate: None };
            let settings = Settings { lease: Duration::from_millis(300), ..settings(limits) };
            let handler = |kind| Crowd { store: store.clone(), most: Arc::clone(&most), kind };
            let handlers: Vec<Arc<dyn Handler>> =
                ["one", "other", "limited"].map(|kind| Arc::new(handler(kind)) as _).into();
            let worker = Worker::new(store.clone(), clock.clone(), settings, handlers);
            running.spawn(Arc::new(worker).run(stop.clone()));
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
        assert_eq!(most.load(std::sync::atomic::Ordering::SeqCst), 3, "{}", database.name);
        assert_eq!(fixture.running().await, 0, "{}", database.name);
    }
}
