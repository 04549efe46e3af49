//! A bounded queue in front of the sink, and the task that empties it.

use std::fmt;
use std::time::Duration;

use metrics::Counter;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::encode::Signal;
use super::send::Sender;

/// Items that wait at most. At a few hundred bytes each this is single megabytes.
const CAPACITY: usize = 8192;
/// Items handled at once.
const BATCH: usize = 2048;
/// How long the first item of a batch waits for others: short, because people watch the console.
const LINGER: Duration = Duration::from_millis(200);

/// The sending half; clones share the queue.
pub(crate) struct Queue<S: Signal> {
    items: mpsc::Sender<S::Item>,
    flushes: mpsc::Sender<oneshot::Sender<()>>,
    dropped: Counter,
}

impl<S: Signal> Queue<S> {
    pub(super) fn start(runtime: &Handle, sender: Sender<S>) -> Self {
        let (items, queued) = mpsc::channel(CAPACITY);
        let (flushes, requests) = mpsc::channel(1);
        // Lives as long as the runtime: it ends when every sender is gone.
        drop(runtime.spawn(Task { queued, requests, sender, batch: Vec::new() }.run()));
        let dropped = metrics::counter!(
            "quintet_telemetry_dropped_total", "signal" => S::NAME, "reason" => "queue_full"
        );
        Self { items, flushes, dropped }
    }

    /// Queues `item`, or drops and counts it.
    pub(crate) fn push(&self, item: S::Item) {
        if self.items.try_send(item).is_err() {
            self.dropped.increment(1);
        }
    }

    /// Waits until everything queued before was sent or dropped.
    pub(super) async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.flushes.send(done).await.is_ok() {
            // An error means that the task is gone, and with it the queue.
            let _ = wait.await;
        }
    }
}

impl<S: Signal> Clone for Queue<S> {
    fn clone(&self) -> Self {
        Self { items: self.items.clone(), flushes: self.flushes.clone(), dropped: self.dropped.clone() }
    }
}

impl<S: Signal> fmt::Debug for Queue<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("signal", &S::NAME).finish_non_exhaustive()
    }
}

struct Task<S: Signal> {
    queued: mpsc::Receiver<S::Item>,
    requests: mpsc::Receiver<oneshot::Sender<()>>,
    sender: Sender<S>,
    batch: Vec<S::Item>,
}

impl<S: Signal> Task<S> {
    async fn run(mut self) {
        loop {
            tokio::select! {
                done = self.requests.recv() => match done {
                    Some(done) => self.drain(done).await,
                    None => return,
                },
                received = self.queued.recv_many(&mut self.batch, BATCH) => {
                    if received == 0 {
                        return;
                    }
                    if let Some(done) = self.fill_and_send().await {
                        self.drain(done).await;
                    }
                }
            }
        }
    }

    /// Collects for [`LINGER`], then sends. A flush asked for meanwhile cuts waits and retries
    /// short and is given back.
    async fn fill_and_send(&mut self) -> Option<oneshot::Sender<()>> {
        let end = Instant::now() + LINGER;
        tokio::select! {
            done = self.requests.recv() => {
                self.send_once().await;
                return done;
            }
            () = tokio::time::sleep_until(end) => {}
        }
        let room = BATCH.saturating_sub(self.batch.len());
        for _ in 0..room {
            match self.queued.try_recv() {
                Ok(item) => self.batch.push(item),
                Err(_) => break,
            }
        }
        let items = std::mem::take(&mut self.batch);
        tokio::select! {
            () = self.sender.send_with_retries(items) => None,
            done = self.requests.recv() => done,
        }
    }

    async fn drain(&mut self, done: oneshot::Sender<()>) {
        loop {
            while let Ok(item) = self.queued.try_recv() {
                self.batch.push(item);
                if self.batch.len() == BATCH {
                    break;
                }
            }
            if self.batch.is_empty() {
                break;
            }
            self.send_once().await;
        }
        // Whoever asked may have given up.
        let _ = done.send(());
    }

    async fn send_once(&mut self) {
        let items = std::mem::take(&mut self.batch);
        self.sender.send_once(items).await;
    }
}
