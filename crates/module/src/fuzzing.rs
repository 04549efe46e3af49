//! What the fuzz targets in `fuzz/` call: bytes as a stranger sends them, and a panic when a promise about them breaks.

use quintet_types::{ItemId, OrderId};

use crate::idempotency::Key;
use crate::page::{Page, PageQuery, Slice};

/// A cursor is a position of its own list, or refused; the position comes back as a cursor that means the same.
pub fn list_cursor(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let order = |cursor: String| {
        let window = PageQuery { limit: None, cursor: Some(cursor) }.window::<OrderId>();
        window.ok().and_then(|window| window.after)
    };
    let Some(position) = order(text.to_owned()) else { return };
    let page = Page::new(Slice { rows: vec![position], more: true }, OrderId::to_string, |id| id);
    assert_eq!(page.next_cursor.and_then(order), Some(position));
    let foreign = PageQuery { limit: None, cursor: Some(text.to_owned()) }.window::<ItemId>();
    assert!(foreign.is_err(), "a cursor of one list is taken by another");
}

/// An idempotency key is 1 to 255 visible characters, or refused.
pub fn idempotency_key(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let trimmed = text.trim();
    let visible =
        (1..=255).contains(&trimmed.len()) && trimmed.bytes().all(|byte| (0x21..0x7f).contains(&byte));
    assert_eq!(Key::new(text).is_some(), visible);
}

#[cfg(test)]
mod tests {
    use quintet_testkit::replay;

    #[test]
    fn list_cursor() {
        replay("list_cursor", super::list_cursor);
    }

    #[test]
    fn idempotency_key() {
        replay("idempotency_key", super::idempotency_key);
    }
}
