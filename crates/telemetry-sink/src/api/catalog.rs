//! What there is to choose from: services, operations, tags, streams of logs, metrics; of this sink and its peers.
//!
//! Whatever is listed is a set of labels, so that sinks tell each other all of it in one way.

use std::collections::BTreeSet;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{Api, jaeger, loki, tempo, traces};
use crate::logql::Range;
use crate::model::{Labels, hex};
use crate::peers::questions::{self, MatcherAsked};

/// A list; times are `from ≤ time < to` in nanoseconds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Asked {
    /// `service` of all spans.
    Services,
    /// `name`, `kind` of a service's spans.
    Operations { service: String },
    /// `trace_id` of what carries a request id.
    Request { id: String },
    /// `scope`, `name` of the newest spans' attributes.
    Tags { from: i64, to: i64 },
    /// `value`, `kind` of a tag.
    TagValues { tag: String, from: i64, to: i64 },
    /// The labels of streams of logs.
    Streams { matchers: Vec<MatcherAsked>, from: i64, to: i64 },
    /// `name`, `type`, `help`, `unit` of metrics.
    Metrics,
}

/// What this sink has; an error where the question makes no sense.
pub(crate) fn own(api: &Api, asked: &Asked, deadline: Instant) -> Result<BTreeSet<Labels>, String> {
    Ok(match asked {
        Asked::Services => {
            let names = jaeger::services_of(&api.storage);
            names.iter().map(|service| [("service", service.as_str())].into_iter().collect()).collect()
        }
        Asked::Operations { service } => {
            let found = jaeger::operations_of(&api.storage, service, deadline);
            let labels = |(name, kind): &(String, &'static str)| {
                [("name", name.as_str()), ("kind", *kind)].into_iter().collect()
            };
            found.iter().map(labels).collect()
        }
        Asked::Request { id } => {
            let traces = traces::of_request(&api.storage, id);
            traces.iter().map(|id| [("trace_id", hex(id).as_str())].into_iter().collect()).collect()
        }
        Asked::Tags { from, to } => tempo::tags::own_names(&api.storage, (*from, *to), deadline),
        Asked::TagValues { tag, from, to } => {
            tempo::tags::own_values(&api.storage, tag, (*from, *to), deadline)
        }
        Asked::Streams { matchers, from, to } => {
            let matchers = questions::matchers(matchers)?;
            loki::streams_of(&api.storage, Range { from: *from, to: *to }, &matchers)
        }
        Asked::Metrics => {
            let labels = |meta: &crate::model::MetricMeta| {
                let (name, kind) = (meta.name.as_str(), meta.kind.as_str());
                let pairs = [
                    ("name", name),
                    ("type", kind),
                    ("help", meta.help.as_str()),
                    ("unit", meta.unit.as_str()),
                ];
                pairs.into_iter().collect()
            };
            api.storage.metadata().iter().map(labels).collect()
        }
    })
}

/// What this sink and its peers have.
pub(super) fn joined(api: &Api, asked: &Asked) -> BTreeSet<Labels> {
    let deadline = api.limits().deadline;
    let mut all = own(api, asked, deadline).unwrap_or_default();
    all.extend(api.peers.catalog(asked, deadline));
    all
}

/// The values of one of the labels.
pub(super) fn values(sets: &BTreeSet<Labels>, name: &str) -> BTreeSet<String> {
    sets.iter().filter_map(|labels| labels.get(name)).map(str::to_owned).collect()
}
