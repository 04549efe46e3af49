//! Programs in other languages as producers and workers.

use std::process::Stdio;

use axum::body::Body;
use http::Request;
use quintet_jobs::{Cancelled, State as JobState, lookup};
use quintet_testkit::TestDatabase;
use quintet_types::{JobId, SystemClock};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tower::ServiceExt as _;

use super::*;

/// Generous: only a hang meets it.
const PATIENCE: std::time::Duration = std::time::Duration::from_mins(1);

pub(super) struct Fixture {
    pub(super) database: TestDatabase,
    issuer: TestIssuer,
    pub(super) router: Router,
    clock: SharedClock,
}

pub(super) async fn fixtures() -> Vec<Fixture> {
    let mut fixtures = Vec::new();
    for database in databases().await {
        let schemas = [&quintet_jobs::MODULE, &quintet_module::idempotency::SCHEMA];
        database.store.migrate(&schemas).await.unwrap();
        let (issuer, clock) = (TestIssuer::new(), SystemClock::shared());
        let api = Api {
            store: database.store.clone(),
            clock: clock.clone(),
            queues: Vec::new(),
            schedules: Arc::new([]),
            remote: remote(&database.store),
            maildir: None,
        };
        let router = router(api, issuer.verifier());
        fixtures.push(Fixture { database, issuer, router, clock });
    }
    fixtures
}

impl Fixture {
    pub(super) fn bearer(&self, client: &str, scope: &str) -> String {
        format!("Bearer {}", self.issuer.token(client).client(client).scopes(&[scope]).mint())
    }

    pub(super) async fn work(
        &self,
        client: &str,
        path: &str,
        body: serde_json::Value,
    ) -> (StatusCode, serde_json::Value) {
        let path = format!("/jobs/v1/work/{path}");
        calls::call(&self.router, "POST", &path, Some(&self.bearer(client, WORK)), &body).await
    }

    pub(super) async fn enqueue(
        &self,
        path: &str,
        key: &str,
        body: &serde_json::Value,
    ) -> (StatusCode, serde_json::Value) {
        let request = Request::post(path)
            .header("authorization", self.bearer("shop", ENQUEUE))
            .header("idempotency-key", key)
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()));
        let response = self.router.clone().oneshot(request.unwrap()).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// A job that was enqueued and claimed by `client`, and its lease.
    async fn claimed(&self, client: &str, key: &str) -> (JobId, String) {
        let (_, job) = self.enqueue("/jobs/v1/jobs", key, &json!({"kind": "python.add", "args": {}})).await;
        let (_, given) = self.work(client, "claim", json!({"kinds": ["python.add"]})).await;
        assert_eq!(given["jobs"][0]["id"], job["id"], "{}", self.database.name);
        (job["id"].as_str().unwrap().parse().unwrap(), given["lease"].as_str().unwrap().to_owned())
    }

    async fn state(&self, id: JobId) -> JobState {
        lookup(&self.database.store, id).await.unwrap().unwrap().state
    }
}

#[tokio::test]
async fn an_idempotency_key_enqueues_once_and_kinds_that_are_not_allowed_never() {
    for fixture in fixtures().await {
        let job = json!({"kind": "python.add", "args": {"numbers": [1]}});
        let (status, first) = fixture.enqueue("/jobs/v1/jobs", "a", &job).await;
        let (_, again) = fixture.enqueue("/jobs/v1/jobs", "a", &job).await;
        assert_eq!((status, &first), (StatusCode::CREATED, &again), "{}", fixture.database.name);
        let many = json!({"jobs": [job, job]});
        let (_, first) = fixture.enqueue("/jobs/v1/jobs/bulk", "a", &many).await;
        let (_, again) = fixture.enqueue("/jobs/v1/jobs/bulk", "a", &many).await;
        assert_eq!((first["data"].as_array().unwrap().len(), &first), (2, &again));
        let (_, given) = fixture.work("w", "claim", json!({"kinds": ["python.add"], "limit": 100})).await;
        assert_eq!(given["jobs"].as_array().unwrap().len(), 3, "{}", fixture.database.name);

        let mail = json!({"jobs": [{"kind": "python.add"}, {"kind": "email.send"}]});
        let (status, problem) = fixture.enqueue("/jobs/v1/jobs/bulk", "b", &mail).await;
        assert_eq!((status, &problem["code"]), (StatusCode::FORBIDDEN, &json!("kind_not_allowed")));
        let (status, _) = fixture.work("w", "claim", json!({"kinds": ["email.send"]})).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        let (_, given) = fixture.work("w", "claim", json!({"kinds": ["python.add"]})).await;
        assert_eq!(given["lease"], json!(null), "all or none");
    }
}

#[tokio::test]
async fn a_client_says_which_jobs_are_the_same_and_what_becomes_of_a_second_one() {
    for fixture in fixtures().await {
        let job = |args: serde_json::Value, unique: serde_json::Value| json!({"kind": "python.add", "args": args, "unique": unique});
        let by_day = json!({"arg_keys": ["day"], "states": "waiting", "on_conflict": "replace_args"});
        let jobs = [
            job(json!({"day": 1, "n": 1}), by_day.clone()),
            job(json!({"n": 2, "day": 1}), by_day.clone()),
            job(json!({"day": 2}), by_day),
        ];
        let (_, many) = fixture.enqueue("/jobs/v1/jobs/bulk", "a", &json!({"jobs": jobs})).await;
        let id = &many["data"][0]["id"];
        assert_eq!(many["data"][1], json!({"id": id, "duplicate": true, "replaced": true}), "{many}");
        assert_eq!(many["data"][2]["duplicate"], json!(false), "{}", fixture.database.name);
        let (_, given) = fixture.work("w", "claim", json!({"kinds": ["python.add"]})).await;
        assert_eq!(given["jobs"][0]["args"], json!({"day": 1, "n": 2}), "{}", fixture.database.name);

        for unique in [json!({"states": "all"}), json!({"period_ms": 0}), json!({"arg_keys": [], "key": "k"})]
        {
            let (status, problem) = fixture.enqueue("/jobs/v1/jobs", "b", &job(json!({}), unique)).await;
            assert!(status.is_client_error(), "{status}: {problem}");
        }
    }
}

#[tokio::test]
async fn each_outcome_ends_a_job_as_it_says_and_a_second_one_is_refused() {
    for fixture in fixtures().await {
        for (outcome, expected) in [
            (json!({"outcome": "completed"}), JobState::Completed),
            (json!({"outcome": "failed", "error": "busy", "retry_after_ms": 60_000}), JobState::Ready),
            (json!({"outcome": "snoozed", "retry_after_ms": 60_000}), JobState::Ready),
            (json!({"outcome": "discarded", "error": "no such account"}), JobState::Discarded),
            (json!({"outcome": "cancelled"}), JobState::Cancelled),
        ] {
            let (id, lease) = fixture.claimed("w", &outcome.to_string().replace(' ', "")).await;
            let mut ended = outcome.clone();
            ended["id"] = json!(id);
            let said = json!({"lease": lease, "jobs": [ended]});
            let (_, answer) = fixture.work("w", "acknowledge", said.clone()).await;
            assert_eq!(answer, json!({"refused": []}), "{outcome}");
            assert_eq!(fixture.state(id).await, expected, "{}: {outcome}", fixture.database.name);
            let (_, answer) = fixture.work("w", "acknowledge", said).await;
            assert_eq!(answer, json!({"refused": [id]}), "{outcome}");
        }
    }
}

#[tokio::test]
async fn a_lease_belongs_to_the_client_that_claimed_it() {
    for fixture in fixtures().await {
        let (id, lease) = fixture.claimed("w", "a").await;
        let said = json!({"lease": lease, "jobs": [{"id": id, "outcome": "completed"}]});
        let (_, answer) = fixture.work("other", "acknowledge", said).await;
        assert_eq!(answer, json!({"refused": [id]}), "{}", fixture.database.name);
        let (status, problem) = fixture.work("other", "extend", json!({"lease": lease})).await;
        assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("lease_lost")));
        assert_eq!(fixture.state(id).await, JobState::Running);

        let (_, answer) = fixture.work("w", "extend", json!({"lease": lease})).await;
        assert_eq!(answer["cancelled"], json!([]));
        let asked = cancel(&fixture.database.store, fixture.clock.as_ref(), id).await.unwrap();
        assert_eq!(asked, Cancelled::Asked);
        let (_, answer) = fixture.work("w", "extend", json!({"lease": lease})).await;
        assert_eq!(answer["cancelled"], json!([id]), "{}", fixture.database.name);
    }
}

#[tokio::test]
async fn a_worker_in_python_runs_a_job_that_was_enqueued_while_it_waited() {
    for fixture in fixtures().await {
        let directory = tempfile::tempdir().unwrap();
        let token = directory.path().join("token");
        std::fs::write(&token, fixture.issuer.token("python").client("python").scopes(&[WORK]).mint())
            .unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let router = fixture.router.clone();
        let mut server = tokio::task::JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await });
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operator/jobs/worker.py");
        let mut worker = tokio::process::Command::new("python3")
            .arg(script)
            .arg(&base)
            .arg(&token)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(worker.stdout.take().unwrap()).lines();

        let job = json!({"kind": "python.add", "args": {"numbers": [1, 2, 39]}});
        let (_, enqueued) = fixture.enqueue("/jobs/v1/jobs", "a", &job).await;
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
        let said: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(said, json!({"job": enqueued["id"], "sum": 42}), "{}", fixture.database.name);
        let id: JobId = enqueued["id"].as_str().unwrap().parse().unwrap();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while fixture.state(id).await != JobState::Completed {
            assert!(tokio::time::Instant::now() < deadline, "the job is not acknowledged");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let notes = lookup(&fixture.database.store, id).await.unwrap().unwrap().notes;
        assert_eq!(notes.result, Some(json!({"sum": 42})), "{}", fixture.database.name);
        assert_eq!(notes.progress.map(|progress| progress.done), Some(3), "{}", fixture.database.name);
        worker.kill().await.unwrap();
    }
}

#[tokio::test]
async fn a_worker_saves_where_it_is_and_answers_with_a_result() {
    for fixture in fixtures().await {
        let (id, lease) = fixture.claimed("w", "a").await;
        let progress = json!({"done": 1, "total": 3, "message": "first file"});
        let said = json!({"id": id, "checkpoint": {"file": 1}, "progress": progress});
        let (_, answer) = fixture.work("w", "extend", json!({"lease": lease, "jobs": [said]})).await;
        assert_eq!(answer, json!({"cancelled": [], "refused": []}), "{}", fixture.database.name);
        let stranger = json!({"id": JobId::new(), "checkpoint": 1});
        let (_, answer) = fixture.work("w", "extend", json!({"lease": lease, "jobs": [stranger]})).await;
        assert_eq!(answer["refused"], json!([stranger["id"]]));
        let bearer = fixture.bearer("operator", READ);
        let path = format!("/jobs/v1/jobs/{id}");
        let shown = async || call(&fixture.router, "GET", &path, Some(&bearer)).await.1;
        assert_eq!(
            (shown().await["progress"].clone(), shown().await["state"].clone()),
            (progress, json!("running"))
        );

        let again = json!({"id": id, "outcome": "snoozed", "retry_after_ms": 0});
        fixture.work("w", "acknowledge", json!({"lease": lease, "jobs": [again]})).await;
        let (_, given) = fixture.work("w", "claim", json!({"kinds": ["python.add"]})).await;
        assert_eq!(given["jobs"][0]["checkpoint"], json!({"file": 1}), "{}", fixture.database.name);

        let lease = &given["lease"];
        let large = json!({"id": id, "outcome": "completed", "result": "x".repeat(1 << 16)});
        let (status, problem) =
            fixture.work("w", "acknowledge", json!({"lease": lease, "jobs": [large]})).await;
        assert_eq!((status, &problem["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("too_large")));
        assert_eq!(fixture.state(id).await, JobState::Running, "nothing of it was recorded");
        let failed = json!({"id": id, "outcome": "failed", "error": "no", "result": 1});
        let (status, _) = fixture.work("w", "acknowledge", json!({"lease": lease, "jobs": [failed]})).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        let done = json!({"id": id, "outcome": "completed", "result": {"sum": 42}});
        let (_, answer) = fixture.work("w", "acknowledge", json!({"lease": lease, "jobs": [done]})).await;
        assert_eq!(answer, json!({"refused": []}));
        assert_eq!(shown().await["result"], json!({"sum": 42}), "{}", fixture.database.name);
    }
}
