//! The cache as clients and upstreams see it.

mod freshness;
mod poisoning;
mod sharing;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request as AxumRequest;
use axum::routing::any;
use bytes::Bytes;
use http::{HeaderMap, Response};
use quintet_testkit::FakeClock;
use tokio::sync::watch;

use super::content::asking;
use super::harness::*;

const CACHED: &str = "[[upstreams]]\nname = \"app\"\naddresses = [\"unix:DIR/app.sock\"]\n\
                      [[routes]]\npath_prefix = \"/\"\nupstream = \"app\"\ncache = true\n";

/// An upstream whose answer a test sets; each body names how many requests there were.
#[derive(Clone)]
struct Origin(Arc<Inside>);

struct Inside {
    answer: Mutex<(u16, Vec<(String, String)>)>,
    requests: AtomicUsize,
    last: Mutex<HeaderMap>,
    open: watch::Sender<bool>,
}

impl Origin {
    fn new(headers: &[(&str, &str)]) -> Self {
        let open = watch::Sender::new(true);
        let origin = Self(Arc::new(Inside {
            answer: Mutex::default(),
            requests: AtomicUsize::new(0),
            last: Mutex::default(),
            open,
        }));
        origin.says(200, headers);
        origin
    }

    fn says(&self, status: u16, headers: &[(&str, &str)]) {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        *self.0.answer.lock().unwrap() = (status, headers.collect());
    }

    fn requests(&self) -> usize {
        self.0.requests.load(Ordering::SeqCst)
    }

    /// The headers of the last request.
    fn last(&self, name: &str) -> Option<String> {
        Some(self.0.last.lock().unwrap().get(name)?.to_str().unwrap().to_owned())
    }

    /// Answers wait while it is not open.
    fn open(&self, open: bool) {
        self.0.open.send_replace(open);
    }

    /// Waits until so many requests have come.
    async fn reached(&self, requests: usize) {
        let coming = async {
            while self.requests() < requests {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, coming).await.unwrap();
    }

    fn router(&self) -> Router {
        let origin = self.clone();
        Router::new().fallback(any(move |request: AxumRequest| {
            let origin = origin.clone();
            let headers = request.into_parts().0.headers;
            async move { origin.answer(headers).await }
        }))
    }

    async fn answer(&self, request: HeaderMap) -> Response<Body> {
        let number = self.0.requests.fetch_add(1, Ordering::SeqCst) + 1;
        *self.0.last.lock().unwrap() = request.clone();
        self.0.open.subscribe().wait_for(|open| *open).await.unwrap();
        let (status, headers) = self.0.answer.lock().unwrap().clone();
        let sent = |name: &str| request.get(name).map(|value| value.to_str().unwrap().to_owned());
        let etag = headers.iter().find(|(name, _)| name == "etag").map(|(_, value)| value.clone());
        let unchanged = etag.is_some() && etag == sent("if-none-match");
        let mut response = Response::builder().status(if unchanged { 304 } else { status });
        for (name, value) in headers {
            response = response.header(name, value);
        }
        let body = if unchanged { String::new() } else { format!("answer {number}") };
        response.body(Body::from(body)).unwrap()
    }
}

/// A gateway in front of an origin, with a clock of its own.
struct Cached {
    fixture: Fixture,
    origin: Origin,
    clock: FakeClock,
}

impl Cached {
    async fn start(config: &str, headers: &[(&str, &str)]) -> Self {
        let clock = FakeClock::default();
        let mut fixture = Fixture::start_with_clock(config, clock.shared()).await;
        let origin = Origin::new(headers);
        fixture.serve("app", origin.router());
        Self { fixture, origin, clock }
    }

    async fn ask(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(asking(path, headers)).await
    }

    async fn send(&self, request: http::Request<Bytes>) -> Answer {
        Answer(self.fixture.client().request(request).await.unwrap())
    }

    fn after(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

#[derive(Debug)]
struct Answer(Response<Bytes>);

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(self.0.body()).unwrap()
    }

    fn status(&self) -> u16 {
        self.0.status().as_u16()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.0.headers().get(name).map(|value| value.to_str().unwrap())
    }

    fn cache(&self) -> &str {
        self.header("cache-status").unwrap_or_default()
    }
}
