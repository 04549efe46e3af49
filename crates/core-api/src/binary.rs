//! From configuration to a running service.

use std::sync::Arc;

use anyhow::Context as _;
use quintet_auth::Verifier;
use quintet_blobs::Blobs;
use quintet_jobs::Sealing;
use quintet_service::{Binary, Code, Common, Context, Invalid, OrExit as _};

use crate::app::{self, Deps};
use crate::config::Config;
use crate::upkeep;

/// The core API as a binary.
pub(crate) struct CoreApi;

impl Binary for CoreApi {
    const NAME: &'static str = "core-api";
    const ABOUT: &'static str =
        "Quintet's business logic: accounts, billing, stock and orders in one process";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Config = Config;

    fn common(config: &Config) -> Common<'_> {
        config.common()
    }

    fn validate(config: &Config) -> Result<(), Invalid> {
        config
            .database
            .resolve_url()
            .map(|_| ())
            .map_err(|error| Invalid::new("database.url", error.to_string()))?;
        config.sealing.as_ref().map_or(Ok(()), |sealing| sealing.seals().map(|_| ()))
    }

    async fn start(config: Config, cx: &Context) -> anyhow::Result<()> {
        let store = quintet_database::open(&config.database, app::SCHEMAS).await?;
        let store = Sealing::attach(config.sealing.as_ref(), store).await.or_exit(Code::Config)?;
        let blobs =
            Blobs::open(&config.storage).await.context("open [storage]").or_exit(Code::CannotCreate)?;
        let verifier = Arc::new(Verifier::new(config.auth.clone(), cx.clock()));

        // What modules write down, and when the jobs are due that they enqueue, all nodes must agree on.
        let clock = quintet_database::clock(cx, &store).await?;
        let deps = Deps {
            store: store.clone(),
            blobs,
            clock,
            verifier: Arc::clone(&verifier),
            tenancy: config.tenancy,
            issuer: config.auth.issuer,
        };
        let router = app::router(&deps)?;
        let listener = cx.listener("http", &config.listen.http)?;

        quintet_database::watch(cx, store.clone());
        cx.spawn("signing keys", upkeep::await_keys(verifier, cx.readiness("signing keys"), cx.shutdown()));
        cx.spawn("idempotency keys", upkeep::prune_idempotency_keys(store, cx.clock(), cx.shutdown()));
        cx.serve("http", listener, router, config.listen.limits);
        Ok(())
    }
}
