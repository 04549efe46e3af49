//! What became of each attempt, and what a run of failures does to an endpoint.

use std::time::Duration;

use quintet_store::{Tx, args};
use quintet_types::{SystemEntropy, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::endpoints::{EndpointError, Endpoints};
use super::schema::{DeliveryId, EndpointId};
use super::send::Attempted;

/// Attempts kept for each endpoint.
const KEPT: i64 = 500;

/// One attempt, as an operator sees it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Delivery {
    #[schema(value_type = String)]
    pub(crate) id: DeliveryId,
    pub(crate) message_id: String,
    pub(crate) event_type: String,
    pub(crate) attempt: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    pub(crate) latency_ms: i64,
    /// The beginning of the endpoint's answer.
    pub(crate) answer: String,
    pub(crate) created_at: Timestamp,
}

/// Whose attempt at what.
pub(super) struct Subject<'a> {
    pub(super) endpoint: EndpointId,
    pub(super) message_id: &'a str,
    pub(super) event_type: &'a str,
    pub(super) attempt: i64,
}

impl Endpoints {
    /// Writes an attempt down; the reason if the endpoint was disabled by it.
    pub(super) async fn record(
        &self,
        subject: &Subject<'_>,
        attempted: &Attempted,
        patience: Duration,
    ) -> Result<Option<String>, EndpointError> {
        let now = self.clock.now();
        let mut tx = self.store.begin().await?;
        tx.execute(
            "INSERT INTO webhook_deliveries (id, endpoint_id, message_id, event_type, attempt, status, error,
                                             latency_ms, answer, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            args![
                DeliveryId::generate(self.clock.as_ref(), &SystemEntropy),
                subject.endpoint,
                subject.message_id,
                subject.event_type,
                subject.attempt,
                attempted.status.map(i64::from),
                attempted.failure.clone(),
                i64::try_from(attempted.latency.as_millis()).unwrap_or(i64::MAX),
                &attempted.answer,
                now
            ],
        )
        .await?;
        tx.execute(
            "DELETE FROM webhook_deliveries WHERE endpoint_id = $1 AND id <= (
                 SELECT id FROM webhook_deliveries WHERE endpoint_id = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)",
            args![subject.endpoint, KEPT],
        )
        .await?;
        let disabled = judge(&mut tx, subject.endpoint, attempted, now, patience).await?;
        tx.commit().await?;
        Ok(disabled)
    }

    /// The newest attempts at an endpoint, those before `before`.
    pub(super) async fn deliveries(
        &self,
        id: EndpointId,
        before: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<Delivery>, EndpointError> {
        self.find(id).await?;
        let before = before.map_or_else(|| "whd_z".to_owned(), String::from);
        let sql =
            "SELECT * FROM webhook_deliveries WHERE endpoint_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3";
        let rows = self.store.fetch_all(sql, args![id, before, i64::from(limit)]).await?;
        rows.iter()
            .map(|row| {
                Ok(Delivery {
                    id: row.parse("id")?,
                    message_id: row.get("message_id")?,
                    event_type: row.get("event_type")?,
                    attempt: row.get("attempt")?,
                    status: row.get("status")?,
                    error: row.get("error")?,
                    latency_ms: row.get("latency_ms")?,
                    answer: row.get("answer")?,
                    created_at: row.timestamp("created_at")?,
                })
            })
            .collect()
    }
}

/// Keeps the endpoint's record and disables it when it asks for that (410) or fails for longer than `patience`.
async fn judge(
    tx: &mut Tx,
    id: EndpointId,
    attempted: &Attempted,
    now: Timestamp,
    patience: Duration,
) -> Result<Option<String>, EndpointError> {
    if attempted.failure.is_none() {
        let sql =
            "UPDATE webhook_endpoints SET failing_since = NULL WHERE id = $1 AND failing_since IS NOT NULL";
        tx.execute(sql, args![id]).await?;
        return Ok(None);
    }
    let since = "UPDATE webhook_endpoints SET failing_since = $2 WHERE id = $1 AND failing_since IS NULL";
    tx.execute(since, args![id, now]).await?;
    let row =
        tx.fetch_optional("SELECT failing_since FROM webhook_endpoints WHERE id = $1", args![id]).await?;
    let Some(row) = row else { return Ok(None) };
    let failing = now.duration_since(row.timestamp("failing_since")?).unsigned_abs();
    let reason = if attempted.status == Some(410) {
        "it answered 410 Gone".to_owned()
    } else if failing >= patience {
        format!("every attempt failed for {} hours", failing.as_secs() / 3600)
    } else {
        return Ok(None);
    };
    let sql = "UPDATE webhook_endpoints SET disabled_reason = $2, updated_at = $3
               WHERE id = $1 AND disabled_reason IS NULL";
    let disabled = tx.execute(sql, args![id, &reason, now]).await?;
    Ok((disabled == 1).then_some(reason))
}
