//! What a run measures, with which queues, how often and how much.

use serde_json::{Value, json};

use super::load::{Load, Task};
use super::queue::Queue;

/// What to measure and how thoroughly.
#[derive(Debug, clap::Args)]
pub(crate) struct Choice {
    /// One short round: about two minutes instead of twenty-five.
    #[arg(long)]
    quick: bool,
    /// Measure only these cases.
    #[arg(long, value_name = "CASE", value_delimiter = ',')]
    only: Vec<Case>,
    /// Leave a queue out.
    #[arg(long, value_name = "QUEUE", value_delimiter = ',')]
    skip: Vec<Queue>,
    /// Rounds, where 5 (1 with --quick) are not wanted.
    #[arg(long)]
    rounds: Option<usize>,
    /// A PostgreSQL server without a database's name, such as postgres://user@127.0.0.1:5432. Each load gets a
    /// database of its own on it, which is dropped after.
    #[arg(long, value_name = "URL")]
    pub(super) database: Option<String>,
    /// The process of that server, to measure its processor time.
    #[arg(long, value_name = "PID")]
    pub(super) server: Option<u32>,
}

/// The database below the queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Database {
    Postgres,
    Sqlite,
}

impl Database {
    pub(super) const ALL: [Self; 2] = [Self::Postgres, Self::Sqlite];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Sqlite => "SQLite",
        }
    }
}

/// One comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Case {
    Batched,
    OneByOne,
    OneMs,
    Mixed,
    Enqueue,
    Complete,
    Pickup,
}

impl Case {
    const ALL: [Self; 7] = [
        Self::Batched,
        Self::OneByOne,
        Self::OneMs,
        Self::Mixed,
        Self::Enqueue,
        Self::Complete,
        Self::Pickup,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Batched => "batched",
            Self::OneByOne => "one-by-one",
            Self::OneMs => "one-ms",
            Self::Mixed => "mixed",
            Self::Enqueue => "enqueue",
            Self::Complete => "complete",
            Self::Pickup => "pickup",
        }
    }

    pub(super) const fn what(self) -> &'static str {
        match self {
            Self::Batched => "drain of no-op jobs, claimed and acknowledged in batches",
            Self::OneByOne => "drain of no-op jobs, one at a time, each claimed and acknowledged by itself",
            Self::OneMs => "drain of jobs that take 1 ms, 100 at a time",
            Self::Mixed => "16 clients enqueue single jobs while they are worked off",
            Self::Enqueue => "64 clients enqueue, each job in a transaction of its own",
            Self::Complete => {
                "drain of jobs that each complete in a transaction of their handler's own, 64 at a time"
            }
            Self::Pickup => "idle queue, 20 jobs a second at random moments: from the commit to the handler",
        }
    }

    /// What a queue is asked to do in it; `None` where it has nothing like it.
    pub(super) fn load(self, queue: Queue, plan: &Plan) -> Option<Load> {
        if self == Self::Complete && !queue.is_ours() {
            return None;
        }
        // Several processes help where one is the bottleneck.
        if queue.processes() > 1 && self != Self::Batched {
            return None;
        }
        let (task, jobs, clients) = match self {
            Self::Batched => (Task::Drain, plan.many, 1),
            Self::OneByOne => (Task::Drain, plan.few, 1),
            Self::OneMs => (Task::Drain, plan.some, 1),
            Self::Mixed => (Task::Mixed, plan.some, 16),
            Self::Enqueue => (Task::Enqueue, plan.some, 64),
            Self::Complete => (Task::Complete, plan.some, 64),
            Self::Pickup => (Task::Pickup, plan.pickups, 1),
        };
        let concurrency = match self {
            Self::Batched => queue.concurrency(),
            Self::OneByOne => 1,
            Self::OneMs => 100,
            Self::Mixed | Self::Enqueue | Self::Complete => 64,
            Self::Pickup => 10,
        };
        Some(Load {
            queue: queue.program().to_owned(),
            task,
            url: String::new(),
            jobs,
            concurrency,
            batched: !matches!(self, Self::OneByOne | Self::Pickup),
            processes: queue.processes(),
            clients,
            handler_ms: u64::from(self == Self::OneMs),
            rate: 20,
            history: queue != Queue::OursWithoutHistory,
        })
    }
}

/// A run.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) rounds: usize,
    many: usize,
    some: usize,
    few: usize,
    pickups: usize,
    cases: Vec<Case>,
    queues: Vec<Queue>,
}

impl Plan {
    pub(super) fn new(choice: &Choice) -> Self {
        let wanted = |case: &Case| choice.only.is_empty() || choice.only.contains(case);
        let cases = Case::ALL.into_iter().filter(wanted).collect();
        let queues = Queue::ALL.into_iter().filter(|queue| !choice.skip.contains(queue)).collect();
        let (rounds, many, some, few, pickups) =
            if choice.quick { (1, 50_000, 5_000, 1_000, 60) } else { (5, 200_000, 20_000, 3_000, 300) };
        Self { rounds: choice.rounds.unwrap_or(rounds).max(1), many, some, few, pickups, cases, queues }
    }

    pub(super) fn cases(&self) -> impl Iterator<Item = Case> + '_ {
        self.cases.iter().copied()
    }

    /// The queues that run on a database.
    pub(super) fn queues(&self, database: Database) -> impl Iterator<Item = Queue> + '_ {
        self.queues.iter().copied().filter(move |queue| database == Database::Postgres || queue.is_ours())
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "rounds": self.rounds,
            "jobs": { "batched": self.many, "one-by-one": self.few, "pickup": self.pickups, "others": self.some },
            "cases": self.cases.iter().map(|case| case.name()).collect::<Vec<_>>(),
            "queues": self.queues.iter().map(|queue| queue.name()).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(only: Vec<Case>, skip: Vec<Queue>) -> Choice {
        Choice { quick: true, only, skip, rounds: None, database: None, server: None }
    }

    #[test]
    fn queues_of_others_run_on_postgresql_alone() {
        let plan = Plan::new(&choice(vec![], vec![]));
        assert_eq!(plan.queues(Database::Postgres).count(), Queue::ALL.len());
        assert!(plan.queues(Database::Sqlite).all(Queue::is_ours));
    }

    #[test]
    fn skipped_queue_is_left_out_and_cases_keep_their_order() {
        let plan = Plan::new(&choice(vec![Case::Pickup, Case::Batched], vec![Queue::PgBoss]));
        assert_eq!(plan.cases().collect::<Vec<_>>(), [Case::Batched, Case::Pickup]);
        assert!(!plan.queues(Database::Postgres).any(|queue| queue == Queue::PgBoss));
    }

    #[test]
    fn every_queue_gets_as_many_jobs_in_a_case() {
        let plan = Plan::new(&choice(vec![], vec![]));
        for case in Case::ALL {
            let mut jobs: Vec<usize> = Queue::ALL
                .into_iter()
                .filter_map(|queue| case.load(queue, &plan))
                .map(|load| load.jobs)
                .collect();
            jobs.dedup();
            assert_eq!(jobs.len(), 1, "{}", case.name());
        }
    }
}
