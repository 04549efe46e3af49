//! A handler that knows when its job can succeed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quintet_jobs::{Handler, HandlerError, Job, NewJob, Settings, State, Worker, enqueue, lookup};
use quintet_testkit::{FakeClock, databases};

struct Busy;

#[async_trait]
impl Handler for Busy {
    fn kind(&self) -> &'static str {
        "busy"
    }

    async fn run(&self, _: &Job) -> Result<(), HandlerError> {
        Err(HandlerError::retry_after("come back in an hour", Duration::from_hours(1)))
    }
}

#[tokio::test]
async fn a_retry_comes_when_the_handler_asked_for_it_and_uses_up_an_attempt() {
    for database in databases().await {
        database.store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let clock = FakeClock::default();
        let mut tx = database.store.begin().await.unwrap();
        let job = NewJob::new("busy", &()).max_attempts(2);
        let id = enqueue(&mut tx, &clock, job).await.unwrap().id;
        tx.commit().await.unwrap();
        let handlers: Vec<Arc<dyn Handler>> = vec![Arc::new(Busy)];
        let worker = Worker::new(database.store.clone(), clock.shared(), Settings::default(), handlers);
        assert_eq!(worker.run_until_idle().await.unwrap(), 1, "{}", database.name);
        clock.advance(Duration::from_secs(3599));
        assert_eq!(worker.run_until_idle().await.unwrap(), 0);
        clock.advance(Duration::from_secs(1));
        assert_eq!(worker.run_until_idle().await.unwrap(), 1);
        let view = lookup(&database.store, id).await.unwrap().unwrap();
        assert_eq!((view.state, view.attempt), (State::Discarded, 2));
        assert_eq!(view.last_error.as_deref(), Some("come back in an hour"));
    }
}
