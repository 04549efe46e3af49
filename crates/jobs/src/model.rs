//! The lease protocol as a model: explored in full ([`explore`]), and compared with the real statements ([`replay`]).
//!
//! One step is one transaction of the protocol, or one thing that goes wrong: a process dies, the answer to a commit is
//! lost on its way, an operator cancels or redrives at the worst moment. Of time it knows only that a worker may stall at
//! any step for as long as it likes, so that its lease can be taken away at any step. That covers all clocks: no wall
//! clock has a part in the protocol, the database keeps a counter of beats, and the rescuer's own monotonic clock says
//! how long the counter stood still; a clock that is wrong makes a rescue early, which is a step like any other.
//!
//! Promised in every reachable state: a job is in the queue, in one valid lease or in the history, and nowhere twice; only
//! the newest claim of a job can end it, and once, or write a checkpoint; what its handler's transaction completed is
//! completed, once; no job is cancelled that nobody asked to cancel. And from every reachable state, if from then on
//! nothing goes wrong, every job ends.

mod explore;
mod replay;

use std::collections::BTreeMap;

const JOBS: usize = 2;
const WORKERS: usize = 2;
const MAX_ATTEMPTS: u8 = 2;

/// Faults of the protocol, each of which the exploration must find.
#[expect(clippy::struct_excessive_bools, reason = "faults that can be planted independently of each other")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Planted {
    /// An acknowledgement does not ask whether its lease is still there.
    unfenced: bool,
    /// Nor does a checkpoint.
    unfenced_checkpoint: bool,
    /// A worker keeps every lease in its name alive, and not only those it knows of.
    beats_by_name: bool,
    /// Cancellations are carried out as they were read, whatever happened since.
    settles_old_readings: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum End {
    Completed,
    Discarded,
    Cancelled,
}

/// A place of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Mark {
    Running,
    Completed,
    Recorded,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Place {
    attempt: u8,
    mark: Mark,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Lease {
    places: BTreeMap<usize, Place>,
    /// The process in whose name it is, while that lives.
    owner: Option<usize>,
}

/// What a worker believes that it has to run, or to acknowledge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Run {
    lease: u8,
    job: usize,
    attempt: u8,
}

/// How a run ended, as its worker says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Said {
    Completed,
    Failed,
    GivenBack,
    Discarded,
    Cancelled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Claim {
        worker: usize,
        most: usize,
        answered: bool,
    },
    /// The handler's own transaction completes the job.
    Complete {
        worker: usize,
        run: Run,
    },
    /// A run keeps something for the next one, which only the newest may.
    Checkpoint {
        run: Run,
    },
    Acknowledge {
        worker: usize,
        run: Run,
        said: Said,
        answered: bool,
    },
    Rescue {
        lease: u8,
    },
    /// The process dies; another takes its place, under another name.
    Crash {
        worker: usize,
    },
    Cancel {
        job: usize,
    },
    /// A request that was decided on while the job was in another state.
    Request {
        job: usize,
    },
    ReadRequests,
    Settle,
    Redrive {
        job: usize,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct State {
    /// The attempts that each job in the queue has had.
    ready: [Option<u8>; JOBS],
    leases: BTreeMap<u8, Lease>,
    history: [Option<End>; JOBS],
    requests: [bool; JOBS],
    runs: [Vec<Run>; WORKERS],
    /// Requests that a worker has read and not yet carried out.
    settling: [bool; JOBS],
    next_lease: u8,
    /// What only the promises speak of: the newest claim of each job, whether somebody asked to cancel it since it was
    /// last put into the queue, how often a handler's transaction completed it, and the first promise that was broken.
    newest: [Option<u8>; JOBS],
    asked: [bool; JOBS],
    effects: [u8; JOBS],
    broken: Option<&'static str>,
}

impl State {
    fn start() -> Self {
        Self { ready: [Some(0); JOBS], ..Self::default() }
    }

    /// Whether its worker shows that it works on the lease.
    fn kept_alive(&self, lease: u8, planted: Planted) -> bool {
        let named = || self.leases.get(&lease).is_some_and(|lease| lease.owner.is_some());
        let known = || self.runs.iter().flatten().any(|run| run.lease == lease);
        if planted.beats_by_name { named() } else { known() }
    }

    /// The steps that can be next.
    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let waiting = self.ready.iter().flatten().count();
        for worker in 0..WORKERS {
            for most in 1..=waiting {
                steps.extend([true, false].map(|answered| Step::Claim { worker, most, answered }));
            }
            for &run in &self.runs[worker] {
                steps.extend([Step::Complete { worker, run }, Step::Checkpoint { run }]);
                let mut said = vec![Said::Completed, Said::Failed, Said::GivenBack, Said::Discarded];
                said.extend(Some(Said::Cancelled).filter(|_| self.requests[run.job]));
                for said in said {
                    steps.extend([true, false].map(|answered| Step::Acknowledge {
                        worker,
                        run,
                        said,
                        answered,
                    }));
                }
            }
            if !self.runs[worker].is_empty() || self.leases.values().any(|lease| lease.owner == Some(worker))
            {
                steps.push(Step::Crash { worker });
            }
        }
        steps.extend(self.leases.keys().map(|&lease| Step::Rescue { lease }));
        for job in 0..JOBS {
            steps.extend([Step::Cancel { job }, Step::Request { job }]);
            if matches!(self.history[job], Some(End::Discarded | End::Cancelled)) {
                steps.push(Step::Redrive { job });
            }
        }
        steps.extend(Some(Step::ReadRequests).filter(|_| self.requests != self.settling));
        steps.extend(Some(Step::Settle).filter(|_| self.settling.contains(&true)));
        steps
    }

    /// Whether a step is one that needs something to go wrong, or an operator.
    fn is_trouble(&self, step: Step, planted: Planted) -> bool {
        match step {
            Step::Claim { answered, .. } => !answered,
            Step::Acknowledge { said, answered, .. } => !answered || said == Said::GivenBack,
            Step::Rescue { lease } => self.kept_alive(lease, planted),
            Step::Crash { .. } | Step::Cancel { .. } | Step::Request { .. } | Step::Redrive { .. } => true,
            Step::Complete { .. } | Step::Checkpoint { .. } | Step::ReadRequests | Step::Settle => false,
        }
    }

    fn take(&mut self, step: Step, planted: Planted) {
        match step {
            Step::Claim { worker, most, answered } => self.claim(worker, most, answered),
            Step::Complete { run, .. } => self.complete(run),
            Step::Checkpoint { run } => {
                let written = planted.unfenced_checkpoint || self.runs_still(run);
                if written && self.newest[run.job] != Some(run.lease) {
                    self.broken.get_or_insert("a stale checkpoint was accepted");
                }
            }
            Step::Acknowledge { worker, run, said, answered } => {
                self.acknowledge(run, said, planted);
                if answered {
                    self.runs[worker].retain(|other| *other != run);
                }
            }
            Step::Rescue { lease } => self.rescue(lease),
            Step::Crash { worker } => {
                self.runs[worker].clear();
                for lease in self.leases.values_mut().filter(|lease| lease.owner == Some(worker)) {
                    lease.owner = None;
                }
            }
            Step::Cancel { job } => {
                self.asked[job] = true;
                if let Some(attempt) = self.ready[job].take() {
                    self.finish(job, attempt, Said::Cancelled);
                } else {
                    // What its handler's transaction completed has ended for an operator.
                    let mut places = self.leases.values().filter_map(|lease| lease.places.get(&job));
                    self.requests[job] |= places.any(|place| place.mark == Mark::Running);
                }
            }
            Step::Request { job } => (self.asked[job], self.requests[job]) = (true, true),
            Step::ReadRequests => self.settling = self.requests,
            Step::Settle => self.settle(planted),
            Step::Redrive { job } => {
                self.history[job] = None;
                self.ready[job] = Some(0);
                (self.requests[job], self.asked[job]) = (false, false);
            }
        }
        self.check();
    }

    fn claim(&mut self, worker: usize, most: usize, answered: bool) {
        let id = self.next_lease;
        self.next_lease += 1;
        let taken: Vec<usize> = (0..JOBS).filter(|&job| self.ready[job].is_some()).take(most).collect();
        let mut places = BTreeMap::new();
        for job in taken {
            let attempt = self.ready[job].take().unwrap() + 1;
            places.insert(job, Place { attempt, mark: Mark::Running });
            self.newest[job] = Some(id);
            if answered {
                self.runs[worker].push(Run { lease: id, job, attempt });
            }
        }
        self.runs[worker].sort_unstable();
        self.leases.insert(id, Lease { places, owner: Some(worker) });
    }

    fn complete(&mut self, run: Run) {
        let place = self.leases.get_mut(&run.lease).and_then(|lease| lease.places.get_mut(&run.job));
        if let Some(place) = place.filter(|place| place.mark == Mark::Running) {
            place.mark = Mark::Completed;
            self.effects[run.job] += 1;
        }
    }

    fn runs_still(&self, run: Run) -> bool {
        let place = self.leases.get(&run.lease).and_then(|lease| lease.places.get(&run.job));
        place.is_some_and(|place| place.mark == Mark::Running)
    }

    /// Whether the queue takes an acknowledgement.
    fn accepts(&self, run: Run, planted: Planted) -> bool {
        let place = self.leases.get(&run.lease).and_then(|lease| lease.places.get(&run.job));
        planted.unfenced || place.is_some_and(|place| place.mark != Mark::Recorded)
    }

    fn acknowledge(&mut self, run: Run, said: Said, planted: Planted) {
        if !self.accepts(run, planted) {
            return;
        }
        if self.newest[run.job] != Some(run.lease) {
            self.broken.get_or_insert("a stale acknowledgement was accepted");
        }
        let mut said = said;
        if let Some(lease) = self.leases.get_mut(&run.lease) {
            if let Some(place) = lease.places.get_mut(&run.job) {
                // What the handler's transaction said stands.
                said = if place.mark == Mark::Completed { Said::Completed } else { said };
                place.mark = Mark::Recorded;
            }
            if lease.places.values().all(|place| place.mark == Mark::Recorded) {
                self.leases.remove(&run.lease);
            }
        }
        self.finish(run.job, run.attempt, said);
    }

    fn rescue(&mut self, lease: u8) {
        let Some(lease) = self.leases.remove(&lease) else { return };
        for (job, place) in lease.places {
            match place.mark {
                Mark::Recorded => {}
                Mark::Completed => self.finish(job, place.attempt, Said::Completed),
                Mark::Running => self.finish(job, place.attempt, Said::Failed),
            }
        }
    }

    fn settle(&mut self, planted: Planted) {
        for job in 0..JOBS {
            if !std::mem::take(&mut self.settling[job]) {
                continue;
            }
            if (self.requests[job] || planted.settles_old_readings)
                && let Some(attempt) = self.ready[job].take()
            {
                self.finish(job, attempt, Said::Cancelled);
            }
            self.requests[job] &= self.history[job].is_none();
        }
    }

    fn finish(&mut self, job: usize, attempt: u8, said: Said) {
        let end = match said {
            Said::Completed => End::Completed,
            Said::Cancelled => End::Cancelled,
            Said::Discarded => End::Discarded,
            Said::Failed if attempt >= MAX_ATTEMPTS => End::Discarded,
            Said::Failed => return self.ready[job] = Some(attempt),
            Said::GivenBack => return self.ready[job] = Some(attempt - 1),
        };
        if self.history[job].replace(end).is_some() {
            self.broken.get_or_insert("a job ended twice");
        }
        if end == End::Cancelled && !self.asked[job] {
            self.broken.get_or_insert("a job was cancelled that nobody asked to cancel");
        }
    }

    fn check(&mut self) {
        for job in 0..JOBS {
            let places = self.leases.values().filter_map(|lease| lease.places.get(&job));
            let valid = places.filter(|place| place.mark != Mark::Recorded).count();
            let elsewhere = usize::from(self.ready[job].is_some()) + usize::from(self.history[job].is_some());
            let told = match (valid + elsewhere, self.effects[job], self.history[job]) {
                (0, ..) => "a job is lost",
                (2.., ..) if valid > 1 => "a job is in two valid leases",
                (2.., ..) => "a job is in two places",
                (_, 2.., _) => "a job was completed twice by its handler",
                (_, 1, end) if valid == 0 && end != Some(End::Completed) => {
                    "what its handler completed is not completed"
                }
                _ => continue,
            };
            self.broken = self.broken.or(Some(told));
        }
    }

    fn is_over(&self) -> bool {
        self.history.iter().all(Option::is_some)
            && self.leases.is_empty()
            && self.runs.iter().all(Vec::is_empty)
            && !self.requests.contains(&true)
    }
}
