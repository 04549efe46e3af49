//! Which path leads where. Everything lies under the path of the issuer, but for the RFC 8414
//! document, whose place is `/.well-known/oauth-authorization-server` followed by that path.

use axum::Router;
use axum::routing::{get, post};

use crate::app::Shared;
use crate::{
    account, admin, authorize, device, discovery, introspect, login, logout, pages, par, revoke, token,
    userinfo,
};

/// The router of the provider.
pub(crate) fn router(app: Shared) -> Router {
    let prefix = app.issuer.prefix.clone();
    let at = |path: &str| format!("{prefix}{path}");
    // An issuer at the root has only the one spelling of its own path.
    let bare =
        if prefix.is_empty() { Router::new() } else { Router::new().route(&prefix, get(account::overview)) };
    bare.route(&at("/"), get(account::overview))
        .route(&at("/account/security"), get(account::security::get))
        .route(&at("/account/totp"), get(account::totp::get).post(account::totp::post))
        .route(&at("/account/totp/remove"), post(account::security::remove_totp))
        .route(&at("/account/access"), get(account::access::get))
        .route(&at("/account/access/end"), post(account::access::end))
        .route(&at("/account/access/withdraw"), post(account::access::withdraw))
        .route(&at("/account/verify"), post(account::email::ask))
        .route(&at("/account/passkey"), get(account::passkeys::get).post(account::passkeys::post))
        .route(&at("/account/passkey/rename"), post(account::passkeys::rename))
        .route(&at("/account/passkey/remove"), post(account::passkeys::remove))
        .route(&at("/account/recovery-codes"), post(account::security::renew_codes))
        .route(&at("/.well-known/openid-configuration"), get(discovery::metadata))
        .route(&at("/.well-known/oauth-authorization-server"), get(discovery::metadata))
        .route(&rfc8414_path(&prefix), get(discovery::metadata))
        .route(&at("/jwks.json"), get(discovery::jwks))
        .route(&at("/authorize"), get(authorize::get).post(authorize::post))
        .route(&at("/login"), get(login::get).post(login::post))
        .route(&at("/reset"), get(login::reset::get).post(login::reset::post))
        .route(&at("/reset/new"), get(login::reset::choose).post(login::reset::set))
        .route(&at("/verify"), get(account::email::get).post(account::email::confirm))
        .route(&at("/login/passkey"), post(login::passkey::post))
        .route(&at("/login/second"), get(login::second::get).post(login::second::post))
        .route(&at("/consent"), post(authorize::consent::post))
        .route(&at("/logout"), get(logout::get).post(logout::post))
        .route(&at("/par"), post(par::post))
        .route(&at("/device_authorization"), post(device::post))
        .route(&at("/device"), get(device::page::get).post(device::page::post))
        .route(&at("/token"), post(token::post))
        .route(&at("/userinfo"), get(userinfo::get).post(userinfo::post))
        .route(&at("/revoke"), post(revoke::post))
        .route(&at("/introspect"), post(introspect::post))
        .route(&at("/admin/users"), get(admin::list_users).post(admin::create_user))
        .route(&at("/admin/audit"), get(admin::list_audit))
        .route(&at("/admin/keys"), get(admin::keys::list).post(admin::keys::rotate))
        .route(&at("/assets/style.css"), get(pages::style))
        .route(&at("/assets/passkeys.js"), get(pages::passkeys))
        .route(&at("/assets/mark.svg"), get(pages::mark))
        .route(&at("/assets/form-post.js"), get(pages::form_post_script))
        .with_state(app)
}

/// An issuer at the root has both documents in the same directory already.
fn rfc8414_path(prefix: &str) -> String {
    if prefix.is_empty() {
        "/.well-known/oauth-authorization-server/".to_owned()
    } else {
        format!("/.well-known/oauth-authorization-server{prefix}")
    }
}
