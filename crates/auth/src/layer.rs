//! The axum side: a layer that lets only verified requests through, and the principal they speak for.
//!
//! The token is taken from `Authorization: Bearer` alone; a query parameter would end up in logs.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};
use quintet_http::Problem;
use tower::{Layer, Service};

use crate::claims::Claims;
use crate::rejection::Rejection;
use crate::verifier::Verifier;

/// Who a verified request speaks for, and what it may do.
#[derive(Debug, Clone)]
pub struct Principal {
    /// The token's claims.
    pub claims: Arc<Claims>,
}

impl Principal {
    /// The subject: a user id, or the client id for client credentials.
    pub fn subject(&self) -> &str {
        &self.claims.sub
    }

    /// Whether the token carries `scope`.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.claims.has_scope(scope)
    }

    /// Whether the user has `role`.
    pub fn has_role(&self, role: &str) -> bool {
        self.claims.has_role(role)
    }

    /// 403 `scope_missing` unless the token carries `scope`.
    pub fn require(&self, scope: &str) -> Result<(), Problem> {
        if self.has_scope(scope) { Ok(()) } else { Err(Problem::forbidden(scope)) }
    }

    /// 403 `role_missing` unless the user has `role`.
    pub fn require_role(&self, role: &str) -> Result<(), Problem> {
        if self.has_role(role) {
            return Ok(());
        }
        Err(Problem::new(StatusCode::FORBIDDEN, "role_missing", format!("this needs the role {role}")))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = Problem;

    /// Without the layer in front there is no principal, so a forgotten layer denies.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Rejection::Missing.into())
    }
}

/// A layer that answers 401 unless the request carries a valid access token, and puts its
/// [`Principal`] into the request's extensions.
pub fn layer(verifier: Arc<Verifier>) -> AuthLayer {
    AuthLayer { verifier }
}

/// Made by [`layer`].
#[derive(Debug, Clone)]
pub struct AuthLayer {
    verifier: Arc<Verifier>,
}

impl<S> Layer<S> for AuthLayer {
    type Service = AuthService<S>;

    fn layer(&self, inner: S) -> AuthService<S> {
        AuthService { inner, verifier: self.verifier.clone() }
    }
}

/// The service that [`AuthLayer`] makes.
#[derive(Debug, Clone)]
pub struct AuthService<S> {
    inner: S,
    verifier: Arc<Verifier>,
}

impl<S> Service<Request> for AuthService<S>
where
    S: Service<Request, Response = Response> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        // The clone stays behind; the service that was polled ready is the one to call.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let verifier = self.verifier.clone();
        Box::pin(async move {
            // Never trust a principal that something further out put there.
            request.extensions_mut().remove::<Principal>();
            match authenticate(&verifier, request.headers()).await {
                Ok(principal) => {
                    request.extensions_mut().insert(principal);
                    inner.call(request).await
                }
                Err(rejection) => Ok(Problem::from(rejection).into_response()),
            }
        })
    }
}

async fn authenticate(verifier: &Verifier, headers: &HeaderMap) -> Result<Principal, Rejection> {
    verifier.verify(bearer(headers)?).await
}

/// The bearer token (RFC 6750 §2.1); the scheme's case does not matter (RFC 9110 §11.1).
fn bearer(headers: &HeaderMap) -> Result<&str, Rejection> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Rejection::Missing)?;
    if values.next().is_some() {
        return Err(Rejection::Malformed("there are several Authorization headers"));
    }
    let text = value.to_str().map_err(|_| Rejection::Malformed("it is not text"))?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Rejection::Missing);
    }
    match token.trim_matches(' ') {
        "" => Err(Rejection::Missing),
        token => Ok(token),
    }
}
