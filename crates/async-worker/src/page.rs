//! Lists as every API of this binary answers them: in an envelope, so that fields can be added, and page by page where
//! they may be long.

use std::fmt::Display;
use std::str::FromStr;

use quintet_http::Problem;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 500;

/// The query of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listing {
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// How many to return at most.
    #[param(minimum = 1, maximum = 500, default = 50)]
    limit: Option<u32>,
}

impl Listing {
    /// Where the page before ended, and how many entries this one has at most.
    ///
    /// # Errors
    /// 400 for a cursor that this list did not give and for a limit out of range.
    pub(crate) fn window<C: FromStr>(&self) -> Result<(Option<C>, u32), Problem> {
        let invalid =
            |_| Problem::bad_request("invalid_cursor", "the cursor is not one that this list returned");
        let cursor = self.cursor.as_deref().map(str::parse).transpose().map_err(invalid)?;
        Ok((cursor, limit(self.limit)?))
    }
}

/// How many entries a page has at most, as the query says or by default.
///
/// # Errors
/// 400 for a limit out of range.
pub(crate) fn limit(asked: Option<u32>) -> Result<u32, Problem> {
    let limit = asked.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::bad_request("invalid_limit", format!("limit is from 1 to {MAX_LIMIT}")));
    }
    Ok(limit)
}

/// A whole list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct List<T> {
    pub(crate) data: Vec<T>,
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    data: Vec<T>,
    /// Pass as `cursor` to go on; absent where there is no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// The page for what a search found and where it may go on.
    pub(crate) fn new(data: Vec<T>, next: Option<impl Display>) -> Self {
        Self { data, next_cursor: next.map(|next| next.to_string()) }
    }

    /// The page for up to `limit` rows: only a full one may have a next.
    pub(crate) fn of<C: Display>(data: Vec<T>, limit: u32, cursor: impl Fn(&T) -> C) -> Self {
        let full = u32::try_from(data.len()).is_ok_and(|length| length == limit);
        let next = data.last().filter(|_| full).map(cursor);
        Self::new(data, next)
    }
}
