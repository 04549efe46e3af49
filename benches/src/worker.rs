//! Our queue beside graphile-worker and pg-boss of npm and graphile_worker of crates.io, on the same work in one run.
//!
//! Every load runs in processes of its own on a database of its own, on one PostgreSQL server for all, with
//! `synchronous_commit` and `fsync` on (`cargo xtask bench worker` starts it; what else it sets stands in the
//! report). SQLite has `synchronous = FULL`. The jobs are there before a drain begins; the tables are vacuumed and
//! a checkpoint is made. A drain's time runs from the first handler's start until a query finds no job left, so that
//! what counts has been acknowledged. Queues take turns within each round; every second round goes the other way.
//!
//! Ours runs as the shipped worker does: its logs, spans and metrics are made, the log is written to /dev/null. It
//! is measured with its history of completed jobs and without, because graphile-worker keeps none.
//! graphile-worker has the settings of its own performance test (24 jobs at once, a local queue of 500, no delay
//! of batches) with 1, 2 and 4 processes, pg-boss four loops of fetch and complete with 500 jobs each. graphile_worker has
//! those of its own too (500 jobs at once, a local queue of 5,000; `benches/peers/graphile_worker`) and all cores.

mod databases;
mod driver;
mod figures;
mod judge;
mod load;
mod plan;
mod queue;

use anyhow::Context as _;
use serde_json::json;

use self::databases::Databases;
pub(crate) use self::driver::drive;
use self::figures::Figures;
pub(crate) use self::plan::Choice;
use self::plan::{Case, Database, Plan};
use self::queue::Queue;
use crate::report::Report;

pub(crate) fn measure(choice: &Choice) -> anyhow::Result<Report> {
    let plan = Plan::new(choice);
    for queue in plan.queues(Database::Postgres) {
        queue.prepare()?;
    }
    let url = choice
        .database
        .as_deref()
        .context("--database is missing; `cargo xtask bench worker` starts a server")?;
    let mut suite = Suite { databases: Databases::open(url)?, server: choice.server, plan };
    let mut report = Report::new();
    report.setup("postgresql", suite.databases.configuration()?);
    report.setup("sqlite", json!({ "journal_mode": "wal", "synchronous": "full" }));
    report.setup("plan", suite.plan.json());
    let figures = suite.run(&mut report)?;
    judge::judge(&figures, &mut report);
    Ok(report)
}

struct Suite {
    databases: Databases,
    server: Option<u32>,
    plan: Plan,
}

impl Suite {
    fn run(&mut self, report: &mut Report) -> anyhow::Result<Vec<Figures>> {
        let mut all = Vec::new();
        for case in self.plan.cases().collect::<Vec<_>>() {
            for database in Database::ALL {
                let figures = self.case(case, database)?;
                println!("{}", figures.table());
                for row in figures.json() {
                    report.silent_row(row);
                }
                all.push(figures);
            }
        }
        Ok(all)
    }

    fn case(&mut self, case: Case, database: Database) -> anyhow::Result<Figures> {
        let mut figures = Figures::new(case, database);
        let queues: Vec<Queue> = self.plan.queues(database).collect();
        for round in 0..self.plan.rounds {
            let mut order = queues.clone();
            if round % 2 == 1 {
                order.reverse();
            }
            for queue in order {
                self.once(case, database, queue, &mut figures)
                    .with_context(|| format!("{} in {}", queue.name(), case.name()))?;
            }
        }
        Ok(figures)
    }

    fn once(
        &mut self,
        case: Case,
        database: Database,
        queue: Queue,
        figures: &mut Figures,
    ) -> anyhow::Result<()> {
        let Some(mut load) = case.load(queue, &self.plan) else { return Ok(()) };
        load.url = self.databases.make(database)?;
        let server = self.server.filter(|_| database == Database::Postgres);
        let ran = queue::run(queue, &load, server, || self.databases.settle(&load.url));
        self.databases.remove(&load.url)?;
        figures.add(queue, load.jobs, &ran?);
        Ok(())
    }
}
