//! The tables of the webhook handlers.

use quintet_store::{Migration, Module, Sql, Value};

quintet_types::define_id!(
    /// A place that webhooks are delivered to.
    EndpointId,
    "whe"
);
quintet_types::define_id!(
    /// One attempt to deliver a message.
    DeliveryId,
    "whd"
);
quintet_types::define_id!(
    /// What happened, told to every endpoint that wants it; `webhook-id` on the wire.
    MessageId,
    "msg"
);

impl From<EndpointId> for Value {
    fn from(id: EndpointId) -> Self {
        id.to_string().into()
    }
}

impl From<DeliveryId> for Value {
    fn from(id: DeliveryId) -> Self {
        id.to_string().into()
    }
}

pub(crate) static SCHEMA: Module = Module {
    name: "webhook",
    migrations: &[Migration {
        version: 1,
        name: "endpoints and deliveries",
        // No reference from deliveries to endpoints: an endpoint can be deleted while one is under way.
        sql: Sql::one(
            "CREATE TABLE webhook_endpoints (
                id TEXT NOT NULL PRIMARY KEY,
                url TEXT NOT NULL,
                description TEXT NOT NULL,
                event_types TEXT NOT NULL,
                secrets TEXT NOT NULL,
                disabled_reason TEXT,
                failing_since BIGINT,
                created_at BIGINT NOT NULL,
                updated_at BIGINT NOT NULL
            );
            CREATE TABLE webhook_deliveries (
                id TEXT NOT NULL PRIMARY KEY,
                endpoint_id TEXT NOT NULL,
                message_id TEXT NOT NULL,
                event_type TEXT NOT NULL,
                attempt BIGINT NOT NULL,
                status BIGINT,
                error TEXT,
                latency_ms BIGINT NOT NULL,
                answer TEXT NOT NULL,
                created_at BIGINT NOT NULL
            );
            CREATE INDEX webhook_deliveries_endpoint ON webhook_deliveries (endpoint_id, id)",
        ),
        oldest_reader: 1,
    }],
};
