//! From OTLP metrics to Prometheus series, by the OpenTelemetry compatibility specification.
//!
//! Cumulative sums and histograms, gauges and summaries become series; delta temporality and
//! exponential histograms are rejected by name, since storing them as something else would give
//! wrong rates. An exemplar belongs to its point's series, that of a histogram to the bucket its value falls into.

use super::Decoded;
use super::naming::{label_name, metric_name};
use crate::model::{
    Exemplar, Labels, LabelsBuilder, MAX_EXEMPLAR_CHARS, METRIC_NAME, MetricBatch, MetricKind, MetricMeta,
    Resource, Sample, Value, attribute, hex, stale,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Gauge,
    Sum,
    Histogram,
    ExponentialHistogram,
    Summary,
}

#[derive(Debug, Default)]
pub(super) struct Metric {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) unit: String,
    pub(super) data: Option<Data>,
}

#[derive(Debug)]
pub(super) struct Data {
    pub(super) shape: Shape,
    pub(super) cumulative: bool,
    pub(super) monotonic: bool,
    pub(super) points: Vec<Point>,
}

#[derive(Debug, Default)]
pub(super) struct Sums {
    pub(super) count: u64,
    pub(super) sum: Option<f64>,
}

/// A data point of any shape; what a shape does not have stays empty.
#[derive(Debug, Default)]
pub(super) struct Point {
    pub(super) time: i64,
    pub(super) attributes: Vec<(String, Value)>,
    pub(super) value: f64,
    pub(super) flags: u64,
    pub(super) counts: Vec<u64>,
    pub(super) bounds: Vec<f64>,
    pub(super) sums: Sums,
    pub(super) quantiles: Vec<(f64, f64)>,
    pub(super) exemplars: Vec<Observation>,
}

/// OTLP's exemplar.
#[derive(Debug, Default)]
pub(super) struct Observation {
    /// Nanoseconds since the Unix epoch, 0 where it is not said.
    pub(super) time: i64,
    pub(super) value: f64,
    pub(super) trace_id: Option<[u8; 16]>,
    pub(super) span_id: Option<[u8; 8]>,
    pub(super) attributes: Vec<(String, Value)>,
}

impl Observation {
    /// Whether there is anything that it could be found by.
    pub(super) fn leads_somewhere(&self) -> bool {
        self.trace_id.is_some() || self.span_id.is_some() || !self.attributes.is_empty()
    }

    /// The ids first: attributes are left out where they would make the labels too long.
    fn labels(&self) -> Labels {
        let mut labels = LabelsBuilder::new();
        let mut left = MAX_EXEMPLAR_CHARS;
        let ids = [
            ("trace_id".to_owned(), self.trace_id.map(|id| hex(&id))),
            ("span_id".to_owned(), self.span_id.map(|id| hex(&id))),
        ];
        let ids = ids.into_iter().filter_map(|(name, id)| Some((name, id?)));
        let attributes = self.attributes.iter().map(|(name, value)| (label_name(name), value.to_text()));
        let attributes = attributes.filter(|(name, _)| name != "trace_id" && name != "span_id");
        for (name, value) in ids.chain(attributes) {
            if let Some(now) = left.checked_sub(name.chars().count() + value.chars().count()) {
                left = now;
                labels.set(&name, &value);
            }
        }
        labels.build()
    }
}

/// The flag that says "no value was recorded", which is Prometheus' staleness marker.
const NO_RECORDED_VALUE: u64 = 1;

pub(super) fn to_samples(resource: &Resource, metric: &Metric, into: &mut Decoded<MetricBatch>) {
    let Some(data) = &metric.data else { return };
    let is_counter = data.shape == Shape::Sum && data.monotonic;
    match data.shape {
        Shape::Sum | Shape::Histogram if !data.cumulative => {
            into.reject(data.points.len(), "delta temporality is not supported; send cumulative values");
            return;
        }
        Shape::ExponentialHistogram => {
            into.reject(data.points.len(), "exponential histograms are not supported; send explicit bounds");
            return;
        }
        _ => {}
    }
    let name = metric_name(&metric.name, &metric.unit, is_counter, data.shape == Shape::Gauge);
    into.batch.metadata.push(MetricMeta {
        name: name.clone(),
        kind: match data.shape {
            Shape::Sum if data.monotonic => MetricKind::Counter,
            Shape::Gauge | Shape::Sum => MetricKind::Gauge,
            Shape::Histogram | Shape::ExponentialHistogram => MetricKind::Histogram,
            Shape::Summary => MetricKind::Summary,
        },
        unit: metric.unit.clone(),
        help: metric.description.clone(),
    });
    for point in &data.points {
        let mut writer = Writer { base: base_labels(resource, point), point, batch: &mut into.batch };
        match data.shape {
            Shape::Gauge | Shape::Sum => {
                let series = writer.sample(&name, None, point.value);
                writer.exemplars(&series, |_| true);
            }
            Shape::Histogram => writer.histogram(&name),
            Shape::Summary => writer.summary(&name),
            Shape::ExponentialHistogram => {}
        }
    }
}

/// `job` and `instance` come from the resource, the rest from the point.
fn base_labels(resource: &Resource, point: &Point) -> LabelsBuilder {
    let mut labels = LabelsBuilder::new();
    for (name, value) in &point.attributes {
        labels.set(&label_name(name), &value.to_text());
    }
    let text = |name: &str| attribute(&resource.attributes, name).map(Value::to_text);
    let job = match text("service.namespace") {
        Some(namespace) => format!("{namespace}/{}", resource.service),
        None => resource.service.clone(),
    };
    labels.set("job", &job);
    labels.set("instance", &text("service.instance.id").unwrap_or_default());
    labels
}

struct Writer<'a> {
    base: LabelsBuilder,
    point: &'a Point,
    batch: &'a mut MetricBatch,
}

impl Writer<'_> {
    fn sample(&mut self, name: &str, extra: Option<(&str, &str)>, value: f64) -> Labels {
        let mut labels = self.base.clone();
        if let Some((name, value)) = extra {
            labels.set(name, value);
        }
        let labels: Labels = labels.set(METRIC_NAME, name).build();
        let value = if self.point.flags & NO_RECORDED_VALUE == 0 { value } else { stale() };
        let time = self.point.time / 1_000_000;
        self.batch.samples.push(Sample { labels: labels.clone(), time, value });
        labels
    }

    /// Gives a series the point's exemplars whose values belong to it.
    fn exemplars(&mut self, series: &Labels, belongs: impl Fn(f64) -> bool) {
        for seen in self.point.exemplars.iter().filter(|seen| belongs(seen.value)) {
            let timed = seen.time != 0;
            let time = if timed { seen.time } else { self.point.time } / 1_000_000;
            let (series, labels) = (series.clone(), seen.labels());
            self.batch.note(Exemplar { series, labels, value: seen.value, time, timed });
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "Prometheus' values are floats")]
    fn histogram(&mut self, name: &str) {
        let bucket = format!("{name}_bucket");
        let (mut cumulative, mut below) = (0u64, None);
        for (bound, count) in self.point.bounds.iter().zip(&self.point.counts) {
            cumulative = cumulative.saturating_add(*count);
            let series = self.sample(&bucket, Some(("le", &bound.to_string())), cumulative as f64);
            self.exemplars(&series, |value| value <= *bound && below.is_none_or(|below| value > below));
            below = Some(*bound);
        }
        let series = self.sample(&bucket, Some(("le", "+Inf")), self.point.sums.count as f64);
        self.exemplars(&series, |value| below.is_none_or(|below| value > below));
        self.totals(name);
    }

    fn summary(&mut self, name: &str) {
        for (quantile, value) in &self.point.quantiles {
            self.sample(name, Some(("quantile", &quantile.to_string())), *value);
        }
        self.totals(name);
    }

    #[expect(clippy::cast_precision_loss, reason = "Prometheus' values are floats")]
    fn totals(&mut self, name: &str) {
        if let Some(sum) = self.point.sums.sum {
            self.sample(&format!("{name}_sum"), None, sum);
        }
        self.sample(&format!("{name}_count"), None, self.point.sums.count as f64);
    }
}
