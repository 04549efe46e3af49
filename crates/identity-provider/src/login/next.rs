//! Where a sign-in leads: back to the client that asked for it, or to a page of the account.
//!
//! It travels as one query parameter or hidden field, `request` or `to`, through every page of the way.

use axum::response::Response;
use url::Url;

use crate::account::Page;
use crate::app::App;
use crate::authorize::request::{AuthorizationRequest, EXPIRED};
use crate::authorize::{error_page, proceed, see_other};
use crate::caller::Caller;
use crate::factors::Assurance;
use crate::fault::Fault;
use crate::params::Params;
use crate::sessions::Session;
use crate::users::User;

/// The destination of a sign-in.
#[derive(Debug)]
pub(crate) enum Next {
    /// A client's authorization request.
    Client(Box<AuthorizationRequest>),
    /// A page of the account.
    Page(Page),
}

impl Next {
    /// The destination that `params` name: the account when none. A sealed request that does not open
    /// is answered here.
    pub(crate) fn read(app: &App, params: &Params) -> Result<Self, Box<Response>> {
        match params.get("request") {
            None => Ok(Self::Page(params.get("to").and_then(Page::named).unwrap_or_default())),
            Some(sealed) => AuthorizationRequest::open(app, sealed)
                .map(|request| Self::Client(Box::new(request)))
                .ok_or_else(|| Box::new(error_page(app, EXPIRED.0, EXPIRED.1))),
        }
    }

    /// The least that a sign-in of `user` must be worth there.
    pub(crate) fn least(&self, app: &App, user: &User) -> Assurance {
        self.request().map_or(Assurance::OneFactor, |request| request.least_assurance(app, user))
    }

    /// The client's request, if it is one.
    pub(crate) fn request(&self) -> Option<&AuthorizationRequest> {
        match self {
            Self::Client(request) => Some(request),
            Self::Page(_) => None,
        }
    }

    /// The name of the client and where it will be sent back to.
    pub(crate) fn client(&self, app: &App) -> (String, Option<Url>) {
        match self.request().and_then(|request| request.client(app)) {
            Some((client, redirect)) => (client.name.clone(), Some(redirect)),
            None => (String::new(), None),
        }
    }

    /// The hidden field: its name and its value.
    pub(crate) fn field(&self, app: &App) -> Result<(&'static str, String), Fault> {
        Ok(match self {
            Self::Client(request) => ("request", request.seal(&app.vault)?),
            Self::Page(page) => ("to", page.name().to_owned()),
        })
    }

    /// A page of the way, with the destination behind it.
    pub(crate) fn through(&self, app: &App, path: &str) -> Result<String, Fault> {
        let (name, value) = self.field(app)?;
        Ok(format!("{}{path}?{name}={value}", app.issuer.prefix))
    }

    /// Goes there, or to what is still missing on the way.
    pub(crate) async fn follow(
        &self,
        app: &App,
        session: &Session,
        caller: &Caller,
    ) -> Result<Response, Fault> {
        match self {
            Self::Client(request) => proceed(app, request, Some(session), caller).await,
            Self::Page(page) => Ok(see_other(&format!("{}{}", app.issuer.prefix, page.path()))),
        }
    }
}
