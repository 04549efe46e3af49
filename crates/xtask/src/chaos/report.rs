//! What is told at the end: a table by fault, the account, and what was promised and not kept.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::ledger::Account;

/// One fault, and how it went.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Told {
    pub(super) fault: &'static str,
    /// From the beginning of the fault to its end.
    pub(super) lasted: Duration,
    /// From its end until a job that was enqueued then had been run and acknowledged.
    pub(super) recovered: Duration,
    /// Jobs that clients were told of, and that ended, from its beginning to the recovery.
    pub(super) enqueued: usize,
    pub(super) finished: usize,
}

/// A database's part of a run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) database: &'static str,
    pub(super) faults: Vec<Told>,
    pub(super) account: Account,
    pub(super) schedule_runs: usize,
    /// Deaths by killing whoever has just been or is about to be the one that fires the schedules.
    pub(super) minutes_contested: u64,
    /// Dead letters of poison jobs, and how many there must be.
    pub(super) poisons: u64,
    /// Jobs that have not ended, or that nobody knows.
    pub(super) lost: Vec<String>,
    pub(super) fired_twice: Vec<String>,
    /// Faults that cannot be done on this machine.
    pub(super) left_out: Vec<&'static str>,
    /// Faults for which a short run had no time.
    pub(super) not_reached: Vec<&'static str>,
}

impl Report {
    /// What must not be, in words.
    pub(super) fn violations(&self) -> Vec<String> {
        let account = &self.account;
        let lists: [(&str, Vec<String>); 5] = [
            ("jobs lost", self.lost.clone()),
            ("jobs that two acknowledgements completed", account.acknowledged_twice.clone()),
            ("stale acknowledgements accepted", account.stale_accepted.clone()),
            ("events told by two messages", account.doubled.iter().map(u64::to_string).collect()),
            ("schedules fired twice for one instant", self.fired_twice.clone()),
        ];
        let told = lists.iter().filter(|(_, found)| !found.is_empty());
        told.map(|(what, found)| {
            format!(
                "{}: {} {what}: {}",
                self.database,
                found.len(),
                found.iter().take(5).cloned().collect::<Vec<_>>().join(", ")
            )
        })
        .collect()
    }

    pub(super) fn print(&self) {
        println!("\n{}", self.database);
        println!(
            "{:<32} {:>5} {:>9} {:>22} {:>9} {:>9}",
            "fault", "times", "lasted s", "recovered s, mean/max", "enqueued", "finished"
        );
        let mut by_fault: BTreeMap<&str, Vec<&Told>> = BTreeMap::new();
        for told in &self.faults {
            by_fault.entry(told.fault).or_default().push(told);
        }
        for (fault, told) in by_fault {
            let times = u32::try_from(told.len()).unwrap_or(u32::MAX).max(1);
            let lasted: Duration = told.iter().map(|told| told.lasted).sum();
            let recovered: Duration = told.iter().map(|told| told.recovered).sum();
            let slowest = told.iter().map(|told| told.recovered).max().unwrap_or_default();
            println!(
                "{fault:<32} {times:>5} {:>9.1} {:>22} {:>9} {:>9}",
                lasted.as_secs_f64() / f64::from(times),
                format!("{:.1} / {:.1}", recovered.as_secs_f64() / f64::from(times), slowest.as_secs_f64()),
                told.iter().map(|told| told.enqueued).sum::<usize>(),
                told.iter().map(|told| told.finished).sum::<usize>(),
            );
        }
        for left_out in &self.left_out {
            println!("{left_out:<32} left out: it cannot be done here");
        }
        for not_reached in &self.not_reached {
            println!("{not_reached:<32} left out: no time was left; another seed has another order");
        }
        let account = &self.account;
        println!(
            "enqueued {} jobs, of which lost {}; {} runs elsewhere, {} of them of jobs that were in other hands before",
            account.enqueued,
            self.lost.len(),
            account.runs,
            account.runs_again
        );
        println!(
            "acknowledgements: {} refused, {} unanswered, {} stale, of which accepted {}; jobs completed twice {}",
            account.refused,
            account.unanswered,
            account.stale_sent,
            account.stale_accepted.len(),
            account.acknowledged_twice.len()
        );
        println!(
            "events: {} told, {} messages repeated with their id, told by two messages {}",
            account.events,
            account.repeated,
            account.doubled.len()
        );
        println!(
            "schedules: {} runs in {} contested minutes, fired twice {}; poison jobs {}",
            self.schedule_runs,
            self.minutes_contested,
            self.fired_twice.len(),
            self.poisons
        );
    }
}
