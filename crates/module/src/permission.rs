//! Permissions as types in a handler's signature.
//!
//! [`Allowed<P>`] is extracted from the request's head, before its body is read: a caller without
//! the scope hears 403 whatever it sent, and a handler without it does not compile into a route
//! table by accident, because the OpenAPI coverage test looks at every operation.

use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use quintet_auth::Principal;
use quintet_http::problem::Problem;

/// Something a token may allow; the marker types are made by [`permissions!`](crate::permissions).
pub trait Permission: Send + Sync + 'static {
    /// The OAuth 2.0 scope that grants it.
    const SCOPE: &'static str;
}

/// Proof that the caller's token carries the scope of `P`.
#[derive(Debug, Clone)]
pub struct Allowed<P> {
    /// Who calls.
    pub principal: Principal,
    permission: PhantomData<P>,
}

impl<P> Allowed<P> {
    /// Who acts, for the record: the subject and the client it uses.
    pub fn actor(&self) -> String {
        let claims = &self.principal.claims;
        if claims.sub == claims.client_id {
            claims.sub.clone()
        } else {
            format!("{} via {}", claims.sub, claims.client_id)
        }
    }
}

impl<S, P> FromRequestParts<S> for Allowed<P>
where
    S: Send + Sync,
    P: Permission,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let principal = Principal::from_request_parts(parts, state).await?;
        principal.require(P::SCOPE)?;
        Ok(Self { principal, permission: PhantomData })
    }
}

/// Declares a module's permissions: one marker type for each scope.
#[macro_export]
macro_rules! permissions {
    ($($(#[$meta:meta])* $name:ident = $scope:literal;)+) => {
        $(
            $(#[$meta])*
            #[derive(Debug, Clone, Copy)]
            pub struct $name;

            impl $crate::Permission for $name {
                const SCOPE: &'static str = $scope;
            }
        )+
    };
}
