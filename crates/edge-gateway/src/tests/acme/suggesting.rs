//! Pebble with renewal information (RFC 9773), which the packaged version does not have: a proxy that adds the
//! directory's entry, answers what it names, and confirms `replaces`.

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{CONTENT_LENGTH, HOST};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use quintet_http::Client;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

use super::super::origin::Origin;
use super::authority::Pebble;

#[derive(Default)]
pub(super) struct Seen {
    /// The window that is suggested.
    pub(super) window: (String, String),
    /// Certificates that were asked about, and that orders take the place of.
    pub(super) asked: Vec<String>,
    pub(super) replaced: Vec<String>,
    /// Whether an order with `replaces` is refused.
    pub(super) refuses: bool,
}

pub(super) struct Suggesting {
    origin: Origin,
    pub(super) seen: Arc<Mutex<Seen>>,
}

impl Suggesting {
    pub(super) async fn start(pebble: &Pebble) -> Self {
        let chain = vec![CertificateDer::from_pem_file(pebble.path("pebble.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(pebble.path("pebble.key")).unwrap();
        let tls = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        let (seen, client) = (Arc::<Mutex<Seen>>::default(), pebble.client());
        let shared = Arc::clone(&seen);
        let origin = Origin::start(Some(Arc::new(tls)), move |_, stream| {
            let (seen, client) = (Arc::clone(&shared), client.clone());
            let service = service_fn(move |request| answer(request, Arc::clone(&seen), client.clone()));
            async move {
                // Its errors reach the requests.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            }
        });
        Self { origin: origin.await, seen }
    }

    pub(super) fn port(&self) -> u16 {
        self.origin.address.port()
    }
}

async fn answer(
    request: Request<Incoming>,
    seen: Arc<Mutex<Seen>>,
    client: Client,
) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let path = parts.uri.path().to_owned();
    let host = parts.headers[HOST].to_str().unwrap().to_owned();
    if let Some(certificate) = path.strip_prefix("/renewal-info/") {
        let mut seen = seen.lock().unwrap();
        seen.asked.push(certificate.to_owned());
        let window = json!({ "suggestedWindow": { "start": seen.window.0, "end": seen.window.1 } });
        let answer = Response::builder().header("retry-after", "60");
        return Ok(answer.body(Full::from(window.to_string())).unwrap());
    }
    let replaces = payload(&body).and_then(|payload| Some(payload.get("replaces")?.as_str()?.to_owned()));
    if let Some(replaces) = &replaces {
        let mut seen = seen.lock().unwrap();
        seen.replaced.push(replaces.clone());
        if seen.refuses {
            let problem = json!({ "type": "urn:ietf:params:acme:error:alreadyReplaced", "status": 409 });
            return Ok(Response::builder().status(409).body(Full::from(problem.to_string())).unwrap());
        }
    }
    let (mut head, body) = client.request(Request::from_parts(parts, body)).await.unwrap().into_parts();
    let body = match (path.as_str(), replaces, serde_json::from_slice::<Value>(&body)) {
        ("/dir", _, Ok(mut directory)) => {
            directory["renewalInfo"] = json!(format!("https://{host}/renewal-info"));
            Bytes::from(directory.to_string())
        }
        (_, Some(replaces), Ok(mut order)) => {
            order["replaces"] = json!(replaces);
            Bytes::from(order.to_string())
        }
        _ => body,
    };
    head.headers.remove(CONTENT_LENGTH);
    Ok(Response::from_parts(head, Full::from(body)))
}

/// What a signed request says.
fn payload(body: &[u8]) -> Option<Value> {
    let signed: Value = serde_json::from_slice(body).ok()?;
    let payload = URL_SAFE_NO_PAD.decode(signed.get("payload")?.as_str()?).ok()?;
    serde_json::from_slice(&payload).ok()
}
