//! A small shop, made through the API like any client would make it, so that a new fleet has something to show.
//!
//! What was made is noted in the data directory; a later start finds it there and changes nothing. After a start that
//! was cut short the parts that exist are found by their natural keys.

use std::path::Path;

use anyhow::Context as _;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use xtask::gateway::Gateway;

use super::secrets::write_private;

pub(super) const CURRENCY: &str = "EUR";
/// Enough for hours of `--demo-load`; the load adds more when it runs out.
pub(super) const DELIVERY: i64 = 1_000_000;
const PICTURE: &[u8] = include_bytes!("mug.png");

/// Stock keeping unit, name, price in cents.
const ITEMS: [(&str, &str, i64); 3] =
    [("MUG-01", "Mug, blue", 1_250), ("POT-01", "Teapot", 3_900), ("TEA-01", "Darjeeling, 100 g", 890)];

/// What an order needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Shop {
    pub(crate) customer: String,
    pub(crate) items: Vec<String>,
}

/// The shop, made now unless it is there.
pub(crate) async fn ensure(gateway: &Gateway, note: &Path) -> anyhow::Result<Shop> {
    if let Some(shop) = noted(gateway, note).await {
        return Ok(shop);
    }
    let customer = json!({ "email": "ann@example.com", "name": "Ann Lee" });
    let customer = find_or_make(gateway, "/api/v1/users", "email", &customer).await?;
    let mut items = Vec::new();
    for (sku, name, cents) in ITEMS {
        let item = json!({ "sku": sku, "name": name });
        let item = find_or_make(gateway, "/api/v1/items", "sku", &item).await?;
        price(gateway, &item, cents).await.with_context(|| format!("price {sku}"))?;
        deliver(gateway, &item, DELIVERY).await.with_context(|| format!("stock {sku}"))?;
        items.push(item);
    }
    if let Some(item) = items.first() {
        let path = format!("/api/v1/items/{item}/image");
        gateway.send(Method::PUT, &path, &[("content-type", "image/png")], PICTURE).await?.success()?;
    }
    let shop = Shop { customer, items };
    write_private(note, &serde_json::to_vec_pretty(&shop).context("write down the demo data")?)?;
    Ok(shop)
}

async fn noted(gateway: &Gateway, note: &Path) -> Option<Shop> {
    let shop: Shop = serde_json::from_slice(&std::fs::read(note).ok()?).ok()?;
    let known = gateway.get(&format!("/api/v1/users/{}", shop.customer)).await.ok()?;
    known.status.is_success().then_some(shop)
}

async fn find_or_make(
    gateway: &Gateway,
    collection: &str,
    field: &str,
    body: &Value,
) -> anyhow::Result<String> {
    let wanted = body.get(field);
    let page = gateway
        .get(&format!("{collection}?limit=100"))
        .await?
        .success()
        .context(collection.to_owned())?
        .json();
    let listed = page.get("items").and_then(Value::as_array).into_iter().flatten();
    let found = listed.clone().find(|entity| entity.get(field) == wanted).cloned();
    let entity = match found {
        Some(entity) => entity,
        None => gateway
            .post(collection, &unique("make"), body)
            .await?
            .success()
            .context(collection.to_owned())?
            .json(),
    };
    let id = entity
        .get("id")
        .and_then(Value::as_str)
        .with_context(|| format!("{collection} answered without an id"))?;
    Ok(id.to_owned())
}

async fn price(gateway: &Gateway, item: &str, cents: i64) -> anyhow::Result<()> {
    let body = json!({ "item_id": item, "amount": cents, "currency": CURRENCY });
    gateway.post("/api/v1/prices", &unique("price"), &body).await?.success()?;
    Ok(())
}

/// Adds to an item's stock.
pub(super) async fn deliver(gateway: &Gateway, item: &str, pieces: i64) -> anyhow::Result<()> {
    let body = json!({ "quantity": pieces, "reason": "demo delivery" });
    gateway.post(&format!("/api/v1/items/{item}/stock"), &unique("deliver"), &body).await?.success()?;
    Ok(())
}

/// An idempotency key that no other call has.
pub(super) fn unique(purpose: &str) -> String {
    let mut bytes = [0; 12];
    // Without randomness the key repeats, which the server answers as a replay.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    format!("{purpose}-{}", crate::build::hex(&bytes))
}
