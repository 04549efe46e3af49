//! What may be used once: the ids of client assertions, DPoP proofs and request objects.
//!
//! An id is noted in the database and not in memory, so that it is not accepted a second time by another node or after a
//! restart. The row is the primary key of a keyed hash; of two requests at once the insert lets one through. Rows go
//! when the token that carried the id has expired.

use quintet_store::args;

use crate::app::App;
use crate::fault::Fault;
use crate::vault::Purpose;

/// What an id is of; ids of one kind say nothing of another.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// `jti` of a client assertion (RFC 7523 §3, item 7).
    Assertion,
    /// `jti` of a DPoP proof (RFC 9449 §11.1).
    Proof,
    /// `jti` of a request object (RFC 9101 §10.3).
    RequestObject,
}

impl Kind {
    const fn label(self) -> &'static str {
        match self {
            Self::Assertion => "assertion",
            Self::Proof => "proof",
            Self::RequestObject => "request object",
        }
    }
}

/// Notes the id of `owner`'s token, to be remembered `until` an instant in microseconds; `false` when it was used before.
pub(crate) async fn first_use(
    app: &App,
    kind: Kind,
    owner: &str,
    id: &str,
    until: i64,
) -> Result<bool, Fault> {
    let parts = [kind.label().as_bytes(), owner.as_bytes(), id.as_bytes()];
    let hash = app.vault.hash_parts(Purpose::SingleUse, &parts);
    let mut tx = app.store.begin().await?;
    let inserted = tx
        .execute(
            "INSERT INTO identity_used_ids (id_hash, expires_at) VALUES ($1, $2) ON CONFLICT (id_hash) DO NOTHING",
            args![hash, until],
        )
        .await?;
    tx.commit().await?;
    Ok(inserted == 1)
}
