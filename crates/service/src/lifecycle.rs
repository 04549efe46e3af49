//! From `main` to the exit code.
//!
//! Order of a life: arguments, configuration, runtime, telemetry, admin listener, start, ready,
//! (reload)*, drain, flush. The admin listener outlives the drain, so that it can be watched, unless a successor has it.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use axum::extract::Request;
use quintet_http::health::{self, MetricsForm};
use quintet_http::{Limits, server};
use quintet_types::SystemClock;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::args::{Args, Task};
use crate::config::Source;
use crate::context::{Context, Failure, ReadinessHandle};
use crate::sockets::Inherited;
use crate::{Binary, Code, OrExit as _, exit, manual, notify, upgrade};

/// More threads than this gain the five little: the work is spread over processes.
const MAX_DEFAULT_THREADS: usize = 4;
/// How long the last log lines and spans may take to leave.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
const UPKEEP_EVERY: Duration = Duration::from_secs(5);
/// What systemd is asked for beyond the drain and the flush before it kills.
const STOP_RESERVE: Duration = Duration::from_secs(3);

/// The whole `main` of a binary.
pub fn run<B: Binary>() -> ExitCode {
    run_with::<B>(std::env::args_os()).into()
}

fn run_with<B: Binary>(arguments: impl IntoIterator<Item = OsString>) -> Code {
    let started = Instant::now();
    let args = match Args::parse::<B>(arguments) {
        Ok(args) => args,
        Err(error) => {
            // Help and version are "errors" that print to standard output.
            let _ = error.print();
            return if error.use_stderr() { Code::Usage } else { Code::Ok };
        }
    };
    if let Task::Manual(command) = args.task {
        return match manual::print::<B>(command, &mut io::stdout()) {
            Ok(()) => Code::Ok,
            Err(_) => Code::CannotCreate,
        };
    }
    match serve::<B>(&args, started) {
        Ok(code) => code,
        Err(error) => {
            // Nobody is left to tell when standard error is closed.
            let _ = writeln!(io::stderr(), "error: {}", exit::one_line(&error));
            exit::code_of(&error)
        }
    }
}

fn serve<B: Binary>(args: &Args, started: Instant) -> anyhow::Result<Code> {
    // Before any thread: it clears variables of the environment.
    let inherited = Inherited::from_environment();
    if let Task::Own(matches) = &args.task
        && let Some(result) = B::run_alone(matches, &mut io::stdout())
    {
        return result;
    }
    let path = args.config_path::<B>();
    let source = Source::load(B::NAME, &path)?;
    let config: B::Config = source.parse()?;
    B::validate(&config).map_err(|invalid| source.invalid(&invalid))?;
    match &args.task {
        Task::Serve | Task::Manual(_) => {}
        Task::CheckConfig => {
            let _ = writeln!(io::stdout(), "{}: the configuration is valid", path.display());
            return Ok(Code::Ok);
        }
        Task::Own(matches) => return B::run_command(config, matches, &mut io::stdout()),
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads(B::common(&config).service.worker_threads))
        .thread_name(B::NAME)
        .enable_all()
        .build()
        .or_exit(Code::Unavailable)?;
    let result = runtime.block_on(live::<B>(source, config, inherited, started));
    // After a drain nothing is left; after an abort nothing is to be waited for.
    runtime.shutdown_background();
    result
}

fn threads(configured: Option<std::num::NonZeroUsize>) -> usize {
    configured.map_or_else(
        || std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MAX_DEFAULT_THREADS)),
        std::num::NonZeroUsize::get,
    )
}

async fn live<B: Binary>(
    source: Source,
    config: B::Config,
    inherited: Inherited,
    started: Instant,
) -> anyhow::Result<Code> {
    let mut signals = Signals::install::<B>()?;
    let common = B::common(&config);
    let telemetry = quintet_telemetry::init(B::NAME, B::VERSION, common.telemetry)?;
    log_panics();
    let drain_timeout = common.service.drain_timeout();
    let admin = common.service.admin.clone();
    let (cx, mut failures) = Context::new(source, telemetry, SystemClock::shared(), inherited);
    let mut background = JoinSet::new();
    let ready = cx.readiness("service");
    let succeeded = cx.succeeded();

    let result = async {
        let admin = cx.listener("admin", &admin)?;
        background.spawn(serve_admin(cx.clone(), admin, succeeded.clone()));
        tokio::select! {
            result = B::start(config, &cx) => result?,
            () = signals.stop.recv() => return Ok(Code::Ok),
        }
        cx.warn_of_unclaimed_sockets();
        background.spawn(notify::keep_alive(cx.clone()));
        background.spawn(upkeep(cx.clone()));
        announce_ready::<B>(&cx, &ready, started);
        Ok(work::<B>(&cx, &mut signals, &mut failures, &succeeded).await)
    }
    .await;
    let code = match result {
        Ok(code) => code,
        Err(error) => {
            cx.telemetry().shutdown(FLUSH_TIMEOUT).await;
            return Err(error);
        }
    };

    ready.set(false);
    if !succeeded.is_cancelled() {
        notify::stopping(drain_timeout.saturating_add(FLUSH_TIMEOUT).saturating_add(STOP_RESERVE));
    }
    let code = drain(&cx, code, drain_timeout, &mut signals, &mut failures).await;
    tracing::info!(exit_code = code.number(), "stopped");
    if code == Code::Aborted {
        cx.telemetry().flush_logs(Duration::from_millis(100));
    } else {
        cx.telemetry().shutdown(FLUSH_TIMEOUT).await;
    }
    Ok(code)
}

fn announce_ready<B: Binary>(cx: &Context, ready: &ReadinessHandle, started: Instant) {
    ready.set(true);
    notify::ready();
    cx.tell_predecessor();
    let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(version = B::VERSION, start_ms = milliseconds, "ready");
}

/// Works until a signal, a failed task or a successor asks for the end; the exit code so far.
async fn work<B: Binary>(
    cx: &Context,
    signals: &mut Signals,
    failures: &mut mpsc::Receiver<Failure>,
    succeeded: &CancellationToken,
) -> Code {
    loop {
        tokio::select! {
            () = signals.stop.recv() => return Code::Ok,
            _ = signals.reload.recv() => {
                notify::reloading();
                tokio::select! {
                    () = reload::<B>(cx) => notify::ready(),
                    () = signals.stop.recv() => return Code::Ok,
                }
            }
            () = asked(&mut signals.upgrade) => {
                tokio::select! {
                    outcome = upgrade::run(cx) => match outcome {
                        Ok(successor) => {
                            tracing::info!(successor, "the new process is ready; this one drains");
                            notify::succeeded_by(successor);
                            succeeded.cancel();
                            return Code::Ok;
                        }
                        Err(error) => {
                            let error: &(dyn std::error::Error + 'static) = &error;
                            tracing::error!(error, "upgrade failed; this process goes on");
                        }
                    },
                    () = signals.stop.recv() => return Code::Ok,
                }
            }
            Some(failure) = failures.recv() => {
                report(&failure);
                return Code::Internal;
            }
        }
    }
}

/// Applies what of the configuration can change without a restart. A configuration with a mistake
/// changes nothing.
async fn reload<B: Binary>(cx: &Context) {
    let config = match cx.reload_config::<B>() {
        Ok(config) => config,
        Err(error) => {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::error!(error, "reload refused; the previous settings stay");
            return;
        }
    };
    cx.telemetry().set_log_level(&B::common(&config).telemetry.log_level);
    cx.reload().await;
    tracing::info!("reloaded");
}

async fn drain(
    cx: &Context,
    mut code: Code,
    timeout: Duration,
    signals: &mut Signals,
    failures: &mut mpsc::Receiver<Failure>,
) -> Code {
    tracing::info!(timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX), "draining");
    cx.close_sockets();
    cx.shutdown().cancel();
    let end = tokio::time::sleep(timeout);
    let finished = cx.finished();
    tokio::pin!(end, finished);
    loop {
        tokio::select! {
            biased;
            Some(failure) = failures.recv() => {
                report(&failure);
                code = Code::Internal;
            }
            () = &mut finished => return code,
            () = signals.stop.recv() => {
                tracing::warn!(tasks = ?cx.running(), "aborted by a second signal");
                return Code::Aborted;
            }
            () = &mut end => {
                tracing::error!(tasks = ?cx.running(), "the drain ran past its deadline; what is left is cut off");
                return Code::Internal;
            }
        }
    }
}

fn report(failure: &Failure) {
    tracing::error!(task = failure.task, error = exit::one_line(&failure.error), "task failed");
}

async fn serve_admin(cx: Context, listener: quintet_http::Listener, succeeded: CancellationToken) {
    let checks = cx.clone();
    let telemetry = cx.telemetry().clone();
    let limits = Limits::default();
    let metrics = move |form| match form {
        MetricsForm::Prometheus => telemetry.render_metrics(),
        MetricsForm::OpenMetrics => telemetry.render_openmetrics(),
    };
    let router = health::router(move || checks.checks(), metrics);
    let own = cx.clone();
    let router = router.fallback(move |request: Request| own.admin_routes().oneshot(request));
    let router = quintet_http::standard(router, &limits);
    // It ends with the process, after the drain, or answers for the successor's business no more.
    server::serve(listener, router, limits, succeeded).await;
}

async fn upkeep(cx: Context) {
    let mut ticks = tokio::time::interval(UPKEEP_EVERY);
    loop {
        ticks.tick().await;
        cx.telemetry().upkeep();
    }
}

/// A panic's place is known only to the hook; the default hook would print it past the log.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        let message = panic.payload_as_str().unwrap_or("a panic without a message");
        tracing::error!(target: "panic", location, "{message}");
    }));
}

struct Signals {
    stop: Stop,
    reload: Signal,
    /// None where the binary cannot be upgraded in place.
    upgrade: Option<Signal>,
}

/// SIGTERM and SIGINT, which mean the same.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn install<B: Binary>() -> Result<Self, crate::StartError> {
        let install = || -> io::Result<Self> {
            let stop = Stop {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            };
            let upgrade = if B::UPGRADES { Some(signal(SignalKind::user_defined2())?) } else { None };
            Ok(Self { stop, reload: signal(SignalKind::hangup())?, upgrade })
        };
        install().or_exit(Code::Unavailable)
    }
}

impl Stop {
    /// Waits for either signal. Cancel safe.
    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Waits for a signal that may not be listened for. Cancel safe.
async fn asked(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}
