//! From OTLP metrics to Prometheus series, by the OpenTelemetry compatibility specification.
//!
//! Cumulative sums and histograms, gauges and summaries become series; delta temporality and
//! exponential histograms are rejected by name, since storing them as something else would give
//! wrong rates.

use super::Decoded;
use super::naming::{label_name, metric_name};
use crate::model::{
    Labels, LabelsBuilder, METRIC_NAME, MetricBatch, MetricKind, MetricMeta, Resource, Sample, Value,
    attribute, stale,
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
            Shape::Gauge | Shape::Sum => writer.sample(&name, None, point.value),
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
    fn sample(&mut self, name: &str, extra: Option<(&str, &str)>, value: f64) {
        let mut labels = self.base.clone();
        if let Some((name, value)) = extra {
            labels.set(name, value);
        }
        let labels: Labels = labels.set(METRIC_NAME, name).build();
        let value = if self.point.flags & NO_RECORDED_VALUE == 0 { value } else { stale() };
        self.batch.samples.push(Sample { labels, time: self.point.time / 1_000_000, value });
    }

    #[expect(clippy::cast_precision_loss, reason = "Prometheus' values are floats")]
    fn histogram(&mut self, name: &str) {
        let bucket = format!("{name}_bucket");
        let mut cumulative = 0u64;
        for (bound, count) in self.point.bounds.iter().zip(&self.point.counts) {
            cumulative = cumulative.saturating_add(*count);
            self.sample(&bucket, Some(("le", &bound.to_string())), cumulative as f64);
        }
        self.sample(&bucket, Some(("le", "+Inf")), self.point.sums.count as f64);
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
