//! Several sinks as one: what other sinks hold joins the answers of this one.
//!
//! A query asks every peer at once for what it would read itself: samples, exemplars, label sets, traces and their spans, the lines of a log
//! query, what there is to choose from ([`reading`] answers). All of it is joined here, what is there twice counts once, and the query goes on as if it stood in one
//! place. A peer that is asked answers from its own storage alone, so that a ring of peers ends, and has turns for such questions that
//! its own queries do not take, so that two sinks that ask each other do not wait for each other.
//!
//! Invariants: a peer that does not answer makes the answer partial and never an error, which the answer says ([`missed`]) and
//! a metric counts; an answer is bounded in bytes, packed and unpacked, and in time. Of two samples of a series at one time, and two
//! spans of one id, that of this sink stays.

pub(crate) mod questions;
pub(crate) mod reading;
pub(crate) mod settings;
mod tokens;
pub(crate) mod traces;
pub(crate) mod wire;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
use quintet_http::Client;
use quintet_service::Invalid;

use self::questions::{ExemplarsAsked, LogsAsked, MeasuresAsked, SamplesAsked};
use self::settings::{FleetSection, PeerSection};
use self::tokens::Tokens;
use self::wire::MAX_PACKED;
use crate::api::catalog;
use crate::head::Found;
use crate::head::metrics::{Selected, TooManySamples};
use crate::logql::{Direction, Measures, Range};
use crate::model::codec::{self, Record};
use crate::model::matcher::all_accept;
use crate::model::{Labels, LogRecord, Matcher, put_in_order};
use crate::offload::missed;
use crate::outbound::{Access, parse_url};
use crate::promql::{self, Source};
use crate::storage::{FoundExemplars, Storage, TookTooLong, Wanted};

/// Spans, and label sets or ids, that one sink gives another.
const MAX_SPANS: usize = 20_000;
const MAX_SERIES: usize = 200_000;

/// How long who asks waits, milliseconds: what is done after that is for nothing.
const PATIENCE: &str = "quintet-patience-ms";

/// Why a peer gave nothing.
enum Silent {
    /// Its part alone is more than the query may read.
    TooMuch,
    Failed(String),
}

fn failed(error: impl std::fmt::Display) -> Silent {
    Silent::Failed(error.to_string())
}

/// The other sinks, none unless configured, and what tells this one from them.
#[derive(Default)]
pub(crate) struct Peers {
    labels: BTreeMap<String, String>,
    peers: Vec<Peer>,
}

struct Peer {
    name: String,
    client: Client,
    path: String,
    access: Access,
    tokens: Option<Tokens>,
    timeout: Duration,
}

/// What peers gave.
struct Gathered<T> {
    found: Vec<T>,
    /// A peer refused because its part is too large.
    is_too_much: bool,
}

impl Peers {
    pub(crate) fn new(settings: &FleetSection) -> Result<Self, Invalid> {
        let peers = settings.peers.iter().map(Peer::new).collect::<Result<_, Invalid>>()?;
        Ok(Self { labels: settings.labels.clone(), peers })
    }

    /// What tells this sink's series from others'.
    fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    /// Asks all peers at once. Blocking; only from a thread that may block.
    fn ask<T>(
        &self,
        what: &str,
        question: &impl serde::Serialize,
        deadline: Instant,
        read: impl Fn(&[u8]) -> Result<T, codec::Damaged>,
    ) -> Gathered<T> {
        let mut gathered = Gathered { found: Vec::new(), is_too_much: false };
        if self.peers.is_empty() {
            return gathered;
        }
        // Texts and numbers always become JSON.
        let body = Bytes::from(serde_json::to_vec(question).unwrap_or_default());
        let asked = self.peers.iter().map(|peer| peer.ask(what, body.clone(), deadline));
        let answers = tokio::runtime::Handle::current().block_on(join_all(asked));
        for (peer, answer) in self.peers.iter().zip(answers) {
            let damaged = |_| failed("its answer cannot be read");
            let found = answer.and_then(|(packed, is_partial)| {
                if is_partial {
                    missed::note_peer();
                }
                read(&wire::unpack(&packed).map_err(damaged)?).map_err(damaged)
            });
            let outcome = if found.is_ok() { "answered" } else { "failed" };
            metrics::counter!("quintet_sink_peer_requests_total", "peer" => peer.name.clone(), "outcome" => outcome)
                .increment(1);
            match found {
                Ok(found) => gathered.found.push(found),
                Err(Silent::TooMuch) => gathered.is_too_much = true,
                Err(Silent::Failed(reason)) => {
                    missed::note_peer();
                    tracing::warn!(
                        peer = peer.name,
                        what,
                        reason,
                        "a peer did not answer; what it holds is missing"
                    );
                }
            }
        }
        gathered
    }

    /// What peers give to a question whose answer may lack a peer's part.
    fn gather<T>(
        &self,
        what: &str,
        question: &impl serde::Serialize,
        deadline: Instant,
        read: impl Fn(&[u8]) -> Result<T, codec::Damaged>,
    ) -> impl Iterator<Item = T> {
        let gathered = self.ask(what, question, deadline, read);
        if gathered.is_too_much {
            missed::note_peer();
        }
        gathered.found.into_iter()
    }

    pub(crate) fn count(&self) -> usize {
        self.peers.len()
    }

    /// The lines that pass a log query at the peers.
    pub(crate) fn lines(
        &self,
        query: &str,
        range: Range,
        limit: usize,
        direction: Direction,
        deadline: Instant,
    ) -> Vec<Found<LogRecord>> {
        let asked = LogsAsked {
            query: query.to_owned(),
            from: range.from,
            to: range.to,
            limit,
            forward: direction == Direction::Forward,
        };
        self.gather("logs", &asked, deadline, records::<LogRecord>).flatten().collect()
    }

    /// What peers measure; nothing where one refuses.
    pub(crate) fn measures(&self, asked: &MeasuresAsked, deadline: Instant) -> Option<Vec<Measures>> {
        let gathered = self.ask("measures", asked, deadline, Measures::decode);
        (!gathered.is_too_much).then_some(gathered.found)
    }

    /// What there is to choose from at the peers.
    pub(crate) fn catalog(&self, asked: &catalog::Asked, deadline: Instant) -> Vec<Labels> {
        self.gather("catalog", asked, deadline, wire::label_sets).flatten().collect()
    }

    fn own_exemplars(&self, storage: &Storage, wanted: &Wanted) -> Result<FoundExemplars, TookTooLong> {
        let stored = wanted.selectors.iter().map(|matchers| split(&self.labels, matchers).0).collect();
        let mut found = storage.select_exemplars(&Wanted { selectors: stored, ..wanted.clone() })?;
        for (labels, exemplars) in std::mem::take(&mut found.series) {
            let labels = with(&labels, &self.labels);
            if wanted.selectors.iter().any(|matchers| all_accept(matchers, &labels)) {
                found.series.entry(labels).or_default().extend(exemplars);
            }
        }
        Ok(found)
    }

    /// The exemplars of this sink and its peers.
    pub(crate) fn exemplars(
        &self,
        storage: &Storage,
        wanted: &Wanted,
    ) -> Result<FoundExemplars, TookTooLong> {
        let mut all = self.own_exemplars(storage, wanted)?;
        let asked = ExemplarsAsked {
            selectors: wanted.selectors.iter().map(|matchers| questions::asked(matchers)).collect(),
            from: wanted.from,
            to: wanted.to,
            // One more than fits says that there are more.
            most: wanted.most.saturating_add(1),
        };
        let theirs = self.gather("exemplars", &asked, wanted.deadline, wire::exemplars).flatten();
        for exemplar in theirs {
            all.series.entry(exemplar.series.clone()).or_default().push(exemplar);
        }
        for exemplars in all.series.values_mut() {
            exemplars.sort_by(|left, right| (left.time, &left.labels).cmp(&(right.time, &right.labels)));
            exemplars.dedup_by(|later, first| (later.time, &later.labels) == (first.time, &first.labels));
        }
        all.cut_to(wanted.most);
        Ok(all)
    }

    fn own_label_sets(
        &self,
        storage: &Storage,
        matchers: &[Matcher],
        (from, to): (i64, i64),
    ) -> BTreeSet<Labels> {
        let (stored, of_fleet) = split(&self.labels, matchers);
        let sets =
            storage.label_sets(&stored, from, to).into_iter().map(|labels| with(&labels, &self.labels));
        sets.filter(|labels| all_accept(&of_fleet, labels)).collect()
    }

    /// The label sets of this sink and its peers.
    pub(crate) fn label_sets(
        &self,
        storage: &Storage,
        matchers: &[Matcher],
        times: (i64, i64),
        deadline: Instant,
    ) -> BTreeSet<Labels> {
        let mut sets = self.own_label_sets(storage, matchers, times);
        let (from, to) = times;
        let asked = SamplesAsked { matchers: questions::asked(matchers), from, to, max_samples: 0 };
        sets.extend(self.gather("series", &asked, deadline, wire::label_sets).flatten());
        sets
    }

    /// The samples of this sink and its peers, for one query.
    pub(crate) fn joined<'a>(&'a self, storage: &'a Storage, deadline: Instant) -> Joined<'a> {
        Joined { storage, peers: self, deadline }
    }
}

fn records<R: Record>(bytes: &[u8]) -> Result<Vec<Found<R>>, codec::Damaged> {
    let groups = codec::decode_batch::<R>(bytes)?.groups;
    let found = groups.into_iter().flat_map(|(resource, records)| {
        records.into_iter().map(move |record| Found { resource: std::sync::Arc::clone(&resource), record })
    });
    Ok(found.collect())
}

/// The matchers that the storage can answer, and those of labels that only answers have.
fn split(fleet: &BTreeMap<String, String>, matchers: &[Matcher]) -> (Vec<Matcher>, Vec<Matcher>) {
    matchers.iter().cloned().partition(|matcher| !fleet.contains_key(&matcher.name))
}

/// Labels with those of the fleet that they lack.
fn with(labels: &Labels, fleet: &BTreeMap<String, String>) -> Labels {
    if fleet.keys().all(|name| labels.get(name).is_some()) {
        return labels.clone();
    }
    let more = fleet.iter().filter(|(name, _)| labels.get(name).is_none());
    labels.iter().chain(more.map(|(name, value)| (name.as_str(), value.as_str()))).collect()
}

/// Visits this sink's series as others see them.
fn own<E>(
    storage: &Storage,
    fleet: &BTreeMap<String, String>,
    matchers: &[Matcher],
    (from, to): (i64, i64),
    mut visit: impl FnMut(Selected) -> Result<(), E>,
) -> Result<(), E> {
    let (stored, of_fleet) = split(fleet, matchers);
    let twins = twins(storage, fleet, &stored, (from, to));
    let mut held: BTreeMap<Labels, Vec<(i64, f64)>> = BTreeMap::new();
    storage.each_series(&stored, from, to, |series| {
        let labels = with(&series.labels, fleet);
        if !all_accept(&of_fleet, &labels) {
            Ok(())
        } else if twins.contains(&labels) {
            held.entry(labels).or_default().extend(series.samples);
            Ok(())
        } else {
            visit(Selected { labels, ..series })
        }
    })?;
    held.into_iter().try_for_each(|(labels, mut samples)| {
        put_in_order(&mut samples);
        visit(Selected { labels, samples })
    })
}

/// The labels of two stored series, one with the fleet's labels and one that gets them: they are one series to others.
fn twins(
    storage: &Storage,
    fleet: &BTreeMap<String, String>,
    stored: &[Matcher],
    (from, to): (i64, i64),
) -> BTreeSet<Labels> {
    let find = |value_of: fn(&String) -> &str| {
        let more = fleet.iter().map(|(name, value)| Matcher::equal(name, value_of(value)));
        storage.label_sets(&stored.iter().cloned().chain(more).collect::<Vec<_>>(), from, to)
    };
    if fleet.is_empty() {
        return BTreeSet::new();
    }
    let with_labels = find(String::as_str);
    if with_labels.is_empty() {
        return with_labels;
    }
    let without: BTreeSet<Labels> = find(|_| "").iter().map(|labels| with(labels, fleet)).collect();
    with_labels.intersection(&without).cloned().collect()
}

impl Peer {
    fn new(settings: &PeerSection) -> Result<Self, Invalid> {
        let (origin, path) = parse_url(&settings.url, "fleet.peers.url")?;
        let timeout = Duration::from_millis(settings.timeout_ms);
        Ok(Self {
            name: settings.name.clone(),
            client: settings.access.client(origin, timeout, "fleet.peers")?.max_body(MAX_PACKED),
            path: path.trim_end_matches('/').to_owned(),
            access: settings.access.clone(),
            tokens: settings.token.as_ref().map(Tokens::new).transpose()?,
            timeout,
        })
    }

    /// What it gives, and whether it says that something is missing there.
    async fn ask(&self, what: &str, body: Bytes, deadline: Instant) -> Result<(Bytes, bool), Silent> {
        let patience = deadline.saturating_duration_since(Instant::now()).min(self.timeout);
        let answer = tokio::time::timeout(patience, self.answer(what, body, patience)).await;
        let response = answer.unwrap_or_else(|_| Err(failed("it took too long")))?;
        match response.status() {
            StatusCode::OK => {
                let is_partial = response.headers().contains_key(missed::HEADER);
                Ok((response.into_body(), is_partial))
            }
            StatusCode::UNPROCESSABLE_ENTITY => Err(Silent::TooMuch),
            status => Err(failed(format_args!("it answered with status {status}"))),
        }
    }

    async fn answer(&self, what: &str, body: Bytes, patience: Duration) -> Result<Response<Bytes>, Silent> {
        let Some(tokens) = &self.tokens else { return self.send(what, body, patience, None).await };
        let token = tokens.get().await.map_err(Silent::Failed)?;
        let response = self.send(what, body.clone(), patience, Some(&token)).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        // Its keys may have been changed since; a second refusal stands.
        tokens.refused(&token).await;
        let token = tokens.get().await.map_err(Silent::Failed)?;
        self.send(what, body, patience, Some(&token)).await
    }

    async fn send(
        &self,
        what: &str,
        body: Bytes,
        patience: Duration,
        token: Option<&str>,
    ) -> Result<Response<Bytes>, Silent> {
        let path = format!("{}/telemetry/v1/read/{what}", self.path);
        let mut request = Request::post(path).body(body).map_err(failed)?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let millis = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        headers.insert(PATIENCE, millis.into());
        self.access.apply(headers).map_err(Silent::Failed)?;
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(failed)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        self.client.request(request).await.map_err(failed)
    }
}

/// The samples of this sink and of its peers.
pub(crate) struct Joined<'a> {
    storage: &'a Storage,
    peers: &'a Peers,
    deadline: Instant,
}

impl Source for Joined<'_> {
    fn select(
        &self,
        matchers: &[Matcher],
        from: i64,
        to: i64,
        max_samples: usize,
    ) -> Result<Vec<Selected>, TooManySamples> {
        let (mut found, mut left) = (Vec::new(), max_samples);
        let selected = self.each(matchers, from, to, max_samples, &mut |series| {
            left = left.checked_sub(series.samples.len()).ok_or(promql::Error::TooManySamples)?;
            found.push(series);
            Ok(())
        });
        selected.map_err(|_| TooManySamples)?;
        found.sort_unstable_by(|left, right| left.labels.cmp(&right.labels));
        Ok(found)
    }

    fn each(
        &self,
        matchers: &[Matcher],
        from: i64,
        to: i64,
        max_samples: usize,
        visit: &mut dyn FnMut(Selected) -> Result<(), promql::Error>,
    ) -> Result<(), promql::Error> {
        // What peers give is held, all of theirs together no more than a query may.
        let most = max_samples / self.peers.peers.len().max(1);
        let asked = SamplesAsked { matchers: questions::asked(matchers), from, to, max_samples: most };
        let gathered = self.peers.ask("samples", &asked, self.deadline, wire::selected);
        if gathered.is_too_much {
            return Err(promql::Error::TooManySamples);
        }
        let mut theirs: HashMap<Labels, Vec<(i64, f64)>> = HashMap::new();
        for series in gathered.found.into_iter().flatten() {
            theirs.entry(series.labels).or_default().extend(series.samples);
        }
        own(self.storage, &self.peers.labels, matchers, (from, to), |mut series| {
            if let Some(more) = theirs.remove(&series.labels) {
                series.samples.extend(more);
                put_in_order(&mut series.samples);
            }
            visit(series)
        })?;
        for (labels, mut samples) in theirs {
            put_in_order(&mut samples);
            visit(Selected { labels, samples })?;
        }
        Ok(())
    }
}
