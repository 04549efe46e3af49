//! The database's clock, for what programs on several machines must agree on.
//!
//! The database is asked for its time now and then, and in between the time goes on by this machine's monotonic clock,
//! which nobody sets: the wall clock of the machine is not looked at. An answer is good to half of its round trip. On SQLite
//! the programs are on one machine, and its clock is theirs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use quintet_types::time::{from_micros, micros};
use quintet_types::{Clock, SharedClock, Timestamp};

use crate::error::Error;
use crate::sql::Dialect;
use crate::store::Store;

/// An answer that took longer says too little.
const LONGEST_ROUND_TRIP: Duration = Duration::from_millis(500);

/// A clock that shows the time of the database.
#[derive(Clone)]
pub struct DatabaseClock(Arc<Inner>);

struct Inner {
    store: Store,
    /// On SQLite.
    own: SharedClock,
    /// What the database said, and when it did.
    read: Mutex<Option<(Timestamp, Instant)>>,
}

impl std::fmt::Debug for DatabaseClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("DatabaseClock").field(&self.0.store).finish()
    }
}

impl DatabaseClock {
    /// The clock of `store`'s database, read once; `own` is this machine's, which counts on SQLite.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn open(store: &Store, own: SharedClock) -> Result<Self, Error> {
        let clock = Self(Arc::new(Inner { store: store.clone(), own, read: Mutex::new(None) }));
        if store.dialect() == Dialect::Postgres {
            let (read, _) = clock.ask().await?;
            clock.set(read);
        }
        Ok(clock)
    }

    /// Reads the database's clock again; how far this one was off. An answer that took long changes nothing.
    ///
    /// # Errors
    /// When the database does not answer; the clock goes on as before.
    pub async fn adjust(&self) -> Result<Duration, Error> {
        if self.0.store.dialect() == Dialect::Sqlite {
            return Ok(Duration::ZERO);
        }
        let (read, round_trip) = self.ask().await?;
        if round_trip > LONGEST_ROUND_TRIP {
            return Ok(Duration::ZERO);
        }
        let off = micros(self.now()).abs_diff(micros(after(read)));
        self.set(read);
        Ok(Duration::from_micros(off))
    }

    /// What the database says, and how long it took.
    async fn ask(&self) -> Result<((Timestamp, Instant), Duration), Error> {
        let sql = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT) AS now";
        let asked = Instant::now();
        let row = self.0.store.fetch_one(sql, Vec::new()).await?;
        let round_trip = asked.elapsed();
        Ok(((from_micros(row.get("now")?), asked + round_trip / 2), round_trip))
    }

    fn set(&self, read: (Timestamp, Instant)) {
        // Nothing panics between two states of it.
        *self.0.read.lock().unwrap_or_else(PoisonError::into_inner) = Some(read);
    }
}

impl Clock for DatabaseClock {
    fn now(&self) -> Timestamp {
        let read = *self.0.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.map_or_else(|| self.0.own.now(), after)
    }
}

/// What a clock shows now that showed this time at that instant.
fn after((time, instant): (Timestamp, Instant)) -> Timestamp {
    time.checked_add(instant.elapsed()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use quintet_testkit::{FakeClock, databases};

    use super::*;

    #[tokio::test]
    async fn it_shows_the_time_of_the_server_and_on_sqlite_that_of_the_machine() {
        for database in databases().await {
            let store = &Store::connect(&crate::Settings::for_url(&database.url)).await.unwrap();
            let own = FakeClock::at("2001-01-01T00:00:00Z");
            let clock = DatabaseClock::open(store, own.shared()).await.unwrap();
            if store.dialect() == Dialect::Sqlite {
                assert_eq!(clock.now(), own.now());
                assert_eq!(clock.adjust().await.unwrap(), Duration::ZERO);
                continue;
            }
            let (before, _) = clock.ask().await.unwrap();
            let shown = clock.now();
            let (later, _) = clock.ask().await.unwrap();
            let slack = Duration::from_millis(500);
            assert!(before.0.checked_sub(slack).unwrap() <= shown, "{shown} is before {}", before.0);
            assert!(shown <= later.0.checked_add(slack).unwrap(), "{shown} is after {}", later.0);

            // One that went wrong is right after it was adjusted.
            clock.set((from_micros(0), Instant::now()));
            assert!(clock.adjust().await.unwrap() > Duration::from_hours(24));
            assert!(clock.adjust().await.unwrap() < slack);
        }
    }
}
