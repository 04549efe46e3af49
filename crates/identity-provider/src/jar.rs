//! Signed authorization requests (RFC 9101): the parameters in a token that the client signs.
//!
//! What the token says counts and nothing else does (§6.3): a parameter beside it could be anybody's. A token by
//! reference is not fetched, because the address would be a stranger's; [`crate::par`] serves the same end.

use quintet_auth::Compact;
use serde_json::{Map, Value};

use crate::app::App;
use crate::client_auth::signed_by_client;
use crate::clients::Client;
use crate::fault::Fault;
use crate::params::Params;
use crate::replay;
use crate::time::seconds;

/// How far the client's clock may be ahead of ours, in seconds.
const LEEWAY: i64 = 10;

/// How long a request object may be good for, in seconds (FAPI 2.0 Message Signing §5.3.1).
const MOST_LIFETIME: i64 = 60 * 60;

/// Claims about the token and not of the request.
const OF_THE_TOKEN: [&str; 7] = ["iss", "aud", "exp", "nbf", "iat", "jti", "sub"];

/// Why a request object is refused: what `invalid_request_object` says.
pub(crate) type Reason = &'static str;

/// The parameters of a request object that `client` signed.
pub(crate) async fn open(app: &App, client: &Client, token: &str) -> Result<Result<Params, Reason>, Fault> {
    let Ok(compact) = Compact::parse(token) else { return Ok(Err("the request object is not a signed JWT")) };
    // RFC 9101 §10.8 names the type; older clients leave it out or say JWT.
    if !matches!(compact.kind.as_str(), "oauth-authz-req+jwt" | "jwt" | "") {
        return Ok(Err("the request object is of another type"));
    }
    if !signed_by_client(app, client, &compact).await {
        return Ok(Err("the request object is not signed by a key of this client"));
    }
    let Ok(claims) = compact.claims::<Map<String, Value>>() else {
        return Ok(Err("the request object holds no JSON object"));
    };
    if let Err(reason) = check(app, client, &claims) {
        return Ok(Err(reason));
    }
    if let Some(id) = claims.get("jti").and_then(Value::as_str) {
        let until = (seconds(app.now()) + MOST_LIFETIME + LEEWAY) * 1_000_000;
        if !replay::first_use(app, replay::Kind::RequestObject, &client.id, id, until).await? {
            return Ok(Err("the request object was used before"));
        }
    }
    let pairs = claims.into_iter().filter(|(name, _)| !OF_THE_TOKEN.contains(&name.as_str()));
    Ok(Ok(Params::from_pairs(pairs.filter_map(|(name, value)| Some((name, text(value)?))))))
}

fn check(app: &App, client: &Client, claims: &Map<String, Value>) -> Result<(), Reason> {
    let is = |name: &str| claims.get(name).and_then(Value::as_str) == Some(client.id.as_str());
    if !is("client_id") || (claims.contains_key("iss") && !is("iss")) {
        return Err("the request object's client_id or iss is not this client");
    }
    if claims.contains_key("request") || claims.contains_key("request_uri") {
        return Err("a request object holds no other one");
    }
    let ours = |value: &Value| value.as_str() == Some(app.issuer.url.as_str());
    let for_us = match claims.get("aud") {
        Some(Value::Array(many)) => many.iter().any(ours),
        Some(one) => ours(one),
        None => false,
    };
    if !for_us {
        return Err("the request object's aud is not this issuer");
    }
    let now = seconds(app.now());
    let at = |name: &str| claims.get(name).and_then(Value::as_i64);
    let expiry = at("exp").ok_or("the request object has no exp")?;
    let started = ["nbf", "iat"].into_iter().filter_map(at).all(|start| start <= now + LEEWAY);
    if !started || expiry <= now - LEEWAY || expiry > now + MOST_LIFETIME {
        return Err("the request object is not of this moment; check exp, nbf and the clock");
    }
    Ok(())
}

/// A claim as the parameter of the same name would be written.
fn text(value: Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}
