//! The story through the gateway's TLS port only: token, order, receipt, picture, trace.

use std::collections::BTreeSet;
use std::time::Duration;

use e2e::eventually;
use e2e::fleet::Settings;
use e2e::shop::Shop;
use http::{Method, StatusCode};
use serde_json::Value;

const WITHIN: Duration = Duration::from_secs(20);
const PICTURE: &[u8] = include_bytes!("../../../../crates/xtask/src/up/mug.png");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_reserves_stock_opens_an_invoice_and_mails_one_receipt() -> anyhow::Result<()> {
    let fleet = Settings::default().start()?;
    let shop = Shop::open(&fleet.signed_in().await?, "story", 5).await?;
    let placed = shop.order("story-1").await?.success()?;
    assert_eq!(placed.status, StatusCode::CREATED);
    assert_eq!(shop.stock().await?, (5, 1, 4));
    let order = placed.json();
    let invoices = shop.all("/api/v1/invoices").await?;
    assert_eq!(invoices.len(), 1);
    assert_eq!(invoices[0]["reference"], order["id"]);
    assert_eq!(invoices[0]["total"], 1250);

    let number = order["invoice_number"].as_str().unwrap_or_default().to_owned();
    let receipts = eventually("the receipt is delivered", WITHIN, async || {
        let mail = fleet.mail().await.ok()?;
        let ours: Vec<String> = mail.into_iter().filter(|message| message.contains(&number)).collect();
        (!ours.is_empty()).then_some(ours)
    })
    .await
    .expect("a receipt");
    assert_eq!(receipts.len(), 1);
    assert!(receipts[0].contains("story@example.com"), "{}", receipts[0]);

    // The same key again: the same answer, nothing done twice.
    let replayed = shop.order("story-1").await?.success()?;
    assert_eq!(replayed.json(), order);
    assert_eq!(replayed.header("idempotent-replayed"), Some("true"));
    assert_eq!(shop.stock().await?, (5, 1, 4));

    // The same key with another body is a mistake of the client.
    let mut other = shop.order_body();
    other["lines"][0]["quantity"] = 2.into();
    let reused = shop.gateway.post("/api/v1/orders", "story-1", &other).await?;
    assert_eq!(reused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(reused.json()["code"], "idempotency_key_reused");

    // A second start finds the data.
    fleet.down()?;
    fleet.up()?;
    let shop = Shop { gateway: fleet.signed_in().await?, ..shop };
    assert_eq!(shop.stock().await?, (5, 1, 4));
    assert_eq!(fleet.mail().await?.iter().filter(|message| message.contains(&number)).count(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_uploaded_picture_gets_thumbnails_in_both_formats() -> anyhow::Result<()> {
    let fleet = Settings::default().start()?;
    let shop = Shop::open(&fleet.signed_in().await?, "picture", 1).await?;
    let path = format!("/api/v1/items/{}/image", shop.item);
    shop.gateway.send(Method::PUT, &path, &[("content-type", "image/png")], PICTURE).await?.success()?;
    for (format, media_type, magic) in
        [("webp", "image/webp", b"RIFF".as_slice()), ("jpeg", "image/jpeg", b"\xff\xd8\xff")]
    {
        let thumbnail = eventually("the thumbnail is made", WITHIN, async || {
            let answer = shop.gateway.get(&format!("{path}?size=256&format={format}")).await.ok()?;
            answer.status.is_success().then_some(answer)
        })
        .await
        .expect("a thumbnail");
        assert_eq!(thumbnail.header("content-type"), Some(media_type));
        assert!(thumbnail.body.starts_with(magic));
    }
    let original = shop.gateway.get(&path).await?.success()?;
    assert_eq!(original.body, PICTURE);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_runs_from_the_gateway_to_the_mail_and_is_found_by_request_id() -> anyhow::Result<()> {
    let fleet = Settings::default().start()?;
    let shop = Shop::open(&fleet.signed_in().await?, "trace", 1).await?;
    let placed = shop.order("trace-1").await?.success()?;
    let request_id = placed.header("x-request-id").expect("a request id").to_owned();
    let tags = format!("%7B%22request.id%22%3A%22{request_id}%22%7D");
    let path = format!("/telemetry/jaeger/api/traces?service=edge-gateway&tags={tags}&limit=5");
    let wanted: BTreeSet<String> = ["edge-gateway", "core-api", "async-worker"].map(String::from).into();
    let trace = eventually("the trace is whole", WITHIN, async || {
        let found = shop.gateway.get(&path).await.ok()?.json();
        let trace = found.get("data")?.as_array()?.first()?.clone();
        services(&trace).is_superset(&wanted).then_some(trace)
    })
    .await
    .expect("a trace over three services");
    let identifiers: BTreeSet<&str> =
        trace["spans"].as_array().into_iter().flatten().filter_map(|span| span["traceID"].as_str()).collect();
    assert_eq!(identifiers.len(), 1);
    Ok(())
}

fn services(trace: &Value) -> BTreeSet<String> {
    let processes = trace["processes"].as_object().into_iter().flatten();
    processes.filter_map(|(_, process)| process["serviceName"].as_str()).map(String::from).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sink_holds_metrics_and_logs_of_all_five() -> anyhow::Result<()> {
    let fleet = Settings::default().start()?;
    let gateway = fleet.signed_in().await?;
    for binary in e2e::fleet::BINARIES {
        let query = format!(
            "/telemetry/prometheus/api/v1/query?query=quintet_build_info%7Bservice%3D%22{binary}%22%7D"
        );
        eventually(&format!("metrics of {binary}"), WITHIN, async || {
            let found = gateway.get(&query).await.ok()?.json();
            (!found["data"]["result"].as_array()?.is_empty()).then_some(())
        })
        .await
        .unwrap_or_else(|| panic!("no metrics of {binary}"));
        let query =
            format!("/telemetry/loki/api/v1/query_range?query=%7Bservice_name%3D%22{binary}%22%7D&limit=1");
        eventually(&format!("logs of {binary}"), WITHIN, async || {
            let found = gateway.get(&query).await.ok()?.json();
            (!found["data"]["result"].as_array()?.is_empty()).then_some(())
        })
        .await
        .unwrap_or_else(|| panic!("no logs of {binary}"));
    }
    Ok(())
}
