//! Idempotency keys: the same request twice has one effect and one answer.

use std::time::Duration;

use axum::http::Method;
use futures_util::future::join_all;
use quintet_module::idempotency;
use quintet_store::Dialect;
use quintet_types::Clock as _;
use serde_json::json;

use super::{apis, one_of};

#[tokio::test]
async fn a_repeated_order_gets_the_identical_answer_once() {
    for api in apis().await {
        let account = api.user("ann@example.com").await;
        let item = api.item("MUG", 10).await;
        let first = api.order("key-1", &one_of(&account, &item)).await.expect(201);
        let again = api.order("key-1", &one_of(&account, &item)).await.expect(201);
        assert_eq!(first.bytes, again.bytes);
        assert_eq!(first.header("location"), again.header("location"));
        assert_eq!(first.header("content-type"), again.header("content-type"));
        assert_eq!((first.header("idempotent-replayed"), again.header("idempotent-replayed")), ("", "true"));
        assert_eq!(api.level(&item).await, (10, 1, 9));
        assert_eq!(api.queued("email.send").await, 1);
    }
}

#[tokio::test]
async fn a_key_is_required_and_bound_to_its_body_and_its_caller() {
    for api in apis().await {
        let account = api.user("ann@example.com").await;
        let item = api.item("MUG", 10).await;
        let body = one_of(&account, &item);
        api.post("/api/v1/orders", body.clone()).await.refused(400, "idempotency_key_missing");
        api.order("not visible", &body).await.refused(400, "idempotency_key_invalid");

        api.order("key-1", &body).await.expect(201);
        let mut other = body.clone();
        other["lines"][0]["quantity"] = json!(2);
        api.order("key-1", &other).await.refused(422, "idempotency_key_reused");

        let stranger = api.issuer.bearer("usr_stranger", &["orders:write"]);
        let headers = [
            ("authorization", &*stranger),
            ("content-type", "application/json"),
            ("idempotency-key", "key-1"),
        ];
        let theirs = api.send(Method::POST, "/api/v1/orders", &headers, other.to_string()).await.expect(201);
        assert_eq!(theirs.header("idempotent-replayed"), "");
        assert_eq!(api.level(&item).await, (10, 3, 7));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_used_by_many_requests_at_once_places_one_order() {
    for api in apis().await {
        let account = api.user("ann@example.com").await;
        let item = api.item("MUG", 10).await;
        let body = one_of(&account, &item);
        let answers = join_all((0..40).map(|_| api.order("key-1", &body))).await;
        let mut placed = Vec::new();
        for answer in answers {
            match answer.status.as_u16() {
                201 => placed.push(answer),
                409 => answer.refused(409, "idempotency_key_in_flight"),
                other => panic!("{other}: {answer:?}"),
            }
        }
        assert!(placed.iter().all(|answer| answer.bytes == placed[0].bytes), "{}", api.name);
        assert_eq!(placed.iter().filter(|answer| answer.header("idempotent-replayed").is_empty()).count(), 1);
        assert_eq!(api.level(&item).await, (10, 1, 9));
    }
}

#[tokio::test]
async fn a_key_whose_request_still_runs_is_409() {
    for api in apis().await {
        if api.store.dialect() == Dialect::Sqlite {
            // There the second request waits for the first and repeats its answer.
            continue;
        }
        let account = api.user("ann@example.com").await;
        let item = api.item("MUG", 10).await;
        // What the first request does, held open. The scope is client, subject and route.
        let mut tx = api.store.begin().await.unwrap();
        let name = "test-client\nusr_tester\nPOST /orders\nkey-1";
        tx.fetch_one("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", quintet_store::args![name])
            .await
            .unwrap();
        let waiting = api.order("key-1", &one_of(&account, &item)).await;
        assert_eq!(waiting.header("retry-after"), "1");
        waiting.refused(409, "idempotency_key_in_flight");
        tx.commit().await.unwrap();
        api.order("key-1", &one_of(&account, &item)).await.expect(201);
    }
}

#[tokio::test]
async fn a_refused_order_may_be_tried_again_under_its_key() {
    for api in apis().await {
        let account = api.user("ann@example.com").await;
        let item = api.item("MUG", 0).await;
        api.order("key-1", &one_of(&account, &item)).await.refused(409, "out_of_stock");
        api.deliver(&item, 1).await;
        // PostgreSQL may still be undoing the refused transaction, which holds the key until then.
        let placed = tokio::time::timeout(Duration::from_secs(10), async {
            loop {
                let answer = api.order("key-1", &one_of(&account, &item)).await;
                if answer.status != 409 || answer.code() != "idempotency_key_in_flight" {
                    return answer;
                }
            }
        });
        placed.await.unwrap().expect(201);
    }
}

#[tokio::test]
async fn keys_are_known_for_a_day_and_forgotten_after_two() {
    for api in apis().await {
        let account = api.user("ann@example.com").await;
        let item = api.item("MUG", 10).await;
        api.order("key-1", &one_of(&account, &item)).await.expect(201);
        api.clock.advance(Duration::from_hours(25));
        assert_eq!(idempotency::prune(&api.store, api.clock.now()).await.unwrap(), 0);
        let again = api.order("key-1", &one_of(&account, &item)).await.expect(201);
        assert_eq!(again.header("idempotent-replayed"), "true");
        api.clock.advance(Duration::from_hours(24));
        assert_eq!(idempotency::prune(&api.store, api.clock.now()).await.unwrap(), 1);
    }
}
