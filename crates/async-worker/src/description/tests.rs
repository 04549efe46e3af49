//! The document says what is served, and nothing else is served.

use std::collections::BTreeSet;
use std::path::PathBuf;

use http::StatusCode;
use quintet_blobs::Blobs;
use quintet_module::openapi::scopes_of;
use quintet_service::{Secret, SecretFile};
use quintet_testkit::issuer::TestIssuer;
use quintet_testkit::{FakeClock, TestDatabase, databases};
use serde_json::{Value, json};

use super::*;
use crate::calls::{self, call};
use crate::mail::Suppressions;
use crate::webhook::{Endpoints, Sealer, Sender};
use crate::{api, images, mail, webhook};

/// Routes that anybody may call, reviewed: they describe the API and hold nobody's data.
const PUBLIC: [&str; 4] =
    ["/jobs/v1/openapi.json", "/jobs/v1/docs", "/jobs/v1/docs/page.js", "/jobs/v1/docs/page.css"];
const SCOPES: [&str; 4] = ["jobs:read", "jobs:write", "jobs:enqueue", "jobs:work"];
/// Where axum keeps what answers everything else.
const FALLBACK: [&str; 2] = ["/", "/{*__private__axum_fallback}"];
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// All that a worker serves.
struct Served {
    router: Router,
    issuer: TestIssuer,
    document: Value,
    _database: TestDatabase,
    _directory: tempfile::TempDir,
}

async fn served() -> Served {
    let database = databases().await.remove(0);
    let schemas =
        [&quintet_jobs::MODULE, &quintet_module::idempotency::SCHEMA, &mail::SCHEMA, &webhook::SCHEMA];
    database.store.migrate(&schemas).await.unwrap();
    let (store, clock) = (&database.store, FakeClock::default());
    let settings = crate::config::Webhooks {
        key_file: SecretFile::Path(PathBuf::new()),
        previous_key_files: Vec::new(),
        allowed_networks: Vec::new(),
        allow_http: false,
        ca_file: None,
        timeout_ms: 1_000,
        disable_after_hours: 120,
    };
    let directory = tempfile::tempdir().unwrap();
    let blobs = Blobs::open_directory(directory.path()).await.unwrap();
    let endpoints =
        Endpoints::new(store.clone(), clock.shared(), Sealer::new(&[Secret::new("07".repeat(32))]).unwrap());
    let routes = api::routes(api::tests::api(store, &clock))
        .merge(images::routes(blobs, 1 << 20))
        .merge(mail::routes(Suppressions::new(store.clone(), clock.shared())))
        .merge(webhook::routes(endpoints, Arc::new(Sender::new(&settings).unwrap())));
    let issuer = TestIssuer::new();
    let router = calls::router(routes, issuer.verifier());
    let (_, document) = call(&router, "GET", "/jobs/v1/openapi.json", None, &json!(null)).await;
    Served { router, issuer, document, _database: database, _directory: directory }
}

/// Method, path with its parameters' names, and the operation.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths
        .flat_map(|(path, item)| {
            let operations = item.as_object().unwrap().iter();
            operations.map(|(method, operation)| (method.as_str(), path.as_str(), operation))
        })
        .collect()
}

/// A path that the route takes.
fn filled(path: &str) -> String {
    path.replace("{id}", "nobody")
        .replace("{name}", "nobody")
        .replace("{digest}", "nobody")
        .replace("{address}", "nobody@example.com")
}

#[tokio::test]
async fn the_document_is_as_reviewed() {
    insta::assert_json_snapshot!("openapi", served().await.document);
}

/// The router tells its paths when it is debugged, and no other way.
#[tokio::test]
async fn the_paths_of_the_router_are_those_of_the_document_and_the_public_ones() {
    let served = served().await;
    let shown = format!("{:?}", served.router);
    let paths = shown.split('"').filter(|part| part.starts_with('/'));
    let routed: BTreeSet<&str> = paths.filter(|path| !FALLBACK.contains(path)).collect();
    let documented = operations(&served.document).into_iter().map(|(_, path, _)| path);
    let expected: BTreeSet<&str> = documented.chain(PUBLIC).collect();
    assert_eq!(routed, expected);
}

#[tokio::test]
async fn each_path_answers_the_documented_methods_and_no_others() {
    let served = served().await;
    let operations = operations(&served.document);
    let bearer = served.issuer.bearer("somebody", &SCOPES);
    for path in operations.iter().map(|(_, path, _)| *path).collect::<BTreeSet<_>>() {
        for method in METHODS {
            let documented = operations.iter().any(|(known, at, _)| (*known, *at) == (method, path));
            let (status, answer) =
                call(&served.router, &method.to_uppercase(), &filled(path), Some(&bearer), &json!(null))
                    .await;
            assert_eq!(status != StatusCode::METHOD_NOT_ALLOWED, documented, "{method} {path}: {answer}");
            assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{method} {path}: {answer}");
        }
    }
}

#[tokio::test]
async fn every_operation_refuses_callers_without_a_token_and_without_its_scope() {
    let served = served().await;
    for (method, path, operation) in operations(&served.document) {
        let scopes = scopes_of(operation);
        let [scope] = scopes.as_slice() else {
            panic!("{method} {path} names the scopes {scopes:?}, not one")
        };
        let (method, path) = (method.to_uppercase(), filled(path));
        let (status, _) = call(&served.router, &method, &path, None, &json!({})).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path}");
        let others: Vec<&str> = SCOPES.into_iter().filter(|other| other != scope).collect();
        assert_eq!(others.len(), 3, "{scope} is not a scope of the contract");
        let bearer = served.issuer.bearer("somebody", &others);
        let (status, problem) = call(&served.router, &method, &path, Some(&bearer), &json!({})).await;
        assert_eq!((status, &problem["code"]), (StatusCode::FORBIDDEN, &json!("scope_missing")), "{path}");
        let bearer = served.issuer.bearer("somebody", &[scope]);
        let (status, problem) = call(&served.router, &method, &path, Some(&bearer), &json!({})).await;
        assert_ne!((status, &problem["code"]), (StatusCode::FORBIDDEN, &json!("scope_missing")), "{path}");
    }
}

#[tokio::test]
async fn every_reference_resolves_and_every_error_is_a_problem() {
    let document = served().await.document;
    assert_eq!(document["openapi"], "3.1.0");
    for (method, path, operation) in operations(&document) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let problem = response.pointer("/content/application~1problem+json").is_some();
            assert_eq!(problem, status.starts_with(['4', '5']), "{method} {path} {status}");
        }
    }
    let (mut open, mut references) = (vec![&document], 0);
    while let Some(node) = open.pop() {
        if let Some(reference) = node.get("$ref").and_then(Value::as_str) {
            assert!(document.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
            references += 1;
        }
        open.extend(node.as_object().into_iter().flat_map(|object| object.values()));
        open.extend(node.as_array().into_iter().flatten());
    }
    assert!(references > 50, "{references}");
}

#[tokio::test]
async fn what_is_public_is_served_with_a_policy_for_its_content() {
    use tower::ServiceExt as _;
    let served = served().await;
    for path in PUBLIC {
        let request = http::Request::builder().uri(path).body(axum::body::Body::empty()).unwrap();
        let response = served.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert!(response.headers().contains_key("content-security-policy"), "{path}");
    }
}
