//! Preflights (Fetch standard): a browser asks by `OPTIONS` whether a script may send another request.

use http::Method;
use http::Response;
use http::request::Parts;
use quintet_http::problem::Problem;

use super::host::Asked;
use crate::body::ResponseBody;
use crate::content::preflight_method;
use crate::exchange::Exchange;
use crate::router::Head;
use crate::worker::View;

/// The answer to a preflight for a route that has rules for scripts; None for everything else. The route is
/// the one that the request asked for would take, as far as a preflight tells: it has none of its headers.
pub(super) fn answer(
    view: &View,
    parts: &Parts,
    asked: &Asked,
    exchange: &mut Exchange,
) -> Result<Option<Response<ResponseBody>>, Problem> {
    if parts.method != Method::OPTIONS {
        return Ok(None);
    }
    let Some(method) = preflight_method(parts) else { return Ok(None) };
    let head = Head {
        host: asked.host_name(),
        path: &asked.path,
        query: parts.uri.query(),
        method: &method,
        headers: &parts.headers,
    };
    let Some((index, route)) = view.router.find(&head) else { return Ok(None) };
    let Some(cors) = route.content.as_ref().and_then(|content| content.cors.as_ref()) else {
        return Ok(None);
    };
    exchange.set_route(index);
    cors.preflight(parts).map(Some)
}
