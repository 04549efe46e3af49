//! What an operator sees of the limits.

use quintet_store::{Store, args};
use serde::Serialize;
use utoipa::ToSchema;

use super::{RUNS, Rate, Runs};
use crate::error::Error;
use crate::policy::Policies;

/// Keys shown of one kind.
const MOST_KEYS: usize = 100;

/// A kind's limits, and what of them is in use.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct LimitView {
    /// The kind.
    pub kind: String,
    /// Runs at once in one process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Runs at once in all processes together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub global_concurrency: Option<u32>,
    /// Runs at once of jobs with one partition key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency_per_key: Option<u32>,
    /// How often runs may begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateView>,
    /// How often runs of jobs with one partition key may begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_key: Option<RateView>,
    /// Jobs that run.
    pub running: i64,
    /// The partition keys with the most runs, a hundred at most.
    pub keys: Vec<KeyRuns>,
}

/// A rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct RateView {
    runs: u32,
    per_ms: u64,
    burst: u32,
}

impl From<Rate> for RateView {
    fn from(rate: Rate) -> Self {
        let per_ms = u64::try_from(rate.per.as_millis()).unwrap_or(u64::MAX);
        Self { runs: rate.runs, per_ms, burst: rate.burst }
    }
}

/// What runs of one partition key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct KeyRuns {
    /// The key.
    pub key: String,
    /// Jobs that run.
    pub running: i64,
}

/// The limits in force here, by kind.
pub async fn limits(store: &Store, policies: &Policies) -> Result<Vec<LimitView>, Error> {
    let mut views = Vec::new();
    for (kind, limits) in policies.limited() {
        let runs = Runs::count(&store.fetch_all(RUNS, args![kind]).await?, "")?;
        let mut keys: Vec<KeyRuns> = runs
            .by_key
            .into_iter()
            .filter(|(key, _)| !key.is_empty())
            .map(|(key, running)| KeyRuns { key, running })
            .collect();
        keys.sort_unstable_by(|one, other| {
            other.running.cmp(&one.running).then_with(|| one.key.cmp(&other.key))
        });
        keys.truncate(MOST_KEYS);
        views.push(LimitView {
            kind: kind.to_owned(),
            concurrency: limits.local,
            global_concurrency: limits.global,
            concurrency_per_key: limits.per_key,
            rate: limits.rate.map(RateView::from),
            rate_per_key: limits.rate_per_key.map(RateView::from),
            running: runs.total,
            keys,
        });
    }
    views.sort_unstable_by(|one, other| one.kind.cmp(&other.kind));
    Ok(views)
}
