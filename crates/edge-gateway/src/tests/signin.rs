//! Browsers: sign-in against a small provider, sessions, refresh, sign-out, forgery.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Form, State};
use axum::response::{IntoResponse as _, Response as AxumResponse};
use axum::routing::post as route_post;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderMap, Request, Response, StatusCode};
use quintet_http::Client;
use quintet_testkit::FakeClock;
use quintet_testkit::issuer::TestIssuer;
use serde_json::{Value, json};

use super::harness::*;

const BROWSER: &str = "[[upstreams]]\nname = \"echo\"\naddresses = [\"unix:DIR/echo.sock\"]\n\
    [[routes]]\npath_prefix = \"/\"\nupstream = \"echo\"\nauth = \"browser\"\n\
    [[routes]]\npath_prefix = \"/admin\"\nupstream = \"echo\"\nauth = \"browser\"\nscopes = [\"identity:admin\"]\n\
    [[routes]]\npath_prefix = \"/open\"\nupstream = \"echo\"\n\
    [identity]\nissuer = \"https://localhost/identity\"\njwks = \"unix:DIR/identity.sock\"\n\
    client_secret_file = \"DIR/client-secret\"\ncookie_key_file = \"DIR/cookie-key\"\nscopes = [\"orders:read\"]\n";

/// What the provider knows and counts.
struct Provider {
    issuer: Arc<TestIssuer>,
    nonce: Mutex<String>,
    challenge: Mutex<String>,
    refreshes: AtomicUsize,
    down: std::sync::atomic::AtomicBool,
    lifetime: i64,
}

struct Scene {
    fixture: Fixture,
    provider: Arc<Provider>,
    client: Client,
    clock: FakeClock,
}

/// The secrets must exist before the gateway starts, so they are written by way of a first directory.
async fn scene(lifetime: i64) -> Scene {
    let secrets = tempfile::TempDir::new().unwrap();
    for (name, content) in
        [("client-secret", "s3cret:+%".to_owned()), ("cookie-key", STANDARD.encode([9u8; 32]))]
    {
        let path = secrets.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    let config = ["client-secret", "cookie-key"].iter().fold(BROWSER.to_owned(), |text, name| {
        text.replace(&format!("DIR/{name}"), secrets.path().join(name).to_str().unwrap())
    });
    let clock = FakeClock::default();
    let mut fixture = Fixture::start_with_clock(&config, clock.shared()).await;
    let provider = Arc::new(Provider {
        issuer: fixture.issuer.clone(),
        nonce: Mutex::default(),
        challenge: Mutex::default(),
        refreshes: AtomicUsize::new(0),
        down: std::sync::atomic::AtomicBool::new(false),
        lifetime,
    });
    let router = Router::new().route("/identity/token", route_post(token)).with_state(provider.clone());
    fixture.serve("identity", fixture.issuer.router().merge(router));
    fixture.serve("echo", echo());
    let client = fixture.client();
    Scene { fixture, provider, client, clock }
}

async fn token(
    State(provider): State<Arc<Provider>>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> AxumResponse {
    let error = |code: &str| (StatusCode::BAD_REQUEST, axum::Json(json!({ "error": code }))).into_response();
    if provider.down.load(Ordering::SeqCst) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let expected = format!("Basic {}", STANDARD.encode("console:s3cret%3A%2B%25"));
    if headers["authorization"] != expected {
        return error("invalid_client");
    }
    let refreshed = match form["grant_type"].as_str() {
        "authorization_code" => {
            let challenge =
                aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, form["code_verifier"].as_bytes());
            let fits = URL_SAFE_NO_PAD.encode(challenge) == *provider.challenge.lock().unwrap();
            if form["code"] != "good" || !fits || form["redirect_uri"] != "https://localhost/.auth/callback" {
                return error("invalid_grant");
            }
            0
        }
        "refresh_token" => {
            let used = provider.refreshes.fetch_add(1, Ordering::SeqCst);
            if form["refresh_token"] != format!("refresh-{used}") {
                return error("invalid_grant");
            }
            used + 1
        }
        _ => return error("unsupported_grant_type"),
    };
    let access = provider
        .issuer
        .token("usr_1")
        .scopes(&["orders:read"])
        .expires_in(provider.lifetime)
        .claim("n", refreshed);
    let id_token = provider
        .issuer
        .token("usr_1")
        .audience("console")
        .claim("nonce", provider.nonce.lock().unwrap().clone())
        .claim("name", "Ada")
        .claim("email", "ada@example.test")
        .header("typ", "JWT");
    axum::Json(json!({
        "access_token": access.mint(), "token_type": "Bearer", "expires_in": provider.lifetime,
        "refresh_token": format!("refresh-{refreshed}"), "scope": "openid orders:read", "id_token": id_token.mint(),
    }))
    .into_response()
}

impl Scene {
    async fn ask(&self, mut request: Request<Bytes>, cookies: &[String]) -> Response<Bytes> {
        request.headers_mut().insert("host", "localhost".parse().unwrap());
        if !cookies.is_empty() {
            request.headers_mut().insert("cookie", cookies.join("; ").parse().unwrap());
        }
        self.client.request(request).await.unwrap()
    }

    /// Goes to the login page; returns the authorize URL's parameters and the flow cookie.
    async fn begin(&self, return_to: &str) -> (HashMap<String, String>, String) {
        let path = format!("/.auth/login?{}", crate::identity::query(&[("return_to", return_to)]));
        let response = self.ask(get(&path), &[]).await;
        assert_eq!(response.status(), StatusCode::SEE_OTHER);
        let location = url::Url::parse(location(&response)).unwrap();
        assert!(location.as_str().starts_with("https://localhost/identity/authorize?"), "{location}");
        let parameters: HashMap<String, String> = location.query_pairs().into_owned().collect();
        *self.provider.nonce.lock().unwrap() = parameters["nonce"].clone();
        *self.provider.challenge.lock().unwrap() = parameters["code_challenge"].clone();
        (parameters, cookie(&response, "__Host-quintet_signin").unwrap())
    }

    /// Signs in completely; returns the session cookie.
    async fn sign_in(&self) -> String {
        let (parameters, flow) = self.begin("/fleet?x=1").await;
        let back =
            crate::identity::query(&[("code", "good"), ("state", &parameters["state"]), ("iss", ISSUER)]);
        let response = self.ask(get(&format!("/.auth/callback?{back}")), &[flow]).await;
        assert_eq!(
            (response.status(), location(&response)),
            (StatusCode::SEE_OTHER, "/fleet?x=1"),
            "{response:?}"
        );
        cookie(&response, "__Host-quintet_session").unwrap()
    }
}

fn location(response: &Response<Bytes>) -> &str {
    response.headers()["location"].to_str().unwrap()
}

/// A cookie that the response sets, as the browser would send it.
fn cookie(response: &Response<Bytes>, name: &str) -> Option<String> {
    let all = response.headers().get_all("set-cookie").iter().filter_map(|value| value.to_str().ok());
    let set = all.into_iter().find(|value| value.starts_with(name))?;
    for attribute in ["Secure", "HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(set.split("; ").any(|part| part == attribute), "{set}");
    }
    assert!(!set.contains("Domain"), "{set}");
    Some(set.split(';').next().unwrap().to_owned())
}

fn with(mut request: Request<Bytes>, pairs: &[(&'static str, &str)]) -> Request<Bytes> {
    for (name, value) in pairs {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    request
}

#[tokio::test]
async fn a_person_is_sent_to_sign_in_and_a_program_gets_401() {
    let scene = scene(300).await;
    let page = scene.ask(with(get("/fleet?x=1"), &[("accept", "text/html")]), &[]).await;
    assert_eq!(
        (page.status(), location(&page)),
        (StatusCode::SEE_OTHER, "/.auth/login?return_to=%2Ffleet%3Fx%3D1")
    );
    let call = scene.ask(with(get("/fleet"), &[("accept", "application/json")]), &[]).await;
    assert_eq!((call.status(), &*problem_code(&call)), (StatusCode::UNAUTHORIZED, "token_missing"));
    assert_eq!(scene.ask(get("/open"), &[]).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn sign_in_leads_to_a_session_that_upstreams_see_as_a_token() {
    let scene = scene(300).await;
    let (parameters, _) = scene.begin("/").await;
    assert_eq!(parameters["response_type"], "code");
    assert_eq!(parameters["client_id"], "console");
    assert_eq!(parameters["redirect_uri"], "https://localhost/.auth/callback");
    assert_eq!(parameters["code_challenge_method"], "S256");
    assert_eq!(parameters["scope"], "openid profile email offline_access orders:read");
    let session = scene.sign_in().await;
    let response = scene.ask(get("/data"), &["other=1".to_owned(), session.clone()]).await;
    assert_eq!(response.status(), StatusCode::OK);
    let seen = Seen::of(response.body());
    assert!(seen.header("authorization").unwrap().starts_with("Bearer ey"));
    assert_eq!(seen.header("cookie"), Some("other=1"), "the session itself stays here");
    let open = scene.ask(get("/open"), std::slice::from_ref(&session)).await;
    assert_eq!(Seen::of(open.body()).header("authorization"), None, "an open route gets no token");
    assert_eq!(Seen::of(open.body()).header("cookie"), None);
    let refused = scene.ask(get("/admin"), std::slice::from_ref(&session)).await;
    assert_eq!((refused.status(), &*problem_code(&refused)), (StatusCode::FORBIDDEN, "scope_missing"));
    let who = scene.ask(get("/.auth/session"), &[session]).await;
    let who: Value = serde_json::from_slice(who.body()).unwrap();
    assert_eq!(
        who,
        json!({ "sub": "usr_1", "name": "Ada", "email": "ada@example.test", "scopes": ["openid", "orders:read"],
                "expires_at": "2026-03-01T12:05:00Z" })
    );
    let nobody = scene.ask(get("/.auth/session"), &[]).await;
    assert_eq!((nobody.status(), &*problem_code(&nobody)), (StatusCode::UNAUTHORIZED, "not_signed_in"));
}

#[tokio::test]
async fn a_callback_that_was_not_asked_for_is_refused() {
    let scene = scene(300).await;
    let (parameters, flow) = scene.begin("/").await;
    let state = parameters["state"].clone();
    let check = async |pairs: &[(&str, &str)], cookies: &[String], code: &str| {
        let response =
            scene.ask(get(&format!("/.auth/callback?{}", crate::identity::query(pairs))), cookies).await;
        assert!(response.status().is_client_error(), "{response:?}");
        assert_eq!(problem_code(&response), code);
        assert_eq!(cookie(&response, "__Host-quintet_session"), None);
    };
    let flow = [flow];
    check(&[("code", "good"), ("state", &state)], &[], "signin_expired").await;
    check(&[("code", "good"), ("state", "other")], &flow, "signin_state").await;
    check(&[("code", "good")], &flow, "signin_state").await;
    check(&[("code", "good"), ("state", &state), ("iss", "https://evil.test")], &flow, "signin_issuer").await;
    check(&[("error", "access_denied"), ("state", &state)], &flow, "signin_refused").await;
    check(&[("state", &state)], &flow, "signin_code").await;
    check(&[("code", "bad"), ("state", &state)], &flow, "signin_code").await;
    // The ID token answers another sign-in.
    "other".clone_into(&mut scene.provider.nonce.lock().unwrap());
    let replay = crate::identity::query(&[("code", "good"), ("state", &state)]);
    let response = scene.ask(get(&format!("/.auth/callback?{replay}")), &flow).await;
    assert_eq!((response.status(), &*problem_code(&response)), (StatusCode::BAD_GATEWAY, "identity_broken"));
    scene.clock.advance(Duration::from_secs(601));
    check(&[("code", "good"), ("state", &state)], &flow, "signin_expired").await;
}

#[tokio::test]
async fn sign_in_does_not_lead_away_from_this_origin() {
    let scene = scene(300).await;
    for target in ["https://evil.test/", "//evil.test", "/\\evil.test", "/.auth/login"] {
        let (parameters, flow) = scene.begin(target).await;
        let back = crate::identity::query(&[("code", "good"), ("state", &parameters["state"])]);
        let response = scene.ask(get(&format!("/.auth/callback?{back}")), &[flow]).await;
        assert_eq!((response.status(), location(&response)), (StatusCode::SEE_OTHER, "/"), "{target}");
    }
}

#[tokio::test]
async fn a_forged_or_foreign_cookie_is_nobody() {
    let scene = scene(300).await;
    let session = scene.sign_in().await;
    let (_, flow) = scene.begin("/").await;
    let flow_as_session = flow.replace("__Host-quintet_signin", "__Host-quintet_session");
    let mut changed = session.clone();
    changed.pop();
    for forged in [flow_as_session, changed, "__Host-quintet_session=v1.AAAA".to_owned()] {
        assert_eq!(scene.ask(get("/data"), &[forged]).await.status(), StatusCode::UNAUTHORIZED);
    }
    let twice = [session.clone(), session];
    assert_eq!(scene.ask(get("/data"), &twice).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn other_sites_cannot_act_with_the_session() {
    let scene = scene(300).await;
    let session = [scene.sign_in().await];
    let check = async |request: Request<Bytes>, expected: StatusCode| {
        let response = scene.ask(request, &session).await;
        assert_eq!(response.status(), expected);
        if expected == StatusCode::FORBIDDEN {
            assert_eq!(problem_code(&response), "csrf");
        }
    };
    check(post("/data", "x"), StatusCode::FORBIDDEN).await;
    check(with(post("/data", "x"), &[("origin", "https://evil.test")]), StatusCode::FORBIDDEN).await;
    check(with(post("/data", "x"), &[("sec-fetch-site", "cross-site")]), StatusCode::FORBIDDEN).await;
    check(with(post("/data", "x"), &[("origin", "https://localhost")]), StatusCode::OK).await;
    check(with(post("/data", "x"), &[("sec-fetch-site", "same-origin")]), StatusCode::OK).await;
    check(get("/data"), StatusCode::OK).await;
    check(
        with(
            get("/ws"),
            &[("connection", "upgrade"), ("upgrade", "websocket"), ("origin", "https://evil.test")],
        ),
        StatusCode::FORBIDDEN,
    )
    .await;
    check(post("/.auth/logout", ""), StatusCode::FORBIDDEN).await;
    // A bearer token is no cookie: nothing is sent along by a browser unasked.
    let bearer = scene.fixture.issuer.bearer("usr_2", &[]);
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let response = scene.ask(with(post("/data", "x"), &[("authorization", &bearer)]), &[]).await;
        if response.status() == StatusCode::OK {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{response:?}");
    }
}

#[tokio::test]
async fn an_expiring_session_is_renewed_once_however_many_requests_carry_it() {
    let scene = scene(300).await;
    let old = scene.sign_in().await;
    let before = scene.ask(get("/data"), std::slice::from_ref(&old)).await;
    assert_eq!(cookie(&before, "__Host-quintet_session"), None);
    scene.clock.advance(Duration::from_secs(280));
    let cookies = [old.clone()];
    let answers = futures_util::future::join_all((0..20).map(|_| scene.ask(get("/data"), &cookies))).await;
    assert_eq!(scene.provider.refreshes.load(Ordering::SeqCst), 1);
    let tokens: Vec<_> = answers
        .iter()
        .map(|answer| Seen::of(answer.body()).header("authorization").unwrap().to_owned())
        .collect();
    assert!(tokens.iter().all(|token| *token == tokens[0]));
    assert_ne!(tokens[0], Seen::of(before.body()).header("authorization").unwrap());
    let renewed = cookie(&answers[0], "__Host-quintet_session").unwrap();
    assert!(answers.iter().all(|answer| cookie(answer, "__Host-quintet_session").is_some()));
    // The renewed session can be renewed in turn; the old cookie is worth nothing after a while.
    scene.clock.advance(Duration::from_secs(280));
    let again = scene.ask(get("/data"), &[renewed]).await;
    assert_eq!((again.status(), scene.provider.refreshes.load(Ordering::SeqCst)), (StatusCode::OK, 2));
    let stale = scene.ask(get("/data"), &[old]).await;
    assert_eq!(stale.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_outage_of_the_provider_ends_no_session() {
    let scene = scene(300).await;
    let session = [scene.sign_in().await];
    scene.provider.down.store(true, Ordering::SeqCst);
    scene.clock.advance(Duration::from_secs(280));
    assert_eq!(scene.ask(get("/data"), &session).await.status(), StatusCode::OK, "the token is still valid");
    scene.clock.advance(Duration::from_secs(30));
    let down = scene.ask(get("/data"), &session).await;
    assert_eq!(
        (down.status(), &*problem_code(&down)),
        (StatusCode::SERVICE_UNAVAILABLE, "identity_unavailable")
    );
    scene.provider.down.store(false, Ordering::SeqCst);
    assert_eq!(scene.ask(get("/data"), &session).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn sign_out_forgets_the_session_and_goes_to_the_provider() {
    let scene = scene(300).await;
    let session = [scene.sign_in().await];
    let response =
        scene.ask(with(post("/.auth/logout", ""), &[("sec-fetch-site", "same-origin")]), &session).await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    let location = url::Url::parse(location(&response)).unwrap();
    assert_eq!(location.path(), "/identity/logout");
    let parameters: HashMap<String, String> = location.query_pairs().into_owned().collect();
    assert_eq!(parameters["post_logout_redirect_uri"], "https://localhost/");
    assert_eq!(parameters["client_id"], "console");
    assert!(parameters["id_token_hint"].starts_with("ey"));
    assert_eq!(cookie(&response, "__Host-quintet_session").as_deref(), Some("__Host-quintet_session="));
    let wrong = scene.ask(get("/.auth/logout"), &session).await;
    assert_eq!(
        (wrong.status(), wrong.headers()["allow"].to_str().unwrap()),
        (StatusCode::METHOD_NOT_ALLOWED, "POST")
    );
}

#[tokio::test]
async fn sign_in_on_another_host_moves_to_the_issuers_origin_first() {
    let scene = scene(300).await;
    let request = with(get("/.auth/login?return_to=%2Fx"), &[("host", &scene.fixture.authority())]);
    let response = scene.client.request(request).await.unwrap();
    assert_eq!(
        (response.status(), location(&response)),
        (StatusCode::SEE_OTHER, "https://localhost/.auth/login?return_to=%2Fx")
    );
}
