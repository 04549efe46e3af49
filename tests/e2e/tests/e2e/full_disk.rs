//! The disk under core-api's database is full: orders are refused with a 503 that says when to come back, what was
//! accepted stays, reads go on, and the same process accepts orders again once there is space.

use std::collections::BTreeSet;
use std::time::Duration;

use e2e::disk;
use e2e::eventually;
use e2e::fleet::Settings;
use e2e::shop::Shop;
use http::StatusCode;
use xtask::gateway::Answer;

use crate::refusals::problem;

const DISK_BYTES: u64 = 16 << 20;
const ACCEPTED_BEFORE: usize = 10;
const REFUSED: usize = 10;
/// The write-ahead log has room for a while: it is written from its beginning again after each checkpoint.
const AT_MOST: usize = 5000;
const WITHIN: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_on_a_full_disk_are_refused_and_none_is_lost_or_doubled() -> anyhow::Result<()> {
    if !disk::mountable()? {
        return Ok(());
    }
    let fleet = Settings::default().core_database_on_a_disk_of(DISK_BYTES).start()?;
    let disk = fleet.disk()?;
    let core = fleet.process("core-api");
    let shop = Shop::open(&fleet.signed_in().await?, "full", i64::try_from(AT_MOST)?).await?;
    let mut accepted = BTreeSet::new();
    for number in 0..ACCEPTED_BEFORE {
        accepted.insert(id(&shop.order(&format!("before-{number}")).await?.success()?));
    }

    disk.fill()?;
    let mut refused = Vec::new();
    for number in 0..AT_MOST {
        let key = format!("full-{number}");
        let answer = shop.order(&key).await?;
        if answer.status == StatusCode::CREATED {
            accepted.insert(id(&answer));
            continue;
        }
        problem(&answer, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.json()["code"], "unavailable");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
        refused.push(key);
        if refused.len() == REFUSED {
            break;
        }
    }
    assert_eq!(refused.len(), REFUSED, "the disk never was full");
    assert_eq!(kept(&shop).await?, accepted, "reads go on, and show what was accepted");

    disk.relieve()?;
    for key in &refused {
        let answer = shop.order_persistently(key).await.expect("an answer");
        assert_eq!(answer.status, StatusCode::CREATED, "{key}");
        accepted.insert(id(&answer));
    }
    assert_eq!(fleet.process("core-api"), core, "the same process serves all along");
    assert_eq!(kept(&shop).await?, accepted);
    let (pieces, orders) = (i64::try_from(AT_MOST)?, i64::try_from(accepted.len())?);
    assert_eq!(shop.stock().await?, (pieces, orders, pieces - orders));
    assert_eq!(shop.all("/api/v1/invoices").await?.len(), accepted.len());
    let receipts = eventually("every receipt is delivered", WITHIN, async || {
        let mail = fleet.mail().await.ok()?;
        let count = mail.iter().filter(|message| message.contains("full@example.com")).count();
        (count >= accepted.len()).then_some(count)
    })
    .await;
    assert_eq!(receipts, Some(accepted.len()), "one receipt for each order");
    Ok(())
}

fn id(order: &Answer) -> String {
    order.json()["id"].as_str().unwrap_or_default().to_owned()
}

async fn kept(shop: &Shop) -> anyhow::Result<BTreeSet<String>> {
    let orders = shop.all("/api/v1/orders").await?;
    Ok(orders.iter().map(|order| order["id"].as_str().unwrap_or_default().to_owned()).collect())
}
