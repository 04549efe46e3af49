//! Workflows as a client enqueues and works them.

use http::StatusCode;
use serde_json::json;

use super::work::fixtures;
use super::*;

#[tokio::test]
async fn a_client_enqueues_a_workflow_and_its_worker_reads_what_came_before() {
    for fixture in fixtures().await {
        let job = json!({"kind": "python.add"});
        let after = json!(["a", {"name": "b", "ignore_failure": true}]);
        let flow = json!({"name": "sum", "jobs": [
            {"name": "c", "job": job, "after": after}, {"name": "a", "job": job}, {"name": "b", "job": job},
        ]});
        let (status, enqueued) = fixture.enqueue("/jobs/v1/workflows", "a", &flow).await;
        let (_, again) = fixture.enqueue("/jobs/v1/workflows", "a", &flow).await;
        assert_eq!((status, &enqueued), (StatusCode::CREATED, &again), "{}", fixture.database.name);
        let path = format!("/jobs/v1/workflows/{}", enqueued["id"].as_str().unwrap());
        let wanted = json!({"kinds": ["python.add"], "limit": 10});
        let (_, given) = fixture.work("w", "claim", wanted.clone()).await;
        assert_eq!(given["jobs"].as_array().unwrap().len(), 2, "{}: one waits", fixture.database.name);
        let ended = json!([
            {"id": enqueued["jobs"]["a"], "outcome": "completed", "result": 41},
            {"id": enqueued["jobs"]["b"], "outcome": "discarded", "error": "no"},
        ]);
        fixture.work("w", "acknowledge", json!({"lease": given["lease"], "jobs": ended})).await;

        let (_, given) = fixture.work("w", "claim", wanted).await;
        assert_eq!(given["jobs"][0]["id"], enqueued["jobs"]["c"], "{}", fixture.database.name);
        assert_eq!(given["jobs"][0]["member_of"], enqueued["id"]);
        let asked = json!({"lease": given["lease"], "id": enqueued["jobs"]["c"]});
        let (_, before) = fixture.work("w", "dependencies", asked.clone()).await;
        let expected = json!([
            {"name": "a", "id": enqueued["jobs"]["a"], "state": "completed", "result": 41},
            {"name": "b", "id": enqueued["jobs"]["b"], "state": "discarded", "result": null},
        ]);
        assert_eq!(before["data"], expected, "{}", fixture.database.name);
        let (status, problem) = fixture.work("other", "dependencies", asked).await;
        assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("lease_lost")));

        let reader = fixture.bearer("operator", READ);
        let (_, seen) = call(&fixture.router, "GET", &path, Some(&reader)).await;
        assert_eq!((&seen["state"], &seen["open"]), (&json!("running"), &json!(1)), "{seen}");
        let last = &seen["graph"][2];
        assert_eq!(
            (&last["name"], &last["state"], &last["level"]),
            (&json!("c"), &json!("running"), &json!(1))
        );
        assert_eq!(last["after"][1], json!({"name": "b", "ignore_failure": true}));
        let (_, list) = call(&fixture.router, "GET", "/jobs/v1/workflows", Some(&reader)).await;
        assert_eq!((&list["data"][0]["id"], &list["data"][0]["graph"]), (&enqueued["id"], &json!(null)));
        let writer = fixture.bearer("operator", WRITE);
        let (_, done) = call(&fixture.router, "POST", &format!("{path}/cancel"), Some(&writer)).await;
        assert_eq!(done, json!({"cancelled": 0, "cancelling": 1}), "{}", fixture.database.name);
    }
}

#[tokio::test]
async fn a_workflow_that_cannot_be_is_refused() {
    for fixture in fixtures().await {
        let job = json!({"kind": "python.add"});
        let unique = json!({"kind": "python.add", "unique_key": "k"});
        for (jobs, expected) in [
            (json!([{"name": "a", "job": job, "after": ["a"]}]), "invalid_workflow"),
            (json!([]), "invalid_workflow"),
            (json!([{"name": "a", "job": unique}]), "invalid_workflow"),
            (json!([{"name": "a", "job": {"kind": "email.send"}}]), "kind_not_allowed"),
        ] {
            let flow = json!({"name": "n", "jobs": jobs});
            let (_, problem) = fixture.enqueue("/jobs/v1/workflows", "a", &flow).await;
            assert_eq!(problem["code"], json!(expected), "{}: {flow}", fixture.database.name);
        }
    }
}
