//! The whole API under `/jobs/v1` as one router, and its OpenAPI document, made from the same routes: what is not described is
//! not served.

use std::sync::Arc;

use axum::Router;
use quintet_auth::Verifier;
use quintet_module::{openapi, reference};
use utoipa_axum::router::OpenApiRouter;

/// Where everything is beneath.
const BASE: &str = "/jobs/v1";

const API: openapi::Api = openapi::Api {
    title: "Quintet jobs API",
    about: "The job queue: enqueuing, working from other languages, and operating it; webhooks, pictures and mail.\n\n\
            Errors are RFC 9457 problem details with a stable `code`. Lists are keyset pages: pass `next_cursor` as `cursor`. \
            What makes something takes an `Idempotency-Key`: the same key with the same body gives the same answer for at \
            least 24 hours, marked `Idempotent-Replayed: true`.",
    version: env!("CARGO_PKG_VERSION"),
    tags: &[
        "queues",
        "jobs",
        "enqueue",
        "work",
        "batches",
        "workflows",
        "schedules",
        "webhooks",
        "images",
        "mail",
    ],
};

/// These routes behind token verification, their description in the open. `issuer` is the URL of who gives out tokens.
pub(crate) fn router(
    routes: OpenApiRouter,
    verifier: Arc<Verifier>,
    issuer: &str,
) -> Result<Router, serde_json::Error> {
    let (router, paths) = OpenApiRouter::with_openapi(openapi::base(&API)).merge(routes).split_for_parts();
    let document = openapi::complete(&API, &paths, issuer)?;
    Ok(router.route_layer(quintet_auth::layer(verifier)).merge(reference::router(&API, BASE, &document)?))
}

#[cfg(test)]
mod tests;
