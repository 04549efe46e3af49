//! From one sink to another, through outages of either.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use axum::Router;
use axum::extract::{Request as HttpRequest, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use tokio::task::JoinHandle;

use super::*;
use crate::ingest::Receiver;
use crate::model::{Batch, Exemplar, Labels, LogRecord, MetricBatch, Resource, Sample, Span};
use crate::storage::disk::RealDisk;
use crate::storage::tests::{START, limits, open};
use crate::storage::{Hold, StorageLimits};

type AllSeries = Vec<(Labels, Vec<(i64, f64)>)>;

/// What the target does: 0 takes everything.
#[derive(Default)]
struct Mood {
    status: AtomicU16,
    asked: AtomicUsize,
}

async fn moody(State(mood): State<Arc<Mood>>, request: HttpRequest, next: Next) -> Response {
    mood.asked.fetch_add(1, Ordering::SeqCst);
    match StatusCode::from_u16(mood.status.load(Ordering::SeqCst)) {
        Ok(status) => status.into_response(),
        Err(_) => next.run(request).await,
    }
}

/// Another sink that listens on a unix socket.
struct Engine {
    storage: Arc<Storage>,
    mood: Arc<Mood>,
    socket: PathBuf,
    server: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl Engine {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (storage, _) = open(limits(&directory.path().join("data")), Arc::new(RealDisk));
        let (storage, mood) = (Arc::new(storage), Arc::<Mood>::default());
        let socket = directory.path().join("otlp.sock");
        let server = serve(&storage, &mood, &socket);
        Self { storage, mood, socket, server, _directory: directory }
    }

    async fn kill(&mut self) {
        self.server.abort();
        let _ = (&mut self.server).await;
    }

    fn come_back(&mut self) {
        std::fs::remove_file(&self.socket).unwrap();
        self.server = serve(&self.storage, &self.mood, &self.socket);
    }

    fn bodies(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.storage.logs().scan::<LogRecord>(
            i64::MIN,
            i64::MAX,
            |_, _| true,
            |one| {
                found.push(one.record.body);
                std::ops::ControlFlow::Continue(())
            },
        );
        found
    }

    fn spans(&self) -> usize {
        let mut found = BTreeSet::new();
        self.storage.spans().scan::<Span>(
            i64::MIN,
            i64::MAX,
            |_, _| true,
            |one| {
                found.insert(one.record.span_id);
                std::ops::ControlFlow::Continue(())
            },
        );
        found.len()
    }

    fn samples(&self) -> AllSeries {
        let found = self.storage.select_samples(&[], 0, i64::MAX, usize::MAX).unwrap();
        found.into_iter().map(|series| (series.labels, series.samples)).collect()
    }
}

fn serve(storage: &Arc<Storage>, mood: &Arc<Mood>, socket: &Path) -> JoinHandle<()> {
    let router: Router = Receiver::new(Arc::clone(storage), 4 << 20).router();
    let router = router.layer(from_fn_with_state(Arc::clone(mood), moody));
    let listener = tokio::net::UnixListener::bind(socket).unwrap();
    #[expect(clippy::disallowed_methods, reason = "ends with the runtime of the test")]
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() })
}

/// The sink that passes on.
struct Ours {
    storage: Arc<Storage>,
    shutdown: CancellationToken,
    running: Vec<JoinHandle<anyhow::Result<()>>>,
}

fn ours(directory: &Path, settings: &str) -> Ours {
    let settings: ForwardSection = toml::from_str(settings).unwrap();
    settings.validate().unwrap();
    let all = Hold { metrics: 1 << 30, logs: 1 << 30, spans: 1 << 30 };
    assert_eq!(settings.hold().metrics, all.metrics);
    let (storage, _) = open(StorageLimits { hold: all, ..limits(directory) }, Arc::new(RealDisk));
    let storage = Arc::new(storage);
    let shutdown = CancellationToken::new();
    let tasks = tasks(&settings, &directory.join("forward"), &storage).unwrap();
    #[expect(clippy::disallowed_methods, reason = "ends with the runtime of the test")]
    let run = |task: Task| tokio::spawn(task.run(shutdown.clone()));
    let running = tasks.into_iter().map(run).collect();
    Ours { storage, shutdown, running }
}

impl Ours {
    /// Three of each signal, of which the first may stand in the middle of a segment.
    fn take_in(&self, round: i64) {
        let resource = Arc::new(Resource { service: "api".into(), attributes: Vec::new() });
        for number in round * 3..round * 3 + 3 {
            let line = LogRecord {
                time: (START + number) * 1000,
                body: format!("line {number}"),
                ..LogRecord::default()
            };
            self.storage.append_logs(&Batch { groups: vec![(Arc::clone(&resource), vec![line])] }).unwrap();
            let span = Span {
                trace_id: [1; 16],
                span_id: (number + 1).to_be_bytes(),
                start: START * 1000,
                ..Span::default()
            };
            self.storage.append_spans(&Batch { groups: vec![(Arc::clone(&resource), vec![span])] }).unwrap();
            self.storage
                .append_metrics(&MetricBatch {
                    samples: vec![sample(number)],
                    exemplars: vec![exemplar(number)],
                    ..MetricBatch::default()
                })
                .unwrap();
        }
    }

    /// Ends as a killed process does: nothing is written out.
    async fn kill(self) {
        self.shutdown.cancel();
        for task in self.running {
            task.await.unwrap().unwrap();
        }
        std::mem::forget(self.storage);
    }
}

fn labels() -> Labels {
    [("__name__", "orders_total"), ("instance", "a:1"), ("job", "api")].into_iter().collect()
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn sample(number: i64) -> Sample {
    Sample { labels: labels(), time: START / 1000 + number * 10, value: number as f64 }
}

/// Stands between the samples in the log, which passes it over.
fn exemplar(number: i64) -> Exemplar {
    let trace = [("trace_id", "00000000000000000000000000000001")].into_iter().collect();
    Exemplar { series: labels(), time: sample(number).time, value: 1.0, labels: trace, timed: true }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let reached = async {
        while !condition() {
            ticks.tick().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(30), reached).await.is_ok(), "{what}");
}

fn expected_bodies(rounds: i64) -> BTreeSet<String> {
    (0..rounds * 3).map(|number| format!("line {number}")).collect()
}

fn expected_samples(rounds: i64) -> AllSeries {
    let samples = (0..rounds * 3).map(sample).map(|sample| (sample.time, sample.value));
    vec![(labels(), samples.collect())]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_item_arrives_through_outages_and_restarts_of_both() {
    let directory = tempfile::tempdir().unwrap();
    let (mut otlp, first, second) = (Engine::start(), Engine::start(), Engine::start());
    let settings = format!(
        "[[otlp]]\nname = \"a\"\nurl = \"unix:{}\"\ncompression = \"zstd\"\n\
         [[remote_write]]\nname = \"b\"\nurl = \"unix:{}\"\n\
         [[remote_write]]\nname = \"c\"\nurl = \"unix:{}\"\nversion = 2\n",
        otlp.socket.display(),
        first.socket.display(),
        second.socket.display()
    );
    let engines = |otlp: &Engine| -> [AllSeries; 3] { [otlp.samples(), first.samples(), second.samples()] };
    let sink = ours(directory.path(), &settings);
    sink.take_in(0);
    until("the first round arrives", || {
        otlp.bodies().len() == 3
            && otlp.spans() == 3
            && engines(&otlp).iter().all(|samples| *samples == expected_samples(1))
    })
    .await;
    // All are away for a while, in which what they miss is written out of the log.
    for engine in [&otlp, &first, &second] {
        engine.mood.status.store(503, Ordering::SeqCst);
    }
    sink.take_in(1);
    sink.storage.flush_all().unwrap();
    sink.take_in(2);
    let asked = first.mood.asked.load(Ordering::SeqCst);
    until("they are asked again and again", || first.mood.asked.load(Ordering::SeqCst) > asked + 1).await;
    sink.kill().await;
    let sink = ours(directory.path(), &settings);
    sink.take_in(3);
    for engine in [&otlp, &first, &second] {
        engine.mood.status.store(0, Ordering::SeqCst);
    }
    otlp.kill().await;
    sink.take_in(4);
    sink.storage.flush_all().unwrap();
    until("remote write goes on meanwhile", || {
        first.samples() == expected_samples(5) && second.samples() == expected_samples(5)
    })
    .await;
    otlp.come_back();
    until("every item is there", || {
        otlp.bodies().into_iter().collect::<BTreeSet<_>>() == expected_bodies(5)
            && otlp.spans() == 15
            && otlp.samples() == expected_samples(5)
    })
    .await;
    let held = || {
        let of = |signal| sink.storage.log_from(signal, 0).segments.len();
        [Signal::Metrics, Signal::Logs, Signal::Spans].map(of)
    };
    sink.take_in(5);
    until("nothing is held any more", || held() == [1, 1, 1]).await;
    sink.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_target_refuses_is_dropped_and_the_rest_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::start();
    let settings = format!("[[otlp]]\nname = \"a\"\nurl = \"unix:{}\"\n", engine.socket.display());
    engine.mood.status.store(400, Ordering::SeqCst);
    let sink = ours(directory.path(), &settings);
    sink.take_in(0);
    until("each signal is refused", || {
        std::fs::read_dir(directory.path().join("forward")).unwrap().count() == 3
    })
    .await;
    engine.mood.status.store(0, Ordering::SeqCst);
    sink.take_in(1);
    until("what came later arrives", || engine.bodies().contains(&"line 5".to_owned()) && engine.spans() > 0)
        .await;
    assert!(!engine.bodies().contains(&"line 0".to_owned()));
    sink.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_does_not_know_the_sink_costs_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::start();
    let settings = format!("[[otlp]]\nname = \"a\"\nurl = \"unix:{}\"\n", engine.socket.display());
    for status in [401, 404, 307] {
        engine.mood.status.store(status, Ordering::SeqCst);
        let sink = ours(directory.path(), &settings);
        sink.take_in(i64::from(status));
        let asked = engine.mood.asked.load(Ordering::SeqCst);
        until("it is asked", || engine.mood.asked.load(Ordering::SeqCst) > asked + 3).await;
        sink.kill().await;
    }
    engine.mood.status.store(0, Ordering::SeqCst);
    let sink = ours(directory.path(), &settings);
    until("everything is there", || engine.bodies().len() == 9).await;
    sink.kill().await;
}

#[tokio::test]
async fn settings_that_cannot_work_name_their_key() {
    let otlp = "[[otlp]]\nname = \"a\"\nurl = \"https://h\"\n";
    for (text, key) in [
        (format!("{otlp}{otlp}"), "forward.otlp.name"),
        (otlp.replace("\"a\"", "\"a/b\""), "forward.otlp.name"),
        (format!("{otlp}signals = []"), "forward.otlp.signals"),
        (format!("{otlp}timeout_ms = 1"), "forward.otlp.timeout_ms"),
        (otlp.replace("https://h", "h"), "forward.otlp.url"),
        ("hold_bytes = 1".to_owned(), "forward.hold_bytes"),
        (
            "[[remote_write]]\nname = \"a\"\nurl = \"https://h\"\nversion = 3".to_owned(),
            "forward.remote_write.version",
        ),
        (
            "[[remote_write]]\nname = \"a\"\nurl = \"https://h\"\nkeep = [\"{\"]".to_owned(),
            "forward.remote_write.keep",
        ),
        (
            "[[remote_write]]\nname = \"a\"\nurl = \"http://h\"\naccess = { bearer_token_file = \"/t\" }"
                .to_owned(),
            "forward.remote_write.url",
        ),
    ] {
        let settings: ForwardSection = toml::from_str(&text).unwrap();
        assert_eq!(settings.validate().unwrap_err().key, key, "{text}");
    }
}
