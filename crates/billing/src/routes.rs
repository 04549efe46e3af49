//! The HTTP side of prices and invoices: wire types, permissions, and errors as problems.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use quintet_http::extract::{Json, Path, Query};
use quintet_http::problem::Problem;
use quintet_module::page::{Page, PageQuery};
use quintet_module::{Within, permissions, store_problem};
use quintet_types::{Currency, InvoiceId, ItemId, Money, PriceId, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Billing;
use crate::invoices::{Invoices, StoredInvoice};
use crate::prices::{NewPrice, PriceError, Prices, StoredPrice};

permissions! {
    /// Reading prices and invoices.
    BillingRead = "billing:read";
    /// Setting prices.
    BillingWrite = "billing:write";
}

pub(crate) fn router(billing: Billing) -> OpenApiRouter {
    let prices = OpenApiRouter::new().routes(routes!(set_price, list_prices)).routes(routes!(read_price));
    let invoices = OpenApiRouter::new().routes(routes!(list_invoices)).routes(routes!(read_invoice));
    prices.with_state(billing.prices).merge(invoices.with_state(billing.invoices))
}

/// A price to set.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PriceToSet {
    #[schema(value_type = String, example = "itm_01k0000000e008000000000000")]
    item_id: ItemId,
    /// Minor units (cents for EUR) of one piece.
    #[schema(minimum = 0, maximum = 1_000_000_000_000i64, example = 1250)]
    amount: i64,
    /// ISO 4217.
    #[schema(value_type = String, pattern = "^[A-Z]{3}$", example = "EUR")]
    currency: Currency,
}

/// What one piece of an item costs.
#[derive(Debug, Serialize, ToSchema)]
struct Price {
    #[schema(value_type = String, example = "prc_01k0000000e008000000000000")]
    id: PriceId,
    #[schema(value_type = String, example = "itm_01k0000000e008000000000000")]
    item_id: ItemId,
    /// Minor units.
    amount: i64,
    #[schema(value_type = String, example = "EUR")]
    currency: Currency,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When a newer price took its place; absent while it is the current one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    superseded_at: Option<Timestamp>,
}

impl From<StoredPrice> for Price {
    fn from(price: StoredPrice) -> Self {
        let StoredPrice { id, item_id, unit: Money { amount, currency }, created_at, superseded_at } = price;
        Self { id, item_id, amount, currency, created_at, superseded_at }
    }
}

/// What an account owes, and for what.
#[derive(Debug, Serialize, ToSchema)]
struct Invoice {
    #[schema(value_type = String, example = "inv_01k0000000e008000000000000")]
    id: InvoiceId,
    /// Gapless within the organization's series.
    #[schema(example = "INV-2026-000001")]
    number: String,
    /// `open` until it is paid.
    status: &'static str,
    #[schema(value_type = String, example = "usr_01k0000000e008000000000000")]
    account_id: UserId,
    /// What it is for: an order's id.
    reference: String,
    #[schema(value_type = String, example = "EUR")]
    currency: Currency,
    lines: Vec<InvoiceLine>,
    /// The sum of the lines, in minor units.
    total: i64,
    #[schema(value_type = String, format = DateTime)]
    issued_at: Timestamp,
}

/// One line of an invoice; amounts in minor units.
#[derive(Debug, Serialize, ToSchema)]
struct InvoiceLine {
    #[schema(value_type = String, example = "itm_01k0000000e008000000000000")]
    item_id: ItemId,
    description: String,
    quantity: i64,
    unit_amount: i64,
    amount: i64,
}

impl From<StoredInvoice> for Invoice {
    fn from(stored: StoredInvoice) -> Self {
        let StoredInvoice { invoice, status } = stored;
        let lines = invoice.lines.into_iter().map(|line| InvoiceLine {
            item_id: line.item_id,
            description: line.description,
            quantity: line.quantity,
            unit_amount: line.unit.amount,
            amount: line.amount.amount,
        });
        Self {
            id: invoice.id,
            number: invoice.number,
            status: status.as_str(),
            account_id: invoice.account_id,
            reference: invoice.reference,
            currency: invoice.total.currency,
            lines: lines.collect(),
            total: invoice.total.amount,
            issued_at: invoice.issued_at,
        }
    }
}

impl From<PriceError> for Problem {
    fn from(error: PriceError) -> Self {
        match &error {
            PriceError::Amount => Self::unprocessable("invalid_price", "the price is not acceptable")
                .with_error("/amount", error.to_string()),
            PriceError::UnknownItem(_) => Self::unprocessable("unknown_item", error.to_string())
                .with_error("/item_id", "there is no such item"),
            PriceError::Unknown(_) => Self::not_found("price"),
            PriceError::Contended => Self::conflict("price_contended", error.to_string()),
            PriceError::Store(error) => store_problem(error),
        }
    }
}

/// Set the current price of an item in one currency.
#[utoipa::path(
    post, path = "/prices", tag = "billing", operation_id = "set_price",
    request_body = PriceToSet,
    responses(
        (status = 201, description = "The price", body = Price, headers(
            ("Location" = String, description = "Where the price is"))),
        (status = 409, description = "`price_contended`: somebody else sets this price right now"),
        (status = 422, description = "`unknown_item` or `invalid_price`"),
    ),
    security(("oauth2" = ["billing:write"])),
)]
async fn set_price(
    State(prices): State<Prices>,
    allowed: Within<BillingWrite>,
    Json(body): Json<PriceToSet>,
) -> Result<Response, Problem> {
    let unit = Money::new(body.amount, body.currency);
    let price =
        Price::from(prices.set(allowed.organization, NewPrice { item_id: body.item_id, unit }).await?);
    let location = format!("/api/v1/prices/{}", price.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(price)).into_response())
}

/// List prices, newest first; superseded ones are among them.
#[utoipa::path(
    get, path = "/prices", tag = "billing", operation_id = "list_prices",
    params(PageQuery),
    responses((status = 200, description = "A page of prices", body = Page<Price>)),
    security(("oauth2" = ["billing:read"])),
)]
async fn list_prices(
    State(prices): State<Prices>,
    allowed: Within<BillingRead>,
    Query(query): Query<PageQuery>,
) -> Result<axum::Json<Page<Price>>, Problem> {
    let slice = prices.list(allowed.organization, query.window()?).await?;
    Ok(axum::Json(Page::new(slice, |price| price.id.to_string(), Price::from)))
}

/// Read one price.
#[utoipa::path(
    get, path = "/prices/{id}", tag = "billing", operation_id = "read_price",
    params(("id" = String, Path, description = "The price's id", pattern = "^prc_[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    responses(
        (status = 200, description = "The price", body = Price),
        (status = 404, description = "There is no such price"),
    ),
    security(("oauth2" = ["billing:read"])),
)]
async fn read_price(
    State(prices): State<Prices>,
    allowed: Within<BillingRead>,
    Path(id): Path<PriceId>,
) -> Result<axum::Json<Price>, Problem> {
    Ok(axum::Json(prices.find(allowed.organization, id).await?.into()))
}

/// List invoices, newest first.
#[utoipa::path(
    get, path = "/invoices", tag = "billing", operation_id = "list_invoices",
    params(PageQuery),
    responses((status = 200, description = "A page of invoices", body = Page<Invoice>)),
    security(("oauth2" = ["billing:read"])),
)]
async fn list_invoices(
    State(invoices): State<Invoices>,
    allowed: Within<BillingRead>,
    Query(query): Query<PageQuery>,
) -> Result<axum::Json<Page<Invoice>>, Problem> {
    let slice =
        invoices.list(allowed.organization, query.window()?).await.map_err(|error| store_problem(&error))?;
    Ok(axum::Json(Page::new(slice, |stored| stored.invoice.id.to_string(), Invoice::from)))
}

/// Read one invoice.
#[utoipa::path(
    get, path = "/invoices/{id}", tag = "billing", operation_id = "read_invoice",
    params(("id" = String, Path, description = "The invoice's id", pattern = "^inv_[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    responses(
        (status = 200, description = "The invoice", body = Invoice),
        (status = 404, description = "There is no such invoice"),
    ),
    security(("oauth2" = ["billing:read"])),
)]
async fn read_invoice(
    State(invoices): State<Invoices>,
    allowed: Within<BillingRead>,
    Path(id): Path<InvoiceId>,
) -> Result<axum::Json<Invoice>, Problem> {
    let found = invoices.find(allowed.organization, id).await.map_err(|error| store_problem(&error))?;
    Ok(axum::Json(found.ok_or_else(|| Problem::not_found("invoice"))?.into()))
}
