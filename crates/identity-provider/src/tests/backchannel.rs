//! Back-channel logout (OpenID Connect Back-Channel Logout 1.0).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use quintet_auth::{Compact, public_keys};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::harness::*;
use crate::backchannel;

/// A client that keeps what it is told and answers as it likes.
#[derive(Clone)]
struct Listener {
    told: Arc<Mutex<Vec<String>>>,
    answer: Arc<Mutex<StatusCode>>,
}

impl Listener {
    async fn start(tasks: &mut JoinSet<()>) -> (Self, String) {
        let listener = Self { told: Arc::default(), answer: Arc::new(Mutex::new(StatusCode::OK)) };
        let own = listener.clone();
        let handler = axum::routing::post(move |body: String| async move {
            own.told.lock().unwrap().push(body);
            *own.answer.lock().unwrap()
        });
        let router = axum::Router::new().route("/logout", handler);
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/logout", socket.local_addr().unwrap());
        tasks.spawn(async move { axum::serve(socket, router).await.unwrap() });
        (listener, uri)
    }

    fn tokens(&self) -> Vec<String> {
        let told = self.told.lock().unwrap();
        told.iter().map(|body| body.strip_prefix("logout_token=").unwrap().to_owned()).collect()
    }
}

/// The provider with a console that listens.
async fn listening(provider: Provider, uri: &str) -> Provider {
    let mut config = config(provider.directory.path(), &provider.database.url);
    config["clients"][0]["backchannel_logout_uri"] = uri.into();
    let app = open(config, &provider.database, &provider.clock).await.unwrap();
    Provider { router: crate::routes::router(app.clone()), app, ..provider }
}

async fn sign_out(provider: &Provider, browser: &mut Browser, tokens: &Value) {
    let hint = tokens["id_token"].as_str().unwrap();
    let answer =
        browser.get(provider, &format!("/identity/logout?{}", form(&[("id_token_hint", hint)]))).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
}

const WAITING: &str = "SELECT count(*) AS n FROM identity_logout_deliveries";

#[tokio::test]
async fn a_client_is_told_once_by_a_signed_token_that_a_session_has_ended() {
    for provider in providers().await {
        let mut tasks = JoinSet::new();
        let (listener, uri) = Listener::start(&mut tasks).await;
        let provider = listening(provider, &uri).await;
        let (mut browser, tokens) = provider.sign_in("openid").await;
        backchannel::turn(&provider.app).await.unwrap();
        assert!(listener.tokens().is_empty(), "the session goes on");
        sign_out(&provider, &mut browser, &tokens).await;
        backchannel::turn(&provider.app).await.unwrap();
        backchannel::turn(&provider.app).await.unwrap();
        let told = listener.tokens();
        assert_eq!(told.len(), 1);
        let token = Compact::parse(&told[0]).unwrap();
        assert_eq!(token.kind, "logout+jwt");
        let keys = public_keys(provider.app.keys.jwks().as_bytes()).unwrap();
        assert!(keys.iter().any(|key| token.is_signed_by(key)));
        let claims_of_it: Value = token.claims().unwrap();
        let id = claims(&tokens["id_token"]);
        assert_eq!((&claims_of_it["iss"], &claims_of_it["aud"]), (&json!(ISSUER), &json!("console")));
        assert_eq!((&claims_of_it["sid"], &claims_of_it["sub"]), (&id["sid"], &id["sub"]));
        let events = json!({ "http://schemas.openid.net/event/backchannel-logout": {} });
        assert_eq!(claims_of_it["events"], events);
        assert!(claims_of_it["jti"].is_string() && claims_of_it.get("nonce").is_none(), "section 2.4");
        let lifetime = claims_of_it["exp"].as_i64().unwrap() - claims_of_it["iat"].as_i64().unwrap();
        assert_eq!(lifetime, 120);
        assert_eq!(provider.count(WAITING).await, 0);
    }
}

#[tokio::test]
async fn a_client_that_fails_is_told_again_later_and_given_up_in_the_end() {
    for provider in providers().await {
        let mut tasks = JoinSet::new();
        let (listener, uri) = Listener::start(&mut tasks).await;
        let provider = listening(provider, &uri).await;
        let (mut browser, tokens) = provider.sign_in("openid").await;
        *listener.answer.lock().unwrap() = StatusCode::SERVICE_UNAVAILABLE;
        sign_out(&provider, &mut browser, &tokens).await;
        backchannel::turn(&provider.app).await.unwrap();
        backchannel::turn(&provider.app).await.unwrap();
        assert_eq!(listener.tokens().len(), 1, "not at once");
        provider.clock.advance(Duration::from_secs(8));
        backchannel::turn(&provider.app).await.unwrap();
        assert_eq!(listener.tokens().len(), 2);
        // Also after a restart, and of two nodes by one.
        let provider = listening(provider, &uri).await;
        let other = provider.app.clone();
        provider.clock.advance(Duration::from_mins(11));
        let (one, two) = tokio::join!(backchannel::turn(&provider.app), backchannel::turn(&other));
        one.and(two).unwrap();
        assert_eq!(listener.tokens().len(), 3);
        for _ in 0..10 {
            provider.clock.advance(Duration::from_mins(11));
            backchannel::turn(&provider.app).await.unwrap();
        }
        assert_eq!(listener.tokens().len(), 8);
        assert_eq!(provider.count(WAITING).await, 0);
    }
}

#[tokio::test]
async fn what_a_client_without_an_address_would_hear_is_forgotten() {
    for provider in providers().await {
        let (mut browser, tokens) = provider.sign_in("openid").await;
        sign_out(&provider, &mut browser, &tokens).await;
        assert_eq!(provider.count(WAITING).await, 1);
        backchannel::turn(&provider.app).await.unwrap();
        assert_eq!(provider.count(WAITING).await, 0);
    }
}
