//! Jobs whose arguments, results and checkpoints nobody reads in the database.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use quintet_jobs::{
    After, Conflict, Error, Handler, HandlerError, Job, Missed, NewBatch, NewJob, NewWorkflow, Policies,
    RemoteOutcome, RemoteWorker, Schedule, Seals, State, Unique, Wanted, Worker, acknowledge, attach_seals,
    cancel, claim, enqueue, enqueue_many, enqueue_workflow, failures, fire_due, lookup, open_batch, redrive,
    register, seal_batch,
};
use quintet_store::{Store, args};
use quintet_testkit::{FakeClock, databases};
use quintet_types::SharedClock;
use serde_json::{Value, json};

use super::put;

const PLAIN: &str = "a@customer.example";

fn seals(kinds: &[&str], keys: &[u8]) -> Seals {
    let keys: Vec<String> = keys.iter().map(|byte| format!("{byte:02x}").repeat(32)).collect();
    let kinds = kinds.iter().map(|kind| (*kind).to_owned());
    Seals::new(kinds, keys.iter().map(String::as_str), &"07".repeat(32)).unwrap()
}

async fn sealed(store: &Store, keys: &[u8]) -> Store {
    attach_seals(store.clone(), Some(seals(&["secret"], keys)), &[]).await.unwrap()
}

/// Every text of every table of the queue.
async fn everything(store: &Store) -> String {
    let mut texts = String::new();
    for (table, column) in [
        ("jobs_ready", "args"),
        ("jobs_blocked", "args"),
        ("jobs_lease", "jobs"),
        ("jobs_history", "args"),
        ("jobs_history", "coalesce(last_error, '')"),
        ("jobs_notes", "coalesce(result, '') || coalesce(checkpoint, '')"),
        ("jobs_batches", "callbacks"),
        ("jobs_schedules", "definition"),
        ("jobs_unique", "unique_key"),
        ("jobs_failures", "error"),
    ] {
        let sql = format!("SELECT {column} AS text FROM {table}");
        for row in store.fetch_all(quintet_store::Sql::dynamic(sql), args![]).await.unwrap() {
            texts.push_str(&row.get::<String>("text").unwrap());
            texts.push('\n');
        }
    }
    texts
}

/// Keeps what it is given, and does what it says.
#[derive(Clone)]
struct Reader {
    store: Store,
    read: Arc<Mutex<Vec<Value>>>,
}

#[async_trait]
impl Handler for Reader {
    fn kind(&self) -> &'static str {
        "secret"
    }

    async fn run(&self, job: &Job) -> Result<(), HandlerError> {
        let args: Value = job.args()?;
        let checkpoint: Option<String> = job.checkpoint(&self.store).await?;
        let results = job.dependencies(&self.store).await?.into_iter().filter_map(|job| job.result);
        let said = json!({ "args": args, "checkpoint": checkpoint, "results": results.collect::<Vec<_>>() });
        self.read.lock().unwrap().push(said);
        job.set_result(&args)?;
        let mode = args.get("mode").and_then(Value::as_str);
        if mode == Some("twice") && checkpoint.is_none() {
            job.save_checkpoint(&self.store, &PLAIN).await?;
            return Err(HandlerError::RetryAfter("again".into(), Duration::ZERO));
        }
        if mode == Some("in its transaction") {
            let mut tx = self.store.begin().await?;
            job.complete_in(&mut tx).await?;
            tx.commit().await?;
        }
        Ok(())
    }
}

fn worker(store: &Store, clock: &SharedClock) -> (Worker, Reader) {
    let reader = Reader { store: store.clone(), read: Arc::default() };
    let handlers: Vec<Arc<dyn Handler>> = vec![Arc::new(reader.clone())];
    (Worker::new(store.clone(), clock.clone(), super::Settings::default(), handlers), reader)
}

fn secret(mode: &str) -> NewJob {
    NewJob::new("secret", &json!({ "to": PLAIN, "mode": mode }))
}

#[tokio::test]
async fn a_handler_reads_what_the_database_does_not_show() {
    for database in databases().await {
        database.store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let clock = FakeClock::default().shared();
        let store = sealed(&database.store, &[1]).await;
        let id = put(&store, &clock, secret("twice")).await;
        let mut tx = store.begin().await.unwrap();
        let many = vec![secret("once"), secret("in its transaction")];
        enqueue_many(&mut tx, clock.as_ref(), many).await.unwrap();
        let flow = NewWorkflow::new("flow").job("first", secret("first"), &[]).job(
            "then",
            secret("then"),
            &[After::success("first")],
        );
        enqueue_workflow(&mut tx, clock.as_ref(), flow).await.unwrap();
        let batch = NewBatch::new(clock.as_ref(), "batch").on_success(secret("callback"));
        let batch = open_batch(&mut tx, clock.as_ref(), batch).await.unwrap();
        enqueue(&mut tx, clock.as_ref(), secret("member").batch(batch)).await.unwrap();
        seal_batch(&mut tx, clock.as_ref(), batch).await.unwrap();
        tx.commit().await.unwrap();
        assert!(!everything(&store).await.contains("customer"), "{}", database.name);

        let (worker, reader) = worker(&store, &clock);
        assert_eq!(worker.run_until_idle().await.unwrap(), 8, "{}", database.name);
        let read = reader.read.lock().unwrap().clone();
        assert!(read.iter().all(|said| said["args"]["to"] == PLAIN), "{read:?}");
        let of = |mode: &str| read.iter().filter(|said| said["args"]["mode"] == mode).collect::<Vec<_>>();
        assert_eq!(of("twice")[1]["checkpoint"], PLAIN);
        assert_eq!(of("then")[0]["results"][0]["to"], PLAIN);
        assert_eq!(of("callback").len(), 1);
        let stored = everything(&store).await;
        assert!(!stored.contains("customer"), "{}: {stored}", database.name);
        let view = lookup(&store, id).await.unwrap().unwrap();
        assert_eq!((view.args, view.notes.result), (Some(json!("encrypted")), Some(json!("encrypted"))));
        assert_eq!(view.notes.checkpoint, Some(json!("encrypted")), "{}", database.name);
    }
}

#[tokio::test]
async fn an_error_of_sealed_arguments_does_not_quote_them() {
    for database in databases().await {
        database.store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let clock = FakeClock::default().shared();
        let store = sealed(&database.store, &[1]).await;
        let id = put(&store, &clock, NewJob::new("secret", &PLAIN)).await;
        let kinds = ["secret".to_owned()];
        let wanted = Wanted { queue: "default", kinds: &kinds, limit: 1, hold: Duration::from_secs(9) };
        let remote = RemoteWorker::new("w");
        let claimed =
            claim(&store, clock.as_ref(), &Policies::default(), &remote, wanted).await.unwrap().unwrap();
        assert_eq!(claimed.jobs[0].args::<String>().unwrap(), PLAIN);
        let error = claimed.jobs[0].args::<u32>().unwrap_err().to_string();
        assert!(error.contains("line 1 column") && !error.contains("customer"), "{error}");
        assert!(!format!("{:?}", claimed.jobs[0]).contains("customer"));
        let ended = [(id, RemoteOutcome::CompletedWith(json!(PLAIN)))];
        acknowledge(&store, clock.as_ref(), &Policies::default(), &remote, &claimed.lease, &ended)
            .await
            .unwrap();
        let view = lookup(&store, id).await.unwrap().unwrap();
        assert_eq!((view.state, view.notes.result), (State::Completed, Some(json!("encrypted"))));
        assert!(!everything(&store).await.contains("customer"), "{}", database.name);
    }
}

#[tokio::test]
async fn a_job_whose_key_is_missing_waits_for_it_and_loses_no_attempt() {
    for database in databases().await {
        database.store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let fake = FakeClock::default();
        let clock = fake.shared();
        let old = seals(&["secret"], &[1]);
        let key = old.key_ids().next().unwrap().to_owned();
        let id = put(&sealed(&database.store, &[1]).await, &clock, secret("x").max_attempts(1)).await;

        let changed = sealed(&database.store, &[2]).await;
        let (without, reader) = worker(&changed, &clock);
        assert_eq!(without.run_until_idle().await.unwrap(), 1, "{}", database.name);
        let view = lookup(&changed, id).await.unwrap().unwrap();
        assert_eq!((view.state, view.attempt), (State::Ready, 0), "{}", database.name);
        let error = view.last_error.unwrap();
        assert!(error.contains(&key) && error.contains("sealing.key_files"), "{error}");
        assert!(reader.read.lock().unwrap().is_empty());

        // Nor does a worker elsewhere get it.
        fake.advance(Duration::from_mins(2));
        let kinds = ["secret".to_owned()];
        let wanted = Wanted { queue: "default", kinds: &kinds, limit: 1, hold: Duration::from_secs(9) };
        let remote = RemoteWorker::new("w");
        let claimed = claim(&changed, clock.as_ref(), &Policies::default(), &remote, wanted).await.unwrap();
        assert!(claimed.is_none(), "{}", database.name);

        fake.advance(Duration::from_mins(2));
        let both = sealed(&database.store, &[2, 1]).await;
        let (with, reader) = worker(&both, &clock);
        assert_eq!(with.run_until_idle().await.unwrap(), 1, "{}", database.name);
        assert_eq!(reader.read.lock().unwrap()[0]["args"]["to"], PLAIN);
        let view = lookup(&both, id).await.unwrap().unwrap();
        assert_eq!((view.state, view.attempt), (State::Completed, 1), "{}", database.name);
    }
}

#[tokio::test]
async fn a_box_that_is_moved_to_another_job_makes_it_a_dead_letter() {
    for database in databases().await {
        database.store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let clock = FakeClock::default().shared();
        let store = sealed(&database.store, &[1]).await;
        let (one, other) = (put(&store, &clock, secret("a")).await, put(&store, &clock, secret("b")).await);
        let mut tx = store.begin().await.unwrap();
        let sql = "UPDATE jobs_ready SET args = (SELECT args FROM jobs_ready WHERE id = $1) WHERE id = $2";
        tx.execute(sql, args![one, other]).await.unwrap();
        tx.commit().await.unwrap();
        let (worker, reader) = worker(&store, &clock);
        worker.run_until_idle().await.unwrap();
        assert_eq!(reader.read.lock().unwrap().len(), 1, "{}", database.name);
        let view = lookup(&store, other).await.unwrap().unwrap();
        assert_eq!(view.state, State::Discarded, "{}", database.name);
        assert!(view.last_error.unwrap().contains("another job's"));
        assert_eq!(failures(&store, other).await.unwrap().len(), 1, "{}", database.name);
        // A redrive leaves the box as it is.
        cancel(&store, clock.as_ref(), one).await.unwrap();
        assert!(redrive(&store, clock.as_ref(), other).await.unwrap());
    }
}

#[tokio::test]
async fn unique_jobs_are_the_same_through_a_change_of_keys_and_replaced_arguments_open() {
    for database in databases().await {
        database.store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let clock = FakeClock::default().shared();
        let (old, new) = (sealed(&database.store, &[1]).await, sealed(&database.store, &[2, 1]).await);
        let unique = || Unique::by_arg_keys(["to"]).on_conflict(Conflict::ReplaceArgs);
        let first = put(&old, &clock, secret("a").unique(unique())).await;
        let mut tx = new.begin().await.unwrap();
        let second = enqueue(&mut tx, clock.as_ref(), secret("b").unique(unique())).await.unwrap();
        tx.commit().await.unwrap();
        assert!((second.id, second.duplicate, second.replaced) == (first, true, true), "{}", database.name);
        // The keys of sealed arguments cannot be guessed.
        let stored = everything(&new).await;
        assert!(stored.contains("hmac-sha256:") && !stored.contains("\nsha256:"), "{stored}");
        assert!(!stored.contains("customer"), "{}: {stored}", database.name);
        let mut tx = new.begin().await.unwrap();
        let jobs = vec![secret("c").unique(unique()), secret("d").unique(unique())];
        enqueue_many(&mut tx, clock.as_ref(), jobs).await.unwrap();
        tx.commit().await.unwrap();
        let (worker, reader) = worker(&new, &clock);
        assert_eq!(worker.run_until_idle().await.unwrap(), 1, "{}", database.name);
        assert_eq!(reader.read.lock().unwrap()[0]["args"]["mode"], "d", "{}", database.name);
    }
}

#[tokio::test]
async fn a_schedule_of_a_sealed_kind_fires_and_its_row_does_not_show_the_arguments() {
    for database in databases().await {
        database.store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let fake = FakeClock::default();
        let clock = fake.shared();
        let store = sealed(&database.store, &[1]).await;
        let args = json!({ "to": PLAIN });
        let schedule = Schedule::new("s", "* * * * *", "UTC", "secret", args).unwrap().missed(Missed::Once);
        let schedules = [schedule];
        register(&store, clock.as_ref(), &schedules).await.unwrap();
        fake.advance(Duration::from_mins(2));
        let rotated = sealed(&database.store, &[2, 1]).await;
        assert_eq!(fire_due(&rotated, clock.as_ref(), &schedules).await.unwrap(), 1, "{}", database.name);
        assert!(!everything(&store).await.contains("customer"), "{}", database.name);
    }
}

#[tokio::test]
async fn a_program_that_would_write_a_sealed_kind_in_the_clear_is_refused() {
    for database in databases().await {
        database.store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let clock = FakeClock::default().shared();
        let plain = attach_seals(database.store.clone(), None, &[]).await.unwrap();
        // Enqueued before its kind was sealed: it runs all the same.
        put(&plain, &clock, secret("early")).await;
        let store = sealed(&database.store, &[1]).await;
        for others in [None, Some(seals(&["other"], &[1]))] {
            let refused = attach_seals(database.store.clone(), others, &[]).await.unwrap_err();
            assert!(matches!(&refused, Error::SealedElsewhere { kinds } if kinds == "secret"), "{refused}");
        }
        let (worker, reader) = worker(&store, &clock);
        assert_eq!(worker.run_until_idle().await.unwrap(), 1, "{}", database.name);
        assert_eq!(reader.read.lock().unwrap()[0]["args"]["to"], PLAIN);
        let no_longer = ["secret".to_owned()];
        attach_seals(store.clone(), Some(seals(&["other"], &[1])), &no_longer).await.unwrap();
        assert!(attach_seals(database.store.clone(), Some(seals(&["other"], &[1])), &[]).await.is_ok());
    }
}
