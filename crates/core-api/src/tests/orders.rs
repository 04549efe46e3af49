//! Orders: one transaction across four modules.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use quintet_auth::Principal;
use quintet_billing::{Billing, Invoices, Prices};
use quintet_inventory::Stock;
use quintet_module::idempotency::{Key, Request};
use quintet_orders::{Command, Orders, Parts, Wanted};
use quintet_types::OrganizationId;
use quintet_users::Accounts;
use serde_json::{Value, json};

use super::{Api, apis, one_of};

#[tokio::test]
async fn an_order_reserves_stock_opens_an_invoice_and_queues_its_receipt() {
    for api in apis().await {
        let account = api.user("ann@example.com").await;
        let (mug, tea) = (api.item("MUG", 10).await, api.item("TEA", 5).await);
        let lines = json!([{ "item_id": tea, "quantity": 1 }, { "item_id": mug, "quantity": 3 }]);
        let body = json!({ "account_id": account, "currency": "EUR", "lines": lines });

        let placed = api.order("k1", &body).await.expect(201);
        let order = placed.json();
        assert_eq!(placed.header("location"), format!("/api/v1/orders/{}", order["id"].as_str().unwrap()));
        assert_eq!((&order["total"], &order["status"]), (&json!(5000), &json!("placed")));
        assert_eq!(order["lines"][1]["sku"], "MUG");
        assert_eq!(api.get(placed.header("location")).await.expect(200).json(), order);
        assert_eq!(api.all("/api/v1/orders").await, std::slice::from_ref(&order));

        assert_eq!(api.level(&mug).await, (10, 3, 7));
        assert_eq!(api.level(&tea).await, (5, 1, 4));

        let invoice = api.get(&format!("/api/v1/invoices/{}", order["invoice_id"].as_str().unwrap())).await;
        let invoice = invoice.expect(200).json();
        assert_eq!(invoice["number"], "INV-2026-000001");
        assert_eq!(invoice["number"], order["invoice_number"]);
        assert_eq!((&invoice["total"], &invoice["status"]), (&json!(5000), &json!("open")));
        assert_eq!((&invoice["reference"], &invoice["account_id"]), (&order["id"], &order["account_id"]));

        let job = api.store.fetch_one("SELECT kind, args FROM jobs_ready", vec![]).await.unwrap();
        assert_eq!(job.get::<String>("kind").unwrap(), "email.send");
        let args: Value = serde_json::from_str(&job.get::<String>("args").unwrap()).unwrap();
        assert_eq!((&args["to"], &args["template"]), (&json!("ann@example.com"), &json!("receipt")));
        assert_eq!(args["message_key"], order["id"]);
        assert_eq!(args["context"]["totals"]["total"], "50.00");
        assert_eq!(args["context"]["customer"]["name"], "Ann Lee");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_orders_for_fifty_pieces_place_exactly_fifty() {
    for api in apis().await {
        let account = api.user("ann@example.com").await;
        let item = api.item("MUG", 50).await;
        let body = one_of(&account, &item);
        let keys: Vec<String> = (0..200).map(|n| format!("order-{n}")).collect();
        let answers = join_all(keys.iter().map(|key| api.order(key, &body))).await;

        let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
        for answer in &answers {
            let code = if answer.status == 201 { "placed".to_owned() } else { answer.code() };
            *outcomes.entry(code).or_default() += 1;
        }
        let expected = BTreeMap::from([("placed".to_owned(), 50), ("out_of_stock".to_owned(), 150)]);
        assert_eq!(outcomes, expected, "{}", api.name);

        assert_eq!(api.level(&item).await, (50, 50, 0));
        assert_eq!(api.all("/api/v1/orders").await.len(), 50);
        assert_eq!(api.queued("email.send").await, 50);
        assert_gapless(&api, 50).await;
        assert_books_balance(&api, 50 * 1250).await;
        assert_ledger_explains_levels(&api).await;
    }
}

/// Invoice numbers are 1 to `count` with nothing left out.
async fn assert_gapless(api: &Api, count: usize) {
    let invoices = api.all("/api/v1/invoices").await;
    let mut numbers: Vec<String> =
        invoices.iter().map(|invoice| invoice["number"].as_str().unwrap().to_owned()).collect();
    numbers.sort_unstable();
    let expected: Vec<String> = (1..=count).map(|number| format!("INV-2026-{number:06}")).collect();
    assert_eq!(numbers, expected, "{}", api.name);
}

async fn assert_books_balance(api: &Api, revenue: i64) {
    let balances = quintet_billing::balances(&api.store, OrganizationId::DEFAULT).await.unwrap();
    assert_eq!(balances.values().sum::<i64>(), 0, "{balances:?}");
    assert_eq!(balances.get(&("revenue".to_owned(), "EUR".to_owned())), Some(&-revenue), "{balances:?}");
}

async fn assert_ledger_explains_levels(api: &Api) {
    let unexplained = api
        .count(
            "SELECT COUNT(*) AS n FROM inventory_items i WHERE on_hand <> (
                 SELECT COALESCE(SUM(on_hand_delta), 0) FROM inventory_movements m WHERE m.item_id = i.id
             ) OR reserved <> (
                 SELECT COALESCE(SUM(reserved_delta), 0) FROM inventory_movements m WHERE m.item_id = i.id
             )",
            vec![],
        )
        .await;
    assert_eq!(unexplained, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_over_the_same_items_in_opposite_order_all_succeed() {
    for api in apis().await {
        let account = api.user("ann@example.com").await;
        let (a, b) = (api.item("A", 100).await, api.item("B", 100).await);
        let line = |item: &str| json!({ "item_id": item, "quantity": 1 });
        let body = |lines: Value| json!({ "account_id": account, "currency": "EUR", "lines": lines });
        let bodies = [body(json!([line(&a), line(&b)])), body(json!([line(&b), line(&a)]))];
        let keys: Vec<String> = (0..60).map(|n| format!("order-{n}")).collect();
        let orders = keys.iter().zip(bodies.iter().cycle()).map(|(key, body)| api.order(key, body));
        for answer in join_all(orders).await {
            answer.expect(201);
        }
        assert_eq!(api.level(&a).await, (100, 60, 40));
        assert_eq!(api.level(&b).await, (100, 60, 40));
    }
}

#[tokio::test]
async fn a_refused_order_leaves_nothing_behind() {
    for api in apis().await {
        let account = api.user("ann@example.com").await;
        let (plenty, none) = (api.item("PLENTY", 10).await, api.item("NONE", 0).await);
        let lines = json!([{ "item_id": plenty, "quantity": 2 }, { "item_id": none, "quantity": 1 }]);
        let body = json!({ "account_id": account, "currency": "EUR", "lines": lines });
        let refused = api.order("k1", &body).await;
        assert!(refused.json()["detail"].as_str().unwrap().contains(&none), "{}", refused.json());
        refused.refused(409, "out_of_stock");

        assert_nothing_happened(&api, &plenty).await;
        // The number that the refused order might have taken is not lost.
        api.order("k2", &one_of(&account, &plenty)).await.expect(201);
        assert_gapless(&api, 1).await;
    }
}

async fn assert_nothing_happened(api: &Api, item: &str) {
    assert_eq!(api.level(item).await, (10, 0, 10));
    assert!(api.all("/api/v1/orders").await.is_empty());
    assert!(api.all("/api/v1/invoices").await.is_empty());
    assert_eq!(api.queued("email.send").await, 0);
    assert!(quintet_billing::balances(&api.store, OrganizationId::DEFAULT).await.unwrap().is_empty());
    assert_eq!(api.count("SELECT COUNT(*) AS n FROM idempotency_keys", vec![]).await, 0);
    let reservations = "SELECT COUNT(*) AS n FROM inventory_movements WHERE kind = 'reservation'";
    assert_eq!(api.count(reservations, vec![]).await, 0);
}

#[tokio::test]
async fn a_failure_after_the_last_write_leaves_nothing_behind() {
    for api in apis().await {
        let account = api.user("ann@example.com").await;
        let item = api.item("MUG", 10).await;
        let clock = api.shared_clock();
        let stock = Arc::new(Stock::new(api.store.clone(), clock.clone()));
        let orders = Orders::new(Parts {
            store: api.store.clone(),
            clock: clock.clone(),
            users: Arc::new(Accounts::new(api.store.clone(), clock.clone())),
            inventory: stock.clone(),
            billing: Arc::new(Billing {
                prices: Prices::new(api.store.clone(), clock.clone(), stock),
                invoices: Invoices::new(api.store.clone(), clock.clone()),
            }),
        });
        let command = Command {
            organization: OrganizationId::DEFAULT,
            account_id: account.parse().unwrap(),
            currency: "EUR".parse().unwrap(),
            lines: vec![Wanted { item_id: item.parse().unwrap(), quantity: 1 }],
        };
        let request =
            Request::new(Key::new("k1").unwrap(), &principal(&api).await, "POST /orders", &command).unwrap();
        let fails = |_| Err(serde_json::from_str::<Value>("no json").unwrap_err());
        orders.place(&request, &command, "tester", fails).await.unwrap_err();
        assert_nothing_happened(&api, &item).await;
    }
}

async fn principal(api: &Api) -> Principal {
    let token = api.issuer.token("usr_tester").mint();
    api.issuer.verifier().verify(&token).await.unwrap()
}

#[tokio::test]
async fn an_order_names_what_does_not_exist() {
    for api in apis().await {
        let account = api.user("ann@example.com").await;
        let item = api.item("MUG", 10).await;
        let (no_user, no_item) = (quintet_types::UserId::new(), quintet_types::ItemId::new());
        let nobody = api.order("k1", &one_of(&no_user.to_string(), &item)).await;
        assert_eq!(nobody.json()["errors"][0]["pointer"], "/account_id");
        nobody.refused(422, "unknown_account");
        api.order("k2", &one_of(&account, &no_item.to_string())).await.refused(422, "no_price");
        let mut dollars = one_of(&account, &item);
        dollars["currency"] = json!("USD");
        api.order("k3", &dollars).await.refused(422, "no_price");
        let mut twice = one_of(&account, &item);
        twice["lines"] = json!([twice["lines"][0], twice["lines"][0]]);
        let twice = api.order("k4", &twice).await;
        assert_eq!(twice.json()["errors"][0]["pointer"], "/lines/1/item_id");
        twice.refused(422, "invalid_order");
        api.get("/api/v1/orders/ord_01k0000000e008000000000000").await.refused(404, "not_found");
    }
}

#[tokio::test]
async fn an_order_keeps_the_price_it_was_placed_at() {
    for api in apis().await {
        let account = api.user("ann@example.com").await;
        let item = api.item("MUG", 10).await;
        let first = api.order("k1", &one_of(&account, &item)).await.expect(201);
        let dearer = json!({ "item_id": item, "amount": 2000, "currency": "EUR" });
        api.post("/api/v1/prices", dearer).await.expect(201);
        let second = api.order("k2", &one_of(&account, &item)).await.expect(201).json();
        assert_eq!(second["total"], 2000);
        assert_eq!(api.get(first.header("location")).await.json()["total"], 1250);
        let prices = api.all("/api/v1/prices").await;
        assert_eq!(prices.iter().filter(|price| price.get("superseded_at").is_none()).count(), 1);
    }
}
