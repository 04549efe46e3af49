//! The addresses that get no mail, and their API.

use http::StatusCode;
use quintet_testkit::issuer::TestIssuer;

use super::server::Server;
use super::*;
use crate::calls::call;
use crate::config::Tls;
use crate::mail::smtp::Smtp;

#[tokio::test]
async fn an_address_that_bounced_gets_no_further_mail_whatever_its_case() {
    for database in databases().await {
        let mut server = Server::start("plain").await;
        let smtp = Smtp::open(&server.settings(Tls::None)).unwrap();
        let sender = sender(&database, Transport::Smtp(std::sync::Arc::new(smtp))).await;
        let to = |address: &str| Args { to: address.to_owned(), ..args("ord_1") };
        assert!(matches!(sender.send(&to("gone@example.com")).await, Err(HandlerError::Discard(_))));
        // The server would refuse this one as well: that it ends well shows that nothing was sent.
        sender.send(&to("Gone@Example.com")).await.unwrap();
        let listed = sender.suppressions.list("", 10).await.unwrap();
        assert_eq!((listed.len(), listed[0].reason), (1, Reason::Bounce), "{}", database.name);
        assert!(listed[0].detail.contains("no such user"), "{:?}", listed[0]);
        // What is no bounce suppresses nobody.
        assert!(matches!(sender.send(&to("policy@example.com")).await, Err(HandlerError::Discard(_))));
        assert!(matches!(sender.send(&to("busy@example.com")).await, Err(HandlerError::Retry(_))));
        sender.send(&to("ada@example.com")).await.unwrap();
        assert_eq!(server.taken().await.to, "ada@example.com");
        assert_eq!(sender.suppressions.list("", 10).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn an_operator_lists_adds_and_removes_addresses() {
    for database in databases().await {
        database.store.migrate(&[&SCHEMA]).await.unwrap();
        let issuer = TestIssuer::new();
        let suppressions = Suppressions::new(database.store.clone(), FakeClock::default().shared());
        let router = crate::calls::router(routes(suppressions), issuer.verifier());
        let bearer = Some(issuer.bearer("operator", &["jobs:write"]));
        let call = async |method: &str, path: &str, body| {
            call(&router, method, &format!("/jobs/v1/suppressions{path}"), bearer.as_deref(), &body).await
        };
        for (address, status) in [
            ("B@example.com", StatusCode::CREATED),
            ("b@example.com", StatusCode::OK),
            ("a@example.com", StatusCode::CREATED),
            ("nobody", StatusCode::UNPROCESSABLE_ENTITY),
            (&*format!("a@{}example.com", "a.".repeat(121)), StatusCode::UNPROCESSABLE_ENTITY),
        ] {
            let (answered, _) = call("POST", "", json!({"address": address, "detail": "asked"})).await;
            assert_eq!(answered, status, "{address}");
        }
        let (_, first) = call("GET", "?limit=1", json!(null)).await;
        assert_eq!(
            (&first["data"][0]["address"], &first["data"][0]["reason"]),
            (&"a@example.com".into(), &"manual".into())
        );
        let cursor = first["next_cursor"].as_str().unwrap();
        let (_, second) = call("GET", &format!("?limit=5&cursor={cursor}"), json!(null)).await;
        assert_eq!(
            (&second["data"][0]["address"], &second["next_cursor"]),
            (&"b@example.com".into(), &json!(null))
        );
        for (path, status) in [
            ("/B@example.com", StatusCode::NO_CONTENT),
            ("/b@example.com", StatusCode::NOT_FOUND),
            ("/nobody", StatusCode::UNPROCESSABLE_ENTITY),
        ] {
            assert_eq!(call("DELETE", path, json!(null)).await.0, status, "{path} {}", database.name);
        }
        assert_eq!(call("GET", "?limit=0", json!(null)).await.0, StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn the_list_is_closed_to_a_missing_token_and_to_one_that_may_only_read() {
    let database = any_database().await;
    database.store.migrate(&[&SCHEMA]).await.unwrap();
    let issuer = TestIssuer::new();
    let suppressions = Suppressions::new(database.store.clone(), FakeClock::default().shared());
    let router = crate::calls::router(routes(suppressions), issuer.verifier());
    let reader = issuer.bearer("someone", &["jobs:read"]);
    for (method, path) in [
        ("GET", "/jobs/v1/suppressions"),
        ("POST", "/jobs/v1/suppressions"),
        ("DELETE", "/jobs/v1/suppressions/a@example.com"),
    ] {
        let body = json!({"address": "a@example.com"});
        assert_eq!(call(&router, method, path, None, &body).await.0, StatusCode::UNAUTHORIZED);
        let (status, problem) = call(&router, method, path, Some(&reader), &body).await;
        assert_eq!((status, problem["code"].as_str()), (StatusCode::FORBIDDEN, Some("scope_missing")));
    }
}
