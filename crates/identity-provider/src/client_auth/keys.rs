//! The public keys of a client: given by a file, or fetched from where the client publishes them.
//!
//! Fetched keys are kept for [`FRESH`]. An unknown key id has them fetched again, at most once in [`REFETCH`], so that
//! a client may rotate and nobody may have us hammer it. When it does not answer, the keys we have stay good.

use std::sync::Arc;
use std::time::Duration;

use quintet_auth::{Compact, PublicKey};
use tokio::sync::Mutex;

use crate::app::App;
use crate::clients::Client;
use crate::outbound::Outbound;
use crate::time::span;

/// Age at which fetched keys are fetched again.
const FRESH: Duration = Duration::from_mins(5);
/// Least time between two fetches.
const REFETCH: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(3);
const MOST_BYTES: usize = 64 * 1024;

/// Where a client's keys are.
#[derive(Debug)]
pub(crate) enum KeySource {
    /// It has none.
    None,
    /// Read at start.
    Fixed(Arc<[PublicKey]>),
    /// At its `jwks_uri`.
    Remote(RemoteKeys),
}

/// The keys at a `jwks_uri`.
#[derive(Debug)]
pub(crate) struct RemoteKeys {
    address: Outbound,
    /// Held during a fetch, so that there is only one.
    fetched: Mutex<Fetched>,
}

#[derive(Debug, Default)]
struct Fetched {
    keys: Option<Arc<[PublicKey]>>,
    tried_at: Option<i64>,
}

impl RemoteKeys {
    /// The keys at an https URL, or at one of this machine's.
    pub(crate) fn new(uri: &str) -> Result<Self, String> {
        Ok(Self { address: Outbound::new(uri, TIMEOUT, MOST_BYTES)?, fetched: Mutex::default() })
    }

    /// The keys, among which one with `key_id` is hoped for.
    async fn find(&self, key_id: Option<&str>, now: i64) -> Option<Arc<[PublicKey]>> {
        let mut fetched = self.fetched.lock().await;
        let age = fetched.tried_at.map_or(i64::MAX, |at| now.saturating_sub(at));
        let unknown = match (&fetched.keys, key_id) {
            (None, _) => true,
            (Some(keys), Some(id)) => !keys.iter().any(|key| key.key_id() == Some(id)),
            (Some(_), None) => false,
        };
        if age >= span(FRESH) || (unknown && age >= span(REFETCH)) {
            fetched.tried_at = Some(now);
            if let Some(keys) = self.fetch().await {
                fetched.keys = Some(keys);
            }
        }
        fetched.keys.clone()
    }
}

impl RemoteKeys {
    async fn fetch(&self) -> Option<Arc<[PublicKey]>> {
        let origin = self.address.client.origin();
        let answer = self.address.client.get(&self.address.path).await;
        let answer =
            answer.inspect_err(|error| tracing::warn!(%error, %origin, "client keys not fetched")).ok()?;
        let keys = quintet_auth::public_keys(answer.body());
        keys.inspect_err(|error| tracing::warn!(%error, %origin, "client keys not usable"))
            .ok()
            .map(Arc::from)
    }
}

/// Whether a token is signed by one of a client's keys, with an algorithm that its profile accepts.
pub(crate) async fn signed_by_client(app: &App, client: &Client, token: &Compact<'_>) -> bool {
    if !client.security.profile.accepts(token.algorithm) {
        return false;
    }
    let keys = match &client.security.keys {
        KeySource::None => None,
        KeySource::Fixed(keys) => Some(Arc::clone(keys)),
        KeySource::Remote(remote) => remote.find(token.key_id.as_deref(), app.now()).await,
    };
    // A token that names a key is by that one or by none (RFC 7515 §4.1.4 leaves it open; guessing helps no one).
    let named = |key: &&PublicKey| token.key_id.is_none() || key.key_id() == token.key_id.as_deref();
    keys.is_some_and(|keys| keys.iter().filter(named).any(|key| token.is_signed_by(key)))
}
