//! Time as a trait, and its form in the databases.
//!
//! Databases hold microseconds since the Unix epoch as a 64-bit integer: the same on SQLite and
//! PostgreSQL, exact, and comparable without a time zone.

use std::sync::Arc;

pub use jiff::Timestamp;

/// A source of the current time.
pub trait Clock: Send + Sync {
    /// The current instant.
    fn now(&self) -> Timestamp;

    /// The current instant in microseconds since the Unix epoch.
    fn now_micros(&self) -> i64 {
        micros(self.now())
    }
}

/// A clock handed to everything that asks for the time.
pub type SharedClock = Arc<dyn Clock>;

/// The operating system's wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The wall clock, ready to hand around.
    pub fn shared() -> SharedClock {
        Arc::new(Self)
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the system for the time")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Microseconds since the Unix epoch, the form in which databases hold an instant.
pub fn micros(instant: Timestamp) -> i64 {
    instant.as_microsecond()
}

/// The instant that a database's microseconds stand for, clamped to the years -9999 to 9999.
pub fn from_micros(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(if micros < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn micros_and_back_is_the_same_instant() {
        let instant: Timestamp = "2026-03-01T12:00:00.123456Z".parse().unwrap();
        assert_eq!(from_micros(micros(instant)), instant);
    }

    #[test]
    fn out_of_range_micros_clamp_instead_of_failing() {
        assert_eq!(from_micros(i64::MAX), Timestamp::MAX);
        assert_eq!(from_micros(i64::MIN), Timestamp::MIN);
    }
}
