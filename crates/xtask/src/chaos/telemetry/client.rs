//! A client: numbered batches of each signal, sent one after the other, and what became of each.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use quintet_http::Origin;
use quintet_types::Clock as _;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::account::{LINES, SPANS, Sent};
use crate::chaos::lots::Lots;

/// Random text in each line, which does not compress: memory fills fast.
const PADDING: usize = 1500;
/// Between two batches.
const PAUSE: Duration = Duration::from_millis(15);

pub(super) struct Client {
    number: u64,
    lots: Lots,
    http: quintet_http::Client,
}

impl Client {
    pub(super) fn new(number: u64, seed: u64, intake: Origin) -> Self {
        let http = quintet_http::Client::new(intake).timeout(Duration::from_secs(5));
        Self { number, lots: Lots::new(seed, 100 + number), http }
    }

    pub(super) async fn send_until(mut self, stop: CancellationToken) -> Sent {
        let start = quintet_types::SystemClock.now().as_millisecond();
        let mut sent = Sent::new(self.number, start);
        while !stop.is_cancelled() {
            let batch = sent.next();
            let logs = self.logs(&sent, batch);
            sent.logs.push(self.acknowledged("/v1/logs", logs).await);
            let spans = self.spans(&sent, batch);
            sent.spans.push(self.acknowledged("/v1/traces", spans).await);
            let metrics = self.metrics(&sent, batch);
            sent.samples.push(self.acknowledged("/v1/metrics", metrics).await);
            tokio::time::sleep(PAUSE).await;
        }
        sent
    }

    async fn acknowledged(&self, path: &str, body: Value) -> bool {
        let request =
            Request::builder().method(Method::POST).uri(path).header("content-type", "application/json");
        let Ok(request) = request.body(Bytes::from(body.to_string())) else { return false };
        let answer = self.http.request(request).await;
        // A partial success would be a refusal of some of it.
        answer.is_ok_and(|answer| {
            answer.status().is_success() && !answer.body().windows(7).any(|w| w == b"partial")
        })
    }

    fn resource(&self) -> Value {
        let name = format!("chaos-{}", self.number);
        json!({ "attributes": [{ "key": "service.name", "value": { "stringValue": name } }] })
    }

    fn logs(&mut self, sent: &Sent, batch: usize) -> Value {
        let lines: Vec<Value> = (0..LINES)
            .map(|line| {
                let noise: String = (0..PADDING)
                    .map(|_| char::from(b'!' + u8::try_from(self.lots.below(90)).unwrap_or(0)))
                    .collect();
                json!({
                    "timeUnixNano": sent.line_time(batch, line).to_string(),
                    "severityNumber": 9,
                    "body": { "stringValue": format!("{} {noise}", sent.line_name(batch, line)) },
                })
            })
            .collect();
        json!({ "resourceLogs": [{ "resource": self.resource(), "scopeLogs": [{ "logRecords": lines }] }] })
    }

    fn spans(&self, sent: &Sent, batch: usize) -> Value {
        let spans: Vec<Value> = (0..SPANS)
            .map(|span| {
                let start = sent.line_time(batch, span);
                json!({
                    "traceId": sent.trace(batch),
                    "spanId": format!("{:016x}", span + 1),
                    "name": "chaos",
                    "kind": 2,
                    "startTimeUnixNano": start.to_string(),
                    "endTimeUnixNano": (start + 1000).to_string(),
                })
            })
            .collect();
        json!({ "resourceSpans": [{ "resource": self.resource(), "scopeSpans": [{ "spans": spans }] }] })
    }

    fn metrics(&self, sent: &Sent, batch: usize) -> Value {
        let point = json!({ "timeUnixNano": (sent.sample_time(batch) * 1_000_000).to_string(), "asInt": batch.to_string() });
        let metric = json!({ "name": "chaos_batch", "gauge": { "dataPoints": [point] } });
        json!({ "resourceMetrics": [{ "resource": self.resource(), "scopeMetrics": [{ "metrics": [metric] }] }] })
    }
}
