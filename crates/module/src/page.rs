//! Keyset pages: newest first, resumed after the last id that was seen.
//!
//! Ids are time-ordered, so a page is one index range however deep it lies, and rows that arrive
//! meanwhile shift nothing. The cursor is opaque to clients and holds nothing but a position; it
//! is not signed, because what a caller may list is decided by its token on every page.

use std::fmt::Display;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quintet_http::problem::Problem;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 200;

/// The query parameters of every list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// How many to return at most.
    #[serde(default)]
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default)]
    #[param(max_length = 128)]
    pub cursor: Option<String>,
}

/// The rows a list query has to return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window<Id> {
    /// Start after this one; from the newest when absent.
    pub after: Option<Id>,
    /// How many rows at most.
    pub limit: u32,
}

impl PageQuery {
    /// The checked parameters.
    ///
    /// # Errors
    /// 400 for a limit out of range or a cursor that this API did not make for this list.
    pub fn window<Id: FromStr>(&self) -> Result<Window<Id>, Problem> {
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(Problem::bad_request("invalid_limit", format!("limit is from 1 to {MAX_LIMIT}")));
        }
        let after = self.cursor.as_deref().map(decode).transpose()?;
        Ok(Window { after, limit })
    }
}

impl<Id: Display> Window<Id> {
    /// The exclusive upper bound for `id < $n ORDER BY id DESC`. `prefix` is the id type's.
    pub fn upper_bound(&self, prefix: &str) -> String {
        // Above every id whatever the collation: the first digit of a real one is at most 7.
        self.after.as_ref().map_or_else(|| format!("{prefix}_{}", "z".repeat(26)), Id::to_string)
    }

    /// How many rows to fetch: one more than asked shows whether there is a next page.
    pub fn fetch_limit(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// Cuts the fetched rows to the asked number.
    pub fn slice<T>(&self, mut rows: Vec<T>) -> Slice<T> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        Slice { rows, more }
    }
}

/// Rows of one window.
#[derive(Debug, Clone)]
pub struct Slice<T> {
    /// The rows, newest first.
    pub rows: Vec<T>,
    /// Whether older rows exist.
    pub more: bool,
}

/// One page of a list.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Page<T> {
    /// The entries, newest first.
    pub items: Vec<T>,
    /// Pass as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// The page for a slice of domain rows.
    pub fn new<R>(slice: Slice<R>, id: impl Fn(&R) -> String, present: impl Fn(R) -> T) -> Self {
        let last = slice.rows.last().filter(|_| slice.more).map(id);
        Self { items: slice.rows.into_iter().map(present).collect(), next_cursor: last.map(encode) }
    }
}

fn encode(id: String) -> String {
    URL_SAFE_NO_PAD.encode(id)
}

fn decode<Id: FromStr>(cursor: &str) -> Result<Id, Problem> {
    URL_SAFE_NO_PAD
        .decode(cursor)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|id| id.parse().ok())
        .ok_or_else(|| {
            Problem::bad_request("invalid_cursor", "the cursor is not one that this list returned")
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use quintet_types::{ItemId, OrderId};

    use super::*;

    fn query(limit: Option<u32>, cursor: Option<String>) -> PageQuery {
        PageQuery { limit, cursor }
    }

    #[test]
    fn a_cursor_leads_to_the_row_after_the_last_one() {
        let ids = [OrderId::new(), OrderId::new(), OrderId::new()];
        let window = query(Some(2), None).window::<OrderId>().unwrap();
        let page = Page::new(window.slice(ids.to_vec()), OrderId::to_string, |id| id);
        assert_eq!(page.items, ids[..2]);
        let next = query(None, page.next_cursor).window::<OrderId>().unwrap();
        assert_eq!(next.after, Some(ids[1]));
    }

    #[test]
    fn the_last_page_has_no_cursor() {
        let window = query(Some(2), None).window::<OrderId>().unwrap();
        let page = Page::new(window.slice(vec![OrderId::new()]), OrderId::to_string, |id| id);
        assert_eq!(page.next_cursor, None);
    }

    #[test]
    fn a_cursor_of_another_list_and_a_limit_out_of_range_are_400() {
        let foreign = encode(ItemId::new().to_string());
        for query in [query(None, Some(foreign)), query(Some(0), None), query(Some(201), None)] {
            assert_eq!(query.window::<OrderId>().unwrap_err().status, 400);
        }
    }

    #[test]
    fn the_first_page_starts_above_every_id() {
        let window = Window::<OrderId> { after: None, limit: 1 };
        assert!(window.upper_bound("ord") > format!("ord_7{}", "z".repeat(25)));
    }

    proptest! {
        #[test]
        fn arbitrary_cursors_never_panic(cursor in ".{0,64}") {
            let _ = query(None, Some(cursor)).window::<OrderId>();
        }
    }
}
