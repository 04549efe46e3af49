//! What a run measures, how often and for how long.

use std::time::Duration;

use serde_json::{Value, json};

use super::load::{Load, Protocol, Timing};
use super::proxy::{Peer, Proxy};
use super::tools::{self, Tool};

/// What to measure and how thoroughly.
#[derive(Debug, clap::Args)]
pub(crate) struct Choice {
    /// Fewer and shorter rounds, 1,000 idle connections: two minutes instead of ten.
    #[arg(long)]
    quick: bool,
    /// Leave a peer out.
    #[arg(long, value_name = "PEER", value_delimiter = ',')]
    skip: Vec<Peer>,
    /// Measure only these cases.
    #[arg(long, value_name = "CASE", value_delimiter = ',')]
    only: Vec<Case>,
}

/// One comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Case {
    PlainSmall,
    PlainLarge,
    TlsSmall,
    TlsLarge,
    TlsSmallLogged,
    H2Small,
    H3Small,
    Handshakes,
    Syscalls,
    Latency,
    Idle,
    SlowReaders,
}

impl Case {
    /// In this order; the latency wants to know what [`Self::TlsSmall`] found.
    const ALL: [Self; 12] = [
        Self::PlainSmall,
        Self::PlainLarge,
        Self::TlsSmall,
        Self::TlsLarge,
        Self::TlsSmallLogged,
        Self::H2Small,
        Self::H3Small,
        Self::Handshakes,
        Self::Syscalls,
        Self::Latency,
        Self::Idle,
        Self::SlowReaders,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::PlainSmall => "plain-small",
            Self::PlainLarge => "plain-large",
            Self::TlsSmall => "tls-small",
            Self::TlsLarge => "tls-large",
            Self::TlsSmallLogged => "tls-small-logged",
            Self::H2Small => "h2-small",
            Self::H3Small => "h3-small",
            Self::Handshakes => "handshakes",
            Self::Syscalls => "syscalls",
            Self::Latency => "latency",
            Self::Idle => "idle",
            Self::SlowReaders => "slow-readers",
        }
    }

    pub(super) const fn what(self) -> &'static str {
        match self {
            Self::PlainSmall => "HTTP/1.1 keep-alive, 64 connections, 50-byte body",
            Self::PlainLarge => "HTTP/1.1 keep-alive, 64 connections, 64 KB body",
            Self::TlsSmall => "HTTP/1.1 keep-alive over TLS 1.3, 64 connections, 50-byte body",
            Self::TlsLarge => "HTTP/1.1 keep-alive over TLS 1.3, 64 connections, 64 KB body",
            Self::TlsSmallLogged => "as tls-small, with an access log written to a file",
            Self::H2Small => "HTTP/2 over TLS 1.3 to HTTP/1.1, 8 connections of 16 streams, 50-byte body",
            Self::H3Small => "HTTP/3 to HTTP/1.1, 8 connections of 16 streams, 50-byte body",
            Self::Handshakes => "full TLS 1.3 handshakes, X25519 and ECDSA P-256, never resumed",
            Self::Syscalls => "system calls in tls-small",
            Self::Latency => "open loop over TLS 1.3 at half of the slowest peer's most",
            Self::Idle => "idle TLS 1.3 connections that have had one answer",
            Self::SlowReaders => "TLS 1.3 clients that take an answer of 1 GB slowly",
        }
    }

    /// The load of a case that has one.
    pub(super) const fn load(self) -> Load {
        let protocol = match self {
            Self::PlainSmall | Self::PlainLarge => Protocol::PlainHttp1,
            Self::H2Small => Protocol::TlsHttp2,
            Self::H3Small => Protocol::Http3,
            _ => Protocol::TlsHttp1,
        };
        let path = match self {
            Self::PlainLarge | Self::TlsLarge => "/large",
            _ => "/small",
        };
        Load { protocol, path }
    }
}

/// A run.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) rounds: usize,
    pub(super) timing: Timing,
    pub(super) latency_rounds: usize,
    pub(super) latency_window: Duration,
    pub(super) idle_connections: usize,
    pub(super) slow_readers: usize,
    cases: Vec<Case>,
    proxies: Vec<Proxy>,
}

impl Plan {
    pub(super) fn new(choice: &Choice) -> Self {
        let skipped: Vec<Proxy> = choice.skip.iter().copied().map(Proxy::from).collect();
        let proxies = Proxy::ALL.into_iter().filter(|proxy| !skipped.contains(proxy)).collect();
        let wanted = |case: &Case| choice.only.is_empty() || choice.only.contains(case);
        let cases = Case::ALL.into_iter().filter(wanted).collect();
        let ms = Duration::from_millis;
        if choice.quick {
            let timing = Timing { warm_up: ms(300), window: ms(1_300) };
            return Self {
                rounds: 1,
                timing,
                latency_rounds: 1,
                latency_window: ms(2_000),
                idle_connections: 1_000,
                slow_readers: 200,
                cases,
                proxies,
            };
        }
        let timing = Timing { warm_up: ms(700), window: ms(2_900) };
        Self {
            rounds: 3,
            timing,
            latency_rounds: 3,
            latency_window: ms(5_000),
            idle_connections: 10_000,
            slow_readers: 2_000,
            cases,
            proxies,
        }
    }

    pub(super) fn proxies(&self) -> &[Proxy] {
        &self.proxies
    }

    pub(super) fn cases(&self) -> impl Iterator<Item = Case> + '_ {
        self.cases.iter().copied()
    }

    pub(super) fn has(&self, case: Case) -> bool {
        self.cases.contains(&case)
    }

    /// Fails with the command that installs what is missing.
    pub(super) fn require_tools(&self) -> anyhow::Result<()> {
        let mut tools = vec![tools::TASKSET, tools::SETPRIV];
        for case in &self.cases {
            match case {
                Case::H2Small => tools.push(tools::H2LOAD),
                Case::H3Small | Case::Handshakes | Case::Idle | Case::SlowReaders => {}
                Case::Syscalls => tools.extend([tools::WRK, tools::PERF]),
                _ => tools.push(tools::WRK),
            }
        }
        let peers: Vec<Tool> = self.proxies.iter().filter_map(|proxy| proxy.tool()).collect();
        tools::require(&tools, &peers)
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "rounds": self.rounds,
            "warm_up_s": self.timing.warm_up.as_secs_f64(),
            "window_s": self.timing.window.as_secs_f64(),
            "latency_rounds": self.latency_rounds,
            "latency_window_s": self.latency_window.as_secs_f64(),
            "idle_connections": self.idle_connections,
            "slow_readers": self.slow_readers,
            "cases": self.cases.iter().map(|case| case.name()).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(skip: Vec<Peer>, only: Vec<Case>) -> Choice {
        Choice { quick: false, skip, only }
    }

    #[test]
    fn everything_is_measured_unless_less_is_asked_for() {
        let plan = Plan::new(&choice(vec![], vec![]));
        assert_eq!(plan.proxies(), Proxy::ALL);
        assert_eq!(plan.cases().count(), Case::ALL.len());
    }

    #[test]
    fn skipped_peer_is_neither_started_nor_required() {
        let plan = Plan::new(&choice(vec![Peer::Caddy, Peer::Haproxy], vec![]));
        assert_eq!(plan.proxies(), [Proxy::Ours, Proxy::Nginx]);
    }

    #[test]
    fn cases_keep_their_order_however_they_are_named() {
        let plan = Plan::new(&choice(vec![], vec![Case::Latency, Case::TlsSmall]));
        assert_eq!(plan.cases().collect::<Vec<_>>(), [Case::TlsSmall, Case::Latency]);
    }
}
