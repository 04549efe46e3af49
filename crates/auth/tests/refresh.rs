//! Keys fetched from an issuer that rotates, is flooded, goes away or answers nonsense.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests stop the test right there")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use quintet_auth::{Rejection, Settings, Verifier};
use quintet_http::{Address, Limits, Origin, serve};
use quintet_testkit::FakeClock;
use quintet_testkit::issuer::TestIssuer;
use quintet_types::SharedClock;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);

/// What the endpoint answers now, and how often it was asked.
#[derive(Clone)]
struct Endpoint {
    answer: Arc<Mutex<(StatusCode, String)>>,
    fetches: Arc<AtomicUsize>,
    address: Address,
}

impl Endpoint {
    fn new(directory: &tempfile::TempDir, answer: String) -> Self {
        Self {
            answer: Arc::new(Mutex::new((StatusCode::OK, answer))),
            fetches: Arc::default(),
            address: Address::Unix(directory.path().join("issuer.sock")),
        }
    }

    fn serve(&self) -> JoinSet<()> {
        let endpoint = self.clone();
        let jwks = get(move || async move {
            endpoint.fetches.fetch_add(1, Ordering::SeqCst);
            endpoint.answer.lock().unwrap().clone()
        });
        let router = Router::new().route("/identity/jwks.json", jwks);
        let mut task = JoinSet::new();
        task.spawn(serve(self.address.bind().unwrap(), router, Limits::default(), CancellationToken::new()));
        task
    }

    fn answer(&self, status: StatusCode, body: String) {
        *self.answer.lock().unwrap() = (status, body);
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    fn settings(&self, issuer: &TestIssuer) -> Settings {
        Settings {
            issuer: issuer.issuer.clone(),
            audience: issuer.audience.clone(),
            jwks: self.address.to_string().parse::<Origin>().unwrap(),
            jwks_path: "/identity/jwks.json".to_owned(),
        }
    }

    fn verifier(&self, issuer: &TestIssuer, clock: &FakeClock) -> Arc<Verifier> {
        Arc::new(Verifier::new(self.settings(issuer), clock.shared()))
    }
}

async fn loaded(verifier: &Verifier) {
    tokio::time::timeout(PATIENCE, verifier.loaded()).await.expect("the keys are fetched");
}

struct Scene {
    clock: FakeClock,
    issuer: TestIssuer,
    endpoint: Endpoint,
    server: JoinSet<()>,
    verifier: Arc<Verifier>,
    _directory: tempfile::TempDir,
}

/// A verifier that has loaded its issuer's keys with one fetch.
async fn scene() -> Scene {
    let directory = tempfile::tempdir().unwrap();
    let clock = FakeClock::default();
    let issuer = TestIssuer::with_clock(clock.shared());
    let endpoint = Endpoint::new(&directory, issuer.jwks());
    let server = endpoint.serve();
    let verifier = endpoint.verifier(&issuer, &clock);
    loaded(&verifier).await;
    assert_eq!(endpoint.fetches(), 1);
    Scene { clock, issuer, endpoint, server, verifier, _directory: directory }
}

#[tokio::test]
async fn keys_are_fetched_at_start_and_a_rotated_key_is_picked_up_by_its_first_token() {
    let mut scene = scene().await;
    assert!(scene.verifier.ready());
    assert!(scene.verifier.verify(&scene.issuer.token("usr_1").mint()).await.is_ok());

    scene.issuer.rotate();
    scene.endpoint.answer(StatusCode::OK, scene.issuer.jwks());
    assert!(scene.verifier.verify(&scene.issuer.token("usr_1").mint()).await.is_ok());
    assert_eq!(scene.endpoint.fetches(), 2);
}

#[tokio::test]
async fn a_flood_of_unknown_key_ids_causes_one_fetch_in_ten_seconds() {
    let scene = scene().await;
    let mut flood = JoinSet::new();
    for number in 0..200 {
        let token = scene.issuer.token("usr_1").header("kid", format!("invented-{number}")).mint();
        let verifier = scene.verifier.clone();
        flood.spawn(async move { verifier.verify(&token).await.unwrap_err() });
    }
    while let Some(rejection) = flood.join_next().await {
        assert_eq!(rejection.unwrap(), Rejection::UnknownKey);
    }
    assert_eq!(scene.endpoint.fetches(), 2);

    let unknown = scene.issuer.token("usr_1").header("kid", "invented").expires_in(3600).mint();
    scene.clock.advance(Duration::from_secs(9));
    assert_eq!(scene.verifier.verify(&unknown).await.unwrap_err(), Rejection::UnknownKey);
    assert_eq!(scene.endpoint.fetches(), 2);
    scene.clock.advance(Duration::from_secs(1));
    assert_eq!(scene.verifier.verify(&unknown).await.unwrap_err(), Rejection::UnknownKey);
    assert_eq!(scene.endpoint.fetches(), 3);
}

#[tokio::test]
async fn verification_goes_on_while_the_issuer_is_down() {
    let mut scene = scene().await;
    scene.server.shutdown().await;
    let unknown = scene.issuer.token("usr_1").header("kid", "invented").mint();
    assert_eq!(scene.verifier.verify(&unknown).await.unwrap_err(), Rejection::UnknownKey);
    assert!(scene.verifier.verify(&scene.issuer.token("usr_1").mint()).await.is_ok());
    assert!(scene.verifier.ready());
}

#[tokio::test]
async fn an_answer_that_is_no_usable_key_set_replaces_nothing() {
    let scene = scene().await;
    for (status, body) in [
        (StatusCode::OK, "{\"keys\":[]}".to_owned()),
        (StatusCode::OK, "<html>".to_owned()),
        (StatusCode::INTERNAL_SERVER_ERROR, scene.issuer.jwks()),
        (StatusCode::OK, " ".repeat(300 * 1024)),
    ] {
        scene.endpoint.answer(status, body);
        let fetches = scene.endpoint.fetches();
        let unknown = scene.issuer.token("usr_1").header("kid", "invented").mint();
        assert_eq!(scene.verifier.verify(&unknown).await.unwrap_err(), Rejection::UnknownKey);
        assert_eq!(scene.endpoint.fetches(), fetches + 1);
        assert!(scene.verifier.verify(&scene.issuer.token("usr_1").mint()).await.is_ok());
        scene.clock.advance(Duration::from_secs(10));
    }
}

#[tokio::test]
async fn before_the_first_keys_tokens_are_neither_good_nor_bad_and_the_start_recovers_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let clock = FakeClock::default();
    let issuer = TestIssuer::with_clock(clock.shared());
    let endpoint = Endpoint::new(&directory, issuer.jwks());
    let verifier = endpoint.verifier(&issuer, &clock);
    let token = issuer.token("usr_1").mint();
    assert!(!verifier.ready());
    assert_eq!(verifier.verify(&token).await.unwrap_err(), Rejection::Unavailable);
    assert_eq!(quintet_http::Problem::from(Rejection::Unavailable).status, StatusCode::SERVICE_UNAVAILABLE);

    let _server = endpoint.serve();
    loaded(&verifier).await;
    assert!(verifier.verify(&token).await.is_ok());
}

#[tokio::test]
async fn a_dropped_verifier_ends_its_refreshing() {
    let directory = tempfile::tempdir().unwrap();
    let issuer = TestIssuer::new();
    let endpoint = Endpoint::new(&directory, issuer.jwks());
    let _server = endpoint.serve();
    // The refreshing task holds the clock for as long as it lives.
    let clock: SharedClock = FakeClock::default().shared();
    let verifier = Verifier::new(endpoint.settings(&issuer), clock.clone());
    loaded(&verifier).await;
    drop(verifier);
    let ended = async {
        while Arc::strong_count(&clock) > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("the task ends");
}
