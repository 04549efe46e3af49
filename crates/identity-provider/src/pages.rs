//! The pages that people see: server-rendered, autoescaped, without JavaScript but for passkeys, which
//! there is no other way to ask for, and for a form that sends itself. These pages work without it too.
//!
//! Every page carries the same strict policy: nothing loads but our own style sheet and mark, nobody
//! frames it, and its form may go only to us and to the client it will redirect to (browsers apply
//! `form-action` to the redirect that follows a form).

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use minijinja::{AutoEscape, Environment, Value, context};
use url::Url;

use crate::fault::Fault;

const TEMPLATES: &[(&str, &str)] = &[
    ("base.html", include_str!("pages/base.html")),
    ("login.html", include_str!("pages/login.html")),
    ("second.html", include_str!("pages/second.html")),
    ("consent.html", include_str!("pages/consent.html")),
    ("logout.html", include_str!("pages/logout.html")),
    ("account_base.html", include_str!("pages/account_base.html")),
    ("account.html", include_str!("pages/account.html")),
    ("security.html", include_str!("pages/security.html")),
    ("totp.html", include_str!("pages/totp.html")),
    ("passkey.html", include_str!("pages/passkey.html")),
    ("passkey_form.html", include_str!("pages/passkey_form.html")),
    ("reset.html", include_str!("pages/reset.html")),
    ("reset_sent.html", include_str!("pages/reset_sent.html")),
    ("reset_new.html", include_str!("pages/reset_new.html")),
    ("reset_done.html", include_str!("pages/reset_done.html")),
    ("verify.html", include_str!("pages/verify.html")),
    ("access.html", include_str!("pages/access.html")),
    ("codes.html", include_str!("pages/codes.html")),
    ("message.html", include_str!("pages/message.html")),
    ("device.html", include_str!("pages/device.html")),
    ("device_confirm.html", include_str!("pages/device_confirm.html")),
    ("form_post.html", include_str!("pages/form_post.html")),
];

const STYLE: &str = include_str!("pages/style.css");
const MARK: &str = include_str!("pages/mark.svg");
const PASSKEYS: &str = include_str!("pages/passkeys.js");
const FORM_POST: &str = include_str!("pages/form-post.js");

/// The pages, parsed once.
pub(crate) struct Pages {
    environment: Environment<'static>,
}

impl Pages {
    /// Parses the templates; `prefix` is the path of the issuer.
    pub(crate) fn new(prefix: &str) -> Result<Self, minijinja::Error> {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
        // Plain segments, checked by the configuration; escaped slashes would only be noise.
        environment.add_global("base", Value::from_safe_string(prefix.to_owned()));
        for (name, source) in TEMPLATES {
            environment.add_template(name, source)?;
        }
        Ok(Self { environment })
    }

    /// Renders a page whose form, if any, ends at us or at `target`.
    pub(crate) fn render(
        &self,
        status: StatusCode,
        template: &str,
        values: Value,
        target: Option<&Url>,
    ) -> Result<Response, Fault> {
        self.respond(status, template, values, &content_security_policy(target))
    }

    /// [`render`](Self::render) for a page that asks for passkeys, which forms alone cannot.
    pub(crate) fn render_scripted(
        &self,
        status: StatusCode,
        template: &str,
        values: Value,
        target: Option<&Url>,
    ) -> Result<Response, Fault> {
        let policy = content_security_policy(target) + "; script-src 'self'";
        self.respond(status, template, values, &policy)
    }

    fn respond(
        &self,
        status: StatusCode,
        template: &str,
        values: Value,
        policy: &str,
    ) -> Result<Response, Fault> {
        let html = self.environment.get_template(template)?.render(values)?;
        let mut response = (status, html).into_response();
        let headers = response.headers_mut();
        let fixed: [(HeaderName, &'static str); 6] = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, "no-store"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::X_FRAME_OPTIONS, "DENY"),
            // Not no-referrer: that would make browsers send `Origin: null` with our own forms.
            (header::REFERRER_POLICY, "same-origin"),
            (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
        ];
        for (name, value) in fixed {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if let Ok(policy) = HeaderValue::from_str(policy) {
            headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        Ok(response)
    }

    /// A page that sends its form to `target` by itself, where the browser runs scripts.
    pub(crate) fn render_sending(
        &self,
        status: StatusCode,
        template: &str,
        values: Value,
        target: &Url,
    ) -> Result<Response, Fault> {
        let mut response = self.render(status, template, values, Some(target))?;
        let policy = content_security_policy(Some(target)) + "; script-src 'self'";
        if let Ok(policy) = HeaderValue::from_str(&policy) {
            response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        // The client learns from the form what it needs; the address of this page is a flow's.
        response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        Ok(response)
    }

    /// A page that only says something.
    pub(crate) fn message(&self, status: StatusCode, title: &str, text: &str) -> Response {
        let alert = status.is_client_error() || status.is_server_error();
        self.render(status, "message.html", context!(title, text, alert), None)
            .unwrap_or_else(|fault| fault.bare())
    }

    /// The page for a fault on our side.
    pub(crate) fn fault(&self, fault: &Fault) -> Response {
        fault.log();
        let text = match fault.status() {
            StatusCode::TOO_MANY_REQUESTS => {
                "Many people are signing in right now. Wait a moment, then try again."
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                "The service is briefly unavailable. Wait a moment, then try again."
            }
            _ => "Something went wrong on our side. Try again; if it happens again, tell your administrator.",
        };
        fault.stamp(self.message(fault.status(), "That did not work", text))
    }
}

fn content_security_policy(target: Option<&Url>) -> String {
    let mut policy = String::from(
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; \
         form-action 'self'",
    );
    if let Some(target) = target {
        policy.push(' ');
        match target.origin() {
            url::Origin::Tuple(..) => policy.push_str(&target.origin().ascii_serialization()),
            // A native application's own scheme has no origin.
            url::Origin::Opaque(_) => {
                policy.push_str(target.scheme());
                policy.push(':');
            }
        }
    }
    policy
}

/// The style sheet.
pub(crate) async fn style() -> Response {
    asset("text/css; charset=utf-8", STYLE)
}

/// The mark shown on every page.
pub(crate) async fn mark() -> Response {
    asset("image/svg+xml", MARK)
}

/// The script of the pages that ask for passkeys.
pub(crate) async fn passkeys() -> Response {
    asset("text/javascript; charset=utf-8", PASSKEYS)
}

/// The script of the page that answers a client by a form.
pub(crate) async fn form_post_script() -> Response {
    asset("text/javascript; charset=utf-8", FORM_POST)
}

fn asset(media_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, media_type),
        (header::CACHE_CONTROL, "public, max-age=3600"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; sandbox"),
    ];
    (headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_people_typed_is_escaped() {
        let pages = Pages::new("/identity").unwrap();
        let response = pages.message(StatusCode::BAD_REQUEST, "<b>", "\"><script>alert(1)</script>");
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let html = String::from_utf8(body.to_vec()).unwrap();
        assert!(!html.contains("<script"), "{html}");
        assert!(html.contains("&lt;script&gt;"), "{html}");
    }

    #[test]
    fn the_policy_names_the_clients_origin_and_nothing_inline() {
        let policy = content_security_policy(Some(&Url::parse("https://app.example:8443/cb?x=1").unwrap()));
        assert!(policy.ends_with("form-action 'self' https://app.example:8443"), "{policy}");
        let native = content_security_policy(Some(&Url::parse("com.example.app:/cb").unwrap()));
        assert!(native.ends_with("form-action 'self' com.example.app:"), "{native}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }

    #[test]
    fn no_template_has_inline_script_or_style() {
        let forbidden =
            ["<script", "style=", "<style", "|safe", "javascript:", " onclick", " onsubmit", " onload"];
        let ours = ["passkeys", "form-post"]
            .map(|name| format!("<script src=\"{{{{ base }}}}/assets/{name}.js\" defer></script>"));
        for (name, source) in TEMPLATES {
            for text in forbidden {
                let source = source.replace(&ours[0], "").replace(&ours[1], "").to_lowercase();
                assert!(!source.contains(text), "{name} contains {text}");
            }
        }
    }
}
