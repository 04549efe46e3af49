//! What people allowed which client to see and do, so that they are asked once.

use quintet_store::{Store, Tx, args};

use crate::scopes::Scopes;

/// What `user_id` allowed `client_id` so far.
pub(crate) async fn granted(
    store: &Store,
    user_id: &str,
    client_id: &str,
) -> Result<Scopes, quintet_store::Error> {
    let row = store
        .fetch_optional(
            "SELECT scope FROM identity_consents WHERE user_id = $1 AND client_id = $2",
            args![user_id, client_id],
        )
        .await?;
    row.map_or(Ok(Scopes::NONE), |row| row.get::<String>("scope").map(|scope| Scopes::requested(&scope)))
}

/// Records that `scopes` are allowed.
pub(crate) async fn record(
    tx: &mut Tx,
    user_id: &str,
    client_id: &str,
    scopes: Scopes,
    now: i64,
) -> Result<(), quintet_store::Error> {
    tx.execute(
        "INSERT INTO identity_consents (user_id, client_id, scope, granted_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (user_id, client_id) DO UPDATE SET scope = excluded.scope, granted_at = excluded.granted_at",
        args![user_id, client_id, scopes.to_string(), now],
    )
    .await
    .map(drop)
}
