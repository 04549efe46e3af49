//! Looks the DNS names of upstreams up, again and again.
//!
//! By the system's resolver, so that `/etc/hosts`, `/etc/resolv.conf` and search domains hold here as everywhere. It tells no
//! lifetimes, hence the configured interval. A failure changes nothing and is tried again soon: what was known before is
//! better than nothing, also when the name itself is said to be gone.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::Upstream;
use super::health::jittered;
use super::names::Change;

/// After a failed look-up; doubles with each repeat, up to the configured interval.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Who knows the addresses of names.
pub(crate) trait Resolve: Clone + Send + Sync + 'static {
    /// The addresses of a name, with this port.
    fn resolve(&self, host: &str, port: u16) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;
}

/// The system's resolver, on a thread of its own for as long as it takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemResolver;

impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}

impl Upstream {
    pub(super) fn has_names(&self) -> bool {
        !self.names.is_empty()
    }
}

/// Looks all names up until nothing uses the upstream any more.
pub(super) async fn run(upstream: Weak<Upstream>, resolver: impl Resolve) {
    let names = upstream.upgrade().map_or(0, |upstream| upstream.names.len());
    let mut each = JoinSet::new();
    for at in 0..names {
        each.spawn(run_one(upstream.clone(), at, resolver.clone()));
    }
    while each.join_next().await.is_some() {}
}

async fn run_one(upstream: Weak<Upstream>, at: usize, resolver: impl Resolve) {
    let mut pause = FIRST_PAUSE;
    loop {
        let name = upstream.upgrade().and_then(|upstream| Some(upstream.names.get(at)?.name.clone()));
        let Some(name) = name else { return };
        let found = resolver.resolve(&name.host, name.port).await;
        let Some(upstream) = upstream.upgrade() else { return };
        let interval = upstream.resolve_interval;
        let was_failing = pause > FIRST_PAUSE;
        let wait = if take(&upstream, at, found, was_failing) {
            pause = FIRST_PAUSE;
            interval
        } else {
            let wait = pause.min(interval);
            pause = pause.saturating_mul(2).min(interval.max(FIRST_PAUSE * 2));
            wait
        };
        drop(upstream);
        tokio::time::sleep(jittered(wait)).await;
    }
}

/// Takes an answer over; false if it is none.
fn take(upstream: &Arc<Upstream>, at: usize, found: io::Result<Vec<SocketAddr>>, was_failing: bool) -> bool {
    let Some(named) = upstream.names.get(at) else { return false };
    let (name, upstream_name) = (named.name.to_string(), &upstream.name);
    let nothing = || io::Error::new(io::ErrorKind::NotFound, "it has no address");
    let found = found.and_then(|found| if found.is_empty() { Err(nothing()) } else { Ok(found) });
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            named.failed.increment(1);
            let kept = named.addresses(&upstream.endpoints).len();
            if !was_failing {
                tracing::warn!(upstream = upstream_name, name, %error, kept, "name not resolved; addresses that were known stay");
            }
            return false;
        }
    };
    let change = named.answered(&upstream.endpoints, &found, upstream.millis(Instant::now()));
    if change != Change::default() {
        tracing::info!(
            upstream = upstream_name,
            name,
            joined = ?change.joined,
            left = ?change.left,
            ignored = change.ignored,
            "addresses of the name changed"
        );
    }
    true
}
