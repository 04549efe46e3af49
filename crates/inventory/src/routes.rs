//! The HTTP side of items and stock: wire types, permissions, and errors as problems.

mod images;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use quintet_http::extract::{Json, Path, Query};
use quintet_http::problem::Problem;
use quintet_module::page::{Page, PageQuery};
use quintet_module::{Within, permissions, store_problem};
use quintet_types::{ItemId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::images::ItemImage;
use crate::images::Images;
use crate::stock::{Adjustment, Error, Invalid, Movement, MovementId, NewItem, Record, Stock};

permissions! {
    /// Reading items and stock.
    InventoryRead = "inventory:read";
    /// Making items and correcting stock.
    InventoryWrite = "inventory:write";
}

pub(crate) fn router(stock: Stock, images: Images) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(find))
        .routes(routes!(adjust, movements))
        .with_state(stock)
        .merge(images::router(images))
}

/// An item to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ItemToMake {
    /// Stock keeping unit, unique among the items of an organization.
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._/-]+$", example = "MUG-01")]
    sku: String,
    #[schema(min_length = 1, max_length = 200, example = "Mug, blue")]
    name: String,
    #[serde(default)]
    #[schema(max_length = 5000)]
    description: String,
}

/// A thing that can be stocked and sold.
#[derive(Debug, Serialize, ToSchema)]
struct Item {
    #[schema(value_type = String, example = "itm_01k0000000e008000000000000")]
    id: ItemId,
    sku: String,
    name: String,
    description: String,
    /// Pieces in the warehouse.
    on_hand: i64,
    /// Pieces of those that are promised to orders.
    reserved: i64,
    /// Pieces that can still be ordered.
    available: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    image: Option<ItemImage>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When the item, its picture or its stock last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<Record> for Item {
    fn from(record: Record) -> Self {
        Self {
            id: record.id,
            sku: record.sku,
            name: record.name,
            description: record.description,
            on_hand: record.level.on_hand,
            reserved: record.level.reserved,
            available: record.level.available(),
            image: record.image.map(|image| ItemImage::new(record.id, &image)),
            created_at: record.created_at,
            updated_at: record.updated_at,
        }
    }
}

/// A correction of what is on hand: a delivery, a loss, a count.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct StockAdjustment {
    /// Pieces that came (positive) or went (negative); not zero.
    #[schema(minimum = -1_000_000_000, maximum = 1_000_000_000, example = 50)]
    quantity: i64,
    /// Why, for the ledger.
    #[schema(min_length = 1, max_length = 200, example = "delivery 4711")]
    reason: String,
}

/// One line of an item's stock ledger.
#[derive(Debug, Serialize, ToSchema)]
struct StockMovement {
    #[schema(value_type = String, example = "mov_01k0000000e008000000000000")]
    id: MovementId,
    #[schema(value_type = String, example = "itm_01k0000000e008000000000000")]
    item_id: ItemId,
    /// `adjustment` or `reservation`.
    kind: String,
    /// Change of what is on hand.
    on_hand_delta: i64,
    /// Change of what is promised.
    reserved_delta: i64,
    /// Pieces on hand afterwards.
    on_hand: i64,
    /// Pieces promised afterwards.
    reserved: i64,
    /// Pieces that can be ordered afterwards.
    available: i64,
    reason: String,
    /// Who did it.
    actor: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<Movement> for StockMovement {
    fn from(movement: Movement) -> Self {
        Self {
            id: movement.id,
            item_id: movement.item_id,
            kind: movement.kind,
            on_hand_delta: movement.on_hand_delta,
            reserved_delta: movement.reserved_delta,
            on_hand: movement.level.on_hand,
            reserved: movement.level.reserved,
            available: movement.level.available(),
            reason: movement.reason,
            actor: movement.actor,
            created_at: movement.created_at,
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match &error {
            Error::Invalid(invalid) => {
                let (code, pointer) = match invalid {
                    Invalid::Sku => ("invalid_item", "/sku"),
                    Invalid::Name => ("invalid_item", "/name"),
                    Invalid::Description => ("invalid_item", "/description"),
                    Invalid::Quantity => ("invalid_adjustment", "/quantity"),
                    Invalid::Reason => ("invalid_adjustment", "/reason"),
                };
                Self::unprocessable(code, "a field is not acceptable")
                    .with_error(pointer, invalid.to_string())
            }
            Error::SkuTaken => Self::conflict("sku_taken", error.to_string()),
            Error::Unknown(_) => Self::not_found("item"),
            Error::Level { .. } => Self::conflict("stock_level", error.to_string()),
            Error::Store(error) => store_problem(error),
        }
    }
}

/// Make an item; its stock is zero.
#[utoipa::path(
    post, path = "/items", tag = "inventory", operation_id = "create_item",
    request_body = ItemToMake,
    responses(
        (status = 201, description = "The item", body = Item, headers(
            ("Location" = String, description = "Where the item is"))),
        (status = 409, description = "`sku_taken`: another item has this sku"),
        (status = 422, description = "`invalid_item`: a field is not acceptable"),
    ),
    security(("oauth2" = ["inventory:write"])),
)]
async fn create(
    State(stock): State<Stock>,
    allowed: Within<InventoryWrite>,
    Json(body): Json<ItemToMake>,
) -> Result<Response, Problem> {
    let ItemToMake { sku, name, description } = body;
    let item = Item::from(stock.create(allowed.organization, NewItem { sku, name, description }).await?);
    let location = format!("/api/v1/items/{}", item.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(item)).into_response())
}

/// List items, newest first.
#[utoipa::path(
    get, path = "/items", tag = "inventory", operation_id = "list_items",
    params(PageQuery),
    responses((status = 200, description = "A page of items", body = Page<Item>)),
    security(("oauth2" = ["inventory:read"])),
)]
async fn list(
    State(stock): State<Stock>,
    allowed: Within<InventoryRead>,
    Query(query): Query<PageQuery>,
) -> Result<axum::Json<Page<Item>>, Problem> {
    let slice = stock.list(allowed.organization, query.window()?).await?;
    Ok(axum::Json(Page::new(slice, |record| record.id.to_string(), Item::from)))
}

/// Read one item with its stock.
#[utoipa::path(
    get, path = "/items/{id}", tag = "inventory", operation_id = "read_item",
    params(("id" = String, Path, description = "The item's id", pattern = "^itm_[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    responses(
        (status = 200, description = "The item", body = Item),
        (status = 404, description = "There is no such item"),
    ),
    security(("oauth2" = ["inventory:read"])),
)]
async fn find(
    State(stock): State<Stock>,
    allowed: Within<InventoryRead>,
    Path(id): Path<ItemId>,
) -> Result<axum::Json<Item>, Problem> {
    Ok(axum::Json(stock.find(allowed.organization, id).await?.into()))
}

/// Correct an item's stock.
#[utoipa::path(
    post, path = "/items/{id}/stock", tag = "inventory", operation_id = "adjust_stock",
    params(("id" = String, Path, description = "The item's id", pattern = "^itm_[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    request_body = StockAdjustment,
    responses(
        (status = 201, description = "The line of the stock ledger", body = StockMovement),
        (status = 404, description = "There is no such item"),
        (status = 409, description = "`stock_level`: fewer pieces would be left than are reserved"),
        (status = 422, description = "`invalid_adjustment`: a field is not acceptable"),
    ),
    security(("oauth2" = ["inventory:write"])),
)]
async fn adjust(
    State(stock): State<Stock>,
    allowed: Within<InventoryWrite>,
    Path(id): Path<ItemId>,
    Json(body): Json<StockAdjustment>,
) -> Result<Response, Problem> {
    let adjustment = Adjustment { quantity: body.quantity, reason: body.reason, actor: allowed.actor() };
    let movement = StockMovement::from(stock.adjust(allowed.organization, id, adjustment).await?);
    Ok((StatusCode::CREATED, axum::Json(movement)).into_response())
}

/// Read an item's stock ledger, newest first.
#[utoipa::path(
    get, path = "/items/{id}/stock", tag = "inventory", operation_id = "list_stock_movements",
    params(("id" = String, Path, description = "The item's id", pattern = "^itm_[0-7][0-9a-hjkmnp-tv-z]{25}$"), PageQuery),
    responses(
        (status = 200, description = "A page of the ledger", body = Page<StockMovement>),
        (status = 404, description = "There is no such item"),
    ),
    security(("oauth2" = ["inventory:read"])),
)]
async fn movements(
    State(stock): State<Stock>,
    allowed: Within<InventoryRead>,
    Path(id): Path<ItemId>,
    Query(query): Query<PageQuery>,
) -> Result<axum::Json<Page<StockMovement>>, Problem> {
    let slice = stock.movements(allowed.organization, id, query.window()?).await?;
    Ok(axum::Json(Page::new(slice, |movement| movement.id.to_string(), StockMovement::from)))
}
