//! Certificates that the gateway gets by itself (ACME, RFC 8555): one background task orders, renews and stores them.
//!
//! The task runs beside the workers and touches them in two places: what answers a pending challenge ([`challenge`]), and
//! the set of certificates, which is read again when a new one is on disk. Handshakes and requests never wait for an
//! authority. What a certificate's next step is follows from its file, the clock and the authority's suggestion
//! ([`agenda`]); nothing else is remembered, so that a restart or an upgrade in place goes on where the last process was.
//!
//! On disk, below `acme.storage`, all mode 0600 and replaced by renaming:
//! - `accounts/<digest of the directory's URL>.json`: the account's URL and key;
//! - `certificates/<first name>.pem`: the directory's URL, when it was stored, a private key and its chain;
//! - `lock`: held while a certificate is ordered, by whichever process does it.

mod account;
mod agenda;
mod challenge;
mod client;
mod held;
mod order;
mod renewal;
mod status;
mod storage;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quintet_http::ClientError;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::agenda::Agenda;
use self::challenge::Challenges;
pub(crate) use self::challenge::{PREFIX, accept};
pub(crate) use self::status::routes;
use self::status::{Status, Statuses};
use crate::gateway::Gateway;
use crate::tls::TlsError;

/// Longest sleep: the wall clock may have been set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_hours(1);
/// Shortest: whatever goes wrong, the task does not spin.
const SHORTEST_SLEEP: Duration = Duration::from_millis(50);

/// What workers, the admin listener and the task share.
#[derive(Debug, Default)]
pub(crate) struct Acme {
    pub(crate) challenges: Arc<Challenges>,
    statuses: Statuses,
    wake: Notify,
}

impl Acme {
    /// What there is to say of each certificate.
    pub(crate) fn statuses(&self) -> Vec<Status> {
        self.statuses.all()
    }

    /// The configuration changed.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }
}

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AcmeError {
    #[error("the authority cannot be used")]
    Authority(#[source] instant_acme::Error),
    #[error("the authority could not verify {0}")]
    Challenge(String),
    #[error("the authority did not finish within {} s", .0.as_secs())]
    Slow(Duration),
    #[error("the authority issued a certificate that cannot be used: {0}")]
    Certificate(String),
    #[error("another gateway works in {0}")]
    Locked(PathBuf),
    #[error("cannot use {path}")]
    Storage {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the account's file {0} is damaged; restore it, or remove it to make a new account")]
    Account(PathBuf, #[source] serde_json::Error),
    #[error(transparent)]
    Secret(#[from] quintet_service::secret::Error),
    #[error("key `acme.external_account.hmac_key_file`: must be base64url, as the authority gave it")]
    ExternalKey,
    #[error("cannot make a key or a certificate request")]
    Key(#[from] rcgen::Error),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl From<instant_acme::Error> for AcmeError {
    fn from(error: instant_acme::Error) -> Self {
        Self::Authority(error)
    }
}

impl AcmeError {
    /// Whether the authority was not there rather than said no.
    fn is_outage(&self) -> bool {
        match self {
            Self::Authority(instant_acme::Error::Other(error)) => error.is::<ClientError>(),
            Self::Slow(_) => true,
            _ => false,
        }
    }

    /// The last part of the problem type that the authority answered with, such as `rateLimited`.
    fn problem(&self) -> Option<&str> {
        let Self::Authority(instant_acme::Error::Api(problem)) = self else { return None };
        problem.r#type.as_deref()?.strip_prefix("urn:ietf:params:acme:error:")
    }
}

/// Keeps certificates up to date until `shutdown`.
pub(crate) async fn run(gateway: Arc<Gateway>, shutdown: CancellationToken) -> anyhow::Result<()> {
    let keeping = Box::pin(keep(&gateway));
    shutdown.run_until_cancelled(keeping).await;
    Ok(())
}

async fn keep(gateway: &Gateway) {
    let mut agenda = Agenda::default();
    loop {
        let snapshot = gateway.snapshot();
        let sleep = if let Some(section) = &snapshot.config.acme {
            agenda.work(gateway, section, &snapshot.config.certificate_sources()).await
        } else {
            gateway.acme.statuses.set(Vec::new());
            LONGEST_SLEEP
        };
        drop(snapshot);
        let sleep = sleep.clamp(SHORTEST_SLEEP, LONGEST_SLEEP);
        // Either way there may be something to do.
        let _ = tokio::time::timeout(sleep, gateway.acme.wake.notified()).await;
    }
}
