//! Requests that make something, each once for its Idempotency-Key: the key's turn is taken in the transaction that makes it,
//! and the answer is kept under the key in the same one.

use http::StatusCode;
use quintet_http::Problem;
use quintet_module::idempotency::{self, Answer, Outcome};
use quintet_store::Tx;
use serde::Serialize;
use utoipa::IntoParams;

use super::{Api, failed};

/// How a client names a request that makes something; read by [`idempotency::Key`].
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it says in the document what the extractor reads")]
pub(super) struct KeyHeader {
    /// A fresh UUID, the same with every retry.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 255, pattern = "^[!-~]+$")]
    idempotency_key: String,
}

/// What a key was found to be.
pub(super) enum Begun {
    /// New: the request is carried out.
    New(Box<Creation>),
    /// The key of a request that was carried out before; this is its answer.
    Known(Outcome),
}

/// A request that is being carried out; dropped, it leaves nothing behind.
pub(super) struct Creation {
    /// Where everything is made.
    pub(super) tx: Tx,
    request: idempotency::Request,
}

/// Takes the turn of the request's key.
pub(super) async fn begin(api: &Api, request: idempotency::Request) -> Result<Begun, Problem> {
    let mut tx = api.store.begin().await.map_err(stored)?;
    let known = idempotency::find(&mut tx, &request).await.map_err(|error| Problem::from(&error))?;
    Ok(match known {
        Some(answer) => Begun::Known(Outcome::Replayed(answer)),
        None => Begun::New(Box::new(Creation { tx, request })),
    })
}

impl Creation {
    /// Commits what was made, and the answer that says so.
    pub(super) async fn finish(
        mut self,
        api: &Api,
        location: Option<String>,
        made: &impl Serialize,
    ) -> Result<Outcome, Problem> {
        let body = serde_json::to_string(made).map_err(|error| Problem::internal(&error))?;
        let answer = Answer { status: StatusCode::CREATED.as_u16(), location, body };
        idempotency::keep(&mut self.tx, &self.request, &answer, api.clock.now())
            .await
            .map_err(|error| Problem::from(&error))?;
        self.tx.commit().await.map_err(stored)?;
        Ok(Outcome::Done(answer))
    }
}

fn stored(error: quintet_store::Error) -> Problem {
    failed(error.into())
}
