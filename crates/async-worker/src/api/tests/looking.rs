//! What an operator looks at before acting: how many jobs a selection means, and how a job failed.

use http::StatusCode;
use quintet_jobs::{NewJob, cancel, enqueue};
use quintet_testkit::issuer::TestIssuer;
use quintet_testkit::{FakeClock, databases};
use serde_json::json;

use super::*;

#[tokio::test]
async fn a_count_is_what_the_bulk_action_changes() {
    for database in databases().await {
        let (store, clock) = (&database.store, FakeClock::default());
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        for kind in ["report.export", "email.send", "email.send"] {
            let mut tx = store.begin().await.unwrap();
            let id = enqueue(&mut tx, &clock, NewJob::new(kind, &())).await.unwrap().id;
            tx.commit().await.unwrap();
            cancel(store, &clock, id).await.unwrap();
        }
        let issuer = TestIssuer::new();
        let router = router(api(store, &clock), issuer.verifier());
        let bearer = issuer.bearer("operator", &[READ, WRITE]);
        let path = "/jobs/v1/jobs/count?state=cancelled&kind=email.send";
        let (_, counted) = call(&router, "GET", path, Some(&bearer)).await;
        assert_eq!(counted, json!({"count": 2, "more": false}), "{}", database.name);
        let chosen = json!({"state": "cancelled", "kind": "email.send"});
        let (_, done) = calls::call(&router, "POST", "/jobs/v1/jobs/redrive", Some(&bearer), &chosen).await;
        assert_eq!(done["changed"], counted["count"]);
        let (_, counted) = call(&router, "GET", "/jobs/v1/jobs/count?state=ready", Some(&bearer)).await;
        assert_eq!(counted["count"], 2);
        let (status, problem) =
            call(&router, "GET", "/jobs/v1/jobs/count?state=completed", Some(&bearer)).await;
        assert_eq!(
            (status, &problem["code"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!("state_not_counted"))
        );
    }
}

#[tokio::test]
async fn each_failed_run_of_a_job_is_listed_with_its_error_and_its_worker() {
    for database in databases().await {
        let (store, clock) = (&database.store, FakeClock::default());
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        let id = enqueue(&mut tx, &clock, NewJob::new("python.add", &()).max_attempts(2)).await.unwrap().id;
        tx.commit().await.unwrap();
        let issuer = TestIssuer::new();
        let router = router(api(store, &clock), issuer.verifier());
        let bearer = issuer.bearer("operator", &[READ, WORK]);
        let failures = format!("/jobs/v1/jobs/{id}/failures");
        let (_, none) = call(&router, "GET", &failures, Some(&bearer)).await;
        assert_eq!(none, json!({"data": []}), "{}", database.name);
        for error in ["the far side is down", "and still"] {
            clock.advance(std::time::Duration::from_secs(1));
            let wanted = json!({"kinds": ["python.add"]});
            let (_, claimed) =
                calls::call(&router, "POST", "/jobs/v1/work/claim", Some(&bearer), &wanted).await;
            let ended = json!({"id": id, "outcome": "failed", "error": error, "retry_after_ms": 0});
            let said = json!({"lease": claimed["lease"], "jobs": [ended]});
            let path = "/jobs/v1/work/acknowledge";
            let (_, answer) = calls::call(&router, "POST", path, Some(&bearer), &said).await;
            assert_eq!(answer, json!({"refused": []}));
        }
        let (_, listed) = call(&router, "GET", &failures, Some(&bearer)).await;
        let runs = listed["data"].as_array().unwrap();
        let told: Vec<_> = runs.iter().map(|run| (&run["attempt"], &run["error"])).collect();
        assert_eq!(
            told,
            [(&json!(1), &json!("the far side is down")), (&json!(2), &json!("and still"))],
            "{}",
            database.name
        );
        assert!(runs.iter().all(|run| run["worker"].as_str().unwrap().starts_with("remote:")));
    }
}

#[tokio::test]
async fn what_the_document_does_not_allow_is_refused() {
    for database in databases().await {
        let (store, clock) = (&database.store, FakeClock::default());
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let issuer = TestIssuer::new();
        let router = router(api(store, &clock), issuer.verifier());
        let bearer = issuer.bearer("operator", &[WRITE]);
        for (name, expected) in [("q".repeat(200), StatusCode::OK), ("q".repeat(201), StatusCode::NOT_FOUND)]
        {
            for action in ["pause", "resume"] {
                let path = format!("/jobs/v1/queues/{name}/{action}");
                let (status, _) = call(&router, "POST", &path, Some(&bearer)).await;
                assert_eq!(status, expected, "{}: {action}", database.name);
            }
        }
    }
}

#[tokio::test]
async fn a_page_has_one_to_five_hundred_entries() {
    for database in databases().await {
        let (store, clock) = (&database.store, FakeClock::default());
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let issuer = TestIssuer::new();
        let router = router(api(store, &clock), issuer.verifier());
        let bearer = issuer.bearer("operator", &[READ]);
        for list in ["jobs", "batches", "workflows"] {
            for (limit, expected) in [(0, 400), (1, 200), (500, 200), (501, 400)] {
                let path = format!("/jobs/v1/{list}?limit={limit}");
                let (status, answer) = call(&router, "GET", &path, Some(&bearer)).await;
                assert_eq!(status, expected, "{}: {path}", database.name);
                assert_eq!(answer["code"] == "invalid_limit", expected == 400, "{path}: {answer}");
            }
        }
    }
}
