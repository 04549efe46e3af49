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

/// What a person allowed one client.
#[derive(Debug, Clone)]
pub(crate) struct Consent {
    pub(crate) client_id: String,
    pub(crate) scopes: Scopes,
    pub(crate) granted_at: i64,
}

/// What a person allowed, by client.
pub(crate) async fn list(store: &Store, user_id: &str) -> Result<Vec<Consent>, quintet_store::Error> {
    store
        .fetch_all(
            "SELECT client_id, scope, granted_at FROM identity_consents WHERE user_id = $1 ORDER BY client_id",
            args![user_id],
        )
        .await?
        .iter()
        .map(|row| {
            Ok(Consent {
                client_id: row.get("client_id")?,
                scopes: Scopes::requested(&row.get::<String>("scope")?),
                granted_at: row.get("granted_at")?,
            })
        })
        .collect()
}

/// Takes a consent back; `false` when there was none.
pub(crate) async fn withdraw(
    tx: &mut Tx,
    user_id: &str,
    client_id: &str,
) -> Result<bool, quintet_store::Error> {
    let sql = "DELETE FROM identity_consents WHERE user_id = $1 AND client_id = $2";
    Ok(tx.execute(sql, args![user_id, client_id]).await? == 1)
}
