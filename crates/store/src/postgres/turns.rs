//! Turns: transactions of this process that would wait for the same row wait in line here instead.
//!
//! PostgreSQL wakes everyone who waits for a transaction when it ends; all but one find the row taken again. With a
//! dozen waiting, that herd costs more than the work they wait to do. Turns are a courtesy among the transactions of
//! one process: what is right or wrong is decided by the row's lock, which other processes wait for too.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::error::Error;

#[derive(Debug, Default)]
pub(super) struct Turns {
    /// One line for each name; the names are constants of the program.
    lines: StdMutex<HashMap<&'static str, Arc<Mutex<()>>>>,
}

impl Turns {
    /// Waits for the turn, first come, first served; it ends when the guard is dropped.
    pub(super) async fn take(
        &self,
        name: &'static str,
        patience: Duration,
    ) -> Result<OwnedMutexGuard<()>, Error> {
        let line = {
            let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(lines.entry(name).or_default())
        };
        let turn = tokio::time::timeout(patience, line.lock_owned()).await;
        turn.map_err(|_| Error::Busy(format!("no turn at {name} within {} ms", patience.as_millis()).into()))
    }
}
