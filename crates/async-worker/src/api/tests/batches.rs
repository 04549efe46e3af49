//! Batches as a client opens, fills and seals them.

use http::StatusCode;
use serde_json::json;

use super::work::fixtures;
use super::*;

#[tokio::test]
async fn a_client_opens_a_batch_fills_and_seals_it_and_sees_its_callback() {
    for fixture in fixtures().await {
        let job = json!({"kind": "python.add", "args": {"numbers": [1]}});
        let batch = json!({"name": "import", "on_success": job, "jobs": [job, job]});
        let (status, opened) = fixture.enqueue("/jobs/v1/batches", "a", &batch).await;
        let (_, again) = fixture.enqueue("/jobs/v1/batches", "a", &batch).await;
        assert_eq!((status, &opened), (StatusCode::CREATED, &again), "{}", fixture.database.name);
        assert_eq!(opened["jobs"].as_array().unwrap().len(), 2);
        let id = opened["id"].as_str().unwrap();
        let more = json!({"kind": "python.add", "batch": id});
        let (status, _) = fixture.enqueue("/jobs/v1/jobs", "b", &more).await;
        assert_eq!(status, StatusCode::CREATED, "{}", fixture.database.name);
        let path = format!("/jobs/v1/batches/{id}");
        let (_, sealed) =
            call(&fixture.router, "POST", &format!("{path}/seal"), Some(&fixture.bearer("shop", ENQUEUE)))
                .await;
        assert_eq!((&sealed["state"], &sealed["jobs"]), (&json!("running"), &json!(3)), "{sealed}");
        let (status, problem) = fixture.enqueue("/jobs/v1/jobs", "c", &more).await;
        assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("batch_not_open")));

        let (_, given) = fixture.work("w", "claim", json!({"kinds": ["python.add"], "limit": 10})).await;
        let jobs = given["jobs"].as_array().unwrap().iter();
        let ended: Vec<_> = jobs.map(|job| json!({"id": job["id"], "outcome": "completed"})).collect();
        fixture.work("w", "acknowledge", json!({"lease": given["lease"], "jobs": ended})).await;
        let reader = fixture.bearer("operator", READ);
        let (_, seen) = call(&fixture.router, "GET", &path, Some(&reader)).await;
        assert_eq!((&seen["state"], &seen["completed"]), (&json!("succeeded"), &json!(3)), "{seen}");
        let (_, given) = fixture.work("w", "claim", json!({"kinds": ["python.add"], "limit": 10})).await;
        let [callback] = given["jobs"].as_array().unwrap().as_slice() else { panic!("{given}") };
        assert_eq!(callback["id"], seen["callbacks"][0]["job"], "{}", fixture.database.name);
        assert_eq!(callback["args"], json!({"numbers": [1], "batch": id}));
        let (_, found) =
            call(&fixture.router, "GET", &format!("/jobs/v1/jobs?member_of={id}"), Some(&reader)).await;
        assert_eq!(found["data"].as_array().unwrap().len(), 3, "{}", fixture.database.name);
        let (_, list) = call(&fixture.router, "GET", "/jobs/v1/batches", Some(&reader)).await;
        assert_eq!(list["data"][0]["id"], json!(id));
    }
}

#[tokio::test]
async fn a_batch_that_cannot_be_is_refused() {
    for fixture in fixtures().await {
        let job = json!({"kind": "python.add"});
        for (batch, expected) in [
            (json!({"name": ""}), "invalid_batch"),
            (json!({"name": "n", "on_end": {"kind": "python.add", "unique_key": "k"}}), "invalid_batch"),
            (json!({"name": "n", "jobs": [job, {"kind": "email.send"}]}), "kind_not_allowed"),
            (json!({"name": "n", "jobs": [{"kind": "python.add", "unique": [null, null]}]}), "invalid_body"),
        ] {
            let (_, problem) = fixture.enqueue("/jobs/v1/batches", "a", &batch).await;
            assert_eq!(problem["code"], json!(expected), "{}: {batch}", fixture.database.name);
        }
    }
}
