//! A transaction on one connection, pipelined.
//!
//! The server works a connection's statements off in the order they were sent, so a statement whose answer is not
//! needed is sent and not waited for ([`Transaction::send`]). Its failure is reported by the next statement that is
//! waited for, at the latest by the commit. A query may be sent this way as well and its rows asked for later
//! ([`Transaction::ask`]), so that several share one round trip. `BEGIN` is sent this way too. What holds a lock that others wait for is
//! thus held for the server's work and not for a round trip for each statement.
//!
//! Invariants:
//! - A commit reports success only if every statement before it succeeded. (The server answers `COMMIT` of a failed
//!   transaction with success, having undone it.)
//! - A transaction that is dropped is undone before its connection's next user is served: the `ROLLBACK` is sent
//!   before the connection goes back to the pool.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use deadpool_postgres::Object;
use futures_util::FutureExt as _;
use tokio::sync::{OwnedMutexGuard, oneshot};
use tokio_postgres::{Row, Statement};

use super::announce::Announcer;
use super::turns::Turns;
use super::{prepare, query};
use crate::error::Error;
use crate::sql::Sql;
use crate::value::Value;

/// Statements that are not waited for; at so many all are.
const MAX_SENT: usize = 128;

type Answer = Pin<Box<dyn Future<Output = Result<(), tokio_postgres::Error>> + Send>>;

/// A transaction; dropped without [`Transaction::commit`] it is undone.
pub(crate) struct Transaction {
    connection: Arc<Object>,
    /// Answers that were not waited for.
    sent: Vec<Answer>,
    state: State,
    turns: Arc<Turns>,
    announcer: Announcer,
    /// What the commit announces.
    channels: Vec<&'static str>,
    patience: Duration,
    /// Turns this transaction has, to its end.
    taken: Vec<OwnedMutexGuard<()>>,
}

/// A query that was sent, whose rows are not here yet.
pub(crate) struct Asked(oneshot::Receiver<Vec<Row>>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// A statement failed: the server undoes the transaction whatever is said next.
    Failed,
    /// The end was sent.
    Ended,
}

impl Transaction {
    pub(super) async fn begin(
        connection: Object,
        turns: Arc<Turns>,
        announcer: Announcer,
        patience: Duration,
        begin: &'static str,
    ) -> Self {
        let connection = Arc::new(connection);
        let mut transaction = Self {
            connection: Arc::clone(&connection),
            sent: Vec::new(),
            state: State::Open,
            turns,
            announcer,
            channels: Vec::new(),
            patience,
            taken: Vec::new(),
        };
        transaction.push(async move { connection.batch_execute(begin).await }).await;
        transaction
    }

    pub(crate) async fn fetch_all(&mut self, sql: &Sql, args: Vec<Value>) -> Result<Vec<Row>, Error> {
        let connection = Arc::clone(&self.connection);
        let statement = self.prepare(sql, &args).await?;
        self.wait_for(query(&connection, &statement, args)).await
    }

    pub(crate) async fn execute(&mut self, sql: &Sql, args: Vec<Value>) -> Result<u64, Error> {
        let connection = Arc::clone(&self.connection);
        let statement = self.prepare(sql, &args).await?;
        self.wait_for(connection.execute_raw(&statement, args)).await
    }

    pub(crate) async fn send(&mut self, sql: &Sql, args: Vec<Value>) -> Result<(), Error> {
        let connection = Arc::clone(&self.connection);
        let statement = self.prepare(sql, &args).await?;
        self.push(async move { connection.execute_raw(&statement, args).await.map(|_| ()) }).await;
        self.relieve().await
    }

    /// Sends a query; its rows come with [`Self::answer`].
    pub(crate) async fn ask(&mut self, sql: &Sql, args: Vec<Value>) -> Result<Asked, Error> {
        let connection = Arc::clone(&self.connection);
        let statement = self.prepare(sql, &args).await?;
        let (rows, asked) = oneshot::channel();
        self.push(async move {
            // Nobody may have wanted them; that the query succeeded matters still.
            let _ = rows.send(query(&connection, &statement, args).await?);
            Ok(())
        })
        .await;
        self.relieve().await?;
        Ok(Asked(asked))
    }

    /// The rows of a query that was sent before.
    pub(crate) async fn answer(&mut self, asked: Asked) -> Result<Vec<Row>, Error> {
        self.settle().await?;
        asked.0.await.map_err(|_| Error::Database("the query belongs to another transaction".into()))
    }

    pub(crate) async fn take_turn(&mut self, name: &'static str) -> Result<(), Error> {
        let turn = self.turns.take(name, self.patience).await?;
        self.taken.push(turn);
        Ok(())
    }

    /// Announced once this transaction is committed.
    pub(crate) fn announce(&mut self, channel: &'static str) {
        if !self.channels.contains(&channel) {
            self.channels.push(channel);
        }
    }

    pub(crate) async fn execute_script(&mut self, script: &str) -> Result<(), Error> {
        let connection = Arc::clone(&self.connection);
        self.wait_for(connection.batch_execute(script)).await
    }

    pub(crate) async fn commit(mut self) -> Result<(), Error> {
        if self.state == State::Failed {
            return Err(Error::Database("the transaction was undone after a statement failed".into()));
        }
        let connection = Arc::clone(&self.connection);
        self.state = State::Ended;
        self.push(async move { connection.batch_execute("COMMIT").await }).await;
        // Whoever is next may send its first statement now: the row's lock keeps it waiting, alone, for no longer than
        // the server takes, where a turn held to the answer would add this process's way back and forth.
        self.taken.clear();
        self.settle().await?;
        if !self.channels.is_empty() {
            self.announcer.announce(&self.channels);
        }
        Ok(())
    }

    async fn prepare(&mut self, sql: &Sql, args: &[Value]) -> Result<Statement, Error> {
        let prepared = prepare(&self.connection, sql, args).await;
        if prepared.is_err() {
            // A statement sent before may be why.
            self.settle().await?;
        }
        self.note(prepared)
    }

    /// Sends a statement and keeps its answer for later.
    async fn push(
        &mut self,
        answer: impl Future<Output = Result<(), tokio_postgres::Error>> + Send + 'static,
    ) {
        let mut answer: Answer = Box::pin(answer);
        // The first poll sends.
        match poll_once(answer.as_mut()).await {
            Poll::Pending => self.sent.push(answer),
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => self.sent.push(Box::pin(std::future::ready(Err(error)))),
        }
    }

    /// Sends a statement, waits for the answers to those before it and then for its own.
    async fn wait_for<T>(
        &mut self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Error> {
        let mut answer = pin!(answer);
        let early = poll_once(answer.as_mut()).await;
        self.settle().await?;
        let answer = match early {
            Poll::Ready(answer) => answer,
            Poll::Pending => answer.await,
        };
        self.note(answer)
    }

    /// Keeps what is outstanding bounded.
    async fn relieve(&mut self) -> Result<(), Error> {
        if self.sent.len() >= MAX_SENT { self.settle().await } else { Ok(()) }
    }

    /// Waits for all answers that are outstanding; the first failure is the cause of all others.
    async fn settle(&mut self) -> Result<(), Error> {
        for answer in std::mem::take(&mut self.sent) {
            let answer = answer.await;
            self.note(answer)?;
        }
        Ok(())
    }

    fn note<T>(&mut self, answer: Result<T, tokio_postgres::Error>) -> Result<T, Error> {
        answer.map_err(|error| {
            if self.state == State::Open {
                self.state = State::Failed;
            }
            Error::from(error)
        })
    }
}

/// Moves a future one step, to where it waits for the server.
async fn poll_once<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if self.state != State::Ended {
            // One poll sends it; the connection's own task takes the answer.
            let _ = self.connection.batch_execute("ROLLBACK").now_or_never();
        }
    }
}
