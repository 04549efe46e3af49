//! Puts the parts together: storage, intake, scraper, queries, console and upkeep.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use quintet_auth::Verifier;
use quintet_http::Limits;
use quintet_service::telemetry::http::Detail;
use quintet_service::{Binary, Code, Common, Context, Invalid, OrExit};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::api::{self, Api, events};
use crate::config::Config;
use crate::console;
use crate::dashboards::Dashboards;
use crate::diagnostics::{self, Roots};
use crate::forward;
use crate::host;
use crate::ingest::{self, Receiver};
use crate::journal;
use crate::notify::engine::Notifier;
use crate::offload;
use crate::offload::reader::Reader;
use crate::peers::Peers;
use crate::rules;
use crate::rules::engine::{Engine, Ground, Views};
use crate::scrape::{self, Target, Targets};
use crate::statsd;
use crate::storage::disk::RealDisk;
use crate::storage::{SYNC_INTERVAL, Signal, Storage, StorageLimits};
use crate::syslog;

const SPACE_INTERVAL: Duration = Duration::from_secs(1);
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(30);
/// Decoding happens in memory; more connections than this wait in the kernel.
const OTLP_CONNECTIONS: usize = 1024;
const OTLP_IN_FLIGHT: usize = 64;

/// The telemetry sink.
pub(crate) struct TelemetrySink;

impl Binary for TelemetrySink {
    const NAME: &'static str = "telemetry-sink";
    const ABOUT: &'static str = "takes in logs, metrics and traces, answers queries, serves the console";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Config = Config;

    fn common(config: &Config) -> Common<'_> {
        Common { service: &config.service, telemetry: &config.telemetry }
    }

    fn validate(config: &Config) -> Result<(), Invalid> {
        config.validate()
    }

    fn commands(command: clap::Command) -> clap::Command {
        offload::command::add(rules::command::add(diagnostics::command(command)))
    }

    fn run_alone(matches: &clap::ArgMatches, output: &mut dyn Write) -> Option<anyhow::Result<Code>> {
        diagnostics::run_alone(matches, output).or_else(|| rules::command::run_alone(matches, output))
    }

    fn run_command(
        config: Config,
        matches: &clap::ArgMatches,
        output: &mut dyn Write,
    ) -> anyhow::Result<Code> {
        offload::command::run(&config, matches, output)
    }

    async fn start(config: Config, cx: &Context) -> anyhow::Result<()> {
        let limits = StorageLimits { hold: config.forward.hold(), ..config.storage.limits() };
        let share = limits.in_flight_share();
        let bucket = offload::connect(cx, &config.storage)?;
        let reader = bucket.as_ref().map_or_else(Reader::absent, |(_, reader)| Arc::clone(reader));
        let storage = Storage::open_with(limits, cx.clock(), Arc::new(RealDisk), reader)
            .with_context(|| {
                format!("cannot open the storage directory {}", config.storage.directory.display())
            })
            .or_exit(Code::CannotCreate)?;
        let storage = Arc::new(storage);
        replay(cx, &storage);
        upkeep(cx, &storage);
        offload::start(cx, &config.storage, bucket.map(|(bucket, _)| bucket), &storage);
        pass_on(cx, &config, &storage)?;
        receive(cx, &config, &storage, share)?;
        syslog::listen(cx, &config.syslog, &storage)?;
        statsd::listen(cx, &config.statsd, &storage)?;
        watch_host(cx, &config, &storage);
        read_journal(cx, &config, &storage);
        let targets = scrapers(cx, &config, &storage)?;
        let verifier = Arc::new(Verifier::new(config.auth.clone(), cx.clock()));
        let notifier = notify(cx, &config)?;
        let views = evaluate_rules(cx, &config, &storage, &notifier)?;
        let peers = Arc::new(Peers::new(&config.fleet).or_exit(Code::Config)?);
        let api = Arc::new(Api::new(storage, targets, views, notifier, peers, config.query, cx.shutdown()));
        let publisher = Arc::clone(&api);
        cx.spawn("events", async move {
            events::publish(publisher).await;
            Ok(())
        });
        let listener = cx.listener("http", &config.listen.http)?;
        let machine = diagnostics::router(Roots::new(&config.host), Arc::clone(&verifier));
        let dashboards = dashboards(&config)?;
        cx.serve("http", listener, router(api, dashboards, verifier).merge(machine), Limits::default());
        Ok(())
    }
}

/// The query listener's routes: the API behind tokens, the console for everything else.
pub(crate) fn router(api: Arc<Api>, dashboards: Arc<Dashboards>, verifier: Arc<Verifier>) -> Router {
    let kept = api::dashboards::router(dashboards, Arc::clone(&verifier));
    api::router(api, verifier).merge(kept).merge(console::router())
}

fn dashboards(config: &Config) -> anyhow::Result<Arc<Dashboards>> {
    let directory = config.storage.directory.join("dashboards");
    let dashboards = Dashboards::open(&directory)
        .with_context(|| format!("cannot read the directory {}", directory.display()))
        .or_exit(Code::CannotCreate)?;
    Ok(Arc::new(dashboards))
}

/// Reads the logs without holding up the listeners; `/readyz` and writers wait for it.
fn replay(cx: &Context, storage: &Arc<Storage>) {
    let ready = cx.readiness("storage");
    let storage = Arc::clone(storage);
    cx.spawn("replay", async move {
        tokio::task::spawn_blocking(move || storage.replay()).await?;
        ready.set(true);
        Ok(())
    });
}

fn receive(cx: &Context, config: &Config, storage: &Arc<Storage>, share: usize) -> anyhow::Result<()> {
    let limits = Limits {
        max_body: ingest::MAX_BODY,
        max_connections: OTLP_CONNECTIONS,
        max_in_flight: OTLP_IN_FLIGHT,
        ..Limits::default()
    };
    let router = Receiver::new(Arc::clone(storage), share).router();
    for (index, address) in config.listen.otlp.as_slice().iter().enumerate() {
        // systemd passes several sockets as otlp, otlp-2, otlp-3.
        let name = if index == 0 { "otlp".to_owned() } else { format!("otlp-{}", index + 1) };
        let listener = cx.listener(&name, address)?;
        // Spans and access lines about the intake would themselves be sent to the intake.
        cx.serve_with("otlp", listener, router.clone(), limits, Detail::MetricsOnly);
    }
    Ok(())
}

/// Starts to pass on what arrives to other engines.
fn pass_on(cx: &Context, config: &Config, storage: &Arc<Storage>) -> anyhow::Result<()> {
    let directory = config.storage.directory.join("forward");
    for task in forward::tasks(&config.forward, &directory, storage).or_exit(Code::CannotCreate)? {
        cx.spawn("forward", task.run(cx.shutdown()));
    }
    Ok(())
}

fn scrapers(cx: &Context, config: &Config, storage: &Arc<Storage>) -> anyhow::Result<Arc<Targets>> {
    let (followed, fixed): (Vec<_>, Vec<_>) =
        config.targets().into_iter().partition(|job| job.target.is_none());
    let mut targets = Vec::new();
    for job in fixed {
        let target = Target::fixed(job).map_err(anyhow::Error::msg).or_exit(Code::Config)?;
        targets.extend(target.map(Arc::new));
    }
    for target in &targets {
        let (target, storage, shutdown) = (Arc::clone(target), Arc::clone(storage), cx.shutdown());
        cx.spawn("scrape", async move {
            scrape::run(target, storage, shutdown.clone(), shutdown).await;
            Ok(())
        });
    }
    let targets = Arc::new(Targets::new(targets));
    for job in followed {
        let (targets, storage) = (Arc::clone(&targets), Arc::clone(storage));
        let following = scrape::follow(Arc::new(job), targets, storage, cx.shutdown());
        cx.spawn("discovery", async move {
            following.await;
            Ok(())
        });
    }
    Ok(targets)
}

fn read_journal(cx: &Context, config: &Config, storage: &Arc<Storage>) {
    if config.journal.enabled {
        let (settings, storage, shutdown) = (config.journal.clone(), Arc::clone(storage), cx.shutdown());
        let directory = config.storage.directory.clone();
        cx.spawn("journal", async move {
            journal::run(settings, &directory, storage, shutdown).await;
            Ok(())
        });
    }
}

fn watch_host(cx: &Context, config: &Config, storage: &Arc<Storage>) {
    if config.host.enabled {
        let (settings, storage, shutdown) = (config.host.clone(), Arc::clone(storage), cx.shutdown());
        cx.spawn("host", async move {
            host::run(settings, storage, shutdown).await;
            Ok(())
        });
    }
}

/// Starts to tell of alerts; a reload reads the routes again.
fn notify(cx: &Context, config: &Config) -> anyhow::Result<Arc<Notifier>> {
    let directory = config.storage.directory.join("alerts");
    let notifier = Notifier::open(&config.notify, &config.rules.external_url, &directory, cx.clock())
        .with_context(|| format!("cannot read the directory {}", directory.display()))
        .or_exit(Code::CannotCreate)?;
    let notifier = Arc::new(notifier);
    cx.spawn("notify", Arc::clone(&notifier).run(cx.shutdown()));
    for relay in notifier.relays(&cx.shutdown()) {
        cx.spawn("relay", relay);
    }
    let (again, reloaded) = (cx.clone(), Arc::clone(&notifier));
    cx.on_reload("notify", move || {
        let (cx, notifier) = (again.clone(), Arc::clone(&reloaded));
        async move {
            let config = cx.reload_config::<TelemetrySink>()?;
            Ok(notifier.replace(&config.notify, &config.rules.external_url)?)
        }
    });
    Ok(notifier)
}

/// Starts the rules, which a reload reads again. One reload waits for its turn at most.
fn evaluate_rules(
    cx: &Context,
    config: &Config,
    storage: &Arc<Storage>,
    notifier: &Arc<Notifier>,
) -> anyhow::Result<Arc<Views>> {
    let views = Arc::new(Views::default());
    let ground = Ground::new(Arc::clone(storage), config.query, &config.rules, Arc::clone(notifier));
    let specs = config.rules.load().or_exit(Code::Config)?;
    let engine = Engine::new(ground, &config.rules, specs, Arc::clone(&views));
    let (reload, reloads) = tokio::sync::mpsc::channel(1);
    cx.spawn("rules", engine.run(reloads, cx.shutdown()));
    let again = cx.clone();
    cx.on_reload("rules", move || {
        let (cx, reload) = (again.clone(), reload.clone());
        async move {
            let settings = cx.reload_config::<TelemetrySink>()?.rules;
            let specs = settings.load()?;
            reload.send((settings, specs)).await.context("the rules are no longer evaluated")
        }
    });
    Ok(views)
}

/// Syncs the logs, writes out heads, merges parts, watches the disk and applies retention until the drain,
/// then syncs once more and writes out what memory holds.
fn upkeep(cx: &Context, storage: &Arc<Storage>) {
    periodically(cx, storage, "sync", SYNC_INTERVAL, Storage::sync, Storage::sync);
    let space = |storage: &Storage| {
        storage.check_space();
        report(storage);
    };
    periodically(cx, storage, "space", SPACE_INTERVAL, space, |_| ());
    periodically(cx, storage, "flush", FLUSH_INTERVAL, Storage::flush_due, Storage::flush_at_end);
    periodically(cx, storage, "maintenance", MAINTENANCE_INTERVAL, Storage::maintain, |_| ());
}

fn periodically(
    cx: &Context,
    storage: &Arc<Storage>,
    name: &'static str,
    every: Duration,
    work: fn(&Storage),
    at_end: fn(&Storage),
) {
    let (storage, shutdown) = (Arc::clone(storage), cx.shutdown());
    cx.spawn(name, async move {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while next(&mut ticks, &shutdown).await {
            let storage = Arc::clone(&storage);
            tokio::task::spawn_blocking(move || work(&storage)).await?;
        }
        tokio::task::spawn_blocking(move || at_end(&storage)).await?;
        Ok(())
    });
}

async fn next(ticks: &mut tokio::time::Interval, shutdown: &CancellationToken) -> bool {
    tokio::select! {
        () = shutdown.cancelled() => false,
        _ = ticks.tick() => true,
    }
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
fn report(storage: &Storage) {
    let usage = storage.usage();
    metrics::gauge!("quintet_sink_series").set(usage.series as f64);
    metrics::gauge!("quintet_sink_exemplars").set(usage.exemplars as f64);
    metrics::gauge!("quintet_sink_log_records").set(usage.log_records as f64);
    metrics::gauge!("quintet_sink_spans").set(usage.spans as f64);
    metrics::gauge!("quintet_sink_disk_full").set(if storage.is_full() { 1.0 } else { 0.0 });
    metrics::gauge!("quintet_sink_offload_cache_bytes").set(storage.reader().cached_bytes() as f64);
    metrics::gauge!("quintet_sink_bucket_away").set(if storage.reader().is_away() { 1.0 } else { 0.0 });
    let signals = [Signal::Metrics, Signal::Logs, Signal::Spans];
    for ((signal, head), log) in signals.into_iter().zip(usage.head_bytes).zip(usage.log_bytes) {
        metrics::gauge!("quintet_sink_head_bytes", "signal" => signal.as_str()).set(head as f64);
        metrics::gauge!("quintet_sink_wal_bytes", "signal" => signal.as_str()).set(log as f64);
    }
    for (index, signal) in signals.into_iter().enumerate() {
        let of = |values: [u64; 3]| values.get(index).copied().unwrap_or(0) as f64;
        let parts = usage.parts.get(index).copied().unwrap_or(0) as f64;
        metrics::gauge!("quintet_sink_parts", "signal" => signal.as_str()).set(parts);
        let remote = usage.remote_parts.get(index).copied().unwrap_or(0) as f64;
        metrics::gauge!("quintet_sink_remote_parts", "signal" => signal.as_str()).set(remote);
        metrics::gauge!("quintet_sink_part_local_bytes", "signal" => signal.as_str())
            .set(of(usage.local_bytes));
        metrics::gauge!("quintet_sink_part_bytes", "signal" => signal.as_str()).set(of(usage.part_bytes));
        metrics::gauge!("quintet_sink_part_rows", "signal" => signal.as_str()).set(of(usage.part_rows));
    }
}
