//! 200 orders at once for 50 pieces: exactly 50 are accepted, on both databases.

use e2e::fleet::{Settings, postgres};
use e2e::shop::Shop;
use http::StatusCode;
use tokio::task::JoinSet;

const PIECES: usize = 50;
const ORDERS: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_orders_never_oversell_on_sqlite() -> anyhow::Result<()> {
    rush(Settings::default()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_orders_never_oversell_on_postgresql() -> anyhow::Result<()> {
    match postgres("oversell")? {
        Some(url) => rush(Settings::default().database(url)).await,
        None => Ok(()),
    }
}

async fn rush(settings: Settings) -> anyhow::Result<()> {
    let fleet = settings.start()?;
    let pieces = i64::try_from(PIECES)?;
    let shop = Shop::open(&fleet.signed_in().await?, "rush", pieces).await?;
    let mut orders = JoinSet::new();
    for number in 0..ORDERS {
        let shop = shop.clone();
        orders.spawn(async move { shop.order(&format!("rush-{number}")).await });
    }
    let (mut accepted, mut sold_out) = (0, 0);
    while let Some(answer) = orders.join_next().await {
        let answer = answer??;
        match answer.status {
            StatusCode::CREATED => accepted += 1,
            StatusCode::CONFLICT => {
                assert_eq!(answer.json()["code"], "out_of_stock");
                sold_out += 1;
            }
            other => panic!("{other}: {}", String::from_utf8_lossy(&answer.body)),
        }
    }
    assert_eq!((accepted, sold_out), (PIECES, ORDERS - PIECES));
    assert_eq!(shop.stock().await?, (pieces, pieces, 0));
    assert_eq!(shop.all("/api/v1/orders").await?.len(), PIECES);
    assert_eq!(shop.all("/api/v1/invoices").await?.len(), PIECES);
    Ok(())
}
