//! Series as dashboards meet them, and the remote-write requests that carry them.
//!
//! No sample falls on a time at which a query is evaluated: whether the older end of a window belongs to it is what
//! Prometheus 3 changed, and Debian's is older.

use crate::chaos::lots::Lots;

/// Between two samples of a series, milliseconds.
const INTERVAL: i64 = 15_000;
/// How far the series reach back.
pub(super) const SPAN: i64 = 7_200_000;
/// What one request covers: less than the time in which a sample may be late.
const SLICE: i64 = 600_000;
/// The largest copy of a literal that its two-byte length allows.
const LITERAL: usize = 65_536;
/// The NaN that ends a series.
const STALE: u64 = 0x7ff0_0000_0000_0002;

pub(super) struct Series {
    labels: Vec<(String, String)>,
    samples: Vec<(i64, f64)>,
}

/// A number from 0 up to 1.
#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn part(lots: &mut Lots) -> f64 {
    lots.below(1 << 20) as f64 / f64::from(1 << 20)
}

struct Maker<'a> {
    lots: &'a mut Lots,
    end: i64,
    made: Vec<Series>,
}

impl Maker<'_> {
    /// The times of a series, a little apart from those of the others.
    fn times(&mut self) -> Vec<i64> {
        let seconds = i64::try_from(self.lots.below(14)).unwrap_or(0) * 1000;
        let phase = seconds + 1 + i64::try_from(self.lots.below(300)).unwrap_or(0);
        let start = self.end - SPAN;
        (0..SPAN / INTERVAL).map(|step| start + step * INTERVAL + phase).collect()
    }

    fn add(&mut self, name: &str, labels: &[(&str, &str)], samples: Vec<(i64, f64)>) {
        let mut all = vec![("__name__".to_owned(), name.to_owned())];
        all.extend(labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        all.sort();
        self.made.push(Series { labels: all, samples });
    }

    /// A counter that starts again from zero now and then.
    fn counter(&mut self, rate: f64, resets: bool) -> Vec<(i64, f64)> {
        let mut value = 5000.0 + (part(self.lots) * 1000.0).floor();
        let times = self.times();
        times
            .into_iter()
            .map(|time| {
                value += (part(self.lots) * rate * 30.0).floor();
                if resets && self.lots.below(120) == 0 {
                    value = (part(self.lots) * 5.0).floor();
                }
                (time, value)
            })
            .collect()
    }

    /// A gauge that wanders, falls silent and ends.
    fn gauge(&mut self, middle: f64, gaps: bool) -> Vec<(i64, f64)> {
        let (mut value, mut silent) = (middle, 0);
        let mut samples = Vec::new();
        for time in self.times() {
            value += (part(self.lots) - 0.5) * middle.abs() / 10.0;
            if silent > 0 {
                silent -= 1;
                continue;
            }
            if gaps && self.lots.below(90) == 0 {
                silent = 4 + self.lots.below(50);
                if self.lots.in_hundred(50) {
                    samples.push((time, f64::from_bits(STALE)));
                }
                continue;
            }
            samples.push((time, value));
        }
        samples
    }

    fn requests(&mut self) {
        for job in ["api", "web"] {
            for instance in ["a:1", "b:1", "c:1"] {
                for (method, rate) in [("get", 20.0), ("post", 3.0)] {
                    for (status, share) in [("200", 1.0), ("404", 0.1), ("500", 0.02)] {
                        let samples = self.counter(rate * share, true);
                        let labels =
                            [("job", job), ("instance", instance), ("method", method), ("status", status)];
                        self.add("requests_total", &labels, samples);
                    }
                }
                let samples = self.counter(0.4, true);
                self.add("cpu_seconds_total", &[("job", job), ("instance", instance)], samples);
            }
        }
    }

    fn latencies(&mut self) {
        const BOUNDS: [&str; 8] = ["0.005", "0.01", "0.05", "0.1", "0.5", "1", "5", "+Inf"];
        for job in ["api", "web"] {
            for instance in ["a:1", "b:1"] {
                let times = self.times();
                // What begins near zero is extrapolated in another way since Prometheus 3.
                let (mut counts, mut sum) = ([5000.0; BOUNDS.len()], 5000.0);
                let mut rows = vec![Vec::new(); BOUNDS.len()];
                let (mut sums, mut totals) = (Vec::new(), Vec::new());
                for time in times {
                    for _ in 0..=self.lots.below(20) {
                        let slowest = self.lots.below(BOUNDS.len());
                        counts.iter_mut().skip(slowest).for_each(|count| *count += 1.0);
                        sum += part(self.lots);
                    }
                    rows.iter_mut().zip(&counts).for_each(|(row, count)| row.push((time, *count)));
                    sums.push((time, sum));
                    totals.push((time, counts.last().copied().unwrap_or_default()));
                }
                for (bound, row) in BOUNDS.iter().zip(rows) {
                    let labels = [("job", job), ("instance", instance), ("le", bound)];
                    self.add("latency_seconds_bucket", &labels, row);
                }
                self.add("latency_seconds_sum", &[("job", job), ("instance", instance)], sums);
                self.add("latency_seconds_count", &[("job", job), ("instance", instance)], totals);
            }
        }
    }

    fn gauges(&mut self) {
        for instance in ["a:1", "b:1", "c:1"] {
            for (sensor, middle) in [("inlet", 21.0), ("cpu", 64.0), ("outlet", -3.0)] {
                let samples = self.gauge(middle, true);
                self.add("temperature_celsius", &[("instance", instance), ("sensor", sensor)], samples);
            }
            let samples = self.gauge(4e9, false);
            self.add("memory_bytes", &[("job", "api"), ("instance", instance)], samples);
            let times = self.times();
            let labels = [("instance", instance), ("version", "1.2.3"), ("region", "eu-west")];
            self.add("build_info", &labels, times.iter().map(|time| (*time, 1.0)).collect());
        }
        let seldom: Vec<_> = self.gauge(10.0, false).into_iter().step_by(28).collect();
        self.add("seldom", &[("instance", "a:1")], seldom);
    }

    /// Values that arithmetic treats in their own way, mixed with plain ones.
    fn odd(&mut self) {
        let kinds = [
            ("nan", f64::NAN),
            ("inf", f64::INFINITY),
            ("minus_inf", f64::NEG_INFINITY),
            ("zero", 0.0),
            ("minus_zero", -0.0),
            ("tiny", 5e-300),
            ("large", 1.5e15),
        ];
        for (kind, odd) in kinds {
            let times = self.times();
            let samples = times
                .into_iter()
                .map(|time| (time, if self.lots.in_hundred(20) { odd } else { part(self.lots) * 10.0 }))
                .collect();
            self.add("odd", &[("kind", kind)], samples);
        }
        let times = self.times();
        let signs =
            times.iter().zip([1.0, -1.0].into_iter().cycle()).map(|(time, sign)| (*time, sign)).collect();
        self.add("signs", &[], signs);
    }
}

/// The series of a run; the newest samples are older than `end`.
pub(super) fn generate(lots: &mut Lots, end: i64) -> Vec<Series> {
    let mut maker = Maker { lots, end, made: Vec::new() };
    maker.requests();
    maker.latencies();
    maker.gauges();
    maker.odd();
    maker.made
}

pub(super) fn samples(series: &[Series]) -> usize {
    series.iter().map(|series| series.samples.len()).sum()
}

/// The bodies of remote-write 1.0 requests, oldest first.
pub(super) fn requests(series: &[Series], end: i64) -> Vec<Vec<u8>> {
    let slices = (0..SPAN / SLICE).map(|slice| end - SPAN + slice * SLICE);
    slices
        .map(|from| {
            let mut request = Vec::new();
            for series in series {
                let samples = series.samples.iter().filter(|(time, _)| (from..from + SLICE).contains(time));
                let mut message = Vec::new();
                for (name, value) in &series.labels {
                    let mut label = Vec::new();
                    field(&mut label, 1, name.as_bytes());
                    field(&mut label, 2, value.as_bytes());
                    field(&mut message, 1, &label);
                }
                let labels = message.len();
                for (time, value) in samples {
                    let mut sample = vec![1 << 3 | 1];
                    sample.extend(value.to_le_bytes());
                    sample.push(2 << 3);
                    varint(&mut sample, time.unsigned_abs());
                    field(&mut message, 2, &sample);
                }
                if message.len() > labels {
                    field(&mut request, 1, &message);
                }
            }
            snappy(&request)
        })
        .collect()
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or_default());
}

fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, bytes.len().try_into().unwrap_or(u64::MAX));
    out.extend(bytes);
}

/// Snappy's block format without any compression.
fn snappy(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(plain.len() + plain.len() / LITERAL * 3 + 16);
    varint(&mut out, plain.len().try_into().unwrap_or(u64::MAX));
    for chunk in plain.chunks(LITERAL) {
        let length = u16::try_from(chunk.len() - 1).unwrap_or(u16::MAX);
        out.push(61 << 2);
        out.extend(length.to_le_bytes());
        out.extend(chunk);
    }
    out
}
