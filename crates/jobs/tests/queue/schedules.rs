//! Schedules: fired once however many nodes look, missed runs, definitions that change.

use std::time::Duration;

use quintet_jobs::{Filter, JobView, Missed, Schedule, fire_due, register, run_now, schedules, search};
use quintet_store::{Settings as Database, Store};
use quintet_testkit::{FakeClock, databases};
use quintet_types::Clock as _;
use tokio::task::JoinSet;

fn hourly() -> Schedule {
    Schedule::new("report", "@hourly", "Europe/Berlin", "report.export", serde_json::json!({"of": "day"}))
        .unwrap()
        .queue("slow")
}

async fn enqueued(store: &Store) -> Vec<JobView> {
    search(store, &Filter::default(), None, 100).await.unwrap().jobs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_look_at_once_enqueue_one_job() {
    for database in databases().await {
        let store = &database.store;
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let fake = FakeClock::at("2026-03-01T12:59:59Z");
        register(store, &fake, &[hourly()]).await.unwrap();
        assert_eq!(fire_due(store, &fake, &[hourly()]).await.unwrap(), 0);
        for hour in 1..=3 {
            fake.advance(Duration::from_secs(1));
            let mut nodes = JoinSet::new();
            for _ in 0..4 {
                let elsewhere = Store::connect(&Database::for_url(&database.url)).await.unwrap();
                let clock = fake.clone();
                nodes.spawn(async move { fire_due(&elsewhere, &clock, &[hourly()]).await.unwrap() });
            }
            let fired: usize = nodes.join_all().await.into_iter().sum();
            assert_eq!(fired, 1, "{}, hour {hour}", database.name);
            assert_eq!(enqueued(store).await.len(), hour, "{}", database.name);
            fake.advance(Duration::from_secs(3599));
        }
        let job = &enqueued(store).await[0];
        assert_eq!((&*job.kind, &*job.queue), ("report.export", "slow"));
        let views = schedules(store, &fake, &[hourly()]).await.unwrap();
        assert_eq!(views[0].last_job, Some(job.id.to_string()));
        assert_eq!(views[0].next_runs[0].to_string(), "2026-03-01T16:00:00Z");
    }
}

#[tokio::test]
async fn runs_that_no_node_was_there_for_are_left_out_or_made_up_for_once() {
    for (missed, jobs) in [(Missed::Skip, 0), (Missed::Once, 1)] {
        for database in databases().await {
            let store = &database.store;
            store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
            let fake = FakeClock::default();
            let schedule = hourly().missed(missed);
            register(store, &fake, std::slice::from_ref(&schedule)).await.unwrap();
            fake.advance(Duration::from_mins(330));
            // A restart does not make it forget that it was due.
            register(store, &fake, std::slice::from_ref(&schedule)).await.unwrap();
            for _ in 0..2 {
                fire_due(store, &fake, std::slice::from_ref(&schedule)).await.unwrap();
            }
            assert_eq!(enqueued(store).await.len(), jobs, "{}, {missed:?}", database.name);
            // From here on it is as ever.
            fake.advance(Duration::from_secs(1801));
            assert_eq!(fire_due(store, &fake, std::slice::from_ref(&schedule)).await.unwrap(), 1);
        }
    }
}

#[tokio::test]
async fn a_node_with_an_older_definition_leaves_the_schedule_alone() {
    for database in databases().await {
        let store = &database.store;
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let fake = FakeClock::default();
        register(store, &fake, &[hourly()]).await.unwrap();
        let newer = [hourly().queue("default")];
        register(store, &fake, &newer).await.unwrap();
        fake.advance(Duration::from_hours(1));
        assert_eq!(fire_due(store, &fake, &[hourly()]).await.unwrap(), 0, "{}", database.name);
        assert_eq!(fire_due(store, &fake, &newer).await.unwrap(), 1, "{}", database.name);
        assert_eq!(enqueued(store).await[0].queue, "default");
    }
}

#[tokio::test]
async fn a_run_by_hand_leaves_the_regular_ones_as_they_are() {
    for database in databases().await {
        let store = &database.store;
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let fake = FakeClock::at("2026-03-01T12:30:00Z");
        register(store, &fake, &[hourly()]).await.unwrap();
        let id = run_now(store, &fake, &hourly()).await.unwrap();
        assert_eq!(enqueued(store).await[0].id, id, "{}", database.name);
        fake.advance(Duration::from_mins(30));
        assert_eq!(fire_due(store, &fake, &[hourly()]).await.unwrap(), 1);
        assert_eq!(enqueued(store).await[0].enqueued_at, fake.now());
    }
}

#[test]
fn a_schedule_that_cannot_be_is_refused() {
    for (cron, zone) in [("* * *", "UTC"), ("0 0 * * *", "Europe/Atlantis"), ("0 0 31 4 *", "UTC")] {
        assert!(Schedule::new("x", cron, zone, "kind", serde_json::Value::Null).is_err(), "{cron} {zone}");
    }
}
