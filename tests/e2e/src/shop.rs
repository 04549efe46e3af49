//! The part of the story that every test needs: a customer, an item with stock and a price, an order.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use http::StatusCode;
use quintet_http::ClientError;
use serde_json::{Value, json};
use xtask::gateway::{Answer, Gateway};

/// Longer than a killed process needs to come back.
const ANSWERED_WITHIN: Duration = Duration::from_mins(1);

/// A shop with one customer and one item.
#[derive(Debug, Clone)]
pub struct Shop {
    /// A client with a token.
    pub gateway: Gateway,
    /// The customer's id.
    pub customer: String,
    /// The item's id.
    pub item: String,
}

impl Shop {
    /// Makes the customer and the item; `name` keeps several shops of one fleet apart.
    pub async fn open(gateway: &Gateway, name: &str, stock: i64) -> anyhow::Result<Self> {
        let user = json!({ "email": format!("{name}@example.com"), "name": name });
        let customer = made(gateway, "/api/v1/users", &user).await?;
        let item =
            made(gateway, "/api/v1/items", &json!({ "sku": format!("SKU-{name}"), "name": name })).await?;
        made(gateway, "/api/v1/prices", &json!({ "item_id": item, "amount": 1250, "currency": "EUR" }))
            .await?;
        let delivery = json!({ "quantity": stock, "reason": "opening" });
        made(gateway, &format!("/api/v1/items/{item}/stock"), &delivery).await?;
        Ok(Self { gateway: gateway.clone(), customer, item })
    }

    /// The body of an order of one piece.
    pub fn order_body(&self) -> Value {
        json!({
            "account_id": self.customer,
            "currency": "EUR",
            "lines": [{ "item_id": self.item, "quantity": 1 }],
        })
    }

    /// Places an order of one piece under a key.
    pub async fn order(&self, key: &str) -> Result<Answer, ClientError> {
        self.gateway.post("/api/v1/orders", key, &self.order_body()).await
    }

    /// The same until it is answered with 201 or 409, as a client does that knows the key makes retries safe.
    /// `None` when it never is.
    pub async fn order_persistently(&self, key: &str) -> Option<Answer> {
        let begun = Instant::now();
        while begun.elapsed() < ANSWERED_WITHIN {
            if let Ok(answer) = self.order(key).await {
                let in_flight =
                    answer.json().get("code").is_some_and(|code| code == "idempotency_key_in_flight");
                if matches!(answer.status, StatusCode::CREATED | StatusCode::CONFLICT) && !in_flight {
                    return Some(answer);
                }
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        None
    }

    /// `(on_hand, reserved, available)` of the item.
    pub async fn stock(&self) -> anyhow::Result<(i64, i64, i64)> {
        let item = self.gateway.get(&format!("/api/v1/items/{}", self.item)).await?.success()?.json();
        let number =
            |field: &str| item.get(field).and_then(Value::as_i64).with_context(|| format!("no {field}"));
        Ok((number("on_hand")?, number("reserved")?, number("available")?))
    }

    /// Every entity of a collection that belongs to this customer, over all pages.
    pub async fn all(&self, collection: &str) -> anyhow::Result<Vec<Value>> {
        let mut found = Vec::new();
        let mut path = format!("{collection}?limit=200");
        loop {
            let page = self.gateway.get(&path).await?.success()?.json();
            let items = page.get("items").and_then(Value::as_array).context("a page has items")?;
            let ours = items.iter().filter(|entity| {
                entity.get("account_id").and_then(Value::as_str) == Some(self.customer.as_str())
            });
            found.extend(ours.cloned());
            let Some(cursor) = page.get("next_cursor").and_then(Value::as_str) else { return Ok(found) };
            path = format!("{collection}?limit=200&cursor={cursor}");
        }
    }
}

/// Creates an entity and returns its id.
pub async fn made(gateway: &Gateway, path: &str, body: &Value) -> anyhow::Result<String> {
    let key = format!("{path}-{body}")
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let answer =
        gateway.post(path, &format!("{key:016x}"), body).await?.success().context(path.to_owned())?;
    let json = answer.json();
    Ok(json
        .get("id")
        .and_then(Value::as_str)
        .with_context(|| format!("{path} answered without an id"))?
        .to_owned())
}
