//! The composed API, called as a client calls it, on every database that is there.

mod access;
mod exports;
mod images;
mod keys;
mod openapi;
mod orders;
mod organizations;
mod outage;
mod stock;
mod tenants;
mod users;

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use quintet_blobs::Blobs;
use quintet_http::Limits;
use quintet_store::{Store, Value as SqlValue};
use quintet_testkit::issuer::TestIssuer;
use quintet_testkit::{FakeClock, TestDatabase, databases};
use quintet_types::SharedClock;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::app::{self, Deps};

const ALL_SCOPES: &[&str] = &[
    "users:read",
    "users:write",
    "billing:read",
    "billing:write",
    "inventory:read",
    "inventory:write",
    "orders:read",
    "orders:write",
    "exports:read",
    "exports:write",
];

/// The API on one database.
struct Api {
    name: &'static str,
    store: Store,
    blobs: Blobs,
    clock: FakeClock,
    issuer: TestIssuer,
    router: Router,
    _database: TestDatabase,
    _directory: tempfile::TempDir,
}

/// The API on each database, with empty tables.
async fn apis() -> Vec<Api> {
    let mut apis = Vec::new();
    for database in databases().await {
        let store = database.store.clone();
        apis.push(api_on(database, store).await);
    }
    apis
}

/// The API with empty tables, reaching a database through `store`.
async fn api_on(database: TestDatabase, store: Store) -> Api {
    store.migrate(app::SCHEMAS).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let blobs = Blobs::open_directory(directory.path()).await.unwrap();
    let clock = FakeClock::default();
    let issuer = TestIssuer::with_clock(clock.shared());
    let deps = Deps {
        store: store.clone(),
        blobs: blobs.clone(),
        clock: clock.shared(),
        verifier: issuer.verifier(),
        tenancy: quintet_module::tenancy::Settings::default(),
        issuer: "https://localhost:8443/identity".to_owned(),
    };
    let router = quintet_http::standard(app::router(&deps).unwrap(), &Limits::default());
    Api {
        name: database.name,
        store,
        blobs,
        clock,
        issuer,
        router,
        _database: database,
        _directory: directory,
    }
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    bytes: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or(Value::Null)
    }

    fn text(&self, field: &str) -> String {
        self.json()[field].as_str().unwrap_or_else(|| panic!("no {field} in {self:?}")).to_owned()
    }

    fn code(&self) -> String {
        self.text("code")
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.bytes));
        self
    }

    #[track_caller]
    fn refused(self, status: u16, code: &str) {
        assert_eq!((self.status.as_u16(), self.code().as_str()), (status, code), "{}", self.json());
        assert_eq!(self.header("content-type"), "application/problem+json");
    }
}

impl Api {
    fn shared_clock(&self) -> SharedClock {
        self.clock.shared()
    }

    /// A header that lets its bearer do everything.
    fn everything(&self) -> String {
        self.issuer.bearer("usr_tester", ALL_SCOPES)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        // Ids carry the time: without this the order within a list would be random.
        self.clock.advance(Duration::from_millis(1));
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        Answer {
            status: parts.status,
            headers: parts.headers,
            bytes: body.collect().await.unwrap().to_bytes(),
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[("authorization", &self.everything())], Body::empty()).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        let headers = [("authorization", &*self.everything()), ("content-type", "application/json")];
        self.send(Method::POST, path, &headers, body.to_string()).await
    }

    async fn order(&self, key: &str, body: &Value) -> Answer {
        let bearer = self.everything();
        let headers =
            [("authorization", &*bearer), ("content-type", "application/json"), ("idempotency-key", key)];
        self.send(Method::POST, "/api/v1/orders", &headers, body.to_string()).await
    }

    /// An account; its id.
    async fn user(&self, email: &str) -> String {
        self.post("/api/v1/users", json!({ "email": email, "name": "Ann Lee" })).await.expect(201).text("id")
    }

    /// An item with stock and a price of 12.50 EUR; its id.
    async fn item(&self, sku: &str, stock: i64) -> String {
        let item =
            self.post("/api/v1/items", json!({ "sku": sku, "name": "Mug" })).await.expect(201).text("id");
        if stock > 0 {
            self.deliver(&item, stock).await;
        }
        let price = json!({ "item_id": item, "amount": 1250, "currency": "EUR" });
        self.post("/api/v1/prices", price).await.expect(201);
        item
    }

    async fn deliver(&self, item: &str, quantity: i64) {
        let delivery = json!({ "quantity": quantity, "reason": "delivery" });
        self.post(&format!("/api/v1/items/{item}/stock"), delivery).await.expect(201);
    }

    /// `(on_hand, reserved, available)`
    async fn level(&self, item: &str) -> (i64, i64, i64) {
        let item = self.get(&format!("/api/v1/items/{item}")).await.expect(200).json();
        let number = |field: &str| item[field].as_i64().unwrap();
        (number("on_hand"), number("reserved"), number("available"))
    }

    /// Every entry of a list, page by page.
    async fn all(&self, list: &str) -> Vec<Value> {
        let mut entries = Vec::new();
        let mut path = format!("{list}?limit=20");
        loop {
            let page = self.get(&path).await.expect(200).json();
            entries.extend(page["items"].as_array().unwrap().clone());
            match page["next_cursor"].as_str() {
                Some(cursor) => path = format!("{list}?limit=20&cursor={cursor}"),
                None => return entries,
            }
        }
    }

    /// A number from the database, for what the API does not show.
    async fn count(&self, sql: &'static str, args: Vec<SqlValue>) -> i64 {
        self.store.fetch_one(sql, args).await.unwrap().get("n").unwrap()
    }

    async fn queued(&self, kind: &str) -> i64 {
        self.count("SELECT COUNT(*) AS n FROM jobs_ready WHERE kind = $1", quintet_store::args![kind]).await
    }
}

/// An order of one piece of one item.
fn one_of(account: &str, item: &str) -> Value {
    json!({ "account_id": account, "currency": "EUR", "lines": [{ "item_id": item, "quantity": 1 }] })
}

fn content_type(answer: &Answer) -> &str {
    answer.header(header::CONTENT_TYPE.as_str())
}
