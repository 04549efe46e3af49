//! What the sink holds in memory and answers queries from.
//!
//! Metrics live as compressed chunks per series behind a label index ([`metrics`]), their exemplars in a queue
//! ([`exemplars`]); logs and spans live in blocks of encoded records with their lookup keys beside them ([`blocks`]). Each head
//! counts its own bytes and can set its content apart to be written out; nothing here touches the disk.

pub(crate) mod blocks;
pub(crate) mod cardinality;
pub(crate) mod chunk;
pub(crate) mod exemplars;
pub(crate) mod metrics;
pub(crate) mod sieve;

pub(crate) use blocks::{BlockHead, Found};
pub(crate) use exemplars::Exemplars;
pub(crate) use metrics::{MetricsHead, SeriesLimits};
pub(crate) use sieve::Sieve;
