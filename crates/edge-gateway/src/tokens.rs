//! Bearer tokens that were verified a moment ago, so that a signature is checked once and not per request.
//!
//! One cache per worker, bounded. An entry lives no longer than its token, and no longer than
//! [`MAX_AGE`], which bounds how long a withdrawn key is still accepted.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use quintet_auth::Principal;

/// Seconds.
const MAX_AGE: i64 = 30;
const CAPACITY: usize = 2_048;

/// Verified tokens by their text.
#[derive(Default)]
pub(crate) struct TokenCache(RefCell<HashMap<Box<str>, Entry>>);

struct Entry {
    principal: Rc<Principal>,
    until: i64,
}

impl TokenCache {
    /// `now` in seconds since the Unix epoch.
    pub(crate) fn find(&self, token: &str, now: i64) -> Option<Rc<Principal>> {
        let entries = self.0.borrow();
        entries.get(token).filter(|entry| now < entry.until).map(|entry| Rc::clone(&entry.principal))
    }

    pub(crate) fn store(&self, token: &str, principal: Rc<Principal>, now: i64) {
        let until = principal.claims.exp.min(now.saturating_add(MAX_AGE));
        let mut entries = self.0.borrow_mut();
        if entries.len() >= CAPACITY {
            entries.retain(|_, entry| now < entry.until);
            if entries.len() >= CAPACITY {
                entries.clear();
            }
        }
        entries.insert(token.into(), Entry { principal, until });
    }
}
