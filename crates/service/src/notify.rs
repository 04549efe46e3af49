//! What systemd is told: ready, reloading, stopping, alive, succeeded.
//!
//! Without `NOTIFY_SOCKET` nothing is sent. A notification that fails is logged and changes nothing:
//! systemd then acts on its own time limits.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::Context;

pub(crate) fn ready() {
    send(&[NotifyState::Ready, NotifyState::Status("ready")]);
}

pub(crate) fn reloading() {
    // systemd from 253 on refuses a reload that does not carry the time it began.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "cannot tell systemd about the reload"),
    }
}

/// From now on the service is the process `pid`, a child of this one.
pub(crate) fn succeeded_by(pid: u32) {
    send(&[NotifyState::MainPid(pid)]);
}

/// The process ends within `limit`, which may be more than the unit's `TimeoutStopSec=`.
pub(crate) fn stopping(limit: Duration) {
    let limit = u32::try_from(limit.as_micros()).unwrap_or(u32::MAX);
    send(&[NotifyState::Stopping, NotifyState::Status("draining"), NotifyState::ExtendTimeoutUsec(limit)]);
}

/// Pings the watchdog, if systemd runs one, for as long as the runtime runs this task and every pulse beats.
pub(crate) async fn keep_alive(cx: Context) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = tokio::time::interval((limit / 2).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let still = cx.standing_still();
        if still.is_empty() {
            send(&[NotifyState::Watchdog]);
        } else {
            tracing::error!(threads = ?still, "no sign of life; the watchdog is not answered");
        }
    }
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot notify systemd");
    }
}
