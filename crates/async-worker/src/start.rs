//! Puts the worker together: database, handlers, queue loops, API.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use quintet_auth::Verifier;
use quintet_blobs::Blobs;
use quintet_exports::{Exports, ReportExport};
use quintet_inventory::Images;
use quintet_inventory::thumbnails::Thumbnails;
use quintet_jobs::{Handler, Sealing, Worker};
use quintet_module::{Report, idempotency};
use quintet_service::{Code, Context, OrExit as _};
use quintet_store::Store;
use quintet_types::SharedClock;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

use crate::api::{self, Api, Remote};
use crate::config::{Config, Mail, Webhooks};
use crate::description;
use crate::images::{self, ImageProcess};
use crate::mail::{self, EmailSend, Signer, Suppressions, Templates, Transport};
use crate::webhook::{self, Deliver, Endpoints, Publish, Sender};

pub(crate) async fn start(config: Config, cx: &Context) -> anyhow::Result<()> {
    let listener = cx.listener("http", &config.listen.http)?;
    // The modules' tables too: their jobs read and write them, whichever binary starts first.
    let schemas = [
        &quintet_jobs::MODULE,
        &quintet_users::SCHEMA,
        &quintet_inventory::SCHEMA,
        &quintet_billing::SCHEMA,
        &quintet_orders::SCHEMA,
        &quintet_exports::SCHEMA,
        &idempotency::SCHEMA,
        &mail::SCHEMA,
        &webhook::SCHEMA,
    ];
    let store = quintet_database::open(&config.database, &schemas).await?;
    let store = Sealing::attach(config.sealing.as_ref(), store).await.or_exit(Code::Config)?;
    // When a job is due, all nodes must agree on.
    let clock = quintet_database::clock(cx, &store).await?;
    let blobs = Blobs::open(&config.storage).await.context("open [storage]").or_exit(Code::CannotCreate)?;
    let transport = Transport::open(&config.mail).await?;
    let suppressions = Suppressions::new(store.clone(), cx.clock());
    let email = email(&config.mail, &transport, &suppressions, cx)?;
    // One bound for both kinds of job: it is the process's memory.
    let at_once = Arc::new(Semaphore::new(config.images.at_once));
    let thumbnails =
        Thumbnails::new(Images::new(store.clone(), blobs.clone(), clock.clone()), Arc::clone(&at_once));
    let limits = config.images.limits();
    let pictures = ImageProcess { blobs: blobs.clone(), at_once, limits };
    let exports = ReportExport::new(Exports::new(store.clone(), blobs.clone(), clock.clone(), reports()));
    let mut handlers: Vec<Arc<dyn Handler>> =
        vec![Arc::new(email), Arc::new(thumbnails), Arc::new(pictures), Arc::new(exports)];
    let issuer = config.auth.issuer.clone();
    let verifier = Arc::new(Verifier::new(config.auth.clone(), cx.clock()));
    let mut routes = mail::routes(suppressions).merge(images::routes(blobs, limits.bytes));
    if let Some(settings) = &config.webhooks {
        let (more, theirs) = webhooks(settings, &store, &clock)?;
        handlers.extend(more);
        routes = routes.merge(theirs);
    }
    let settings = config.worker_settings()?;
    let schedules = settings.schedules.clone().into();
    let worker = Arc::new(Worker::new(store.clone(), clock.clone(), settings, handlers));

    let api = Api {
        store: store.clone(),
        clock,
        queues: worker.queue_names(),
        schedules,
        remote: Arc::new(Remote::new(config.remote, &worker, cx.shutdown())),
        maildir: transport.maildir().cloned(),
    };
    let routes = description::router(api::routes(api).merge(routes), verifier, &issuer)?;
    cx.serve("http", listener, routes, config.limits);

    cx.spawn("upkeep", forget_keys(store.clone(), cx.clock(), cx.shutdown()));
    let shutdown = cx.shutdown();
    cx.spawn("worker", async move { worker.run(shutdown).await.context("run jobs") });
    quintet_database::watch(cx, store);
    Ok(())
}

/// What the modules let be exported.
fn reports() -> impl Iterator<Item = &'static Report> {
    let modules = [
        quintet_users::REPORTS,
        quintet_inventory::REPORTS,
        quintet_billing::REPORTS,
        quintet_orders::REPORTS,
    ];
    modules.into_iter().flatten()
}

fn email(
    settings: &Mail,
    transport: &Transport,
    suppressions: &Suppressions,
    cx: &Context,
) -> anyhow::Result<EmailSend> {
    let mut signers = Vec::new();
    for (position, dkim) in settings.dkim.iter().enumerate() {
        let signer = Signer::open(dkim, position).map_err(anyhow::Error::from_boxed)?;
        let (name, record) = signer.record();
        tracing::info!(name, record, "messages are signed; this belongs into the DNS as TXT");
        signers.push(signer);
    }
    Ok(EmailSend {
        transport: transport.clone(),
        templates: Templates::load(settings.templates.as_deref())?,
        from: settings.from.parse().context("read mail.from")?,
        signers,
        suppressions: suppressions.clone(),
        clock: cx.clock(),
    })
}

const FORGET_INTERVAL: Duration = Duration::from_mins(10);

/// Forgets idempotency keys past their retention; core-api does the same, but it need not be there.
async fn forget_keys(store: Store, clock: SharedClock, shutdown: CancellationToken) -> anyhow::Result<()> {
    while shutdown.run_until_cancelled(tokio::time::sleep(FORGET_INTERVAL)).await.is_some() {
        if let Err(error) = idempotency::prune(&store, clock.now()).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot forget idempotency keys");
        }
    }
    Ok(())
}

fn webhooks(
    settings: &Webhooks,
    store: &Store,
    clock: &SharedClock,
) -> anyhow::Result<(Vec<Arc<dyn Handler>>, OpenApiRouter)> {
    let sealer = settings.sealer().map_err(anyhow::Error::from_boxed)?;
    let endpoints = Endpoints::new(store.clone(), clock.clone(), sealer);
    let sender = Arc::new(Sender::new(settings).map_err(anyhow::Error::from_boxed)?);
    let deliver = Deliver {
        endpoints: endpoints.clone(),
        sender: sender.clone(),
        timeout: settings.timeout(),
        patience: settings.patience(),
    };
    let handlers: Vec<Arc<dyn Handler>> = vec![Arc::new(Publish(endpoints.clone())), Arc::new(deliver)];
    Ok((handlers, webhook::routes(endpoints, sender)))
}
