//! What a kind's policy changes, whether its handler or the configuration states it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quintet_jobs::{
    Backoff, Handler, HandlerError, Job, NewJob, Policy, Settings, State, Worker, lookup, pause, queues,
    resume,
};
use quintet_testkit::{FakeClock, databases};

use super::{Ledger, put, worker};

/// Fails, with a policy of its own.
struct Failing(Ledger);

#[async_trait]
impl Handler for Failing {
    fn kind(&self) -> &'static str {
        "failing"
    }

    fn policy(&self) -> Policy {
        Policy {
            max_attempts: Some(3),
            backoff: Some(Backoff::Delays([10, 60].map(Duration::from_secs).to_vec())),
            ..Policy::default()
        }
    }

    async fn run(&self, job: &Job) -> Result<(), HandlerError> {
        self.0.0.lock().unwrap().push((job.id(), job.attempt()));
        match job.args::<Option<u64>>()? {
            Some(seconds) => Err(HandlerError::retry_after("busy", Duration::from_secs(seconds))),
            None => Err(HandlerError::retry("down")),
        }
    }
}

#[tokio::test]
async fn a_kind_is_tried_as_its_policy_says_and_the_configuration_has_the_last_word() {
    for database in databases().await {
        let store = &database.store;
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let configured = Policy { max_attempts: Some(2), ..Policy::default() };
        for (configured, runs) in [(None, 3), (Some(configured), 2)] {
            let (fake, ledger) = (FakeClock::default(), Ledger::default());
            let policies = HashMap::from_iter(configured.map(|policy| ("failing".to_owned(), policy)));
            let settings = Settings { policies, ..Settings::default() };
            let handler = Arc::new(Failing(ledger.clone()));
            let worker = Worker::new(store.clone(), fake.shared(), settings, vec![handler]);
            let id = put(store, &fake.shared(), NewJob::new("failing", &None::<u64>).max_attempts(9)).await;
            for delay in [10, 60] {
                worker.run_until_idle().await.unwrap();
                fake.advance(Duration::from_secs(delay - 1));
                assert_eq!(worker.run_until_idle().await.unwrap(), 0, "{}", database.name);
                fake.advance(Duration::from_secs(1));
            }
            worker.run_until_idle().await.unwrap();
            assert_eq!(ledger.runs().len(), runs, "{}", database.name);
            assert_eq!(lookup(store, id).await.unwrap().unwrap().state, State::Discarded);
        }
    }
}

#[tokio::test]
async fn a_handler_may_say_when_to_come_back() {
    for database in databases().await {
        let store = &database.store;
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let (fake, ledger) = (FakeClock::default(), Ledger::default());
        let handler = Arc::new(Failing(ledger.clone()));
        let worker = Worker::new(store.clone(), fake.shared(), Settings::default(), vec![handler]);
        let id = put(store, &fake.shared(), NewJob::new("failing", &Some(600u64))).await;
        worker.run_until_idle().await.unwrap();
        let view = lookup(store, id).await.unwrap().unwrap();
        let waits = view.run_at.unwrap().duration_since(view.enqueued_at);
        assert_eq!((waits.as_secs(), view.attempt), (600, 1), "{}", database.name);
    }
}

#[tokio::test]
async fn a_paused_queue_waits_on_every_node_until_it_is_resumed_and_others_go_on() {
    for database in databases().await {
        let store = &database.store;
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let (clock, ledger) = (FakeClock::default().shared(), Ledger::default());
        let settings = Settings {
            queues: ["default", "slow"].map(|name| quintet_jobs::QueueSettings::new(name, 1)).to_vec(),
            ..Settings::default()
        };
        let handler = Arc::new(super::Scripted(ledger.clone()));
        let both = Worker::new(store.clone(), clock.clone(), settings, vec![handler]);
        put(store, &clock, NewJob::new("scripted", &"ok")).await;
        put(store, &clock, NewJob::new("scripted", &"ok").queue("slow")).await;
        assert!(pause(store, clock.as_ref(), "default", "ada").await.unwrap());
        assert!(!pause(store, clock.as_ref(), "default", "bob").await.unwrap());
        assert_eq!(both.run_until_idle().await.unwrap(), 1, "{}", database.name);
        // A node that starts now finds it paused too.
        assert_eq!(worker(store, clock.clone(), &ledger).run_until_idle().await.unwrap(), 0);
        let views = queues(store, &[], clock.as_ref()).await.unwrap();
        let paused: Vec<_> = views.iter().map(|view| (&*view.name, view.paused_by.as_deref())).collect();
        assert_eq!(paused, [("default", Some("ada"))]);

        assert!(resume(store, "default").await.unwrap());
        assert!(!resume(store, "default").await.unwrap());
        assert_eq!(both.run_until_idle().await.unwrap(), 1, "{}", database.name);
    }
}
