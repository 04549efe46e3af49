//! The way back to the client: parameters in the query of its redirect, or in a form that the browser posts there (OAuth
//! 2.0 Form Post Response Mode). A fragment is never used: it leaks (RFC 9700 §4.1.2).

use axum::http::StatusCode;
use axum::response::Response;
use minijinja::{Value, context};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::app::App;
use crate::authorize::see_other;

/// How the client wants to be answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ResponseMode {
    /// In the query of a redirect.
    #[default]
    Query,
    /// In a form.
    FormPost,
}

impl ResponseMode {
    /// Of the parameter `response_mode`.
    pub(crate) fn parse(text: Option<&str>) -> Option<Self> {
        match text {
            None | Some("query") => Some(Self::Query),
            Some("form_post") => Some(Self::FormPost),
            Some(_) => None,
        }
    }
}

/// Where an answer goes.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    pub(crate) to: Url,
    pub(crate) mode: ResponseMode,
    pub(crate) state: Option<String>,
}

impl Destination {
    /// Sends `pairs` to the client, with its state and our name (RFC 9207).
    pub(crate) fn answer(self, app: &App, pairs: &[(&str, &str)]) -> Response {
        let Self { mut to, mode, state } = self;
        let all = pairs
            .iter()
            .copied()
            .chain(state.as_deref().map(|state| ("state", state)))
            .chain([("iss", app.issuer.url.as_str())]);
        match mode {
            ResponseMode::Query => {
                to.query_pairs_mut().extend_pairs(all);
                see_other(to.as_str())
            }
            ResponseMode::FormPost => {
                let fields: Vec<Value> = all.map(|(name, value)| context!(name, value)).collect();
                let values = context!(action => to.as_str(), fields => Value::from(fields));
                app.pages
                    .render_sending(StatusCode::OK, "form_post.html", values, &to)
                    .unwrap_or_else(|fault| app.pages.fault(&fault))
            }
        }
    }

    /// Sends an error to the client (RFC 6749 §4.1.2.1).
    pub(crate) fn refuse(self, app: &App, error: &'static str, description: &str) -> Response {
        metrics::counter!("quintet_identity_authorization_errors_total", "error" => error).increment(1);
        self.answer(app, &[("error", error), ("error_description", description)])
    }
}
