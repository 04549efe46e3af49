//! The loads: scrapes of series that behave as series do, log lines of a dozen templates, trees of spans.

use bytes::Bytes;

use super::wire::Message;

/// Samples of a remote write request, as Prometheus sends them.
pub(super) const SAMPLES_PER_REQUEST: usize = 2000;
const RECORDS_PER_REQUEST: usize = 1000;
pub(super) const SCRAPE_MILLIS: i64 = 15_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Samples,
    Logs,
    Spans,
}

impl Signal {
    /// Where it is sent.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Samples => "/api/v1/write",
            Self::Logs => "/v1/logs",
            Self::Spans => "/v1/traces",
        }
    }

    pub(super) fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Samples => &[
                ("content-type", "application/x-protobuf"),
                ("content-encoding", "snappy"),
                ("x-prometheus-remote-write-version", "0.1.0"),
            ],
            Self::Logs | Self::Spans => &[("content-type", "application/x-protobuf")],
        }
    }
}

pub(super) struct Batch {
    pub(super) signal: Signal,
    /// A series is always sent by the same sender, in its order, as Prometheus shards its queue.
    pub(super) shard: usize,
    pub(super) body: Bytes,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) series: usize,
    pub(super) scrapes: usize,
}

impl Shape {
    pub(super) fn samples(self) -> usize {
        self.series * self.scrapes
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub(super) struct Lots(pub(super) u64);

impl Lots {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, most: u32) -> u32 {
        u32::try_from(self.next() % u64::from(most.max(1))).unwrap_or(0)
    }
}

pub(super) fn now_millis() -> i64 {
    use quintet_types::Clock as _;
    quintet_types::SystemClock.now().as_millisecond()
}

/// Half are counters, a quarter gauges with two decimals, an eighth constants, an eighth ratios with all their digits.
fn step(series: usize, value: f64, lots: &mut Lots) -> f64 {
    match series % 8 {
        0..=3 => value + f64::from(lots.below(20)),
        4 | 5 => ((value * 100.0).round() + f64::from(lots.below(200)) - 100.0) / 100.0,
        6 => value,
        _ => f64::from(lots.below(1 << 30)) / f64::from(1 << 30),
    }
}

/// Remote write requests, the oldest scrape first; the newest ends now.
pub(super) fn samples(shape: Shape) -> anyhow::Result<Vec<Batch>> {
    let mut lots = Lots(7);
    let names: Vec<Vec<u8>> = (0..shape.series).map(labels).collect();
    let mut values: Vec<f64> = (0..shape.series).map(|_| f64::from(lots.below(10_000))).collect();
    let end = now_millis();
    let mut batches = Vec::new();
    let mut snappy = snap::raw::Encoder::new();
    for scrape in 0..shape.scrapes {
        let back = i64::try_from(shape.scrapes - 1 - scrape).unwrap_or(0) * SCRAPE_MILLIS;
        let time = u64::try_from(end - back).unwrap_or(0);
        let mut request = Message::default();
        for (series, (name, value)) in names.iter().zip(&mut values).enumerate() {
            *value = step(series, *value, &mut lots);
            let mut one = Message(name.clone());
            one.message(2, |sample| {
                sample.fixed(1, value.to_bits()).number(2, time);
            });
            request.bytes(1, &one.0);
            if (series + 1) % SAMPLES_PER_REQUEST == 0 || series + 1 == shape.series {
                let body = snappy.compress_vec(&std::mem::take(&mut request.0))?;
                batches.push(Batch {
                    signal: Signal::Samples,
                    shard: series / SAMPLES_PER_REQUEST,
                    body: body.into(),
                });
            }
        }
    }
    Ok(batches)
}

/// The labels of a series: a hundred metrics on as many instances as it takes, in three zones.
fn labels(series: usize) -> Vec<u8> {
    let mut message = Message::default();
    let pairs = [
        ("__name__", format!("bench_metric_{}_total", series % 100)),
        ("cluster", "eu-1".to_owned()),
        ("instance", format!("10.0.{}.{}:9100", series / 100 / 250, series / 100 % 250)),
        ("job", "node".to_owned()),
        ("zone", format!("zone-{}", series / 100 % 3)),
    ];
    for (name, value) in pairs {
        message.message(1, |label| {
            label.bytes(1, name.as_bytes()).bytes(2, value.as_bytes());
        });
    }
    message.0
}

const TEMPLATES: [&str; 6] = [
    "request finished method=GET path=/api/v1/orders/{} status=200",
    "order {} accepted, 3 items reserved in warehouse north",
    "cache miss for key user:{}:preferences, loading from the database",
    "connection from 10.0.3.{} closed after 182 requests",
    "payment of order {} was declined by the provider: insufficient funds",
    "job {} of kind mail.send completed in 41 ms on the first attempt",
];

/// OTLP log requests.
pub(super) fn logs(lines: usize) -> Vec<Batch> {
    let mut lots = Lots(11);
    let start = u64::try_from(now_millis()).unwrap_or(0) * 1_000_000;
    requests(lines, Signal::Logs, |message, number| {
        let template =
            TEMPLATES.get(usize::try_from(lots.below(6)).unwrap_or(0)).copied().unwrap_or_default();
        let body = template.replace("{}", &lots.below(1_000_000).to_string());
        let trace = [lots.next().to_be_bytes(), lots.next().to_be_bytes()].concat();
        message.message(2, |record| {
            record.fixed(1, start + number * 1000).number(2, 9 + number % 7 / 6 * 8);
            record.message(5, |any| {
                any.bytes(1, body.as_bytes());
            });
            record.attribute(6, "http.route", "/api/v1/orders/{id}").bytes(9, &trace);
        });
    })
}

/// OTLP span requests: trees of eight.
pub(super) fn spans(spans: usize) -> Vec<Batch> {
    let mut lots = Lots(13);
    let start = u64::try_from(now_millis()).unwrap_or(0) * 1_000_000;
    let mut trace = Vec::new();
    requests(spans, Signal::Spans, |message, number| {
        if number % 8 == 0 {
            trace = [lots.next().to_be_bytes(), lots.next().to_be_bytes()].concat();
        }
        let begun = start + number * 1000;
        message.message(2, |span| {
            span.bytes(1, &trace).bytes(2, &(number + 1).to_be_bytes());
            if number % 8 > 0 {
                span.bytes(4, &number.to_be_bytes());
            }
            let names = ["GET /orders", "SELECT orders", "POST /charge"];
            let name = usize::try_from(number % 3).ok().and_then(|name| names.get(name)).copied();
            span.bytes(5, name.unwrap_or_default().as_bytes());
            span.number(6, 2 + number % 2)
                .fixed(7, begun)
                .fixed(8, begun + u64::from(lots.below(50_000_000)));
            span.attribute(9, "http.request.method", "GET").attribute(9, "server.address", "core-api");
        });
    })
}

fn requests(count: usize, signal: Signal, mut record: impl FnMut(&mut Message, u64)) -> Vec<Batch> {
    let mut batches = Vec::new();
    for from in (0..count).step_by(RECORDS_PER_REQUEST) {
        let mut request = Message::default();
        request.message(1, |of_resource| {
            of_resource.message(1, |resource| {
                let service = format!("service-{}", from / RECORDS_PER_REQUEST % 5);
                resource.attribute(1, "service.name", &service).attribute(1, "host.name", "node-1");
            });
            of_resource.message(2, |scope| {
                for number in from..(from + RECORDS_PER_REQUEST).min(count) {
                    record(scope, u64::try_from(number).unwrap_or(0));
                }
            });
        });
        let shard = from / RECORDS_PER_REQUEST;
        batches.push(Batch { signal, shard, body: request.0.into() });
    }
    batches
}
