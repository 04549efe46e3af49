//! Where the parameters of an authorization request are: in the query or form itself, in a token that the client signed
//! (RFC 9101), or pushed here before (RFC 9126).

use super::request::{self, Refusal};
use crate::app::App;
use crate::client_auth::KeySource;
use crate::clients::Client;
use crate::params::Params;
use crate::{jar, par};

/// How the parameters came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// With the browser.
    Browser,
    /// From the client itself.
    Pushed,
}

/// The parameters of an authorization request, wherever they were.
pub(crate) struct Requested {
    pub(crate) params: Params,
    pub(crate) source: Source,
}

/// Finds the parameters that a browser brings or names.
pub(crate) async fn resolve(app: &App, params: Params) -> Result<Requested, Refusal> {
    let client = request::client(app, &params)?;
    let Some(uri) = params.get("request_uri") else {
        return read(app, &client, params, Source::Browser).await;
    };
    if !uri.starts_with(par::PREFIX) {
        let text = "requests are pushed to /par, not fetched";
        return Err(request::refusal(&client, &params, "request_uri_not_supported", text));
    }
    // Everything else in the query is ignored (RFC 9126 §4).
    let Some(params) = par::take(app, &client, uri).await? else {
        return Err(Refusal::Page(
            "This sign-in link was used before or has expired. Go back to the application and start again.",
        ));
    };
    Ok(Requested { params, source: Source::Pushed })
}

/// The parameters of `params`, or of the request object among them.
pub(crate) async fn read(
    app: &App,
    client: &Client,
    params: Params,
    source: Source,
) -> Result<Requested, Refusal> {
    let Some(object) = params.get("request") else {
        if client.security.requires_signed_requests {
            let text = "this client must sign its requests (request)";
            return Err(request::refusal(client, &params, "invalid_request", text));
        }
        return Ok(Requested { params, source });
    };
    if matches!(client.security.keys, KeySource::None) {
        let text = "this client has no keys registered to sign requests with";
        return Err(request::refusal(client, &params, "request_not_supported", text));
    }
    match jar::open(app, client, object).await? {
        Ok(params) => Ok(Requested { params, source }),
        Err(reason) => Err(request::refusal(client, &params, "invalid_request_object", reason)),
    }
}
