//! The figures against the bars that the queue is held to.

use super::figures::Figures;
use super::plan::{Case, Database};
use super::queue::Queue;
use crate::report::Report;

/// Records every bar. One whose figures are missing is recorded as not measured, which is not met.
pub(super) fn judge(all: &[Figures], report: &mut Report) {
    let find = |case, database| {
        all.iter()
            .find(|figures| figures.case == case && figures.database == database)
            .ok_or_else(|| "the case was not run".to_owned())
    };
    for ours in [Queue::Ours, Queue::OursWithoutHistory] {
        report.at_least_or(
            format!("jobs/s on PostgreSQL, {} to the best of graphile-worker", ours.name()),
            find(Case::Batched, Database::Postgres).and_then(|figures| to_graphile(figures, ours)),
            2.0,
        );
        report.at_least_or(
            format!("jobs/s on SQLite, {}", ours.name()),
            find(Case::Batched, Database::Sqlite).and_then(|figures| rate(figures, ours)),
            60_000.0,
        );
    }
    for database in Database::ALL {
        report.at_most_or(
            format!("p99 from commit to handler on an idle queue, {}, ms", database.name()),
            find(Case::Pickup, database)
                .and_then(|figures| figures.p99_ms(Queue::Ours).ok_or_else(|| missing(Queue::Ours))),
            10.0,
        );
        report.at_least_or(
            format!("jobs enqueued/s in single transactions, {}", database.name()),
            find(Case::Enqueue, database).and_then(|figures| rate(figures, Queue::Ours)),
            20_000.0,
        );
    }
}

fn missing(queue: Queue) -> String {
    format!("{} was not measured", queue.name())
}

fn rate(figures: &Figures, queue: Queue) -> Result<f64, String> {
    figures.rate(queue).ok_or_else(|| missing(queue))
}

/// One of the three is not enough: the best may be the one that was left out.
fn to_graphile(figures: &Figures, ours: Queue) -> Result<f64, String> {
    let theirs =
        Queue::GRAPHILE.map(|queue| rate(figures, queue)).into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(rate(figures, ours)? / theirs.into_iter().fold(0.0, f64::max))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::worker::load::Answer;
    use crate::worker::queue::Ran;

    #[test]
    fn bars_of_cases_that_were_not_run_are_not_met() {
        let mut report = Report::new();
        judge(&[], &mut report);
        let json = serde_json::to_value(&report).unwrap();
        let bars = json["bars"].as_array().unwrap();
        assert_eq!(bars.len(), 8);
        assert!(bars.iter().all(|bar| bar["met"] == false && bar["reason"] == "the case was not run"));
    }

    #[test]
    fn ratio_needs_graphile_worker_with_every_number_of_processes() {
        let mut figures = Figures::new(Case::Batched, Database::Postgres);
        let mut add = |queue, seconds| {
            let answer = Answer { seconds: Some(seconds), ..Answer::default() };
            figures.add(queue, 1_000, &Ran { answer, cpu: Duration::ZERO, server_cpu: None });
        };
        add(Queue::Ours, 1.0);
        add(Queue::Graphile1, 4.0);
        add(Queue::Graphile2, 2.0);
        let mut complete = Figures::new(Case::Batched, Database::Postgres);
        assert!(to_graphile(&figures, Queue::Ours).unwrap_err().contains("4 processes"));
        for (queue, seconds) in
            [(Queue::Ours, 1.0), (Queue::Graphile1, 4.0), (Queue::Graphile2, 2.0), (Queue::Graphile4, 3.0)]
        {
            let answer = Answer { seconds: Some(seconds), ..Answer::default() };
            complete.add(queue, 1_000, &Ran { answer, cpu: Duration::ZERO, server_cpu: None });
        }
        assert!((to_graphile(&complete, Queue::Ours).unwrap() - 2.0).abs() < 1e-9);
    }
}
