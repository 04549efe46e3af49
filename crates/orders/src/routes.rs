//! The HTTP side of orders: wire types, permissions, and errors as problems.

use axum::extract::State;
use quintet_billing_api as billing;
use quintet_http::extract::{Json, Path, Query};
use quintet_http::problem::Problem;
use quintet_inventory_api as inventory;
use quintet_module::idempotency::{Answer, Key, Outcome, Request};
use quintet_module::page::{Page, PageQuery};
use quintet_module::{Within, permissions, store_problem};
use quintet_types::{Currency, InvoiceId, ItemId, OrderId, OrganizationId, Timestamp, UserId};
use quintet_users_api as users;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::orders::{self, Command, Error, Invalid, Orders, Wanted};

permissions! {
    /// Reading orders.
    OrdersRead = "orders:read";
    /// Placing orders.
    OrdersWrite = "orders:write";
}

pub(crate) fn router(orders: Orders) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(place, list)).routes(routes!(find)).with_state(orders)
}

/// An order to place.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct OrderToPlace {
    /// Who buys: a user's id.
    #[schema(value_type = String, example = "usr_01k0000000e008000000000000")]
    account_id: UserId,
    /// ISO 4217; every item must have a price in it.
    #[schema(value_type = String, pattern = "^[A-Z]{3}$", example = "EUR")]
    currency: Currency,
    /// Each item at most once.
    #[schema(min_items = 1, max_items = 100)]
    lines: Vec<LineToPlace>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LineToPlace {
    #[schema(value_type = String, example = "itm_01k0000000e008000000000000")]
    item_id: ItemId,
    /// Whole pieces.
    #[schema(minimum = 1, maximum = 1_000_000, example = 2)]
    quantity: i64,
}

impl OrderToPlace {
    fn command(self, organization: OrganizationId) -> Command {
        let line = |line: LineToPlace| Wanted { item_id: line.item_id, quantity: line.quantity };
        Command {
            organization,
            account_id: self.account_id,
            currency: self.currency,
            lines: self.lines.into_iter().map(line).collect(),
        }
    }
}

/// A placed order: stock is reserved and an invoice is open for it. Amounts in minor units.
#[derive(Debug, Serialize, ToSchema)]
struct Order {
    #[schema(value_type = String, example = "ord_01k0000000e008000000000000")]
    id: OrderId,
    /// `placed`
    status: &'static str,
    #[schema(value_type = String, example = "usr_01k0000000e008000000000000")]
    account_id: UserId,
    #[schema(value_type = String, example = "EUR")]
    currency: Currency,
    lines: Vec<OrderLine>,
    /// The sum of the lines.
    total: i64,
    #[schema(value_type = String, example = "inv_01k0000000e008000000000000")]
    invoice_id: InvoiceId,
    #[schema(example = "INV-2026-000001")]
    invoice_number: String,
    #[schema(value_type = String, format = DateTime)]
    placed_at: Timestamp,
}

/// One line of an order, with name and price as they were when it was placed.
#[derive(Debug, Serialize, ToSchema)]
struct OrderLine {
    #[schema(value_type = String, example = "itm_01k0000000e008000000000000")]
    item_id: ItemId,
    sku: String,
    name: String,
    quantity: i64,
    unit_amount: i64,
    amount: i64,
}

impl From<orders::Order> for Order {
    fn from(order: orders::Order) -> Self {
        let lines = order.lines.into_iter().map(|line| OrderLine {
            item_id: line.item_id,
            sku: line.sku,
            name: line.name,
            quantity: line.quantity,
            unit_amount: line.unit.amount,
            amount: line.amount.amount,
        });
        Self {
            id: order.id,
            status: "placed",
            account_id: order.account_id,
            currency: order.total.currency,
            lines: lines.collect(),
            total: order.total.amount,
            invoice_id: order.invoice_id,
            invoice_number: order.invoice_number,
            placed_at: order.placed_at,
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        if let Some(error) = error.store() {
            return store_problem(error);
        }
        match &error {
            Error::Invalid(invalid) => {
                let pointer = match invalid {
                    Invalid::Lines => "/lines".to_owned(),
                    Invalid::Quantity { line } => format!("/lines/{line}/quantity"),
                    Invalid::Repeated { line } => format!("/lines/{line}/item_id"),
                };
                Self::unprocessable("invalid_order", "the order is not acceptable")
                    .with_error(pointer, invalid.to_string())
            }
            Error::Idempotency(error) => Self::from(error),
            Error::Users(users::Error::UnknownAccount(_)) => {
                Self::unprocessable("unknown_account", error.to_string())
                    .with_error("/account_id", "there is no such account")
            }
            Error::Inventory(inventory::Error::OutOfStock { .. }) => {
                Self::conflict("out_of_stock", error.to_string())
            }
            Error::Inventory(inventory::Error::UnknownItem(_)) => {
                Self::unprocessable("unknown_item", error.to_string())
            }
            Error::Billing(billing::Error::NoPrice { .. }) => {
                Self::unprocessable("no_price", error.to_string())
            }
            Error::Billing(billing::Error::Money(_)) => {
                Self::unprocessable("invalid_total", "the order's total is too large")
            }
            _ => Self::internal(&error),
        }
    }
}

fn answer(order: orders::Order) -> Result<Answer, serde_json::Error> {
    let order = Order::from(order);
    let location = Some(format!("/api/v1/orders/{}", order.id));
    Ok(Answer { status: 201, location, body: serde_json::to_string(&order)? })
}

/// Place an order.
///
/// In one transaction: stock is reserved, an invoice is opened and booked, the order is written
/// and its receipt is queued. All of it happens or nothing does. The same `Idempotency-Key` with
/// the same body gives the same answer for at least 24 hours, marked `Idempotent-Replayed: true`;
/// an order that was refused leaves no trace and may be tried again under its key.
#[utoipa::path(
    post, path = "/orders", tag = "orders", operation_id = "place_order",
    params(("Idempotency-Key" = String, Header, description = "A fresh UUID, the same with every retry",
        min_length = 1, max_length = 255)),
    request_body = OrderToPlace,
    responses(
        (status = 201, description = "The order", body = Order, headers(
            ("Location" = String, description = "Where the order is"),
            ("Idempotent-Replayed" = bool, description = "`true` when this answer was given before"))),
        (status = 400, description = "`idempotency_key_missing` or `idempotency_key_invalid`, or malformed JSON"),
        (status = 409, description = "`out_of_stock`: too few pieces are available; `idempotency_key_in_flight`: \
            the same request is still running"),
        (status = 422, description = "`invalid_order`, `unknown_account`, `unknown_item` or `no_price`; \
            `idempotency_key_reused`: the key belongs to another body"),
    ),
    security(("oauth2" = ["orders:write"])),
)]
async fn place(
    State(orders): State<Orders>,
    allowed: Within<OrdersWrite>,
    key: Key,
    Json(body): Json<OrderToPlace>,
) -> Result<Outcome, Problem> {
    let command = body.command(allowed.organization);
    let request =
        Request::new(key, &allowed.principal, "POST /orders", &command)?.within(allowed.organization);
    Ok(orders.place(&request, &command, &allowed.actor(), answer).await?)
}

/// List orders, newest first.
#[utoipa::path(
    get, path = "/orders", tag = "orders", operation_id = "list_orders",
    params(PageQuery),
    responses((status = 200, description = "A page of orders", body = Page<Order>)),
    security(("oauth2" = ["orders:read"])),
)]
async fn list(
    State(orders): State<Orders>,
    allowed: Within<OrdersRead>,
    Query(query): Query<PageQuery>,
) -> Result<axum::Json<Page<Order>>, Problem> {
    let slice =
        orders.list(allowed.organization, query.window()?).await.map_err(|error| store_problem(&error))?;
    Ok(axum::Json(Page::new(slice, |order| order.id.to_string(), Order::from)))
}

/// Read one order.
#[utoipa::path(
    get, path = "/orders/{id}", tag = "orders", operation_id = "read_order",
    params(("id" = String, Path, description = "The order's id", pattern = "^ord_[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    responses(
        (status = 200, description = "The order", body = Order),
        (status = 404, description = "There is no such order"),
    ),
    security(("oauth2" = ["orders:read"])),
)]
async fn find(
    State(orders): State<Orders>,
    allowed: Within<OrdersRead>,
    Path(id): Path<OrderId>,
) -> Result<axum::Json<Order>, Problem> {
    let found = orders.find(allowed.organization, id).await.map_err(|error| store_problem(&error))?;
    Ok(axum::Json(found.ok_or_else(|| Problem::not_found("order"))?.into()))
}
