//! The userinfo endpoint (OpenID Connect Core §5.3).

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use crate::app::{App, Shared};
use crate::bearer;
use crate::claims::{AccessClaims, Profile};
use crate::fault::Fault;
use crate::params::Params;
use crate::token::profile;
use crate::users;

#[derive(Serialize)]
struct UserInfo {
    sub: String,
    #[serde(flatten)]
    profile: Profile,
}

/// `GET /userinfo`
pub(crate) async fn get(State(app): State<Shared>, headers: HeaderMap) -> Response {
    by_header(&app, "GET", &headers).await
}

/// `POST /userinfo`, with the token in the header or in the form (RFC 6750 §2.2), not in both.
pub(crate) async fn post(State(app): State<Shared>, headers: HeaderMap, body: Body) -> Response {
    if headers.contains_key(header::AUTHORIZATION) {
        return by_header(&app, "POST", &headers).await;
    }
    match Params::read(&headers, body).await {
        Ok(params) => match params.get("access_token") {
            Some(token) => answer(&app, bearer::active(&app, token).await).await,
            None => challenge(StatusCode::UNAUTHORIZED, NOTHING),
        },
        Err(_) => challenge(StatusCode::UNAUTHORIZED, NOTHING),
    }
}

/// By `Authorization: Bearer` or `DPoP`.
async fn by_header(app: &App, method: &str, headers: &HeaderMap) -> Response {
    match quintet_auth::presented(headers) {
        Ok(_) => answer(app, bearer::held(app, method, "/userinfo", headers).await).await,
        Err(_) => challenge(StatusCode::UNAUTHORIZED, NOTHING),
    }
}

/// The challenge to a request without a token.
const NOTHING: &str = "Bearer realm=\"quintet\", DPoP algs=\"ES256 EdDSA PS256\"";

async fn answer(app: &App, claims: Result<Option<AccessClaims>, Fault>) -> Response {
    let found = match claims {
        Ok(claims) => look_up(app, claims).await,
        Err(fault) => Err(fault),
    };
    match found {
        Ok(Ok(info)) => {
            let mut response = Json(info).into_response();
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Ok(Err(response)) => response,
        Err(fault) => fault.problem().into_response(),
    }
}

async fn look_up(app: &App, claims: Option<AccessClaims>) -> Result<Result<UserInfo, Response>, Fault> {
    let Some(claims) = claims else {
        return Ok(Err(challenge(
            StatusCode::UNAUTHORIZED,
            "Bearer realm=\"quintet\", error=\"invalid_token\", error_description=\"the token is not valid\"",
        )));
    };
    if !claims.scopes().has("openid") {
        return Ok(Err(challenge(
            StatusCode::FORBIDDEN,
            "Bearer realm=\"quintet\", error=\"insufficient_scope\", scope=\"openid\"",
        )));
    }
    let user = users::by_id(&app.store, &claims.sub).await?.filter(|user| !user.disabled);
    Ok(user
        .map(|user| UserInfo { sub: user.id.to_string(), profile: profile(&user, claims.scopes()) })
        .ok_or_else(|| {
            challenge(StatusCode::UNAUTHORIZED, "Bearer realm=\"quintet\", error=\"invalid_token\"")
        }))
}

/// An error says what it has to say in its challenge (RFC 6750 §3).
fn challenge(status: StatusCode, text: &'static str) -> Response {
    let headers = [(header::WWW_AUTHENTICATE, text), (header::CACHE_CONTROL, "no-store")];
    (status, headers).into_response()
}
