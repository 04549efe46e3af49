//! Which graphs can be, and who can be revived in one. No database here.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use quintet_types::JobId;
use thiserror::Error;

use super::After;

/// Jobs of one workflow.
pub const MOST_WORKFLOW_JOBS: usize = 1_000;
/// Dependencies of all jobs of a workflow together.
pub const MOST_DEPENDENCIES: usize = 10_000;
/// Longer names are none.
const MAX_NAME_BYTES: usize = 200;

/// Why a workflow cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WorkflowError {
    /// It has no job, or too many, or too many dependencies.
    #[error("a workflow has 1 to 1000 jobs and up to 10000 dependencies")]
    Size,
    /// A name is empty or too long.
    #[error("the name of a workflow's job has 1 to 200 bytes")]
    Name,
    /// Two jobs have one name.
    #[error("two jobs of the workflow are named {0:?}")]
    Duplicate(String),
    /// A job waits for one that is not there, or twice for the same.
    #[error(
        "the job {job:?} cannot wait for {dependency:?}: the workflow has no such job, or it is named twice"
    )]
    Dependency {
        /// The job that waits.
        job: String,
        /// What it would wait for.
        dependency: String,
    },
    /// Some jobs wait for each other.
    #[error("the job {0:?} waits for itself, perhaps by way of others")]
    Cycle(String),
}

/// The level of each job: 0 without dependencies, else one more than the highest of them.
pub(super) fn levels(jobs: &[(&str, &[After])]) -> Result<Vec<i64>, WorkflowError> {
    let edges: usize = jobs.iter().map(|(_, after)| after.len()).sum();
    if jobs.is_empty() || jobs.len() > MOST_WORKFLOW_JOBS || edges > MOST_DEPENDENCIES {
        return Err(WorkflowError::Size);
    }
    let mut places: HashMap<&str, usize> = HashMap::with_capacity(jobs.len());
    for (place, (name, _)) in jobs.iter().enumerate() {
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(WorkflowError::Name);
        }
        if places.insert(*name, place).is_some() {
            return Err(WorkflowError::Duplicate((*name).to_owned()));
        }
    }
    let mut dependants: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut open: Vec<usize> = Vec::with_capacity(jobs.len());
    for (place, (name, after)) in jobs.iter().enumerate() {
        let mut named = HashSet::new();
        for edge in *after {
            match places.get(&*edge.name) {
                Some(dependency) if named.insert(*dependency) => {
                    dependants.entry(*dependency).or_default().push(place);
                }
                _ => {
                    let dependency = edge.name.clone();
                    return Err(WorkflowError::Dependency { job: (*name).to_owned(), dependency });
                }
            }
        }
        open.push(after.len());
    }
    walk(jobs, &dependants, open)
}

/// Kahn's algorithm: whoever is never free of open dependencies is in a cycle or behind one.
fn walk(
    jobs: &[(&str, &[After])],
    dependants: &BTreeMap<usize, Vec<usize>>,
    mut open: Vec<usize>,
) -> Result<Vec<i64>, WorkflowError> {
    let mut levels: Vec<i64> = vec![0; jobs.len()];
    let mut free: VecDeque<usize> =
        open.iter().enumerate().filter(|(_, open)| **open == 0).map(|(place, _)| place).collect();
    while let Some(place) = free.pop_front() {
        let level = levels.get(place).copied().unwrap_or_default();
        for dependant in dependants.get(&place).into_iter().flatten() {
            if let (Some(open), Some(theirs)) = (open.get_mut(*dependant), levels.get_mut(*dependant)) {
                *theirs = (*theirs).max(level + 1);
                *open -= 1;
                if *open == 0 {
                    free.push_back(*dependant);
                }
            }
        }
    }
    match open.iter().zip(jobs).find(|(open, _)| **open > 0) {
        Some((_, (name, _))) => Err(WorkflowError::Cycle((*name).to_owned())),
        None => Ok(levels),
    }
}

/// How a job of a workflow stands, for a revival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It was discarded, or cancelled by somebody.
    Failed,
    /// It was cancelled because a dependency failed, and can be brought back.
    Dropped,
    /// Anything else: it waits, runs, or has completed.
    Other,
}

/// Which of the dropped jobs come back: those none of whose dependencies has failed, unless that is ignored, or stays
/// dropped. `jobs` are in the order of their levels; edges are those whose failure is not ignored.
pub(super) fn revived(jobs: &[(JobId, Standing)], edges: &HashMap<JobId, Vec<JobId>>) -> Vec<JobId> {
    let mut standings: HashMap<JobId, Standing> = jobs.iter().copied().collect();
    let mut revived = Vec::new();
    for (job, _) in jobs.iter().filter(|(_, standing)| *standing == Standing::Dropped) {
        let fails = |dependency: &JobId| {
            standings.get(dependency).is_some_and(|standing| *standing != Standing::Other)
        };
        if !edges.get(job).into_iter().flatten().any(fails) {
            standings.insert(*job, Standing::Other);
            revived.push(*job);
        }
    }
    revived
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(jobs: &[(&str, &[&str])], expected: Result<Vec<i64>, WorkflowError>) {
        let jobs: Vec<(&str, Vec<After>)> = jobs
            .iter()
            .map(|(name, after)| (*name, after.iter().map(|name| After::success(*name)).collect()))
            .collect();
        let jobs: Vec<(&str, &[After])> = jobs.iter().map(|(name, after)| (*name, &**after)).collect();
        assert_eq!(levels(&jobs), expected);
    }

    #[test]
    fn a_job_is_a_level_above_all_that_it_waits_for_in_whatever_order_they_are_named() {
        check(&[("c", &["a", "b"]), ("a", &[]), ("b", &["a"])], Ok(vec![2, 0, 1]));
    }

    #[test]
    fn cycles_and_names_that_are_not_there_or_there_twice_are_refused() {
        check(&[("a", &["a"])], Err(WorkflowError::Cycle("a".into())));
        check(&[("a", &[]), ("b", &["c"]), ("c", &["b", "a"])], Err(WorkflowError::Cycle("b".into())));
        let missing = WorkflowError::Dependency { job: "a".into(), dependency: "b".into() };
        check(&[("a", &["b"])], Err(missing));
        let twice = WorkflowError::Dependency { job: "b".into(), dependency: "a".into() };
        check(&[("a", &[]), ("b", &["a", "a"])], Err(twice));
        check(&[("a", &[]), ("a", &[])], Err(WorkflowError::Duplicate("a".into())));
        check(&[("", &[])], Err(WorkflowError::Name));
        check(&[], Err(WorkflowError::Size));
        check(&vec![("a", &[] as &[&str]); MOST_WORKFLOW_JOBS + 1], Err(WorkflowError::Size));
    }

    #[test]
    fn a_dropped_job_comes_back_when_nothing_that_it_needs_stays_failed() {
        let [mended, broken, left, below, both] = std::array::from_fn(|_| JobId::new());
        let jobs = [
            (mended, Standing::Other),
            (broken, Standing::Failed),
            (left, Standing::Dropped),
            (below, Standing::Dropped),
            (both, Standing::Dropped),
        ];
        let edges = HashMap::from([(left, vec![mended]), (below, vec![left]), (both, vec![broken, left])]);
        assert_eq!(revived(&jobs, &edges), [left, below]);
    }

    proptest! {
        #[test]
        fn a_graph_whose_edges_go_one_way_has_levels_and_one_with_a_way_back_has_none(
            edges in prop::collection::btree_set((0usize..12, 0usize..12), 0..40)
        ) {
            let names: Vec<String> = (0..12).map(|place| format!("j{place}")).collect();
            let after = |place: usize| -> Vec<After> {
                let of = edges.iter().filter(|(from, to)| *from == place && to < from);
                of.map(|(_, to)| After::success(names[*to].clone())).collect()
            };
            let after: Vec<Vec<After>> = (0..12).map(after).collect();
            let jobs: Vec<(&str, &[After])> =
                names.iter().zip(&after).map(|(name, after)| (name.as_str(), &**after)).collect();
            let found = levels(&jobs).unwrap();
            for (from, to) in edges.iter().filter(|(from, to)| to < from) {
                prop_assert!(found[*from] > found[*to]);
            }
            // The first job waits for a job that waits for it.
            if let Some((from, _)) = edges.iter().find(|(from, to)| *to == 0 && from > to) {
                let back = [After::success(names[*from].clone())];
                let mut cyclic = jobs.clone();
                cyclic[0] = (&names[0], &back);
                prop_assert!(matches!(levels(&cyclic), Err(WorkflowError::Cycle(_))));
            }
        }
    }
}
