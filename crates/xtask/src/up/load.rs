//! `--demo-load N`: N orders a second through the gateway, for as long as the fleet runs.
//!
//! Open loop with a bound: an order starts when its time has come, whatever became of the ones before, but never more
//! than [`IN_FLIGHT`] at once; what the bound keeps out is counted as late.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use xtask::gateway::Gateway;

use super::config::DEMO_CLIENT;
use super::demo::{CURRENCY, DELIVERY, Shop, deliver, unique};

const IN_FLIGHT: usize = 256;
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// Less than a token lives.
const TOKEN_FOR: Duration = Duration::from_mins(2);

#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicU64,
    sold_out: AtomicU64,
    failed: AtomicU64,
    late: AtomicU64,
}

/// Never returns without an error.
pub(crate) async fn run(per_second: u32, gateway: &Gateway, secret: &str, shop: &Shop) -> anyhow::Result<()> {
    if per_second == 0 {
        return std::future::pending().await;
    }
    let counts = Arc::new(Counts::default());
    let slots = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut orders = JoinSet::new();
    let mut signed_in = gateway.sign_in(DEMO_CLIENT, secret).await.context("sign the load in")?;
    let mut token_until = Instant::now() + TOKEN_FOR;
    let mut report_at = Instant::now() + REPORT_EVERY;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for turn in 0usize.. {
        ticks.tick().await;
        while orders.try_join_next().is_some() {}
        if Instant::now() > token_until {
            // The old token may still be good; the provider may be down for a moment.
            if let Ok(renewed) = gateway.sign_in(DEMO_CLIENT, secret).await {
                signed_in = renewed;
            }
            token_until = Instant::now() + TOKEN_FOR;
        }
        if Instant::now() > report_at {
            report(&counts);
            report_at = Instant::now() + REPORT_EVERY;
        }
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            counts.late.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let Some(item) = shop.items.get(turn % shop.items.len().max(1)).cloned() else { continue };
        let (gateway, customer, counts) = (signed_in.clone(), shop.customer.clone(), Arc::clone(&counts));
        orders.spawn(async move {
            order(&gateway, &customer, &item, &counts).await;
            drop(slot);
        });
    }
    Ok(())
}

async fn order(gateway: &Gateway, customer: &str, item: &str, counts: &Counts) {
    let body = json!({ "account_id": customer, "currency": CURRENCY, "lines": [{ "item_id": item, "quantity": 1 }] });
    let counter = match gateway.post("/api/v1/orders", &unique("order"), &body).await {
        Ok(answer) if answer.status.is_success() => &counts.accepted,
        Ok(answer) if answer.status == http::StatusCode::CONFLICT => {
            let _ = deliver(gateway, item, DELIVERY).await;
            &counts.sold_out
        }
        Ok(_) | Err(_) => &counts.failed,
    };
    counter.fetch_add(1, Ordering::Relaxed);
}

fn report(counts: &Counts) {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    eprintln!(
        "\nload: {} orders accepted, {} sold out, {} failed, {} late",
        read(&counts.accepted),
        read(&counts.sold_out),
        read(&counts.failed),
        read(&counts.late)
    );
}
