//! Gauges: the depth of the queues, and how much of this process is in use.

use std::collections::BTreeSet;
use std::sync::Arc;

use quintet_types::time::micros;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::error::Error;
use crate::figures::{self, Depth};

/// Series of a queue, which stay when the queue is gone.
type Shown = BTreeSet<String>;

impl Worker {
    /// Shows how deep the queues are, until `stop`.
    pub(super) async fn show_depth(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(figures::FRESH);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut shown: Shown = self.settings.queues.iter().map(|queue| queue.name.clone()).collect();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            if let Err(error) = self.show_figures(&mut shown).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot count the jobs of the queues"
                );
            }
        }
    }

    async fn show_figures(&self, shown: &mut Shown) -> Result<(), Error> {
        let figures = figures::read(&self.store, self.clock.as_ref()).await?;
        shown.extend(figures.keys().cloned());
        for queue in &*shown {
            let depth = figures.get(queue).copied().unwrap_or_default();
            show(queue, depth, micros(self.clock.now()));
        }
        // Those that are gone were shown empty once.
        shown.retain(|queue| {
            figures.contains_key(queue) || self.settings.queues.iter().any(|served| served.name == *queue)
        });
        Ok(())
    }
}

fn show(queue: &str, depth: Depth, now: i64) {
    let states = [
        ("due", depth.due),
        ("scheduled", depth.scheduled),
        ("blocked", depth.blocked),
        ("running", depth.running),
        ("discarded", depth.discarded),
    ];
    for (state, jobs) in states {
        metrics::gauge!("quintet_jobs_depth", "queue" => queue.to_owned(), "state" => state)
            .set(number(jobs));
    }
    let age = depth.oldest.map_or(0, |oldest| now.saturating_sub(oldest).max(0));
    metrics::gauge!("quintet_jobs_oldest_due_seconds", "queue" => queue.to_owned()).set(number(age) / 1e6);
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 jobs, or microseconds")]
fn number(value: i64) -> f64 {
    value as f64
}

/// A slot of a queue that is taken, as long as this is there.
pub(super) struct Busy(metrics::Gauge);

impl Busy {
    pub(super) fn enter(slots: &metrics::Gauge) -> Self {
        slots.increment(1.0);
        Self(slots.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// The gauge of a queue's slots that are taken in this process; the one beside it says how many there are.
pub(super) fn slots(queue: &str, concurrency: usize) -> metrics::Gauge {
    let concurrency = i64::try_from(concurrency).unwrap_or(i64::MAX);
    metrics::gauge!("quintet_jobs_worker_slots", "queue" => queue.to_owned()).set(number(concurrency));
    metrics::gauge!("quintet_jobs_worker_busy", "queue" => queue.to_owned())
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn depth_age_and_taken_slots_are_what_a_scrape_shows() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let shown = metrics::with_local_recorder(&recorder, || {
            let depth =
                Depth { due: 2, blocked: 4, discarded: 3, oldest: Some(1_500_000), ..Depth::default() };
            show("default", depth, 4_000_000);
            let taken = slots("default", 16);
            let _busy = Busy::enter(&taken);
            drop(Busy::enter(&taken));
            recorder.handle().render()
        });
        for line in [
            r#"quintet_jobs_depth{queue="default",state="due"} 2"#,
            r#"quintet_jobs_depth{queue="default",state="blocked"} 4"#,
            r#"quintet_jobs_depth{queue="default",state="running"} 0"#,
            r#"quintet_jobs_depth{queue="default",state="discarded"} 3"#,
            r#"quintet_jobs_oldest_due_seconds{queue="default"} 2.5"#,
            r#"quintet_jobs_worker_slots{queue="default"} 16"#,
            r#"quintet_jobs_worker_busy{queue="default"} 1"#,
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line} is not in\n{shown}");
        }
    }
}
