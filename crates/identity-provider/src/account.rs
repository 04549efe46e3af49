//! The pages on which people look after their own account.
//!
//! They are for the person who is signed in, with every factor that they have. What changes how an
//! account is entered asks for a sign-in of the last minutes too ([`Visit::recent`]), so that a browser
//! left open gives nothing away for good.

pub(crate) mod access;
pub(crate) mod email;
pub(crate) mod passkeys;
pub(crate) mod security;
pub(crate) mod totp;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use minijinja::context;

use crate::app::{App, Shared};
use crate::authorize::see_other;
use crate::factors::{self, Assurance, Enrolled};
use crate::fault::Fault;
use crate::forms;
use crate::login::next::Next;
use crate::params::{Params, ParamsError};
use crate::sessions::Session;

/// How old a sign-in may be that changes how the account is entered.
const RECENT: i64 = 15 * 60 * 1_000_000;

/// A page that a sign-in can lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Page {
    /// Who one is.
    #[default]
    Overview,
    /// How one signs in.
    Security,
    /// Where one is signed in.
    Access,
    /// Setting an authenticator app up.
    Totp,
    /// Adding a passkey.
    Passkey,
    /// Connecting a device.
    Device,
}

impl Page {
    const ALL: [Self; 6] =
        [Self::Overview, Self::Security, Self::Access, Self::Totp, Self::Passkey, Self::Device];

    /// The page's name in a query.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Overview => "account",
            Self::Security => "security",
            Self::Access => "access",
            Self::Totp => "totp",
            Self::Passkey => "passkey",
            Self::Device => "device",
        }
    }

    /// The page with this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|page| page.name() == name)
    }

    /// The page's path below the issuer's.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Overview => "/",
            Self::Security => "/account/security",
            Self::Access => "/account/access",
            Self::Totp => "/account/totp",
            Self::Passkey => "/account/passkey",
            Self::Device => "/device",
        }
    }
}

/// Why a page is not shown: another answer stands in its place.
pub(crate) enum Turned {
    Away(Box<Response>),
    Fault(Fault),
}

impl<E: Into<Fault>> From<E> for Turned {
    fn from(error: E) -> Self {
        Self::Fault(error.into())
    }
}

/// Answers with what a page's handler came to.
pub(crate) fn answer(app: &App, outcome: Result<Response, Turned>) -> Response {
    match outcome {
        Ok(response) => response,
        Err(Turned::Away(response)) => *response,
        Err(Turned::Fault(fault)) => app.pages.fault(&fault),
    }
}

/// Somebody at their own account.
pub(crate) struct Visit {
    pub(crate) session: Session,
    pub(crate) enrolled: Enrolled,
}

impl Visit {
    /// Lets the person in who is signed in as well as they can be; others are led to what is missing,
    /// and from there to `next`.
    pub(crate) async fn begin(app: &App, headers: &HeaderMap, next: &Next) -> Result<Self, Turned> {
        let away = |location: String| Turned::Away(Box::new(see_other(&location)));
        let Some(session) = app.session(headers).await? else {
            return Err(away(next.through(app, "/login")?));
        };
        let enrolled = factors::enrolled(&app.store, &session.user.id.to_string()).await?;
        if enrolled.any() && session.methods.assurance() == Assurance::OneFactor {
            return Err(away(next.through(app, "/login/second")?));
        }
        Ok(Self { session, enrolled })
    }

    /// As [`begin`](Self::begin), for who signed in a short while ago.
    pub(crate) async fn recent(app: &App, headers: &HeaderMap, next: &Next) -> Result<Self, Turned> {
        let visit = Self::begin(app, headers, next).await?;
        if app.now() - visit.session.auth_at > RECENT {
            return Err(Turned::Away(Box::new(see_other(&next.through(app, "/login")?))));
        }
        Ok(visit)
    }

    /// The token of every form of this visit. It contains the session's id, so that a page shown to
    /// one person does not serve the next at the same browser.
    pub(crate) fn csrf(&self, app: &App) -> String {
        forms::token(&app.vault, &self.form(), &self.session.id)
    }

    /// Refuses a form that was not sent from a page of this visit.
    pub(crate) fn check(&self, app: &App, headers: &HeaderMap, params: &Params) -> Result<(), Turned> {
        let (form, cookie) = (self.form(), Some(self.session.id.as_str()));
        if forms::is_ours(&app.vault, &app.issuer.origin, headers, &form, cookie, params.get(forms::FIELD)) {
            return Ok(());
        }
        let text = "This form was not sent from our page. Go back to your account and try again.";
        Err(Turned::Away(Box::new(app.pages.message(StatusCode::FORBIDDEN, "That did not work", text))))
    }

    fn form(&self) -> String {
        format!("account {}", self.session.id)
    }

    pub(crate) fn user_id(&self) -> String {
        self.session.user.id.to_string()
    }
}

/// The parameters of a page's form or query.
pub(crate) fn readable(app: &App, params: Result<Params, ParamsError>) -> Result<Params, Turned> {
    params.map_err(|error| {
        let page = app.pages.message(error.status(), "This link does not work", &error.to_string());
        Turned::Away(Box::new(page))
    })
}

/// The destination that a page was opened with.
pub(crate) fn destination(app: &App, params: &Params) -> Result<Next, Turned> {
    Next::read(app, params).map_err(Turned::Away)
}

/// Reads a form.
pub(crate) async fn form(app: &App, headers: &HeaderMap, body: Body) -> Result<Params, Turned> {
    readable(app, Params::read(headers, body).await)
}

/// An instant as the pages show it.
pub(crate) fn shown(at: i64) -> String {
    quintet_types::time::from_micros(at).strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// `GET /`
pub(crate) async fn overview(State(app): State<Shared>, headers: HeaderMap) -> Response {
    answer(&app, show(&app, &headers).await)
}

async fn show(app: &App, headers: &HeaderMap) -> Result<Response, Turned> {
    let visit = Visit::begin(app, headers, &Next::Page(Page::Overview)).await?;
    let user = &visit.session.user;
    let values = context!(
        page => Page::Overview.name(),
        name => user.name.as_str(),
        email => user.email.as_str(),
        email_verified => user.email_verified,
        may_verify => app.mail.is_some(),
        csrf => visit.csrf(app),
        role => user.role.name(),
        since => shown(user.created_at),
    );
    Ok(app.pages.render(StatusCode::OK, "account.html", values, None)?)
}
