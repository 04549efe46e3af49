//! The axum side: a layer that lets only verified requests through, and the principal they speak for.
//!
//! The token is taken from `Authorization` alone; a query parameter would end up in logs.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::{FromRequestParts, OriginalUri, Request};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode};
use quintet_http::Problem;
use tower::{Layer, Service};

use crate::binding::{Possession, certificate_thumbprint, presented};
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
            // A nested router has taken the front of the path away.
            let original = request.extensions().get::<OriginalUri>().map(|uri| uri.path().to_owned());
            let path = original.unwrap_or_else(|| request.uri().path().to_owned());
            match authenticate(&verifier, request.method(), &path, request.headers()).await {
                Ok(principal) => {
                    request.extensions_mut().insert(principal);
                    inner.call(request).await
                }
                Err(rejection) => Ok(Problem::from(rejection).into_response()),
            }
        })
    }
}

async fn authenticate(
    verifier: &Verifier,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Result<Principal, Rejection> {
    let (scheme, token) = presented(headers)?;
    let principal = verifier.verify_bound(token).await?;
    let certificate = certificate_thumbprint(headers);
    let possession = Possession { scheme, token, method: method.as_str(), headers, certificate };
    verifier.confirm(&principal.claims, &possession, || requested_url(headers, path))?;
    Ok(principal)
}

/// The URL that the client wrote. The gateway alone reaches this listener, and says what it saw.
fn requested_url(headers: &HeaderMap, path: &str) -> Option<String> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let scheme = text("x-forwarded-proto").unwrap_or("http");
    let host = text("x-forwarded-host").or_else(|| text("host"))?;
    Some(format!("{scheme}://{host}{path}"))
}
