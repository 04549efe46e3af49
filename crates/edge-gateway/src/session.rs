//! Browser sessions: what the session cookie holds, and keeping its access token fresh.
//!
//! The session lives in the browser, sealed; the gateway keeps none, so any gateway with the key can
//! serve it. Each worker remembers opened cookies for a while to spare the decryption. A refresh token may
//! be used once only (RFC 9700 section 4.14), while a page's requests arrive together and on different
//! workers: refreshes are therefore single-flight across the process, and their outcome is kept for
//! [`KEEP_OUTCOME`] for requests that still carry the old cookie.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest;
use http::HeaderValue;
use serde::{Deserialize, Serialize};

use crate::seal::Sealer;

pub(crate) const SESSION_COOKIE: &str = "__Host-quintet_session";
pub(crate) const SIGNIN_COOKIE: &str = "__Host-quintet_signin";
/// The gateway's own cookies: none of them is sent upstream. The identity provider's share the
/// prefix and must pass.
pub(crate) const OWN_COOKIES: [&str; 2] = [SESSION_COOKIE, SIGNIN_COOKIE];
/// Browsers refuse cookies whose name, value and attributes exceed 4,096 bytes.
const MAX_COOKIE: usize = 3_900;
/// The access token is renewed when it has less than this left, seconds.
pub(crate) const REFRESH_BEFORE: i64 = 30;
/// Seconds.
const KEEP_OUTCOME: i64 = 60;
const MAX_OUTCOMES: usize = 10_000;
const CACHED_SESSIONS: usize = 1_024;

/// A signed-in browser.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) sub: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) email: Option<String>,
    /// Space-separated.
    pub(crate) scope: String,
    pub(crate) access_token: String,
    /// Of the access token, seconds since the Unix epoch.
    pub(crate) expires_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refresh_token: Option<String>,
    /// Hint for sign-out; left out where the cookie would become too large.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id_token: Option<String>,
}

impl Session {
    pub(crate) fn has_scope(&self, scope: &str) -> bool {
        self.scope.split_ascii_whitespace().any(|own| own == scope)
    }

    /// The `Set-Cookie` value that stores the session, or None where no browser would keep it.
    pub(crate) fn cookie(&self, sealer: &Sealer) -> Option<HeaderValue> {
        let mut sealed = sealer.seal(SESSION_COOKIE, self)?;
        if sealed.len() > MAX_COOKIE && self.id_token.is_some() {
            sealed = sealer.seal(SESSION_COOKIE, &Self { id_token: None, ..self.clone() })?;
        }
        if sealed.len() > MAX_COOKIE {
            tracing::error!(
                bytes = sealed.len(),
                "session too large for a cookie; the access token must be smaller"
            );
            return None;
        }
        set_cookie(SESSION_COOKIE, &sealed, None)
    }
}

/// A `Set-Cookie` value with the attributes that all of the gateway's cookies have.
pub(crate) fn set_cookie(name: &str, value: &str, max_age: Option<u32>) -> Option<HeaderValue> {
    let age = max_age.map_or_else(String::new, |seconds| format!("; Max-Age={seconds}"));
    HeaderValue::try_from(format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax{age}")).ok()
}

/// An opened session, ready for use upstream.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) session: Session,
    /// `Bearer …`.
    pub(crate) authorization: HeaderValue,
}

impl Opened {
    pub(crate) fn new(session: Session) -> Option<Self> {
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", session.access_token)).ok()?;
        authorization.set_sensitive(true);
        Some(Self { session, authorization })
    }
}

/// Opened cookies of one worker.
#[derive(Default)]
pub(crate) struct SessionCache(RefCell<HashMap<Box<str>, Rc<Opened>>>);

impl SessionCache {
    /// The session in `cookie`, if it was sealed here.
    pub(crate) fn open(&self, sealer: &Sealer, cookie: &str) -> Option<Rc<Opened>> {
        if let Some(opened) = self.0.borrow().get(cookie) {
            return Some(Rc::clone(opened));
        }
        let opened = Rc::new(Opened::new(sealer.open(SESSION_COOKIE, cookie)?)?);
        let mut cached = self.0.borrow_mut();
        if cached.len() >= CACHED_SESSIONS {
            cached.clear();
        }
        cached.insert(cookie.into(), Rc::clone(&opened));
        Some(opened)
    }
}

/// What became of a refresh token.
#[derive(Debug, Clone)]
pub(crate) enum Refreshed {
    /// The session goes on.
    Renewed(Box<Session>),
    /// The provider refused: the person has to sign in again.
    Over,
}

/// Refreshes under way or just done, by digest of the refresh token.
#[derive(Default)]
pub(crate) struct Refreshes(Mutex<HashMap<[u8; 32], Arc<Refresh>>>);

/// One refresh token's turn.
pub(crate) struct Refresh {
    began: i64,
    /// Held while the provider is asked.
    pub(crate) outcome: tokio::sync::Mutex<Option<Refreshed>>,
}

impl Refreshes {
    /// The turn of `refresh_token`; whoever gets its lock first and finds no outcome does the work.
    pub(crate) fn turn(&self, refresh_token: &str, now: i64) -> Arc<Refresh> {
        let mut key = [0u8; 32];
        key.copy_from_slice(digest::digest(&digest::SHA256, refresh_token.as_bytes()).as_ref());
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| now.saturating_sub(turn.began) < KEEP_OUTCOME);
        if turns.len() >= MAX_OUTCOMES {
            turns.clear();
        }
        let fresh = || Arc::new(Refresh { began: now, outcome: tokio::sync::Mutex::default() });
        Arc::clone(turns.entry(key).or_insert_with(fresh))
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    fn session() -> Session {
        Session {
            sub: "usr_1".to_owned(),
            name: None,
            email: None,
            scope: "a:read b:write".to_owned(),
            access_token: "token".to_owned(),
            expires_at: 100,
            refresh_token: None,
            id_token: Some("i".repeat(3_000)),
        }
    }

    fn sealer() -> Sealer {
        Sealer::from_text(&base64::engine::general_purpose::STANDARD.encode([3; 32])).unwrap()
    }

    #[test]
    fn a_session_that_would_not_fit_loses_its_sign_out_hint() {
        let cookie = session().cookie(&sealer()).unwrap();
        let value = cookie.to_str().unwrap().split(['=', ';']).nth(1).unwrap().to_owned();
        let cache = SessionCache::default();
        let opened = cache.open(&sealer(), &value).unwrap();
        assert_eq!(opened.session, Session { id_token: None, ..session() });
        assert_eq!(opened.authorization, "Bearer token");
    }

    #[test]
    fn a_session_that_does_not_fit_at_all_is_not_set() {
        assert!(Session { access_token: "x".repeat(4_000), ..session() }.cookie(&sealer()).is_none());
    }

    #[test]
    fn cookies_carry_every_attribute_that_keeps_them_in_place() {
        let cookie = set_cookie("__Host-x", "v", Some(600)).unwrap();
        assert_eq!(cookie, "__Host-x=v; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=600");
    }

    #[test]
    fn scopes_match_whole_words() {
        assert!(session().has_scope("b:write"));
        assert!(!session().has_scope("b"));
    }

    #[test]
    fn a_refresh_token_has_one_turn_until_its_outcome_is_forgotten() {
        let refreshes = Refreshes::default();
        let first = refreshes.turn("r", 0);
        assert!(Arc::ptr_eq(&first, &refreshes.turn("r", KEEP_OUTCOME - 1)));
        assert!(!Arc::ptr_eq(&first, &refreshes.turn("other", 1)));
        assert!(!Arc::ptr_eq(&first, &refreshes.turn("r", KEEP_OUTCOME + 1)));
    }
}
