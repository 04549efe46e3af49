//! Protection of our own forms against requests forged by other sites.
//!
//! Two checks, both of which must pass. The token in the form is a keyed hash over what the form
//! is for and the secret of a cookie that only this browser has. And a browser says where a POST
//! comes from: `Origin` must be ours. A request with neither `Origin` nor `Sec-Fetch-Site` comes
//! from no browser of today, so it carries nobody's cookies but its own; the token decides alone.

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;

use crate::vault::{Purpose, Vault};

/// The name of the hidden field.
pub(crate) const FIELD: &str = "csrf";

/// The token for the form `form`, bound to a cookie's value.
pub(crate) fn token(vault: &Vault, form: &str, cookie: &str) -> String {
    URL_SAFE_NO_PAD.encode(vault.mac(Purpose::Form, &[form.as_bytes(), cookie.as_bytes()]))
}

/// Whether a POST comes from the form that [`token`] was made for.
pub(crate) fn is_ours(
    vault: &Vault,
    origin: &str,
    headers: &HeaderMap,
    form: &str,
    cookie: Option<&str>,
    presented: Option<&str>,
) -> bool {
    let (Some(cookie), Some(presented)) = (cookie, presented) else { return false };
    comes_from(origin, headers) && token(vault, form, cookie).as_bytes().ct_eq(presented.as_bytes()).into()
}

fn comes_from(origin: &str, headers: &HeaderMap) -> bool {
    match (headers.get("origin"), headers.get("sec-fetch-site")) {
        (Some(sent), _) => sent.as_bytes() == origin.as_bytes(),
        (None, Some(site)) => site.as_bytes() == b"same-origin",
        (None, None) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_form_in_the_same_browser_passes() {
        let vault = Vault::new(&[1; 32]).unwrap();
        let good = token(&vault, "login", "cookie");
        let check = |name: &'static str, value: &'static str, cookie: &str, form: &str| {
            let mut headers = HeaderMap::new();
            if !name.is_empty() {
                headers.insert(name, value.parse().unwrap());
            }
            is_ours(&vault, "https://id.example", &headers, form, Some(cookie), Some(&good))
        };
        assert!(check("origin", "https://id.example", "cookie", "login"));
        assert!(check("sec-fetch-site", "same-origin", "cookie", "login"));
        assert!(check("", "", "cookie", "login"));
        assert!(!check("origin", "https://evil.example", "cookie", "login"));
        assert!(!check("origin", "https://id.example.evil", "cookie", "login"));
        assert!(!check("origin", "null", "cookie", "login"));
        assert!(!check("sec-fetch-site", "cross-site", "cookie", "login"));
        assert!(!check("sec-fetch-site", "same-site", "cookie", "login"));
        assert!(!check("origin", "https://id.example", "another", "login"));
        assert!(!check("origin", "https://id.example", "cookie", "logout"));
        let headers = HeaderMap::new();
        assert!(!is_ours(&vault, "https://id.example", &headers, "login", None, Some(&good)));
        assert!(!is_ours(&vault, "https://id.example", &headers, "login", Some("cookie"), None));
    }
}
