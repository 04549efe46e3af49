//! A provider with known clients, a browser that keeps cookies, and shorthands for the flows.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use aws_lc_rs::digest;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use quintet_testkit::{FakeClock, TestDatabase};
use quintet_types::SystemEntropy;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use url::Url;

use super::signing::ClientKey;
use crate::app::Shared;
use crate::config::Config;
use crate::{provider, routes};

pub(super) const ISSUER: &str = "https://localhost:8443/identity";
pub(super) const ORIGIN: &str = "https://localhost:8443";
pub(super) const ADMIN: &str = "admin@example.com";
pub(super) const ADMIN_PASSWORD: &str = "correct horse battery staple";
pub(super) const CALLBACK: &str = "https://localhost:8443/.auth/callback";
pub(super) const PARTNER_CALLBACK: &str = "https://partner.example/callback?from=quintet";
pub(super) const SECRET: &str = "client-secret-of-forty-two-random-characters";
pub(super) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

pub(super) struct Provider {
    pub(super) app: Shared,
    pub(super) router: Router,
    pub(super) clock: FakeClock,
    pub(super) database: TestDatabase,
    pub(super) directory: tempfile::TempDir,
}

/// An answer, read whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(super) fn location(&self) -> Url {
        assert_eq!(self.status, StatusCode::SEE_OTHER, "{self:?}");
        Url::parse(ORIGIN).unwrap().join(self.header("location")).unwrap()
    }

    /// One parameter of the redirect.
    pub(super) fn sent_back(&self, name: &str) -> Option<String> {
        let location = self.location();
        location.query_pairs().find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
    }

    /// The value of a hidden field of the page.
    pub(super) fn field(&self, name: &str) -> String {
        let start = format!("name=\"{name}\" value=\"");
        let from =
            self.body.find(&start).unwrap_or_else(|| panic!("no field {name}: {self:?}")) + start.len();
        self.body[from..].split('"').next().unwrap().to_owned()
    }

    pub(super) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }
}

pub(super) fn secret_file(directory: &std::path::Path, name: &str, content: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}

/// A configuration with clients of every kind: ours, a partner's, a native application, services, some with keys.
pub(super) fn config(directory: &std::path::Path, database_url: &str) -> Value {
    let secret = secret_file(directory, "client", SECRET);
    let jwks = directory.join("jwks.json");
    std::fs::write(&jwks, ClientKey::in_directory(directory).jwks()).unwrap();
    let jwks = jwks.display().to_string();
    json!({
        "service": { "admin": "127.0.0.1:0" },
        "listen": { "http": "127.0.0.1:0" },
        "database": { "url": database_url },
        "issuer": { "url": ISSUER },
        "keys": { "file": secret_file(directory, "sealing", &"5a".repeat(32)) },
        "bootstrap": {
            "admin_email": ADMIN,
            "admin_name": "Ada Admin",
            "admin_password_file": secret_file(directory, "password", ADMIN_PASSWORD),
        },
        "argon2": { "memory_kib": 64, "iterations": 1, "max_concurrent": 2, "queue": 4 },
        "throttle": { "account_attempts": 3, "prefix_attempts": 20 },
        "clients": [
            {
                "id": "console", "name": "Console", "secret_file": secret, "consent": false,
                "redirect_uris": [CALLBACK],
                "grant_types": ["authorization_code", "refresh_token"],
                "scopes": crate::scopes::Scopes::all().names().collect::<Vec<_>>(),
                "post_logout_redirect_uris": [ORIGIN],
            },
            {
                "id": "partner", "name": "Partner <Ltd>", "secret_file": secret,
                "redirect_uris": [PARTNER_CALLBACK],
                "grant_types": ["authorization_code"],
                "scopes": ["openid", "email", "orders:read"],
            },
            {
                "id": "native", "consent": false,
                "redirect_uris": ["http://127.0.0.1/callback"],
                "grant_types": ["authorization_code", "refresh_token"],
                "scopes": ["openid", "offline_access", "orders:read"],
                "refresh_grace_seconds": 0,
            },
            {
                "id": "service", "secret_file": secret,
                "grant_types": ["client_credentials"],
                "scopes": ["openid", "orders:read", "orders:write"],
                "introspection": true,
            },
            {
                "id": "signer", "consent": false, "token_endpoint_auth_method": "private_key_jwt",
                "jwks_file": jwks,
                "redirect_uris": [CALLBACK],
                "grant_types": ["authorization_code", "refresh_token", "client_credentials"],
                "scopes": ["openid", "profile", "email", "orders:read"],
                "resources": ["https://reports.example/", "https://other.example/"],
            },
            {
                "id": "fapi", "consent": false, "token_endpoint_auth_method": "private_key_jwt",
                "jwks_file": jwks, "profile": "fapi2",
                "redirect_uris": ["https://bank.example/cb", CALLBACK],
                "scopes": ["openid", "orders:read"],
            },
            {
                "id": "mtls", "token_endpoint_auth_method": "tls_client_auth",
                "tls_client_auth_san_dns": "robot.example",
                "grant_types": ["client_credentials"],
                "scopes": ["orders:read"],
            },
            {
                "id": "tv", "name": "Wall display", "redirect_uris": [],
                "grant_types": ["device_code", "refresh_token"],
                "scopes": ["openid", "offline_access", "orders:read", "orders:write"],
            },
            {
                "id": "middle", "secret_file": secret,
                "grant_types": ["token_exchange"], "exchange_tokens_of": ["console", "middle"],
                "scopes": ["openid", "orders:read", "inventory:read"],
                "resources": ["https://reports.example/"],
            },
            {
                "id": "lenient", "secret_file": secret, "consent": false, "require_pkce": false,
                "redirect_uris": [CALLBACK],
                "scopes": ["openid", "profile", "email", "orders:read"],
            },
        ],
    })
}

pub(super) async fn open(
    config: Value,
    database: &TestDatabase,
    clock: &FakeClock,
) -> anyhow::Result<Shared> {
    let config: Config = serde_json::from_value(config)?;
    config.validate()?;
    provider::open(&config, database.store.clone(), clock.shared(), Arc::new(SystemEntropy)).await
}

/// One provider for each database there is.
pub(super) async fn providers() -> Vec<Provider> {
    providers_with(|_| {}).await
}

/// As [`providers`], with `change` made to the configuration.
pub(super) async fn providers_with(change: impl Fn(&mut Value)) -> Vec<Provider> {
    let mut providers = Vec::new();
    for database in quintet_testkit::databases().await {
        let directory = tempfile::tempdir().unwrap();
        let clock = FakeClock::default();
        let mut config = config(directory.path(), &database.url);
        change(&mut config);
        let app = open(config, &database, &clock).await.unwrap();
        let router = routes::router(Arc::clone(&app));
        providers.push(Provider { app, router, clock, database, directory });
    }
    providers
}

pub(super) fn form(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

pub(super) fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

/// The S256 challenge of [`VERIFIER`].
pub(super) fn challenge() -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, VERIFIER.as_bytes()))
}

impl Provider {
    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    pub(super) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(request(Method::GET, path, headers, String::new())).await
    }

    pub(super) async fn post(&self, path: &str, headers: &[(&str, &str)], pairs: &[(&str, &str)]) -> Answer {
        let mut all = vec![("content-type", "application/x-www-form-urlencoded")];
        all.extend_from_slice(headers);
        self.send(request(Method::POST, path, &all, form(pairs))).await
    }

    /// A call of the token endpoint by `client_secret_basic`.
    pub(super) async fn token(&self, client: &str, pairs: &[(&str, &str)]) -> Answer {
        self.post("/identity/token", &[("authorization", &basic(client, SECRET))], pairs).await
    }

    /// Exchanges a code of the console.
    pub(super) async fn redeem(&self, code: &str) -> Answer {
        self.token("console", &code_grant(code)).await
    }

    pub(super) async fn refresh(&self, token: &str) -> Answer {
        self.token("console", &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    /// Signs the administrator in and returns the tokens of the console.
    pub(super) async fn sign_in(&self, scope: &str) -> (Browser, Value) {
        let mut browser = Browser::default();
        let answer = browser.sign_in(self, &[("scope", scope)]).await;
        let code = answer.sent_back("code").unwrap_or_else(|| panic!("{answer:?}"));
        let tokens = self.redeem(&code).await;
        assert_eq!(tokens.status, StatusCode::OK, "{tokens:?}");
        (browser, tokens.json())
    }

    pub(super) async fn service_token(&self) -> Value {
        self.token("service", &[("grant_type", "client_credentials")]).await.json()
    }

    pub(super) async fn count(&self, sql: &'static str) -> i64 {
        let row = self.database.store.fetch_one(sql, Vec::new()).await.unwrap();
        row.get("n").unwrap()
    }
}

pub(super) fn code_grant(code: &str) -> [(&str, &str); 4] {
    [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ]
}

pub(super) fn request(method: Method, path: &str, headers: &[(&str, &str)], body: String) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::from(body)).unwrap()
}

/// The claims of a token, unverified.
pub(super) fn claims(token: &Value) -> Value {
    let payload = token.as_str().unwrap().split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// A browser: it keeps cookies and says where its forms come from.
#[derive(Debug, Default, Clone)]
pub(super) struct Browser {
    pub(super) cookies: BTreeMap<String, String>,
    pub(super) address: Option<&'static str>,
}

impl Browser {
    fn keep(&mut self, answer: &Answer) {
        for value in answer.headers.get_all(header::SET_COOKIE) {
            let (pair, attributes) = value.to_str().unwrap().split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            for needed in ["HttpOnly", "Secure", "SameSite=Lax", "Path=/"] {
                assert!(attributes.contains(needed), "{name} lacks {needed}");
            }
            if attributes.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    fn cookie_header(&self) -> String {
        self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    pub(super) async fn get(&mut self, provider: &Provider, path: &str) -> Answer {
        let cookies = self.cookie_header();
        let answer = provider.get(path, &[("cookie", &cookies)]).await;
        self.keep(&answer);
        answer
    }

    pub(super) async fn post(&mut self, provider: &Provider, path: &str, pairs: &[(&str, &str)]) -> Answer {
        let cookies = self.cookie_header();
        let address = self.address.unwrap_or("192.0.2.10");
        let headers = [("cookie", cookies.as_str()), ("origin", ORIGIN), ("x-forwarded-for", address)];
        let answer = provider.post(path, &headers, pairs).await;
        self.keep(&answer);
        answer
    }

    /// Opens the authorization endpoint for the console, with `changes` to a good request; an empty
    /// value leaves a parameter out.
    pub(super) async fn authorize(&mut self, provider: &Provider, changes: &[(&str, &str)]) -> Answer {
        // Two requests never fall into the same microsecond.
        provider.clock.advance(std::time::Duration::from_millis(1));
        let challenge = challenge();
        let mut parameters = BTreeMap::from([
            ("client_id", "console"),
            ("redirect_uri", CALLBACK),
            ("response_type", "code"),
            ("scope", "openid profile email orders:read"),
            ("state", "st&te"),
            ("nonce", "n-0S6"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        parameters.extend(changes.iter().copied());
        let pairs: Vec<_> = parameters.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        self.get(provider, &format!("/identity/authorize?{}", form(&pairs))).await
    }

    /// Follows an authorization request to the login page.
    pub(super) async fn login_page(&mut self, provider: &Provider, changes: &[(&str, &str)]) -> Answer {
        let answer = self.authorize(provider, changes).await;
        let location = answer.location();
        assert_eq!(location.path(), "/identity/login", "{answer:?}");
        let page = self.get(provider, &format!("{}?{}", location.path(), location.query().unwrap())).await;
        assert_eq!(page.status, StatusCode::OK, "{page:?}");
        page
    }

    /// Fills the login form in.
    pub(super) async fn submit(
        &mut self,
        provider: &Provider,
        page: &Answer,
        email: &str,
        password: &str,
    ) -> Answer {
        let (csrf, request) = (page.field("csrf"), page.field("request"));
        let pairs =
            [("csrf", csrf.as_str()), ("request", &request), ("email", email), ("password", password)];
        self.post(provider, "/identity/login", &pairs).await
    }

    /// The whole way to the redirect with the code, as the administrator.
    pub(super) async fn sign_in(&mut self, provider: &Provider, changes: &[(&str, &str)]) -> Answer {
        let page = self.login_page(provider, changes).await;
        self.submit(provider, &page, ADMIN, ADMIN_PASSWORD).await
    }
}
