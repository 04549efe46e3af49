use axum::Router;
use http::StatusCode;
use quintet_auth::Verifier;
use quintet_jobs::{NewJob, cancel, enqueue};
use quintet_testkit::issuer::TestIssuer;
use quintet_testkit::{FakeClock, databases};
use serde_json::json;

use super::*;
use crate::calls;

mod batches;
mod looking;
mod work;
mod workflows;

fn router(api: Api, verifier: Arc<Verifier>) -> Router {
    calls::router(routes(api), verifier)
}

async fn call(
    router: &Router,
    method: &str,
    path: &str,
    bearer: Option<&str>,
) -> (StatusCode, serde_json::Value) {
    calls::call(router, method, path, bearer, &json!({})).await
}

const READ: &str = "jobs:read";
const WRITE: &str = "jobs:write";
const ENQUEUE: &str = "jobs:enqueue";
const WORK: &str = "jobs:work";

/// Lets programs elsewhere enqueue and work `python.add`.
fn remote(store: &Store) -> Arc<Remote> {
    let kinds = || vec!["python.add".to_owned()];
    let allowed = config::Remote { enqueue_kinds: kinds(), work_kinds: kinds() };
    let clock = FakeClock::default().shared();
    let worker =
        quintet_jobs::Worker::new(store.clone(), clock, quintet_jobs::Settings::default(), Vec::new());
    Arc::new(Remote::new(allowed, &worker, CancellationToken::new()))
}

/// What the routes need, on this database.
pub(crate) fn api(store: &Store, clock: &FakeClock) -> Api {
    Api {
        store: store.clone(),
        clock: clock.shared(),
        queues: vec!["default".to_owned()],
        schedules: Arc::new([]),
        remote: remote(store),
        maildir: None,
    }
}

#[tokio::test]
async fn a_waiting_job_is_listed_without_and_shown_with_its_arguments() {
    for database in databases().await {
        database.store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let issuer = TestIssuer::new();
        let clock = FakeClock::default();
        let mut tx = database.store.begin().await.unwrap();
        let job = NewJob::new("email.send", &serde_json::json!({"to": "a@example.com"}));
        let id = enqueue(&mut tx, &clock, job).await.unwrap().id;
        tx.commit().await.unwrap();
        let router = router(api(&database.store, &clock), issuer.verifier());
        let bearer = issuer.bearer("operator", &[READ]);
        let (_, list) = call(&router, "GET", "/jobs/v1/jobs?state=ready", Some(&bearer)).await;
        assert_eq!((&list["data"][0]["id"], &list["data"][0]["args"]), (&id.to_string().into(), &().into()));
        let (_, one) = call(&router, "GET", &format!("/jobs/v1/jobs/{id}"), Some(&bearer)).await;
        assert_eq!(one["args"]["to"], "a@example.com", "{}", database.name);
        let (_, queues) = call(&router, "GET", "/jobs/v1/queues", Some(&bearer)).await;
        assert_eq!((&queues["data"][0]["due"], &queues["data"][0]["name"]), (&1.into(), &"default".into()));
        let (status, _) = call(&router, "GET", "/jobs/v1/jobs?state=lost", Some(&bearer)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn dead_letters_are_found_page_by_page_and_redriven_by_filter() {
    for database in databases().await {
        database.store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let issuer = TestIssuer::new();
        let clock = FakeClock::default();
        for kind in ["report.export", "email.send", "email.send", "email.send"] {
            clock.advance(std::time::Duration::from_millis(1));
            let mut tx = database.store.begin().await.unwrap();
            let id = enqueue(&mut tx, &clock, NewJob::new(kind, &())).await.unwrap().id;
            tx.commit().await.unwrap();
            cancel(&database.store, &clock, id).await.unwrap();
        }
        let router = router(api(&database.store, &clock), issuer.verifier());
        let bearer = issuer.bearer("operator", &[READ, WRITE]);
        let path = "/jobs/v1/jobs?state=cancelled&kind=email.send&limit=2";
        let (_, first) = call(&router, "GET", path, Some(&bearer)).await;
        let next = first["next_cursor"].as_str().unwrap();
        assert_eq!(first["data"].as_array().unwrap().len(), 2, "{}: {first}", database.name);
        let (_, second) = call(&router, "GET", &format!("{path}&cursor={next}"), Some(&bearer)).await;
        assert_eq!((second["data"].as_array().unwrap().len(), &second["next_cursor"]), (1, &json!(null)));

        let chosen = json!({"state": "cancelled", "kind": "email.send", "limit": 2});
        let (_, answer) = calls::call(&router, "POST", "/jobs/v1/jobs/redrive", Some(&bearer), &chosen).await;
        assert_eq!(answer, json!({"changed": 2, "more": true}), "{}", database.name);
        let (_, answer) = calls::call(&router, "POST", "/jobs/v1/jobs/redrive", Some(&bearer), &chosen).await;
        assert_eq!(answer, json!({"changed": 1, "more": false}));
        let (status, problem) =
            calls::call(&router, "POST", "/jobs/v1/jobs/delete", Some(&bearer), &json!({"limit": 10_001}))
                .await;
        assert_eq!((status, &problem["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("too_many")));
    }
}
