//! Signs of life of threads that the runtime does not see, for the watchdog.
//!
//! The task that answers systemd runs on the process's own runtime. A binary whose work is on other threads gives each a
//! [`Pulse`]; while one of them stands still the watchdog is not answered, and systemd restarts the process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// One thread's sign of life. Dropped, it is expected no more.
#[derive(Debug)]
pub struct Pulse(Arc<Heart>);

#[derive(Debug)]
struct Heart {
    name: &'static str,
    beats: AtomicU64,
}

impl Pulse {
    /// Says that the thread lives: from its event loop, at least every few seconds.
    pub fn beat(&self) {
        self.0.beats.fetch_add(1, Ordering::Relaxed);
    }
}

/// All pulses of a process.
#[derive(Debug, Default)]
pub(crate) struct Pulses(Vec<Watched>);

#[derive(Debug)]
struct Watched {
    heart: Weak<Heart>,
    /// At the last look; None before the first.
    seen: Option<u64>,
}

impl Pulses {
    pub(crate) fn add(&mut self, name: &'static str) -> Pulse {
        let heart = Arc::new(Heart { name, beats: AtomicU64::new(0) });
        self.0.push(Watched { heart: Arc::downgrade(&heart), seen: None });
        Pulse(heart)
    }

    /// The names of those without a beat since the last look.
    pub(crate) fn standing_still(&mut self) -> Vec<&'static str> {
        let mut still = Vec::new();
        self.0.retain_mut(|watched| {
            let Some(heart) = watched.heart.upgrade() else { return false };
            let beats = heart.beats.load(Ordering::Relaxed);
            if watched.seen.replace(beats) == Some(beats) {
                still.push(heart.name);
            }
            true
        });
        still
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pulse_without_a_beat_between_two_looks_stands_still() {
        let mut pulses = Pulses::default();
        let (lively, idle) = (pulses.add("lively"), pulses.add("idle"));
        assert!(pulses.standing_still().is_empty(), "the first look only remembers");
        lively.beat();
        assert_eq!(pulses.standing_still(), ["idle"]);
        idle.beat();
        assert_eq!(pulses.standing_still(), ["lively"]);
    }

    #[test]
    fn a_dropped_pulse_is_not_waited_for() {
        let mut pulses = Pulses::default();
        let pulse = pulses.add("worker");
        pulses.standing_still();
        drop(pulse);
        assert!(pulses.standing_still().is_empty());
    }
}
