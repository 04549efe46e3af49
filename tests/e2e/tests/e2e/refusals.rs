//! What clients do wrong, at the gateway's TLS port: each is a problem document with a status, a code and the
//! request's id, and the fleet goes on serving.

use bytes::Bytes;
use e2e::eventually;
use e2e::fleet::Settings;
use e2e::shop::Shop;
use http::{Method, Request, StatusCode};
use std::time::Duration;
use xtask::gateway::Answer;

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_request_is_answered_with_a_problem() -> anyhow::Result<()> {
    let fleet = Settings::default().start()?;
    let shop = Shop::open(&fleet.signed_in().await?, "refusals", 3).await?;
    let gateway = &shop.gateway;
    let anonymous = fleet.gateway()?;
    let forged = anonymous.with_token("eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0.");
    let oversize = vec![b'x'; 2 * 1024 * 1024];
    let order = shop.order_body().to_string();
    let with = |replacement: &str, original: &str| order.replace(original, replacement);

    let answer = anonymous.get("/api/v1/orders").await?;
    problem(&answer, StatusCode::UNAUTHORIZED);
    assert!(answer.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")), "{answer:?}");
    problem(&forged.get("/api/v1/orders").await?, StatusCode::UNAUTHORIZED);
    problem(&gateway.get("/api/v1/nothing-here").await?, StatusCode::NOT_FOUND);
    problem(&gateway.send(Method::DELETE, "/api/v1/orders", &[], "").await?, StatusCode::METHOD_NOT_ALLOWED);
    problem(&gateway.get("/api/v1/orders/not-an-id").await?, StatusCode::BAD_REQUEST);
    let unknown = "/api/v1/orders/ord_01k0000000e008000000000000";
    problem(&gateway.get(unknown).await?, StatusCode::NOT_FOUND);

    let post = async |key: &str, body: String| {
        gateway.send(Method::POST, "/api/v1/orders", &[JSON, ("idempotency-key", key)], body).await
    };
    problem(&post("bad-1", order[..order.len() - 1].to_owned()).await?, StatusCode::BAD_REQUEST);
    problem(
        &post("bad-2", with("\"three\"", "\"quantity\":1").replace("\"three\"", "\"quantity\":\"three\""))
            .await?,
        StatusCode::UNPROCESSABLE_ENTITY,
    );
    problem(
        &post("bad-3", with("\"quantity\":0", "\"quantity\":1")).await?,
        StatusCode::UNPROCESSABLE_ENTITY,
    );
    problem(
        &post("bad-4", with("\"currency\":\"EURO\"", "\"currency\":\"EUR\"")).await?,
        StatusCode::UNPROCESSABLE_ENTITY,
    );
    problem(
        &post("bad-5", with("\"surprise\":1,\"currency\"", "\"currency\"")).await?,
        StatusCode::UNPROCESSABLE_ENTITY,
    );
    let without_key = gateway.send(Method::POST, "/api/v1/orders", &[JSON], order.clone()).await?;
    problem(&without_key, StatusCode::BAD_REQUEST);
    assert_eq!(without_key.json()["code"], "idempotency_key_missing");
    let no_type =
        gateway.send(Method::POST, "/api/v1/orders", &[("idempotency-key", "bad-6")], order.clone()).await?;
    problem(&no_type, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    // The server may answer and close before a body that is too large has been sent.
    if let Ok(answer) = gateway.send(Method::POST, "/api/v1/users", &[JSON], oversize).await {
        problem(&answer, StatusCode::PAYLOAD_TOO_LARGE);
    }
    let path = format!("/api/v1/items/{}/image", shop.item);
    let not_a_picture = gateway.send(Method::PUT, &path, &[("content-type", "image/png")], "<svg/>").await?;
    problem(&not_a_picture, StatusCode::UNSUPPORTED_MEDIA_TYPE);

    assert_eq!(shop.stock().await?, (3, 0, 3), "a refused order leaves no trace");
    shop.order("good").await?.success()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_token_is_refused() -> anyhow::Result<()> {
    let fleet =
        Settings::default().variable("QUINTET_IDENTITY_PROVIDER__TOKENS__ACCESS_SECONDS", "2").start()?;
    let gateway = fleet.signed_in().await?;
    gateway.get("/api/v1/orders").await?.success()?;
    // Verifiers allow for clocks that differ, so it takes longer than two seconds.
    let refused = eventually("the token expires", Duration::from_secs(90), async || {
        let answer = gateway.get("/api/v1/orders").await.ok()?;
        (!answer.status.is_success()).then_some(answer)
    })
    .await
    .expect("the token expires");
    problem(&refused, StatusCode::UNAUTHORIZED);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_without_the_scope_is_refused() -> anyhow::Result<()> {
    let fleet = Settings::default().start()?;
    let anonymous = fleet.gateway()?;
    let secret = fleet.secret("demo-client-secret")?;
    let form =
        format!("grant_type=client_credentials&client_id=demo&client_secret={secret}&scope=orders%3Aread");
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let answer = anonymous.send(Method::POST, "/identity/token", &headers, form).await?.success()?;
    let token = answer.json()["access_token"].as_str().unwrap_or_default().to_owned();
    let reader = anonymous.with_token(token);
    reader.get("/api/v1/orders").await?.success()?;
    let refused =
        reader.post("/api/v1/users", "scope", &serde_json::json!({ "email": "a@b.c", "name": "A" })).await?;
    problem(&refused, StatusCode::FORBIDDEN);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_http_is_sent_to_https_and_a_browser_to_sign_in() -> anyhow::Result<()> {
    let fleet = Settings::default().start()?;
    let origin = format!("http://localhost:{}", fleet.http_port()).parse()?;
    let plain = quintet_http::Client::new(origin)
        .request(Request::get("/api/v1/orders?limit=1").body(Bytes::new())?)
        .await?;
    assert!(plain.status().is_redirection(), "{plain:?}");
    let location = plain.headers()["location"].to_str()?;
    assert_eq!(location, format!("https://localhost:{}/api/v1/orders?limit=1", fleet.https_port()));
    let browser = fleet.gateway()?;
    let mut path = "/".to_owned();
    for _ in 0..3 {
        let answer = browser.send(Method::GET, &path, &[("accept", "text/html")], "").await?;
        assert!(answer.status.is_redirection(), "{answer:?}");
        answer.header("location").unwrap_or_default().clone_into(&mut path);
        if path.contains("/identity/authorize?") {
            break;
        }
    }
    assert!(path.contains("/identity/authorize?") && path.contains("code_challenge_method=S256"), "{path}");
    Ok(())
}

pub(crate) fn problem(answer: &Answer, status: StatusCode) {
    let body = answer.json();
    assert_eq!(answer.status, status, "{body}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{body}");
    assert_eq!(body["status"], status.as_u16(), "{body}");
    assert!(body["code"].as_str().is_some_and(|code| !code.is_empty()), "{body}");
    let request_id = answer.header("x-request-id").unwrap_or_default();
    assert!(!request_id.is_empty() && body["request_id"] == request_id, "{request_id:?}: {body}");
}
