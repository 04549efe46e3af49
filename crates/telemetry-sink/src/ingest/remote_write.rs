//! Prometheus remote write, versions 1.0 and 2.0.
//!
//! A sender repeats what is answered 5xx or 429 and drops what is answered 4xx. So 400 is the answer wherever a
//! part of the request can never be stored, with the rest stored and counted in the headers
//! `X-Prometheus-Remote-Write-*-Written`; samples that are there already count as written.
//!
//! Staleness markers are kept bit by bit. Native histograms cannot be stored and are rejected. Exemplars that cannot be
//! kept fail no request, as with Prometheus; how many are there is said in the header.

mod v1;
mod v2;

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

pub(crate) use self::v1::decode as decode_v1;
pub(crate) use self::v2::decode as decode_v2;
use super::body::{Packing, media_type, unpack};
use super::known_labels::Reading;
use super::response::{Accepted, Refusal};
use super::wire::{Field, Fields, Malformed};
use super::{Decoded, MAX_PLAIN, PROTOBUF_COST, Receiver, Written};
use crate::model::{
    Exemplar, Labels, LabelsBuilder, MAX_BATCH_EXEMPLARS, MAX_EXEMPLAR_CHARS, METRIC_NAME, MetricBatch,
    MetricKind, Sample,
};
use crate::storage::Signal;

const SAMPLES: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");
const HISTOGRAMS: HeaderName = HeaderName::from_static("x-prometheus-remote-write-histograms-written");
const EXEMPLARS: HeaderName = HeaderName::from_static("x-prometheus-remote-write-exemplars-written");

const NO_HISTOGRAMS: &str = "native histograms are not supported; send classic ones";
const BAD_LABELS: &str = "a series needs a name, and each of its labels a name of its own";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    /// By the content type's `proto` parameter, without which it is version 1.0.
    fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let unsupported = || {
            Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "content-type must be application/x-protobuf with proto=prometheus.WriteRequest or \
                 proto=io.prometheus.write.v2.Request",
            )
        };
        if media_type(headers) != "application/x-protobuf" {
            return Err(unsupported());
        }
        let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let proto = value.split(';').skip(1).find_map(|parameter| parameter.trim().strip_prefix("proto="));
        match proto.map(|name| name.trim_matches('"')) {
            None | Some("prometheus.WriteRequest") => Ok(Self::One),
            Some("io.prometheus.write.v2.Request") => Ok(Self::Two),
            Some(_) => Err(unsupported()),
        }
    }
}

pub(super) async fn receive(
    State(receiver): State<Arc<Receiver>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let outcome = match prepare(&headers) {
        Ok((version, packing)) => {
            receiver.work(move |receiver| store(receiver, version, packing, &body)).await
        }
        Err(refusal) => Err(refusal),
    };
    match outcome {
        Ok((accepted, written)) => answer(accepted, written),
        Err(refusal) => {
            refusal.report(Signal::Metrics);
            with_written(refusal.to_text(), Written::default())
        }
    }
}

fn prepare(headers: &HeaderMap) -> Result<(Version, Packing), Refusal> {
    let version = Version::of(headers)?;
    let packing = Packing::of(headers)?;
    if packing == Packing::Snappy {
        return Ok((version, packing));
    }
    Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-encoding must be snappy"))
}

fn store(
    receiver: &Receiver,
    version: Version,
    packing: Packing,
    body: &[u8],
) -> Result<(Accepted, Written), Refusal> {
    let mut charge = receiver.budget.charge(PROTOBUF_COST);
    let plain = unpack(packing, body, MAX_PLAIN, &mut charge)?;
    let mut reading = receiver.known_labels.reading();
    let decoded = match version {
        Version::One => decode_v1(&plain, &mut reading),
        Version::Two => decode_v2(&plain, &mut reading),
    };
    let mut decoded = decoded.map_err(Refusal::malformed)?;
    let new = reading.end();
    let written = receiver.append(&mut decoded)?;
    receiver.known_labels.learn(new, &receiver.storage);
    Ok((decoded.accepted(), written))
}

fn answer(accepted: Accepted, written: Written) -> Response {
    accepted.report(Signal::Metrics);
    if accepted.rejected == 0 {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        return with_written(response, written);
    }
    let reason = accepted.reason.unwrap_or("");
    let message = format!("{} items were not stored: {reason}", accepted.rejected);
    with_written(Refusal::new(StatusCode::BAD_REQUEST, message).to_text(), written)
}

fn with_written(mut response: Response, written: Written) -> Response {
    let headers = response.headers_mut();
    headers.insert(SAMPLES, HeaderValue::from(written.samples));
    headers.insert(HISTOGRAMS, HeaderValue::from(0));
    headers.insert(EXEMPLARS, HeaderValue::from(written.exemplars));
    response
}

const MAX_LABELS: usize = 128;
const MAX_LABEL_BYTES: usize = 4096;
const LONG_LABELS: &str = "a series has more than 128 labels, or one longer than 4096 bytes";

/// One series as it is read, in either version.
#[derive(Default)]
struct Series<'a> {
    pairs: Vec<(&'a [u8], &'a [u8])>,
    samples: Vec<(i64, f64)>,
    exemplars: Vec<(Labels, i64, f64)>,
    histograms: usize,
    /// It has more labels, or longer ones, than are taken.
    oversized: bool,
}

impl<'a> Series<'a> {
    fn clear(&mut self) {
        self.pairs.clear();
        self.samples.clear();
        self.exemplars.clear();
        self.histograms = 0;
        self.oversized = false;
    }

    fn label(&mut self, name: &'a [u8], value: &'a [u8]) {
        // A request names a label once and may use it in a hundred thousand series.
        if self.pairs.len() >= MAX_LABELS || name.len().max(value.len()) > MAX_LABEL_BYTES {
            self.oversized = true;
            return;
        }
        self.pairs.push((name, value));
    }

    /// Adds an exemplar that leads somewhere. One that is too long is not even copied: a request may name a long
    /// text once and use it in each of its exemplars.
    fn exemplar(&mut self, labels: &[(&str, &str)], (time, value): (i64, f64)) {
        let chars = |text: &str| text.chars().count();
        if labels.iter().map(|(name, value)| chars(name) + chars(value)).sum::<usize>() > MAX_EXEMPLAR_CHARS {
            metrics::counter!("quintet_sink_exemplars_refused_total", "reason" => "too_long").increment(1);
        } else if !labels.is_empty() && self.exemplars.len() < MAX_BATCH_EXEMPLARS {
            self.exemplars.push((labels.iter().copied().collect(), time, value));
        }
    }

    /// Moves the samples into the batch, or counts why not.
    fn finish(&mut self, reading: &mut Reading<'_>, into: &mut Decoded<MetricBatch>) {
        if self.histograms > 0 {
            into.reject(self.histograms, NO_HISTOGRAMS);
        }
        if self.oversized {
            into.reject(self.samples.len(), LONG_LABELS);
            return;
        }
        let Some(labels) = reading.labels(&self.pairs, labels) else {
            into.reject(self.samples.len(), BAD_LABELS);
            return;
        };
        for (own, time, value) in self.exemplars.drain(..) {
            into.batch.note(Exemplar { series: labels.clone(), labels: own, value, time, timed: true });
        }
        let sample = |(time, value)| Sample { labels: labels.clone(), time, value };
        into.batch.samples.extend(self.samples.drain(..).map(sample));
    }
}

/// The label set, unless it has no metric's name or a label has no name of its own.
fn labels(pairs: &[(&[u8], &[u8])]) -> Option<Labels> {
    // Senders in languages with byte strings do send broken UTF-8; the rest of the batch is worth more than the
    // broken letter.
    let text = |bytes| String::from_utf8_lossy(bytes);
    let mut names: Vec<_> = pairs.iter().map(|(name, _)| text(name)).collect();
    names.sort_unstable();
    let repeated = names.windows(2).any(|pair| pair.first() == pair.last());
    let mut builder = LabelsBuilder::new();
    for (name, value) in pairs {
        builder.set(&text(name), &text(value));
    }
    let labels = builder.build();
    let sound = !repeated && labels.get(METRIC_NAME).is_some() && names.iter().all(|name| !name.is_empty());
    sound.then_some(labels)
}

/// A sample has the same form in both versions: its value and its time in milliseconds.
fn sample(field: Field<'_>) -> Result<(i64, f64), Malformed> {
    let (mut time, mut value) = (0, 0.0);
    for field in Fields::new(field.bytes()?) {
        match field? {
            (1, field) => value = field.double()?,
            (2, field) => time = field.number()?.cast_signed(),
            _ => {}
        }
    }
    Ok((time, value))
}

/// An exemplar's value and time stand in the same places in both versions.
fn observation(field: Field<'_>) -> Result<(i64, f64), Malformed> {
    let (mut time, mut value) = (0, 0.0);
    for field in Fields::new(field.bytes()?) {
        match field? {
            (2, field) => value = field.double()?,
            (3, field) => time = field.number()?.cast_signed(),
            _ => {}
        }
    }
    Ok((time, value))
}

/// The metric types of both versions.
fn kind(number: u64) -> MetricKind {
    match number {
        1 => MetricKind::Counter,
        2 => MetricKind::Gauge,
        3 => MetricKind::Histogram,
        5 => MetricKind::Summary,
        _ => MetricKind::Unknown,
    }
}

#[cfg(test)]
mod tests;
