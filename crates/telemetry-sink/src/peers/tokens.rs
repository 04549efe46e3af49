//! Access tokens for a peer, fetched when they are needed and kept until shortly before they end.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Request};
use quintet_http::Client;
use quintet_service::Invalid;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::settings::TokenSection;
use crate::outbound::{Access, parse_url};

/// A token that ends sooner is fetched anew.
const MARGIN: Duration = Duration::from_secs(30);
/// Of a token that does not say when it ends.
const UNSAID_SECONDS: u64 = 60;
/// No token is kept longer.
const LONGEST_SECONDS: u64 = 24 * 3600;
const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_ANSWER: usize = 64 * 1024;

/// One client's tokens.
pub(super) struct Tokens {
    client: Client,
    path: String,
    access: Access,
    scope: String,
    /// Held while one is fetched, so that queries at the same time fetch one.
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    token: String,
    ends: Instant,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: Option<u64>,
}

impl Tokens {
    pub(super) fn new(settings: &TokenSection) -> Result<Self, Invalid> {
        let (origin, path) = parse_url(&settings.url, "fleet.peers.token.url")?;
        let client = settings.access.client(origin, TIMEOUT, "fleet.peers.token")?.max_body(MAX_ANSWER);
        let (access, scope) = (settings.access.clone(), settings.scope.clone());
        Ok(Self { client, path, access, scope, kept: Mutex::new(None) })
    }

    /// A token that is good for a while.
    pub(super) async fn get(&self) -> Result<String, String> {
        let mut kept = self.kept.lock().await;
        if let Some(known) = kept.as_ref().filter(|known| known.ends > Instant::now() + MARGIN) {
            return Ok(known.token.clone());
        }
        let granted = self.fetch().await?;
        let lasts = Duration::from_secs(granted.expires_in.unwrap_or(UNSAID_SECONDS).min(LONGEST_SECONDS));
        let token = granted.access_token;
        *kept = Some(Kept { token: token.clone(), ends: Instant::now() + lasts });
        Ok(token)
    }

    /// Forgets a token that was refused, unless another has taken its place.
    pub(super) async fn refused(&self, token: &str) {
        let mut kept = self.kept.lock().await;
        if kept.as_ref().is_some_and(|known| known.token == token) {
            *kept = None;
        }
    }

    async fn fetch(&self) -> Result<Granted, String> {
        let form =
            serde_urlencoded::to_string([("grant_type", "client_credentials"), ("scope", &self.scope)])
                .map_err(|error| error.to_string())?;
        let mut request =
            Request::post(&self.path).body(Bytes::from(form)).map_err(|error| error.to_string())?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        self.access.apply(headers)?;
        let answer = self
            .client
            .request(request)
            .await
            .map_err(|error| format!("no token could be fetched: {error}"))?;
        if !answer.status().is_success() {
            return Err(format!("the token endpoint answered with status {}", answer.status()));
        }
        serde_json::from_slice(answer.body())
            .map_err(|_| "the token endpoint answered with no token".to_owned())
    }
}
