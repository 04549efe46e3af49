//! Permissions as types in a handler's signature.
//!
//! [`Within<P>`] is extracted from the request's head, before its body is read: a caller without
//! the scope hears 403 whatever it sent, and a handler without it does not compile into a route
//! table by accident, because the OpenAPI coverage test looks at every operation. It also says for
//! which organization the request is ([`tenancy`]), and every query of a handler takes that from it.
//! [`Allowed<P>`] is for the few routes that are not within one organization.

use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use quintet_auth::Principal;
use quintet_http::problem::Problem;
use quintet_types::OrganizationId;

use crate::tenancy::{self, Role};

/// Something a token may allow; the marker types are made by [`permissions!`](crate::permissions).
pub trait Permission: Send + Sync + 'static {
    /// The OAuth 2.0 scope that grants it.
    const SCOPE: &'static str;
    /// The role that the caller needs in the organization.
    const ROLE: Role;
}

/// Proof that the caller's token carries the scope of `P` and that it has the role of `P` in the request's organization.
#[derive(Debug, Clone)]
pub struct Within<P> {
    /// Who calls.
    pub principal: Principal,
    /// The organization that the request is for, and the only one whose rows it may see.
    pub organization: OrganizationId,
    permission: PhantomData<P>,
}

impl<P> Within<P> {
    /// Who acts, for the record: the subject and the client it uses.
    pub fn actor(&self) -> String {
        actor(&self.principal)
    }
}

impl<S, P> FromRequestParts<S> for Within<P>
where
    S: Send + Sync,
    P: Permission,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let Allowed { principal, permission } = Allowed::<P>::from_request_parts(parts, state).await?;
        let organization = tenancy::admit(parts, &principal, P::ROLE).await?;
        Ok(Self { principal, organization, permission })
    }
}

/// Proof that the caller's token carries the scope of `P`, whatever the organization. What such a handler may show or
/// change it decides by the caller's subject.
#[derive(Debug, Clone)]
pub struct Allowed<P> {
    /// Who calls.
    pub principal: Principal,
    permission: PhantomData<P>,
}

impl<P> Allowed<P> {
    /// Who acts, for the record: the subject and the client it uses.
    pub fn actor(&self) -> String {
        actor(&self.principal)
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

fn actor(principal: &Principal) -> String {
    let claims = &principal.claims;
    if claims.sub == claims.client_id {
        claims.sub.clone()
    } else {
        format!("{} via {}", claims.sub, claims.client_id)
    }
}

/// Declares a module's permissions: one marker type for each scope. Reading (`module:read`) needs the role of a viewer,
/// anything else that of a member.
#[macro_export]
macro_rules! permissions {
    ($($(#[$meta:meta])* $name:ident = $scope:literal;)+) => {
        $(
            $(#[$meta])*
            #[derive(Debug, Clone, Copy)]
            pub struct $name;

            impl $crate::Permission for $name {
                const SCOPE: &'static str = $scope;
                const ROLE: $crate::Role = $crate::Role::for_scope($scope);
            }
        )+
    };
}
