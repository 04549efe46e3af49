//! The time as `Date` has it, written once a tick: writing it for each answer would cost more than its head.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use http::HeaderMap;
use http::header::{DATE, HeaderValue};

use super::Worker;
use crate::ticks::Tick;

#[derive(Debug, Default)]
pub(super) struct DateCache(RefCell<Option<(Tick, Rc<str>)>>);

impl DateCache {
    /// `millis` is the time since the epoch, asked for once a tick.
    pub(super) fn get(&self, now: Tick, millis: impl FnOnce() -> i64) -> Rc<str> {
        let mut cached = self.0.borrow_mut();
        if let Some((written, text)) = &*cached
            && *written == now
        {
            return Rc::clone(text);
        }
        let since = Duration::from_millis(u64::try_from(millis()).unwrap_or(0));
        let text: Rc<str> = httpdate::fmt_http_date(UNIX_EPOCH + since).into();
        *cached = Some((now, Rc::clone(&text)));
        text
    }
}

impl Worker {
    /// Says when an answer was made, where it does not itself (RFC 9110 section 6.6.1).
    pub(crate) fn add_date(&self, headers: &mut HeaderMap) {
        if !headers.contains_key(DATE)
            && let Ok(date) = HeaderValue::from_str(&self.date())
        {
            headers.insert(DATE, date);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticks::Ticks;

    #[test]
    fn the_time_is_written_once_a_tick() {
        let (cache, ticks) = (DateCache::default(), Ticks::new());
        assert_eq!(&*cache.get(ticks.now(), || 784_111_777_000), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&*cache.get(ticks.now(), || 784_111_778_000), "Sun, 06 Nov 1994 08:49:37 GMT");
        ticks.advance();
        assert_eq!(&*cache.get(ticks.now(), || 784_111_778_000), "Sun, 06 Nov 1994 08:49:38 GMT");
    }
}
