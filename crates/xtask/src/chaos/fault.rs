//! What is done to the fleet. Each fault is over when it returns: what it broke has been given back.

use std::process::Child;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;
use serde_json::json;

use super::database::{CONNECTIONS, Database};
use super::ledger::Entry;
use super::load::{POISON, webhook};
use super::lots::Lots;
use super::node::{LEASE, NODES};
use super::{Kind, Scene};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// One worker dies.
    Kill,
    /// All workers die, several times.
    KillAll,
    /// A worker stands still for longer than its lease, and goes on as if nothing had happened.
    Stall,
    /// A worker's clock is an hour off, from here to the end of the run.
    Skew,
    /// Jobs that kill whoever runs them.
    Poison,
    /// Nothing more can be written.
    FullDisk,
    /// The server is shut down in order, and comes back.
    Restart,
    /// The server's first process is killed.
    KillServer,
    /// Every session is ended by the server.
    Terminate,
    /// The server has no connection left.
    Exhaust,
    /// Somebody forgets a transaction that has locked jobs and leases and holds back vacuum.
    IdleTransaction,
}

impl Fault {
    /// Those of a server come last.
    const ALL: [Self; 11] = [
        Self::Kill,
        Self::KillAll,
        Self::Stall,
        Self::Skew,
        Self::Poison,
        Self::FullDisk,
        Self::Restart,
        Self::KillServer,
        Self::Terminate,
        Self::Exhaust,
        Self::IdleTransaction,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Kill => "worker killed",
            Self::KillAll => "all workers killed, thrice",
            Self::Stall => "worker stopped past its lease",
            Self::Skew => "clock an hour off",
            Self::Poison => "poison jobs",
            Self::FullDisk => "disk full",
            Self::Restart => "server restarted",
            Self::KillServer => "server killed",
            Self::Terminate => "sessions terminated",
            Self::Exhaust => "connections exhausted",
            Self::IdleTransaction => "idle transaction with locks",
        }
    }

    /// Those that there are of a database.
    pub(super) fn of(kind: Kind) -> Vec<Self> {
        let servers = match kind {
            Kind::Sqlite => 0,
            Kind::Postgres => 5,
        };
        Self::ALL.into_iter().take(6 + servers).collect()
    }

    /// Those that can be done here.
    pub(super) fn possible(scene: &Scene) -> Vec<Self> {
        let kind = match scene.database {
            Database::Sqlite(_) => Kind::Sqlite,
            Database::Postgres(_) => Kind::Postgres,
        };
        let possible = |fault: &Self| match fault {
            Self::Skew => scene.load.nodes.can_skew(),
            Self::FullDisk => scene.volume.mounted,
            _ => true,
        };
        Self::of(kind).into_iter().filter(possible).collect()
    }

    pub(super) async fn inject(self, scene: &mut Scene, lots: &mut Lots) -> anyhow::Result<()> {
        scene.load.ledger.add(Entry::Fault { name: self.name() });
        let nodes = scene.load.nodes.clone();
        let node = lots.below(NODES);
        match (self, &mut scene.database) {
            (Self::Kill, _) => nodes.signal(node, Signal::KILL),
            (Self::KillAll, _) => {
                for _ in 0..3 {
                    nodes.signal_all(Signal::KILL);
                    pause(500 + lots.below(1_000)).await;
                }
            }
            (Self::Stall, _) => {
                nodes.signal(node, Signal::STOP);
                tokio::time::sleep(LEASE * 3).await;
                nodes.signal(node, Signal::CONT);
            }
            (Self::Skew, _) => {
                let skews = ["+3600s", "-3600s"];
                // One at most: the others are the majority that is right.
                (0..NODES).for_each(|node| nodes.set_right(node));
                nodes.skew(node, skews.get(lots.below(skews.len())).copied());
                pause(3_000).await;
            }
            (Self::Poison, _) => poison(scene, lots).await?,
            (Self::FullDisk, database) => {
                scene.volume.fill()?;
                pause(3_000).await;
                scene.volume.relieve()?;
                if let Database::Postgres(cluster) = database {
                    // A server that cannot write its log gives up.
                    cluster.start()?;
                }
            }
            (Self::Restart, Database::Postgres(cluster)) => {
                cluster.end(Signal::INT)?;
                pause(500).await;
                cluster.start()?;
            }
            (Self::KillServer, Database::Postgres(cluster)) => {
                cluster.end(Signal::KILL)?;
                cluster.start()?;
            }
            (Self::Terminate, Database::Postgres(cluster)) => {
                for _ in 0..5 {
                    cluster.terminate_sessions()?;
                    pause(200).await;
                }
            }
            (Self::Exhaust, Database::Postgres(cluster)) => {
                cluster.terminate_sessions()?;
                let sleeping = ["SELECT pg_sleep(5)"];
                let sessions: anyhow::Result<Vec<Child>> =
                    (0..CONNECTIONS).map(|_| cluster.session(&sleeping)).collect();
                wait(sessions?).await?;
            }
            (Self::IdleTransaction, Database::Postgres(cluster)) => {
                let reads = [
                    "BEGIN ISOLATION LEVEL REPEATABLE READ",
                    "SELECT count(*) FROM jobs_ready",
                    "SELECT pg_sleep(5)",
                ];
                let locks = [
                    "BEGIN",
                    "SELECT id FROM jobs_ready ORDER BY run_at LIMIT 20 FOR UPDATE",
                    "SELECT id FROM jobs_lease LIMIT 5 FOR UPDATE",
                    "SELECT pg_sleep(5)",
                ];
                wait(vec![cluster.session(&reads)?, cluster.session(&locks)?]).await?;
            }
            (_, Database::Sqlite(_)) => {}
        }
        Ok(())
    }
}

async fn pause(ms: usize) {
    tokio::time::sleep(Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX))).await;
}

/// Sessions end by themselves, or are refused.
async fn wait(mut sessions: Vec<Child>) -> anyhow::Result<()> {
    while !sessions.is_empty() {
        let mut left = Vec::new();
        for mut session in sessions {
            if session.try_wait().context("wait for psql")?.is_none() {
                left.push(session);
            }
        }
        sessions = left;
        pause(100).await;
    }
    Ok(())
}

/// One that kills the process that delivers it, one whose worker elsewhere dies.
async fn poison(scene: &mut Scene, lots: &mut Lots) -> anyhow::Result<()> {
    scene.poisons += 1;
    let event = (1 << 62) + scene.poisons;
    let jobs =
        [(webhook(event, true), Some(event)), (json!({ "kind": POISON, "args": { "number": event } }), None)];
    scene.load.enqueue(lots, &format!("poison-{event}"), &jobs).await?;
    // It is delivered again and again until its attempts are used up; the run goes on meanwhile.
    pause(4_000).await;
    Ok(())
}
