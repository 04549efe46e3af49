//! One case's figures: every queue's rounds and their medians.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::plan::{Case, Database};
use super::queue::{Queue, Ran};

/// One queue's rounds in one case.
#[derive(Debug, Default)]
struct Rounds {
    jobs_per_second: Vec<f64>,
    cpu_us_per_job: Vec<f64>,
    server_us_per_job: Vec<f64>,
    p50_ms: Vec<f64>,
    p99_ms: Vec<f64>,
}

/// One case on one database.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) case: Case,
    pub(super) database: Database,
    rows: Vec<(Queue, Rounds)>,
}

impl Figures {
    pub(super) fn new(case: Case, database: Database) -> Self {
        Self { case, database, rows: Vec::new() }
    }

    #[expect(clippy::cast_precision_loss, reason = "a count of jobs, far below 2^52")]
    pub(super) fn add(&mut self, queue: Queue, jobs: usize, ran: &Ran) {
        let index = self.rows.iter().position(|(row, _)| *row == queue).unwrap_or_else(|| {
            self.rows.push((queue, Rounds::default()));
            self.rows.len() - 1
        });
        let Some((_, rounds)) = self.rows.get_mut(index) else { return };
        let per_job = |cpu: std::time::Duration| cpu.as_secs_f64() * 1e6 / jobs as f64;
        rounds.cpu_us_per_job.push(per_job(ran.cpu));
        rounds.server_us_per_job.extend(ran.server_cpu.map(per_job));
        rounds.jobs_per_second.extend(ran.answer.seconds.map(|seconds| jobs as f64 / seconds));
        if !ran.answer.latencies_ms.is_empty() {
            rounds.p50_ms.push(quantile(&ran.answer.latencies_ms, 0.5));
            rounds.p99_ms.push(quantile(&ran.answer.latencies_ms, 0.99));
        }
    }

    pub(super) fn rate(&self, queue: Queue) -> Option<f64> {
        self.of(queue).and_then(|rounds| median(&rounds.jobs_per_second))
    }

    pub(super) fn p99_ms(&self, queue: Queue) -> Option<f64> {
        self.of(queue).and_then(|rounds| median(&rounds.p99_ms))
    }

    fn of(&self, queue: Queue) -> Option<&Rounds> {
        self.rows.iter().find(|(row, _)| *row == queue).map(|(_, rounds)| rounds)
    }

    pub(super) fn json(&self) -> Vec<Value> {
        let row = |(queue, rounds): &(Queue, Rounds)| {
            json!({
                "case": self.case.name(),
                "what": self.case.what(),
                "database": self.database.name(),
                "queue": queue.name(),
                "jobs_per_second": spread(&rounds.jobs_per_second),
                "p50_ms": spread(&rounds.p50_ms),
                "p99_ms": spread(&rounds.p99_ms),
                "cpu_us_per_job": spread(&rounds.cpu_us_per_job),
                "server_cpu_us_per_job": spread(&rounds.server_us_per_job),
            })
        };
        self.rows.iter().map(row).collect()
    }

    pub(super) fn table(&self) -> String {
        let mut text = format!("\n{}: {} ({})\n", self.case.name(), self.case.what(), self.database.name());
        let _ = writeln!(
            text,
            "{:<30} {:>10} {:>9} {:>9} {:>12} {:>12}",
            "queue", "jobs/s", "p50 ms", "p99 ms", "CPU us/job", "server us"
        );
        for (queue, rounds) in &self.rows {
            let cell = |values: &[f64], digits: usize| {
                median(values).map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
            };
            let _ = writeln!(
                text,
                "{:<30} {:>10} {:>9} {:>9} {:>12} {:>12}",
                queue.name(),
                cell(&rounds.jobs_per_second, 0),
                cell(&rounds.p50_ms, 2),
                cell(&rounds.p99_ms, 2),
                cell(&rounds.cpu_us_per_job, 1),
                cell(&rounds.server_us_per_job, 1),
            );
        }
        text
    }
}

fn spread(rounds: &[f64]) -> Value {
    median(rounds).map_or(Value::Null, |median| json!({ "median": median, "rounds": rounds }))
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    Some(f64::midpoint(*sorted.get(last / 2)?, *sorted.get(sorted.len() / 2)?))
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank among a few hundred"
)]
fn quantile(values: &[f64], of: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = ((sorted.len() as f64) * of).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::load::Answer;

    fn ran(seconds: f64) -> Ran {
        let answer = Answer { seconds: Some(seconds), ..Answer::default() };
        Ran { answer, cpu: std::time::Duration::from_millis(50), server_cpu: None }
    }

    #[test]
    fn median_of_the_rounds_counts() {
        let mut figures = Figures::new(Case::Batched, Database::Postgres);
        for seconds in [1.0, 10.0, 2.0] {
            figures.add(Queue::Ours, 1_000, &ran(seconds));
        }
        assert_eq!(figures.rate(Queue::Ours), Some(500.0));
        assert_eq!(figures.rate(Queue::PgBoss), None);
        assert_eq!(figures.json()[0]["cpu_us_per_job"]["median"], 50.0);
    }

    #[test]
    fn quantile_is_a_value_that_was_measured() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert!((quantile(&hundred, 0.99) - 99.0).abs() < f64::EPSILON);
        assert!((quantile(&[7.0], 0.99) - 7.0).abs() < f64::EPSILON);
    }
}
