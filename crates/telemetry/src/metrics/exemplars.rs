//! Exemplars: for each bucket of each histogram the newest value that was recorded in a sampled trace.
//!
//! [`Observing`] stands before the recorder and wraps the histograms that it gives out. A value is recorded as before; when
//! the current span is sampled, its ids are left in the value's bucket too, unless another thread is doing the same: nobody
//! waits. What is kept is bounded by the histograms there are.
//!
//! A histogram that is looked up within a span that is not sampled comes without exemplars, because nearly all of those are
//! looked up for one value. Who keeps a handle should look it up outside of any span.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::PrometheusRecorder;
use metrics_exporter_prometheus::formatting::{
    sanitize_label_key, sanitize_label_value, sanitize_metric_name,
};
use opentelemetry::trace::{SpanId, TraceId};
use quintet_types::{SharedClock, Timestamp};

use crate::trace;

/// One observation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exemplar {
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    pub(super) value: f64,
    pub(super) time: Timestamp,
}

/// A histogram's buckets; the last one has no bound.
struct Buckets {
    bounds: &'static [f64],
    slots: OnceLock<Box<[Mutex<Option<Exemplar>>]>>,
}

impl Buckets {
    fn note(&self, exemplar: Exemplar) {
        let slots = self.slots.get_or_init(|| (0..=self.bounds.len()).map(|_| Mutex::default()).collect());
        let bucket = self.bounds.partition_point(|bound| *bound < exemplar.value);
        if let Some(slot) = slots.get(bucket)
            && let Ok(mut slot) = slot.try_lock()
        {
            *slot = Some(exemplar);
        }
    }

    fn newest(&self, bucket: usize) -> Option<Exemplar> {
        *self.slots.get()?.get(bucket)?.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Known = RwLock<HashMap<Key, Arc<Buckets>>>;

/// The recorder, with exemplars.
pub(super) struct Observing {
    inner: PrometheusRecorder,
    bounds: fn(&str) -> &'static [f64],
    known: Arc<Known>,
    clock: SharedClock,
}

impl Observing {
    /// A recorder that finds a histogram's bounds by its name.
    pub(super) fn new(
        inner: PrometheusRecorder,
        bounds: fn(&str) -> &'static [f64],
        clock: SharedClock,
    ) -> Self {
        Self { inner, bounds, known: Arc::default(), clock }
    }

    pub(super) fn exemplars(&self) -> Exemplars {
        Exemplars(Arc::clone(&self.known))
    }

    fn buckets(&self, key: &Key) -> Arc<Buckets> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(buckets) = known.get(key) {
            return Arc::clone(buckets);
        }
        drop(known);
        let fresh = || Arc::new(Buckets { bounds: (self.bounds)(key.name()), slots: OnceLock::new() });
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(key.to_retained()).or_insert_with(fresh))
    }
}

impl Recorder for Observing {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.inner.describe_counter(name, unit, description);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.inner.describe_gauge(name, unit, description);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.inner.describe_histogram(name, unit, description);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.inner.register_counter(key, metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.inner.register_gauge(key, metadata)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        let inner = self.inner.register_histogram(key, metadata);
        if trace::current().is_some_and(|span| !span.sampled) {
            return inner;
        }
        let (buckets, clock) = (self.buckets(key), self.clock.clone());
        Histogram::from_arc(Arc::new(Observed { inner, buckets, clock }))
    }
}

struct Observed {
    inner: Histogram,
    buckets: Arc<Buckets>,
    clock: SharedClock,
}

impl HistogramFn for Observed {
    fn record(&self, value: f64) {
        self.inner.record(value);
        if let Some(span) = trace::current().filter(|span| span.sampled) {
            let time = self.clock.now();
            self.buckets.note(Exemplar { trace_id: span.trace_id, span_id: span.span_id, value, time });
        }
    }

    fn record_many(&self, value: f64, count: usize) {
        self.inner.record_many(value, count);
    }
}

/// The exemplars of all histograms, as they are to be shown.
pub(super) struct Exemplars(Arc<Known>);

impl Exemplars {
    /// Exemplars by the text of their series: name and labels, up to the bound's value.
    pub(super) fn by_series(&self) -> HashMap<String, Exemplar> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = HashMap::new();
        for (key, buckets) in known.iter() {
            let series = series(key);
            for bucket in 0..=buckets.bounds.len() {
                if let Some(exemplar) = buckets.newest(bucket) {
                    let bound = buckets.bounds.get(bucket).map_or("+Inf".to_owned(), f64::to_string);
                    found.insert(format!("{series}{bound}\"}}"), exemplar);
                }
            }
        }
        found
    }
}

/// As the exporter writes it.
fn series(key: &Key) -> String {
    let mut series = sanitize_metric_name(key.name());
    series.push_str("_bucket{");
    for label in key.labels() {
        let (name, value) = (sanitize_label_key(label.key()), sanitize_label_value(label.value()));
        // Writing to a string cannot fail.
        let _ = write!(series, "{name}=\"{value}\",");
    }
    series.push_str("le=\"");
    series
}
