//! Provider metadata: OpenID Connect Discovery 1.0 and RFC 8414, which share one document.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use quintet_auth::dpop::PROOF_ALGORITHMS;
use serde_json::{Value, json};

use crate::app::Shared;
use crate::config::Issuer;
use crate::factors::Assurance;
use crate::scopes::Scopes;

/// A browser application reads these from its own origin.
const OPEN: [(header::HeaderName, &str); 2] =
    [(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"), (header::CACHE_CONTROL, "public, max-age=300")];

/// `GET /.well-known/openid-configuration` and `/.well-known/oauth-authorization-server`
pub(crate) async fn metadata(State(app): State<Shared>) -> Response {
    (OPEN, Json(document(&app.issuer))).into_response()
}

/// `GET /jwks.json`
pub(crate) async fn jwks(State(app): State<Shared>) -> Response {
    let media_type = [(header::CONTENT_TYPE, "application/jwk-set+json")];
    (OPEN, media_type, app.keys.jwks().to_string()).into_response()
}

fn document(issuer: &Issuer) -> Value {
    let confidential = ["client_secret_basic", "client_secret_post", "private_key_jwt", "tls_client_auth"];
    let authentication: Vec<_> = confidential.into_iter().chain(["none"]).collect();
    let assertions = ["ES256", "EdDSA", "PS256", "RS256"];
    json!({
        "issuer": issuer.url,
        "authorization_endpoint": issuer.endpoint("/authorize"),
        "token_endpoint": issuer.endpoint("/token"),
        "userinfo_endpoint": issuer.endpoint("/userinfo"),
        "jwks_uri": issuer.endpoint("/jwks.json"),
        "revocation_endpoint": issuer.endpoint("/revoke"),
        "introspection_endpoint": issuer.endpoint("/introspect"),
        "end_session_endpoint": issuer.endpoint("/logout"),
        "scopes_supported": Scopes::all().names().collect::<Vec<_>>(),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query", "form_post"],
        "grant_types_supported": [
            "authorization_code",
            "refresh_token",
            "client_credentials",
            "urn:ietf:params:oauth:grant-type:device_code",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "token_endpoint_auth_methods_supported": authentication,
        "token_endpoint_auth_signing_alg_values_supported": assertions,
        "revocation_endpoint_auth_methods_supported": authentication,
        "revocation_endpoint_auth_signing_alg_values_supported": assertions,
        "introspection_endpoint_auth_methods_supported": confidential,
        "introspection_endpoint_auth_signing_alg_values_supported": assertions,
        "pushed_authorization_request_endpoint": issuer.endpoint("/par"),
        "device_authorization_endpoint": issuer.endpoint("/device_authorization"),
        "require_pushed_authorization_requests": false,
        "dpop_signing_alg_values_supported": PROOF_ALGORITHMS,
        "tls_client_certificate_bound_access_tokens": true,
        "code_challenge_methods_supported": ["S256"],
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "acr_values_supported": Assurance::ALL.map(Assurance::acr),
        "claim_types_supported": ["normal"],
        "claims_supported": [
            "iss", "sub", "aud", "azp", "exp", "iat", "auth_time", "nonce", "acr", "amr", "at_hash", "sid",
            "email", "email_verified", "name", "preferred_username",
        ],
        "claims_parameter_supported": false,
        "request_parameter_supported": true,
        "request_object_signing_alg_values_supported": assertions,
        "require_signed_request_object": false,
        "request_uri_parameter_supported": false,
        "authorization_response_iss_parameter_supported": true,
        "backchannel_logout_supported": true,
        "backchannel_logout_session_supported": true,
        "frontchannel_logout_supported": false,
    })
}
