//! Each of the five is killed without warning while orders come in. Nothing that was accepted is lost, nothing is
//! done twice: as many orders, invoices, reserved pieces and receipts as keys.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use e2e::eventually;
use e2e::fleet::{Fleet, Settings, postgres};
use e2e::shop::Shop;
use http::StatusCode;
use tokio::task::JoinSet;

const CLIENTS: usize = 4;
const ORDERS_EACH: usize = 40;
const ORDERS: usize = CLIENTS * ORDERS_EACH;
const WITHIN: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_telemetry_sink_costs_no_order() -> anyhow::Result<()> {
    survive(Settings::default().start()?, "telemetry-sink").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_identity_provider_costs_no_order() -> anyhow::Result<()> {
    survive(Settings::default().start()?, "identity-provider").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_core_api_loses_and_doubles_no_order() -> anyhow::Result<()> {
    survive(Settings::default().start()?, "core-api").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_async_worker_loses_and_doubles_no_receipt() -> anyhow::Result<()> {
    survive(Settings::default().start()?, "async-worker").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_edge_gateway_loses_and_doubles_no_order() -> anyhow::Result<()> {
    survive(Settings::default().start()?, "edge-gateway").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_core_api_loses_and_doubles_no_order_on_postgresql() -> anyhow::Result<()> {
    match postgres("crash_core")? {
        Some(url) => survive(Settings::default().database(url).start()?, "core-api").await,
        None => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_async_worker_loses_and_doubles_no_receipt_on_postgresql() -> anyhow::Result<()> {
    match postgres("crash_worker")? {
        Some(url) => survive(Settings::default().database(url).start()?, "async-worker").await,
        None => Ok(()),
    }
}

async fn survive(fleet: Fleet, victim: &str) -> anyhow::Result<()> {
    let pieces = i64::try_from(ORDERS)?;
    let shop = Shop::open(&fleet.signed_in().await?, "crash", pieces).await?;
    let answered = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (shop, answered) = (shop.clone(), Arc::clone(&answered));
        clients.spawn(async move {
            let mut orders = BTreeSet::new();
            for number in 0..ORDERS_EACH {
                let answer =
                    shop.order_persistently(&format!("crash-{client}-{number}")).await.expect("an answer");
                assert_eq!(answer.status, StatusCode::CREATED);
                orders.insert(answer.json()["id"].as_str().unwrap_or_default().to_owned());
                answered.fetch_add(1, Ordering::Relaxed);
            }
            orders
        });
    }
    // In the middle of the load, whatever its speed.
    eventually("a quarter is answered", WITHIN, async || {
        (answered.load(Ordering::Relaxed) >= ORDERS / 4).then_some(())
    })
    .await
    .expect("orders are answered");
    let killed = fleet.kill(victim)?;
    let mut accepted = BTreeSet::new();
    while let Some(orders) = clients.join_next().await {
        accepted.append(&mut orders?);
    }
    assert_eq!(accepted.len(), ORDERS, "every key has an order of its own");

    let restarted = eventually("the victim is back", WITHIN, async || {
        fleet.process(victim).filter(|process| *process != killed)
    })
    .await;
    assert!(restarted.is_some(), "{victim} was not started again");
    // A token is asked of the identity provider again, so that its recovery is seen too.
    let gateway =
        eventually("a token is given", WITHIN, async || fleet.signed_in().await.ok()).await.expect("a token");
    let shop = Shop { gateway, ..shop };

    assert_eq!(shop.stock().await?, (pieces, pieces, 0));
    let orders: BTreeSet<String> = shop
        .all("/api/v1/orders")
        .await?
        .iter()
        .map(|order| order["id"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(orders, accepted);
    assert_eq!(shop.all("/api/v1/invoices").await?.len(), ORDERS);
    let receipts = eventually("every receipt is delivered", WITHIN, async || {
        let count = receipts(&fleet).await.ok()?;
        (count >= ORDERS).then_some(count)
    })
    .await;
    assert_eq!(
        receipts,
        Some(ORDERS),
        "one receipt for each order; delivered: {}",
        receipts_or_zero(&fleet).await
    );
    Ok(())
}

async fn receipts(fleet: &Fleet) -> anyhow::Result<usize> {
    Ok(fleet.mail().await?.iter().filter(|message| message.contains("crash@example.com")).count())
}

async fn receipts_or_zero(fleet: &Fleet) -> usize {
    receipts(fleet).await.unwrap_or_default()
}
