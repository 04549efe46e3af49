//! Prometheus' `format_query` and `parse_query`: what an expression says, without asking it.

use super::params::Params;
use super::prometheus::{Answer, expression, success};
use crate::promql;

pub(super) async fn format_query(params: Params) -> Answer {
    Ok(success(promql::pretty(&expression(&params)?)))
}

pub(super) async fn parse_query(params: Params) -> Answer {
    Ok(success(promql::tree(&expression(&params)?)))
}
