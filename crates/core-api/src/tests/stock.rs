//! Stock: levels, the ledger, and a model that both must follow.

use futures_util::future::join_all;
use serde_json::json;

use super::{Api, apis, one_of};

async fn adjust(api: &Api, item: &str, quantity: i64) -> u16 {
    let body = json!({ "quantity": quantity, "reason": "count" });
    api.post(&format!("/api/v1/items/{item}/stock"), body).await.status.as_u16()
}

#[tokio::test]
async fn levels_and_ledger_follow_a_model_through_many_steps() {
    for api in apis().await {
        let account = api.user("ann@example.com").await;
        let item = api.item("MUG", 0).await;
        let (mut on_hand, mut reserved) = (0i64, 0i64);
        // A fixed linear congruential sequence: the same steps every time.
        let mut random = 42u64;
        for step in 0..120 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let quantity = i64::try_from(random >> 60).unwrap() - 6;
            if step % 3 == 0 {
                let placed = api.order(&format!("k{step}"), &one_of(&account, &item)).await.status == 201;
                assert_eq!(placed, on_hand - reserved >= 1);
                reserved += i64::from(placed);
            } else if quantity != 0 {
                let accepted = adjust(&api, &item, quantity).await == 201;
                assert_eq!(accepted, on_hand + quantity >= reserved, "{on_hand} {reserved} {quantity}");
                on_hand += if accepted { quantity } else { 0 };
            }
            assert_eq!(api.level(&item).await, (on_hand, reserved, on_hand - reserved));
        }
        let ledger = api.all(&format!("/api/v1/items/{item}/stock")).await;
        let sum = |field: &str| ledger.iter().map(|line| line[field].as_i64().unwrap()).sum::<i64>();
        assert_eq!((sum("on_hand_delta"), sum("reserved_delta")), (on_hand, reserved));
        assert_eq!((&ledger[0]["on_hand"], &ledger[0]["reserved"]), (&json!(on_hand), &json!(reserved)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn withdrawals_at_once_never_leave_less_than_nothing() {
    for api in apis().await {
        let item = api.item("MUG", 10).await;
        let answers = join_all((0..30).map(|_| adjust(&api, &item, -1))).await;
        assert_eq!(answers.iter().filter(|status| **status == 201).count(), 10, "{}", api.name);
        assert_eq!(answers.iter().filter(|status| **status == 409).count(), 20, "{}", api.name);
        assert_eq!(api.level(&item).await, (0, 0, 0));
    }
}

#[tokio::test]
async fn items_and_adjustments_with_bad_input_are_refused() {
    let api = apis().await.remove(0);
    let item = api.item("MUG", 5).await;
    api.post("/api/v1/items", json!({ "sku": "MUG", "name": "Other" })).await.refused(409, "sku_taken");
    api.post("/api/v1/items", json!({ "sku": "a b", "name": "Other" })).await.refused(422, "invalid_item");
    let path = format!("/api/v1/items/{item}/stock");
    api.post(&path, json!({ "quantity": 0, "reason": "x" })).await.refused(422, "invalid_adjustment");
    api.post(&path, json!({ "quantity": 1, "reason": "" })).await.refused(422, "invalid_adjustment");
    api.post(&path, json!({ "quantity": -6, "reason": "x" })).await.refused(409, "stock_level");
    let nowhere = "/api/v1/items/itm_01k0000000e008000000000000";
    api.get(nowhere).await.refused(404, "not_found");
    api.get(&format!("{nowhere}/stock")).await.refused(404, "not_found");
    api.post(&format!("{nowhere}/stock"), json!({ "quantity": 1, "reason": "x" }))
        .await
        .refused(404, "not_found");
    let price = |item: &str, amount: i64| json!({ "item_id": item, "amount": amount, "currency": "EUR" });
    api.post("/api/v1/prices", price("itm_01k0000000e008000000000000", 1)).await.refused(422, "unknown_item");
    api.post("/api/v1/prices", price(&item, -1)).await.refused(422, "invalid_price");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_prices_set_at_once_one_is_current() {
    for api in apis().await {
        let item = api.item("MUG", 0).await;
        let set = |amount: i64| {
            let price = json!({ "item_id": item, "amount": amount, "currency": "EUR" });
            async { api.post("/api/v1/prices", price).await }
        };
        for answer in join_all((1..=8).map(set)).await {
            assert!(answer.status == 201 || answer.code() == "price_contended", "{answer:?}");
        }
        let prices = api.all("/api/v1/prices").await;
        assert_eq!(
            prices.iter().filter(|price| price.get("superseded_at").is_none()).count(),
            1,
            "{}",
            api.name
        );
    }
}
