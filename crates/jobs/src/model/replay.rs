//! The same steps on the model and on the real tables, on both databases: after each one they must hold the same, so that
//! what was explored is what runs.

use std::collections::{BTreeMap, HashMap};

use quintet_store::{Store, args};
use quintet_testkit::{FakeClock, databases};
use quintet_types::{Clock as _, JobId};

use super::{End, JOBS, MAX_ATTEMPTS, Mark, Place, Planted, Run, Said, State, Step};
use crate::claim::{self, Claimant};
use crate::job::{Job, Record};
use crate::lease::{self, Ended, Outcome};
use crate::{NewJob, Policies, bulk, cancel, enqueue};

const TRACES: u64 = 24;
const STEPS: usize = 24;

/// The part of a state that is in tables.
#[derive(Debug, PartialEq, Eq)]
struct Tables {
    ready: [Option<u8>; JOBS],
    leases: BTreeMap<u8, BTreeMap<usize, Place>>,
    history: [Option<End>; JOBS],
    requests: [bool; JOBS],
}

impl From<&State> for Tables {
    fn from(state: &State) -> Self {
        let leases = state.leases.iter().map(|(id, lease)| (*id, lease.places.clone())).collect();
        Self { ready: state.ready, leases, history: state.history, requests: state.requests }
    }
}

/// The jobs of one trace in a real database.
struct Real<'a> {
    store: &'a Store,
    clock: FakeClock,
    ids: Vec<JobId>,
    /// By their names in the model.
    leases: HashMap<u8, String>,
    jobs: HashMap<(u8, usize), Job>,
    settling: Vec<JobId>,
}

impl<'a> Real<'a> {
    async fn start(store: &'a Store) -> Self {
        let clock = FakeClock::default();
        let mut tx = store.begin().await.unwrap();
        for table in ["ready", "lease", "history", "cancel", "failures"] {
            let sql = quintet_store::Sql::dynamic(format!("DELETE FROM jobs_{table}"));
            tx.execute(sql, args![]).await.unwrap();
        }
        let mut ids = Vec::new();
        for _ in 0..JOBS {
            let job = NewJob::new("modelled", &()).max_attempts(u16::from(MAX_ATTEMPTS));
            ids.push(enqueue(&mut tx, &clock, job).await.unwrap().id);
        }
        tx.commit().await.unwrap();
        // Jobs that are due at the same time are claimed in the order of their ids.
        ids.sort_unstable();
        Self { store, clock, ids, leases: HashMap::new(), jobs: HashMap::new(), settling: Vec::new() }
    }

    async fn take(&mut self, step: Step, before: &State) {
        let (store, now) = (self.store, self.clock.now());
        match step {
            Step::Claim { worker, most, .. } => self.claim(before.next_lease, worker, most).await,
            Step::Complete { run, .. } => {
                let mut tx = store.begin().await.unwrap();
                if self.job(run).complete_in(&mut tx).await.is_ok() {
                    tx.commit().await.unwrap();
                }
            }
            Step::Checkpoint { run } => {
                let written = self.job(run).save_checkpoint(store, &"so far").await.is_ok();
                assert_eq!(written, before.runs_still(run), "{step:?} on {before:#?}");
            }
            Step::Acknowledge { run, said, .. } => {
                let ended = [Ended { job: self.job(run).clone(), outcome: self.outcome(run, said) }];
                let lost = lease::acknowledge(store, &ended, &|_| true, now).await.unwrap();
                assert_eq!(
                    lost.is_empty(),
                    before.accepts(run, Planted::default()),
                    "{step:?} on {before:#?}"
                );
            }
            Step::Rescue { lease } => self.rescue(&self.leases[&lease]).await,
            Step::Crash { .. } => {}
            Step::Cancel { job } => {
                cancel::cancel(store, &self.clock, self.ids[job]).await.unwrap();
            }
            Step::Request { job } => cancel::request(store, self.ids[job], now).await.unwrap(),
            Step::ReadRequests => self.settling = cancel::requests(store).await.unwrap(),
            Step::Settle => cancel::end_requested(store, &self.settling, now).await.unwrap(),
            Step::Redrive { job } => {
                assert!(bulk::redrive(store, &self.clock, self.ids[job]).await.unwrap());
            }
        }
    }

    async fn claim(&mut self, lease: u8, worker: usize, most: usize) {
        let worker = format!("worker-{worker}");
        let now = self.clock.now();
        let claimant = Claimant { store: self.store, worker: &worker, queue: "default", now };
        let kinds = ["modelled".to_owned()];
        for job in claim::claim(claimant, &Policies::default(), &kinds, most).await.unwrap() {
            self.leases.insert(lease, job.lease.to_string());
            let place = self.ids.iter().position(|id| *id == job.id()).unwrap();
            self.jobs.insert((lease, place), job);
        }
    }

    fn job(&self, run: Run) -> &Job {
        let job = &self.jobs[&(run.lease, run.job)];
        assert_eq!(job.attempt(), i64::from(run.attempt));
        job
    }

    fn outcome(&self, run: Run, said: Said) -> Outcome {
        let (at, error) = (self.clock.now(), "it failed".to_owned());
        match said {
            Said::Completed => Outcome::Completed,
            Said::Failed if run.attempt < MAX_ATTEMPTS => {
                Outcome::Again { at, error: Some(error), counts: true }
            }
            Said::Failed | Said::Discarded => Outcome::Discarded { error },
            Said::GivenBack => Outcome::Again { at, error: None, counts: false },
            Said::Cancelled => Outcome::Cancelled { error: None },
        }
    }

    /// By a rescuer that saw a beat too few, which does nothing, and by one that did not.
    async fn rescue(&self, lease: &str) {
        let (store, now, policies) = (self.store, self.clock.now(), Policies::default());
        let beat = async || {
            let beats = lease::beats(store).await.unwrap();
            beats.into_iter().find(|(id, ..)| id == lease).unwrap().1
        };
        let seen = beat().await;
        lease::keep_alive(store, vec![lease.to_owned()]).await.unwrap();
        assert_eq!(lease::rescue(store, &policies, lease, seen, now).await.unwrap(), 0);
        assert!(lease::rescue(store, &policies, lease, beat().await, now).await.unwrap() > 0);
    }

    async fn tables(&self) -> Tables {
        let place = |id: &JobId| self.ids.iter().position(|known| known == id).unwrap();
        let (mut ready, mut history, mut requests) = ([None; JOBS], [None; JOBS], [false; JOBS]);
        let mut leases = BTreeMap::new();
        let rows = async |sql: &'static str| self.store.fetch_all(sql, args![]).await.unwrap();
        for row in rows("SELECT id, attempt FROM jobs_ready").await {
            let attempts = u8::try_from(row.get::<i64>("attempt").unwrap()).unwrap();
            ready[place(&row.parse("id").unwrap())] = Some(attempts);
        }
        for row in rows("SELECT id, state FROM jobs_history").await {
            history[place(&row.parse("id").unwrap())] = Some(match &*row.get::<String>("state").unwrap() {
                "completed" => End::Completed,
                "discarded" => End::Discarded,
                _ => End::Cancelled,
            });
        }
        for row in rows("SELECT job_id FROM jobs_cancel").await {
            requests[place(&row.parse("job_id").unwrap())] = true;
        }
        for row in rows("SELECT id, jobs, ended FROM jobs_lease").await {
            let id: String = row.get("id").unwrap();
            let name = self.leases.iter().find(|(_, real)| **real == id).unwrap().0;
            let records: Vec<Record> = serde_json::from_str(&row.get::<String>("jobs").unwrap()).unwrap();
            let places = records.iter().zip(row.get::<String>("ended").unwrap().into_bytes());
            let places = places.map(|(record, mark)| {
                let mark = match mark {
                    b'0' => Mark::Running,
                    b'1' => Mark::Completed,
                    _ => Mark::Recorded,
                };
                (place(&record.id), Place { attempt: u8::try_from(record.attempt).unwrap(), mark })
            });
            leases.insert(*name, places.collect());
        }
        Tables { ready, leases, history, requests }
    }
}

/// Knuth's multiplier and increment; a trace is the same on every machine.
struct Lots(u64);

impl Lots {
    fn draw(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % below
    }
}

/// A next step; every second one, if there is any, of those that need no trouble.
fn choose(state: &State, lots: &mut Lots) -> Option<Step> {
    let mut steps = state.steps();
    if lots.draw(2) == 0 && steps.iter().any(|step| !state.is_trouble(*step, Planted::default())) {
        steps.retain(|step| !state.is_trouble(*step, Planted::default()));
    }
    (!steps.is_empty()).then(|| steps.swap_remove(lots.draw(steps.len())))
}

#[tokio::test]
async fn the_statements_do_what_the_model_says() {
    for database in databases().await {
        database.store.migrate(&[&crate::MODULE]).await.unwrap();
        for trace in 0..TRACES {
            let (mut state, mut lots) = (State::start(), Lots(trace));
            let mut real = Real::start(&database.store).await;
            let mut taken = Vec::new();
            while taken.len() < STEPS
                && let Some(step) = choose(&state, &mut lots)
            {
                real.take(step, &state).await;
                state.take(step, Planted::default());
                taken.push(step);
                let (tables, modelled) = (real.tables().await, Tables::from(&state));
                assert_eq!(tables, modelled, "{}, trace {trace}: {taken:#?}", database.name);
            }
        }
    }
}
