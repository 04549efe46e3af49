//! Every state that can be reached with a bounded number of troubles, breadth first, so that what is found to be wrong is
//! shown by the fewest steps that lead there.
//!
//! That every job ends is checked on the graph itself: from each state one must be reachable, without further trouble, in
//! which all have ended. That holds from every state on the way too, so a path that is fair to its steps gets there. (A
//! checker that follows single paths misses jobs that go round in circles.)

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use super::{Planted, State, Step};

/// Troubles on one path: each planted fault needs no more.
const TROUBLES: u8 = 2;

/// A state, and the troubles that may still come.
type Node = (State, u8);

struct Found {
    node: Node,
    /// How it was reached, unless it is the first.
    from: Option<(usize, Step)>,
    /// From where it is reached without trouble.
    before: Vec<usize>,
}

#[derive(Default)]
struct Graph {
    found: Vec<Found>,
    places: HashMap<Node, usize>,
}

impl Graph {
    fn add(&mut self, mut node: Node, from: Option<(usize, Step)>) -> usize {
        swap_workers(&mut node.0);
        rename_leases(&mut node.0);
        match self.places.entry(node.clone()) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                let place = *new.insert(self.found.len());
                self.found.push(Found { node, from, before: Vec::new() });
                place
            }
        }
    }

    /// The steps that lead to a state.
    fn path(&self, mut place: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        while let Some((before, step)) = self.found[place].from {
            steps.push(step);
            place = before;
        }
        steps.reverse();
        steps
    }

    /// The first state from which nothing leads to the end of all jobs.
    fn stuck(&self) -> Option<usize> {
        let mut ends = vec![false; self.found.len()];
        let mut open: Vec<usize> =
            (0..self.found.len()).filter(|&place| self.found[place].node.0.is_over()).collect();
        while let Some(place) = open.pop() {
            if !std::mem::replace(&mut ends[place], true) {
                open.extend(&self.found[place].before);
            }
        }
        ends.iter().position(|ends| !ends)
    }
}

/// Workers differ in what they hold alone. A path names them as they stand after each of its steps.
fn swap_workers(state: &mut State) {
    let held = |worker: usize| {
        let owned = state.leases.iter().filter(move |(_, lease)| lease.owner == Some(worker));
        (&state.runs[worker], owned.map(|(id, _)| *id).collect::<Vec<u8>>())
    };
    if held(0) > held(1) {
        state.runs.swap(0, 1);
        for owner in state.leases.values_mut().filter_map(|lease| lease.owner.as_mut()) {
            *owner = 1 - *owner;
        }
    }
}

/// Names leases in their order from zero, so that states that differ in nothing else are one.
fn rename_leases(state: &mut State) {
    let runs = state.runs.iter().flatten().map(|run| run.lease);
    let used: BTreeSet<u8> = state.leases.keys().copied().chain(runs).collect();
    let names: HashMap<u8, u8> = used.into_iter().zip(0..).collect();
    state.leases =
        std::mem::take(&mut state.leases).into_iter().map(|(id, lease)| (names[&id], lease)).collect();
    for run in state.runs.iter_mut().flatten() {
        run.lease = names[&run.lease];
    }
    for newest in &mut state.newest {
        *newest = newest.and_then(|id| names.get(&id).copied());
    }
    state.next_lease = u8::try_from(names.len()).unwrap();
}

/// How many states there are, or what is wrong with one of them and the steps that lead to it.
fn explore(planted: Planted) -> Result<usize, (&'static str, Vec<Step>)> {
    let mut graph = Graph::default();
    graph.add((State::start(), TROUBLES), None);
    let mut place = 0;
    while place < graph.found.len() {
        let (state, troubles) = graph.found[place].node.clone();
        for step in state.steps() {
            let trouble = state.is_trouble(step, planted);
            let Some(left) = troubles.checked_sub(u8::from(trouble)) else { continue };
            let mut next = state.clone();
            next.take(step, planted);
            if let Some(broken) = next.broken {
                let mut path = graph.path(place);
                path.push(step);
                return Err((broken, path));
            }
            let reached = graph.add((next, left), Some((place, step)));
            if !trouble {
                graph.found[reached].before.push(place);
            }
        }
        place += 1;
    }
    match graph.stuck() {
        Some(place) => Err(("a job never ends", graph.path(place))),
        None => Ok(graph.found.len()),
    }
}

#[test]
fn the_protocol_keeps_its_promises_in_every_reachable_state_and_every_job_ends() {
    let states = explore(Planted::default()).unwrap_or_else(|(broken, path)| panic!("{broken}: {path:#?}"));
    println!("{states} states");
    assert!(states > 20_000, "{states} states: the model has lost most of its steps");
}

#[test]
fn each_planted_fault_is_found() {
    for (planted, told) in [
        // By a repetition whose first answer was lost: the shortest way to what a fence is for.
        (Planted { unfenced: true, ..Planted::default() }, "a job ended twice"),
        (Planted { unfenced_checkpoint: true, ..Planted::default() }, "a stale checkpoint was accepted"),
        (Planted { beats_by_name: true, ..Planted::default() }, "a job never ends"),
        (
            Planted { settles_old_readings: true, ..Planted::default() },
            "a job was cancelled that nobody asked to cancel",
        ),
    ] {
        let found = explore(planted).map_err(|(broken, _)| broken);
        assert_eq!(found, Err(told), "{planted:?}");
    }
}
