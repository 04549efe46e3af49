//! The modules composed into one API. This is the one place that knows every implementation.

use std::sync::Arc;

use axum::{Extension, Router};
use quintet_auth::Verifier;
use quintet_billing::{Billing, Invoices, Prices};
use quintet_blobs::Blobs;
use quintet_exports::Exports;
use quintet_inventory::{Images, Stock};
use quintet_module::tenancy::{self, Tenancy};
use quintet_module::{Module, Report, openapi, reference};
use quintet_orders::{Orders, Parts};
use quintet_store::Store;
use quintet_types::SharedClock;
use quintet_users::{Accounts, Members, Organizations};
use utoipa_axum::router::OpenApiRouter;

/// How the API presents itself.
const API: openapi::Api = openapi::Api {
    title: "Quintet core API",
    about: "Accounts, stock, billing and orders.\n\nErrors are RFC 9457 problem details with a stable `code`. \
            Lists are keyset pages: pass `next_cursor` as `cursor`. Sums of money are integers in minor units.",
    version: env!("CARGO_PKG_VERSION"),
    tags: &["organizations", "users", "inventory", "billing", "orders", "exports"],
};

/// What the modules stand on.
pub(crate) struct Deps {
    pub(crate) store: Store,
    pub(crate) blobs: Blobs,
    pub(crate) clock: SharedClock,
    pub(crate) verifier: Arc<Verifier>,
    /// What those may do whom no organization names.
    pub(crate) tenancy: tenancy::Settings,
    /// The issuer's URL, for the OpenAPI document.
    pub(crate) issuer: String,
}

/// The tables of every module, of the job queue and of idempotency keys.
pub(crate) static SCHEMAS: &[&quintet_store::Module] = &[
    &quintet_jobs::MODULE,
    &quintet_module::idempotency::SCHEMA,
    &quintet_users::SCHEMA,
    &quintet_inventory::SCHEMA,
    &quintet_billing::SCHEMA,
    &quintet_orders::SCHEMA,
    &quintet_exports::SCHEMA,
];

/// The modules, wired to each other through their api traits.
fn modules(deps: &Deps, tenancy: &Tenancy) -> Vec<Module> {
    let Deps { store, blobs, clock, .. } = deps;
    let accounts = Accounts::new(store.clone(), Arc::clone(clock));
    let organizations = Organizations::new(store.clone(), Arc::clone(clock), tenancy.clone());
    let stock = Stock::new(store.clone(), Arc::clone(clock));
    let images = Images::new(store.clone(), blobs.clone(), Arc::clone(clock));
    let billing = Billing {
        prices: Prices::new(store.clone(), Arc::clone(clock), Arc::new(stock.clone())),
        invoices: Invoices::new(store.clone(), Arc::clone(clock)),
    };
    let orders = Orders::new(Parts {
        store: store.clone(),
        clock: Arc::clone(clock),
        users: Arc::new(accounts.clone()),
        inventory: Arc::new(stock.clone()),
        billing: Arc::new(billing.clone()),
    });
    let mut modules = vec![
        quintet_users::module(accounts, organizations),
        quintet_inventory::module(stock, images),
        quintet_billing::module(billing),
        quintet_orders::module(orders),
    ];
    let reports: Vec<&'static Report> = modules.iter().flat_map(|module| module.reports).collect();
    let exports = Exports::new(store.clone(), blobs.clone(), Arc::clone(clock), reports);
    modules.push(quintet_exports::module(exports));
    modules
}

/// Every route: the modules' behind token verification, the API's description in the open.
pub(crate) fn router(deps: &Deps) -> Result<Router, serde_json::Error> {
    let members = Arc::new(Members::new(deps.store.clone()));
    let tenancy = Tenancy::new(members, deps.tenancy, Arc::clone(&deps.clock));
    let v1 = modules(deps, &tenancy)
        .into_iter()
        .fold(OpenApiRouter::new(), |api, module| api.merge(module.routes));
    let (router, paths) =
        OpenApiRouter::with_openapi(openapi::base(&API)).nest("/api/v1", v1).split_for_parts();
    let document = openapi::complete(&API, &paths, &deps.issuer)?;
    Ok(router
        .route_layer(Extension(tenancy))
        .route_layer(quintet_auth::layer(Arc::clone(&deps.verifier)))
        .merge(reference::router(&API, "/api", &document)?))
}
