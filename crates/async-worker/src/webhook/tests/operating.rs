//! The API.

use axum::Router;
use http::StatusCode;
use quintet_testkit::issuer::TestIssuer;

use super::*;

async fn call(
    router: &Router,
    method: &str,
    path: &str,
    bearer: Option<&str>,
    body: serde_json::Value,
) -> (StatusCode, serde_json::Value) {
    crate::calls::call(router, method, &format!("/jobs/v1/webhooks/endpoints{path}"), bearer, &body).await
}

async fn api(database: &TestDatabase, issuer: &TestIssuer) -> (Router, Endpoints) {
    let endpoints = endpoints(database, &FakeClock::default()).await;
    let settings = Settings {
        key_file: SecretFile::Path(PathBuf::new()),
        previous_key_files: Vec::new(),
        allowed_networks: Vec::new(),
        allow_http: false,
        ca_file: None,
        timeout_ms: 1_000,
        disable_after_hours: 120,
    };
    let sender = Arc::new(Sender::new(&settings).unwrap());
    (crate::calls::router(routes(endpoints.clone(), sender), issuer.verifier()), endpoints)
}

#[tokio::test]
async fn an_endpoints_secret_is_shown_once_and_kept_sealed() {
    for database in databases().await {
        let issuer = TestIssuer::new();
        let (router, _) = api(&database, &issuer).await;
        let bearer = issuer.bearer("operator", &["jobs:read", "jobs:write"]);
        let call =
            async |method: &str, path: &str, body| call(&router, method, path, Some(&bearer), body).await;
        let new = json!({"url": "https://shop.example/hooks", "event_types": ["order.placed"], "description": "shop"});
        let (status, made) = call("POST", "", new).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        let secret = made["secret"].as_str().unwrap();
        assert!(secret.starts_with("whsec_") && made["enabled"] == true, "{made}");
        let path = format!("/{}", made["id"].as_str().unwrap());
        let (_, shown) = call("GET", &path, json!(null)).await;
        assert_eq!((&shown["url"], &shown["secret"]), (&json!("https://shop.example/hooks"), &json!(null)));
        let (_, listed) = call("GET", "", json!(null)).await;
        assert_eq!(listed["data"], json!([shown]));
        let row =
            database.store.fetch_one("SELECT secrets FROM webhook_endpoints", quintet_store::args![]).await;
        assert!(
            !row.unwrap().get::<String>("secrets").unwrap().contains(&secret[6..20]),
            "{}",
            database.name
        );
        let (_, rotated) = call("POST", &format!("{path}/rotate-secret?overlap_hours=0"), json!(null)).await;
        assert!(rotated["secret"].as_str().unwrap() != secret, "{rotated}");
    }
}

#[tokio::test]
async fn an_operator_pings_switches_and_deletes_an_endpoint() {
    for database in databases().await {
        let issuer = TestIssuer::new();
        let (router, _) = api(&database, &issuer).await;
        let bearer = issuer.bearer("operator", &["jobs:read", "jobs:write"]);
        let call =
            async |method: &str, path: &str, body| call(&router, method, path, Some(&bearer), body).await;
        let (_, made) = call("POST", "", json!({"url": "https://shop.example/hooks"})).await;
        let path = format!("/{}", made["id"].as_str().unwrap());
        let (status, pinged) = call("POST", &format!("{path}/ping"), json!(null)).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{pinged}");
        let job = quintet_jobs::lookup(&database.store, pinged["job_id"].as_str().unwrap().parse().unwrap());
        let job = job.await.unwrap().unwrap();
        assert_eq!((job.kind.as_str(), job.max_attempts), ("webhook.deliver", 1), "{}", database.name);
        let (_, off) = call("POST", &format!("{path}/disable"), json!(null)).await;
        assert_eq!(
            (&off["enabled"], &off["disabled_reason"]),
            (&json!(false), &json!("an operator disabled it"))
        );
        assert_eq!(call("POST", &format!("{path}/ping"), json!(null)).await.0, StatusCode::CONFLICT);
        assert_eq!(call("POST", &format!("{path}/enable"), json!(null)).await.1["enabled"], true);
        assert_eq!(call("DELETE", &path, json!(null)).await.0, StatusCode::NO_CONTENT);
        assert_eq!(call("GET", &path, json!(null)).await.0, StatusCode::NOT_FOUND);
        assert_eq!(call("GET", &format!("{path}/deliveries"), json!(null)).await.0, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn what_is_no_endpoint_is_refused_and_the_field_named() {
    let database = databases().await.into_iter().next().unwrap();
    let issuer = TestIssuer::new();
    let (router, _) = api(&database, &issuer).await;
    let bearer = issuer.bearer("operator", &["jobs:write"]);
    for (new, pointer) in [
        (json!({"url": "http://shop.example/"}), "/url"),
        (json!({"url": "https://169.254.169.254/latest/meta-data"}), "/url"),
        (json!({"url": "https://shop.example/", "event_types": ["a b"]}), "/event_types"),
        (json!({"url": "https://shop.example/", "event_types": vec!["a"; 51]}), "/event_types"),
        (json!({"url": "https://shop.example/", "description": "x".repeat(501)}), "/description"),
    ] {
        let (status, problem) = call(&router, "POST", "", Some(&bearer), new).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        assert_eq!(problem["errors"][0]["pointer"], pointer);
    }
}
