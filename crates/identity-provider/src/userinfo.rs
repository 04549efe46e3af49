//! The userinfo endpoint (OpenID Connect Core §5.3).

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use crate::app::{App, Shared};
use crate::bearer;
use crate::claims::Profile;
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
    answer(&app, bearer::from_header(&headers)).await
}

/// `POST /userinfo`, with the token in the header or in the form (RFC 6750 §2.2), not in both.
pub(crate) async fn post(State(app): State<Shared>, headers: HeaderMap, body: Body) -> Response {
    if headers.contains_key(header::AUTHORIZATION) {
        return answer(&app, bearer::from_header(&headers)).await;
    }
    match Params::read(&headers, body).await {
        Ok(params) => answer(&app, params.get("access_token")).await,
        Err(_) => answer(&app, None).await,
    }
}

async fn answer(app: &App, token: Option<&str>) -> Response {
    let Some(token) = token else { return challenge(StatusCode::UNAUTHORIZED, "Bearer realm=\"quintet\"") };
    match look_up(app, token).await {
        Ok(Ok(info)) => {
            let mut response = Json(info).into_response();
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Ok(Err(response)) => response,
        Err(fault) => fault.problem().into_response(),
    }
}

async fn look_up(app: &App, token: &str) -> Result<Result<UserInfo, Response>, Fault> {
    let Some(claims) = bearer::active(app, token).await? else {
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
