//! What a binary works with between start and drain.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::anyhow;
use axum::Router;
use futures_util::FutureExt as _;
use quintet_http::health::Check;
use quintet_http::listen::BindError;
use quintet_http::{Address, Limits, Listener, middleware, server};
use quintet_telemetry::Telemetry;
use quintet_telemetry::http::{Detail, HttpLayer};
use quintet_types::SharedClock;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{self, Source};
use crate::pulse::{Pulse, Pulses};
use crate::sockets::Inherited;
use crate::{Binary, Code, StartError, upgrade};

/// The services of the process: listeners, tasks, readiness, reload. Clones share them.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    source: Source,
    telemetry: Telemetry,
    clock: SharedClock,
    shutdown: CancellationToken,
    succeeded: CancellationToken,
    tracker: TaskTracker,
    running: Mutex<Running>,
    failures: mpsc::Sender<Failure>,
    inherited: Mutex<Inherited>,
    /// Listening sockets by name, for a successor.
    sockets: Mutex<Vec<(String, OwnedFd)>>,
    readiness: Mutex<Vec<ReadinessHandle>>,
    reloads: Mutex<Vec<Reload>>,
    admin: Mutex<Router>,
    pulses: Mutex<Pulses>,
}

/// A task that ended with an error.
pub(crate) struct Failure {
    pub(crate) task: &'static str,
    pub(crate) error: anyhow::Error,
}

#[derive(Default)]
struct Running {
    next: u64,
    names: BTreeMap<u64, &'static str>,
}

type ReloadFuture = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

#[derive(Clone)]
struct Reload {
    name: &'static str,
    run: Arc<dyn Fn() -> ReloadFuture + Send + Sync>,
}

/// One condition of `/readyz`. It starts as not ready. Clones share it.
#[derive(Debug, Clone)]
pub struct ReadinessHandle {
    name: &'static str,
    ready: Arc<AtomicBool>,
}

impl ReadinessHandle {
    /// Says whether the condition holds.
    pub fn set(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// Whether the condition holds.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }
}

impl Context {
    pub(crate) fn new(
        source: Source,
        telemetry: Telemetry,
        clock: SharedClock,
        inherited: Inherited,
    ) -> (Self, mpsc::Receiver<Failure>) {
        // The first failure starts the drain; more than a few at once add nothing.
        let (failures, failed) = mpsc::channel(8);
        let inner = Inner {
            source,
            telemetry,
            clock,
            shutdown: CancellationToken::new(),
            succeeded: CancellationToken::new(),
            tracker: TaskTracker::new(),
            running: Mutex::default(),
            failures,
            inherited: Mutex::new(inherited),
            sockets: Mutex::default(),
            readiness: Mutex::default(),
            reloads: Mutex::default(),
            admin: Mutex::default(),
            pulses: Mutex::default(),
        };
        (Self(Arc::new(inner)), failed)
    }

    /// The listener called `name`: the socket of that name that systemd passed, else one bound to
    /// `configured`. An address in use ends the process with code 69.
    pub fn listener(&self, name: &str, configured: &Address) -> anyhow::Result<Listener> {
        if let Some(listener) =
            lock(&self.0.inherited).take(name).map_err(|error| self.bind_error(name, error))?
        {
            tracing::info!(listener = name, "listening on an inherited socket");
            self.keep(name, listener.try_clone()?);
            return Ok(listener);
        }
        let listener = configured.bind().map_err(|error| self.bind_error(name, error))?;
        let address =
            listener.local_address().map_or_else(|_| configured.to_string(), |real| real.to_string());
        tracing::info!(listener = name, address, "listening");
        self.keep(name, listener.try_clone()?);
        Ok(listener)
    }

    /// Gives a listening socket to the process that an upgrade starts, under this name; for listeners that bind in
    /// their own way.
    pub fn pass_on(&self, name: &str, socket: &impl AsFd) -> std::io::Result<()> {
        self.keep(name, socket.as_fd().try_clone_to_owned()?);
        Ok(())
    }

    fn keep(&self, name: &str, socket: OwnedFd) {
        lock(&self.0.sockets).push((name.to_owned(), socket));
    }

    /// Every listening socket with its name, for a successor.
    pub(crate) fn sockets(&self) -> std::io::Result<Vec<(String, OwnedFd)>> {
        let kept = lock(&self.0.sockets);
        kept.iter().map(|(name, socket)| Ok((name.clone(), socket.try_clone()?))).collect()
    }

    /// A socket that is kept here would go on queueing connections that nobody accepts.
    pub(crate) fn close_sockets(&self) {
        lock(&self.0.sockets).clear();
    }

    /// Whether this process takes over from another, which passed its sockets.
    pub fn is_successor(&self) -> bool {
        lock(&self.0.inherited).has_predecessor()
    }

    /// Tells the process that this one takes over from, if there is one, that it may go.
    pub(crate) fn tell_predecessor(&self) {
        let Some(predecessor) = lock(&self.0.inherited).take_predecessor() else { return };
        match predecessor.send(upgrade::READY) {
            Ok(_) => tracing::info!("took over from the previous process"),
            Err(error) => tracing::warn!(%error, "the previous process is gone"),
        }
    }

    /// The next socket called `name` that was passed to this process; for listeners that bind in their own way.
    /// An upgrade passes as many under one name as the previous process had.
    pub fn inherited(&self, name: &str) -> anyhow::Result<Option<Listener>> {
        Ok(lock(&self.0.inherited).take(name).map_err(|error| self.bind_error(name, error))?)
    }

    /// The sockets called `name` that were passed to this process and take datagrams.
    pub fn inherited_udp(&self, name: &str) -> std::io::Result<Vec<UdpSocket>> {
        let mut inherited = lock(&self.0.inherited);
        std::iter::from_fn(|| inherited.take_udp(name).transpose()).collect()
    }

    /// The link called `name` to a predecessor, if it passed one.
    pub fn inherited_link(&self, name: &str) -> std::io::Result<Option<UnixDatagram>> {
        lock(&self.0.inherited).take_link(name)
    }

    fn bind_error(&self, name: &str, error: BindError) -> StartError {
        let code = match &error {
            BindError::NotASocket(_) | BindError::System { address: Address::Unix(_), .. } => {
                Code::CannotCreate
            }
            _ => Code::Unavailable,
        };
        let context = match &error {
            BindError::InUse(address) => {
                let key = self.0.source.key_of(&address.to_string());
                let key = key.map_or_else(|| "the address".to_owned(), |key| format!("`{key}`"));
                let file = self.0.source.path().display();
                return StartError::message(
                    code,
                    format!("listener `{name}`: {error}; stop it, or change {key} in {file}"),
                );
            }
            _ => format!("listener `{name}`"),
        };
        StartError::new(code, anyhow::Error::new(error).context(context))
    }

    /// Cancelled when the process is to stop: accept nothing new, finish what runs.
    pub fn shutdown(&self) -> CancellationToken {
        self.0.shutdown.clone()
    }

    /// Cancelled when a successor has taken over, shortly before [`Self::shutdown`].
    pub fn succeeded(&self) -> CancellationToken {
        self.0.succeeded.clone()
    }

    /// Runs `task` in the background. The drain waits for it. If it fails or panics, the process
    /// drains and exits with code 70; a task that is done early just ends.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let running = self.register(name);
        let failures = self.0.failures.clone();
        self.0.tracker.spawn(async move {
            // Unwind safety: what the task owned is dropped, nothing is seen half-changed.
            let result = AssertUnwindSafe(task).catch_unwind().await;
            drop(running);
            let error = match result {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error,
                Err(_) => anyhow!("the task panicked"),
            };
            if let Err(unsent) = failures.try_send(Failure { task: name, error }) {
                let failure = unsent.into_inner();
                tracing::error!(task = failure.task, error = format!("{:#}", failure.error), "task failed");
            }
        });
    }

    /// Serves `router` on `listener` until the drain, with request ids, limits, problem answers,
    /// traces, metrics and access log.
    pub fn serve(&self, name: &'static str, listener: Listener, router: Router, limits: Limits) {
        self.serve_with(name, listener, router, limits, Detail::Full);
    }

    /// [`Self::serve`], recording as much of each request as `detail` says.
    pub fn serve_with(
        &self,
        name: &'static str,
        listener: Listener,
        router: Router,
        limits: Limits,
        detail: Detail,
    ) {
        // Outside of the limits, so that refusals are recorded; inside of the request id.
        let router = middleware::guard(router, &limits).layer(HttpLayer::new(detail));
        let router = middleware::identify(router);
        let shutdown = self.shutdown();
        self.spawn(name, async move {
            server::serve(listener, router, limits, shutdown).await;
            Ok(())
        });
    }

    /// Serves `routes` on the admin listener, beside health and metrics.
    pub fn serve_admin(&self, routes: Router) {
        let mut admin = lock(&self.0.admin);
        *admin = std::mem::take(&mut *admin).merge(routes);
    }

    /// What [`Self::serve_admin`] added so far.
    pub(crate) fn admin_routes(&self) -> Router {
        lock(&self.0.admin).clone()
    }

    /// Adds a condition to `/readyz`, not ready until [`ReadinessHandle::set`].
    pub fn readiness(&self, name: &'static str) -> ReadinessHandle {
        let handle = ReadinessHandle { name, ready: Arc::default() };
        lock(&self.0.readiness).push(handle.clone());
        handle
    }

    /// Runs `hook` on SIGHUP, after the configuration was found valid and the log level applied. When it fails, what it would have changed stays as it was.
    pub fn on_reload<H, F>(&self, name: &'static str, hook: H)
    where
        H: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        lock(&self.0.reloads).push(Reload { name, run: Arc::new(move || Box::pin(hook())) });
    }

    /// Reads and validates the configuration of this process again, for use in a reload hook.
    pub fn reload_config<B: Binary>(&self) -> Result<B::Config, config::Error> {
        let source = Source::load(B::NAME, self.0.source.path())?;
        let config = source.parse()?;
        B::validate(&config).map_err(|invalid| source.invalid(&invalid))?;
        Ok(config)
    }

    /// A sign of life that the watchdog expects from now on: for a thread with an event loop of its own.
    pub fn pulse(&self, name: &'static str) -> Pulse {
        lock(&self.0.pulses).add(name)
    }

    /// The threads that gave no sign of life since the last look.
    pub(crate) fn standing_still(&self) -> Vec<&'static str> {
        lock(&self.0.pulses).standing_still()
    }

    /// The process's telemetry.
    pub fn telemetry(&self) -> &Telemetry {
        &self.0.telemetry
    }

    /// The process's clock.
    pub fn clock(&self) -> SharedClock {
        Arc::clone(&self.0.clock)
    }

    pub(crate) fn checks(&self) -> Vec<Check> {
        let handles = lock(&self.0.readiness);
        handles
            .iter()
            .map(|handle| Check { name: handle.name.to_owned(), ready: handle.is_ready() })
            .collect()
    }

    pub(crate) async fn reload(&self) {
        let hooks = lock(&self.0.reloads).clone();
        for hook in &hooks {
            match (hook.run)().await {
                Ok(()) => tracing::info!(part = hook.name, "part reloaded"),
                Err(error) => tracing::error!(
                    part = hook.name,
                    error = crate::exit::one_line(&error),
                    "reload failed; the previous settings stay"
                ),
            }
        }
    }

    pub(crate) fn warn_of_unclaimed_sockets(&self) {
        for name in lock(&self.0.inherited).unclaimed() {
            tracing::warn!(socket = name, "an inherited socket is used by no listener");
        }
    }

    /// Waits for every task.
    pub(crate) async fn finished(&self) {
        self.0.tracker.close();
        self.0.tracker.wait().await;
    }

    /// The names of the tasks that still run.
    pub(crate) fn running(&self) -> Vec<&'static str> {
        lock(&self.0.running).names.values().copied().collect()
    }

    fn register(&self, name: &'static str) -> RunningTask {
        let mut running = lock(&self.0.running);
        let id = running.next;
        running.next += 1;
        running.names.insert(id, name);
        drop(running);
        RunningTask { context: self.clone(), id }
    }
}

/// Keeps a task in the list of running ones, however it ends.
struct RunningTask {
    context: Context,
    id: u64,
}

impl Drop for RunningTask {
    fn drop(&mut self) {
        lock(&self.context.0.running).names.remove(&self.id);
    }
}

/// The values behind these locks are whole between any two statements, so a panic elsewhere does
/// not spoil them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
