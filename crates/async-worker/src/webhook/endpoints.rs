//! The endpoints: where webhooks go, what each wants to hear, and how it fares.

use std::sync::Arc;
use std::time::Duration;

use quintet_store::{Row, Store, Tx, args};
use quintet_types::{SharedClock, SystemEntropy, Timestamp};
use serde::Serialize;
use thiserror::Error;
use utoipa::ToSchema;

use super::schema::EndpointId;
use super::secrets::{Sealer, Secret, SecretError};

/// An event is one transaction with a job for each endpoint that wants it.
const MAX_ENDPOINTS: i64 = 1000;
/// Secrets an endpoint may have at once: each makes a signature.
const MAX_SECRETS: usize = 4;

/// An endpoint, as an operator sees it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Endpoint {
    #[schema(value_type = String)]
    pub(crate) id: EndpointId,
    pub(crate) url: String,
    pub(crate) description: String,
    /// The events it wants; all when empty.
    pub(crate) event_types: Vec<String>,
    pub(crate) enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) disabled_reason: Option<String>,
    /// Since when every attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failing_since: Option<Timestamp>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

/// What cannot be done with an endpoint.
#[derive(Debug, Error)]
pub(crate) enum EndpointError {
    #[error("there is no such endpoint")]
    Unknown,
    #[error("there are {MAX_ENDPOINTS} endpoints already")]
    TooMany,
    #[error("the endpoint has {MAX_SECRETS} secrets in use; wait until one of them has ended")]
    TooManySecrets,
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Store(#[from] quintet_store::Error),
}

/// The endpoints' table; cheap to clone.
#[derive(Clone)]
pub(crate) struct Endpoints {
    pub(super) store: Store,
    pub(super) clock: SharedClock,
    sealer: Arc<Sealer>,
}

impl Endpoints {
    pub(crate) fn new(store: Store, clock: SharedClock, sealer: Sealer) -> Self {
        Self { store, clock, sealer: Arc::new(sealer) }
    }

    /// A new endpoint and its secret, which is shown this once.
    pub(super) async fn create(
        &self,
        url: &str,
        description: &str,
        event_types: &[String],
    ) -> Result<(Endpoint, Secret), EndpointError> {
        let id = EndpointId::generate(self.clock.as_ref(), &SystemEntropy);
        let secret = Secret::generate(&SystemEntropy);
        let sealed = self.sealer.seal(&id.to_string(), std::slice::from_ref(&secret))?;
        let mut tx = self.store.begin().await?;
        let count = tx.fetch_one("SELECT count(*) AS n FROM webhook_endpoints", args![]).await?;
        if count.get::<i64>("n")? >= MAX_ENDPOINTS {
            return Err(EndpointError::TooMany);
        }
        tx.execute(
            "INSERT INTO webhook_endpoints (id, url, description, event_types, secrets, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $6)",
            args![id, url, description, event_types.join(" "), sealed, self.clock.now()],
        )
        .await?;
        tx.commit().await?;
        Ok((self.find(id).await?, secret))
    }

    pub(super) async fn list(&self) -> Result<Vec<Endpoint>, EndpointError> {
        let sql = "SELECT * FROM webhook_endpoints ORDER BY id DESC LIMIT $1";
        let rows = self.store.fetch_all(sql, args![MAX_ENDPOINTS]).await?;
        rows.iter().map(read).collect()
    }

    pub(super) async fn find(&self, id: EndpointId) -> Result<Endpoint, EndpointError> {
        let row =
            self.store.fetch_optional("SELECT * FROM webhook_endpoints WHERE id = $1", args![id]).await?;
        read(&row.ok_or(EndpointError::Unknown)?)
    }

    /// An endpoint with the secrets that sign for it.
    pub(super) async fn with_secrets(
        &self,
        id: EndpointId,
    ) -> Result<(Endpoint, Vec<Secret>), EndpointError> {
        let row =
            self.store.fetch_optional("SELECT * FROM webhook_endpoints WHERE id = $1", args![id]).await?;
        let row = row.ok_or(EndpointError::Unknown)?;
        Ok((read(&row)?, self.sealer.open(&id.to_string(), &row.get::<String>("secrets")?)?))
    }

    /// The endpoints that want an event, in the transaction that tells them.
    pub(super) async fn wanting(tx: &mut Tx, event_type: &str) -> Result<Vec<EndpointId>, EndpointError> {
        let sql = "SELECT * FROM webhook_endpoints WHERE disabled_reason IS NULL ORDER BY id LIMIT $1";
        let mut ids = Vec::new();
        for row in tx.fetch_all(sql, args![MAX_ENDPOINTS]).await? {
            let endpoint = read(&row)?;
            if endpoint.event_types.is_empty()
                || endpoint.event_types.iter().any(|wanted| wanted == event_type)
            {
                ids.push(endpoint.id);
            }
        }
        Ok(ids)
    }

    /// A new secret; those before it go on signing for `overlap`.
    pub(super) async fn rotate(&self, id: EndpointId, overlap: Duration) -> Result<Secret, EndpointError> {
        let now = self.clock.now();
        let end = now.checked_add(overlap).unwrap_or(Timestamp::MAX);
        let mut tx = self.store.begin().await?;
        // The write first: it takes the row, so that of two that rotate at once none loses its secret.
        let touched = "UPDATE webhook_endpoints SET updated_at = $2 WHERE id = $1";
        if tx.execute(touched, args![id, now]).await? == 0 {
            return Err(EndpointError::Unknown);
        }
        let row = tx.fetch_one("SELECT secrets FROM webhook_endpoints WHERE id = $1", args![id]).await?;
        let secret = Secret::generate(&SystemEntropy);
        let before = self.sealer.open(&id.to_string(), &row.get::<String>("secrets")?)?;
        let mut secrets = vec![secret.clone()];
        secrets.extend(before.into_iter().map(|old| old.until(end)).filter(|old| old.signs(now)));
        if secrets.len() > MAX_SECRETS {
            return Err(EndpointError::TooManySecrets);
        }
        let sealed = self.sealer.seal(&id.to_string(), &secrets)?;
        tx.execute("UPDATE webhook_endpoints SET secrets = $2 WHERE id = $1", args![id, sealed]).await?;
        tx.commit().await?;
        Ok(secret)
    }

    /// Switches an endpoint off for `reason`, or on again with a clean record.
    pub(super) async fn switch(&self, id: EndpointId, reason: Option<&str>) -> Result<(), EndpointError> {
        let mut tx = self.store.begin().await?;
        let sql = "UPDATE webhook_endpoints SET disabled_reason = $2, failing_since = NULL, updated_at = $3
                   WHERE id = $1";
        let changed = tx.execute(sql, args![id, reason.map(str::to_owned), self.clock.now()]).await?;
        tx.commit().await?;
        if changed == 0 { Err(EndpointError::Unknown) } else { Ok(()) }
    }

    pub(super) async fn delete(&self, id: EndpointId) -> Result<(), EndpointError> {
        let mut tx = self.store.begin().await?;
        let gone = tx.execute("DELETE FROM webhook_endpoints WHERE id = $1", args![id]).await?;
        tx.execute("DELETE FROM webhook_deliveries WHERE endpoint_id = $1", args![id]).await?;
        tx.commit().await?;
        if gone == 0 { Err(EndpointError::Unknown) } else { Ok(()) }
    }
}

fn read(row: &Row) -> Result<Endpoint, EndpointError> {
    let disabled_reason: Option<String> = row.get("disabled_reason")?;
    let failing_since: Option<i64> = row.get("failing_since")?;
    Ok(Endpoint {
        id: row.parse("id")?,
        url: row.get("url")?,
        description: row.get("description")?,
        event_types: row.get::<String>("event_types")?.split_whitespace().map(str::to_owned).collect(),
        enabled: disabled_reason.is_none(),
        disabled_reason,
        failing_since: failing_since.map(quintet_types::time::from_micros),
        created_at: row.timestamp("created_at")?,
        updated_at: row.timestamp("updated_at")?,
    })
}
