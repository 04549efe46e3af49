//! Alertmanager's API, version 2: alerts, groups, silences, receivers, status. `amtool` and Grafana work with it.
//!
//! Reading needs what queries need. Silencing and posting alerts change who is told of what and need `telemetry:write` as well;
//! each such change is one audit line.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use quintet_auth::Principal;
use quintet_types::{SystemEntropy, Timestamp};
use regex::Regex;
use serde::Deserialize;
use serde_json::{Value as JsonValue, json};

use super::params::Params;
use super::{Api, configured};
use crate::model::matcher::{all_accept, compile};
use crate::model::{Labels, Matcher};
use crate::notify::dispatch::AlertView;
use crate::notify::message::time;
use crate::notify::parse_matcher;
use crate::notify::silences::{Condition, Silence, SilenceError};
use crate::notify::store::Alert;
use crate::rules::file::is_label_name;

/// The scope without which nothing is silenced or posted.
const WRITE: &str = "telemetry:write";
const MAX_ALERTS: usize = 5000;
const MAX_TEXT: usize = 16 * 1024;

pub(super) fn router() -> Router<Arc<Api>> {
    Router::new()
        .route("/api/v2/alerts", get(alerts).post(post_alerts))
        .route("/api/v2/alerts/groups", get(groups))
        .route("/api/v2/silences", get(silences).post(post_silence))
        .route("/api/v2/silence/{id}", get(silence).delete(expire))
        .route("/api/v2/receivers", get(receivers))
        .route("/api/v2/status", get(status))
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(healthy))
}

/// An error in Alertmanager's shape: its message as a JSON text.
struct Failure(StatusCode, String);

impl Failure {
    fn bad(message: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, message.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        tracing::error!(%error, "a request about alerts stopped");
        Self(StatusCode::INTERNAL_SERVER_ERROR, "the request could not be run".to_owned())
    }
}

impl From<SilenceError> for Failure {
    fn from(error: SilenceError) -> Self {
        let status = match &error {
            SilenceError::Invalid(_) | SilenceError::TooMany => StatusCode::BAD_REQUEST,
            SilenceError::Unknown => StatusCode::NOT_FOUND,
            SilenceError::Io(source) => {
                tracing::error!(error = %source, "a silence cannot be stored");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self(status, error.to_string())
    }
}

type Answer = Result<Json<JsonValue>, Failure>;

fn may_write(principal: &Principal) -> Result<(), Failure> {
    if principal.has_scope(WRITE) {
        return Ok(());
    }
    Err(Failure(StatusCode::FORBIDDEN, format!("this needs a token with the scope {WRITE}")))
}

/// One line for each change: who, what, to what.
fn audit(principal: &Principal, action: &'static str, target: &str) {
    let claims = &principal.claims;
    tracing::info!(actor = claims.sub, client = claims.client_id, action, target, "alerting was changed");
}

fn map(labels: &Labels) -> BTreeMap<&str, &str> {
    labels.iter().collect()
}

/// Which alerts a request wants to see.
struct Asked {
    active: bool,
    silenced: bool,
    inhibited: bool,
    muted: bool,
    matchers: Vec<Matcher>,
    receiver: Option<Regex>,
}

impl Asked {
    fn of(params: &Params) -> Result<Self, Failure> {
        let wants = |name: &str| match params.get(name) {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(Failure::bad(format!("`{name}` must be true or false, not {other:?}"))),
        };
        let receiver = match params.get("receiver") {
            Some(pattern) if !pattern.is_empty() => {
                Some(compile(&format!("^(?:{pattern})$")).map_err(Failure::bad)?)
            }
            _ => None,
        };
        Ok(Self {
            active: wants("active")?,
            silenced: wants("silenced")?,
            inhibited: wants("inhibited")?,
            muted: wants("muted")?,
            matchers: filter(params)?,
            receiver,
        })
    }

    fn wants_receiver(&self, name: &str) -> bool {
        self.receiver.as_ref().is_none_or(|pattern| pattern.is_match(name))
    }

    fn wants(&self, view: &AlertView) -> bool {
        let standing = &view.standing;
        let is_active = standing.state() == "active";
        (self.active || !is_active)
            && (self.silenced || standing.silenced_by.is_empty())
            && (self.inhibited || standing.inhibited_by.is_none())
            && (self.muted || standing.muted_by.is_empty())
            && all_accept(&self.matchers, &view.alert.labels)
            && view.receivers.iter().any(|name| self.wants_receiver(name))
    }
}

fn filter(params: &Params) -> Result<Vec<Matcher>, Failure> {
    params.all("filter").map(|text| parse_matcher(text).map_err(Failure::bad)).collect()
}

fn show(view: &AlertView) -> JsonValue {
    let (alert, standing) = (&view.alert, &view.standing);
    let inhibited_by: Vec<String> =
        standing.inhibited_by.iter().map(|print| format!("{print:016x}")).collect();
    json!({
        "fingerprint": format!("{:016x}", view.fingerprint),
        "labels": map(&alert.labels),
        "annotations": alert.annotations,
        "startsAt": time(Some(alert.starts_at)),
        "endsAt": time(Some(alert.ends_at)),
        "updatedAt": time(Some(alert.updated_at)),
        "generatorURL": alert.generator_url,
        "receivers": view.receivers.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>(),
        "status": {
            "state": standing.state(),
            "silencedBy": standing.silenced_by,
            "inhibitedBy": inhibited_by,
            "mutedBy": standing.muted_by,
        },
    })
}

async fn alerts(State(api): State<Arc<Api>>, params: Params) -> Answer {
    let asked = Asked::of(&params)?;
    let views = api.notifier.blocking(|dispatcher, now| dispatcher.alerts(now)).await?;
    Ok(Json(views.iter().filter(|view| asked.wants(view)).map(show).collect()))
}

async fn groups(State(api): State<Arc<Api>>, params: Params) -> Answer {
    let asked = Asked::of(&params)?;
    let groups = api.notifier.blocking(|dispatcher, now| dispatcher.groups(now)).await?;
    let shown = groups.iter().filter(|group| asked.wants_receiver(&group.receiver)).filter_map(|group| {
        let alerts: Vec<_> = group.alerts.iter().filter(|view| asked.wants(view)).map(show).collect();
        (!alerts.is_empty()).then(
            || json!({ "labels": map(&group.labels), "receiver": { "name": group.receiver }, "alerts": alerts }),
        )
    });
    Ok(Json(shown.collect()))
}

/// An alert as it is posted.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Posted {
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    starts_at: Option<Timestamp>,
    ends_at: Option<Timestamp>,
    #[serde(default, rename = "generatorURL")]
    generator_url: String,
}

impl Posted {
    fn alert(self, now: i64, resolve_timeout: i64) -> Result<Alert, String> {
        let labels: Labels =
            self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        if labels.len() == 0 {
            return Err("an alert needs at least one label".to_owned());
        }
        if let Some(name) =
            self.labels.keys().chain(self.annotations.keys()).find(|name| !is_label_name(name))
        {
            return Err(format!("{name:?} is no label name; use letters, digits and underscores"));
        }
        let texts = self.labels.values().chain(self.annotations.values());
        if texts.map(String::len).sum::<usize>() + self.generator_url.len() > MAX_TEXT {
            return Err(format!("an alert is larger than {MAX_TEXT} bytes"));
        }
        // Go's zero time stands for none.
        let given =
            |time: Option<Timestamp>| time.map(Timestamp::as_millisecond).filter(|millis| *millis > 0);
        let ends_at = given(self.ends_at);
        let starts_at = given(self.starts_at).unwrap_or_else(|| ends_at.map_or(now, |end| end.min(now)));
        let ends_at = ends_at.unwrap_or(now + resolve_timeout);
        if ends_at < starts_at {
            return Err("start time must be before end time".to_owned());
        }
        Ok(Alert {
            labels,
            annotations: self.annotations,
            starts_at,
            ends_at,
            updated_at: now,
            generator_url: self.generator_url,
        })
    }
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::bad(format!("the body cannot be read: {error}")))
}

async fn post_alerts(
    State(api): State<Arc<Api>>,
    principal: Principal,
    body: axum::body::Bytes,
) -> Result<(), Failure> {
    may_write(&principal)?;
    let posted: Vec<Posted> = read(&body)?;
    if posted.len() > MAX_ALERTS {
        return Err(Failure::bad(format!("more than {MAX_ALERTS} alerts in one request")));
    }
    let count = posted.len();
    let taken = api.notifier.blocking(move |dispatcher, now| -> Result<(), String> {
        let timeout = dispatcher.plan().resolve_timeout;
        let alerts = posted.into_iter().map(|one| one.alert(now, timeout)).collect::<Result<Vec<_>, _>>()?;
        for alert in alerts {
            dispatcher.post(alert, now);
        }
        Ok(())
    });
    taken.await?.map_err(Failure::bad)?;
    audit(&principal, "alerts.post", &format!("{count} alerts"));
    Ok(())
}

/// A silence as it is posted.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    #[serde(default)]
    id: Option<String>,
    matchers: Vec<Condition>,
    starts_at: Timestamp,
    ends_at: Timestamp,
    created_by: String,
    comment: String,
}

async fn post_silence(State(api): State<Arc<Api>>, principal: Principal, body: axum::body::Bytes) -> Answer {
    may_write(&principal)?;
    let wanted: Wanted = read(&body)?;
    let silence = Silence {
        id: wanted.id.unwrap_or_default(),
        matchers: wanted.matchers,
        starts_at: wanted.starts_at.as_millisecond(),
        ends_at: wanted.ends_at.as_millisecond(),
        updated_at: 0,
        created_by: wanted.created_by,
        comment: wanted.comment,
    };
    let stored =
        api.notifier.blocking(move |dispatcher, now| dispatcher.put_silence(silence, now, &SystemEntropy));
    let id = stored.await??;
    audit(&principal, "silences.put", &id);
    Ok(Json(json!({ "silenceID": id })))
}

async fn expire(
    State(api): State<Arc<Api>>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<(), Failure> {
    may_write(&principal)?;
    let target = id.clone();
    api.notifier.blocking(move |dispatcher, now| dispatcher.expire_silence(&id, now)).await??;
    audit(&principal, "silences.expire", &target);
    Ok(())
}

fn show_silence(silence: &Silence, now: i64) -> JsonValue {
    json!({
        "id": silence.id,
        "status": { "state": silence.state(now) },
        "matchers": silence.matchers,
        "startsAt": time(Some(silence.starts_at)),
        "endsAt": time(Some(silence.ends_at)),
        "updatedAt": time(Some(silence.updated_at)),
        "createdBy": silence.created_by,
        "comment": silence.comment,
    })
}

async fn silences(State(api): State<Arc<Api>>, params: Params) -> Answer {
    let matchers = filter(&params)?;
    let shown = api.notifier.blocking(move |dispatcher, now| {
        // A filter is about what the silence is for: its conditions as labels.
        let fits = |silence: &&Silence| {
            let named = silence.matchers.iter().map(|one| (one.name.as_str(), one.value.as_str()));
            all_accept(&matchers, &named.collect())
        };
        let mut found: Vec<&Silence> = dispatcher.silences().filter(fits).collect();
        found.sort_by_key(|silence| {
            let order =
                ["active", "pending", "expired"].iter().position(|state| *state == silence.state(now));
            (order, silence.ends_at)
        });
        found.into_iter().map(|silence| show_silence(silence, now)).collect()
    });
    Ok(Json(shown.await?))
}

async fn silence(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer {
    let found = api
        .notifier
        .blocking(move |dispatcher, now| dispatcher.silence(&id).map(|silence| show_silence(silence, now)));
    Ok(Json(found.await?.ok_or(SilenceError::Unknown)?))
}

async fn receivers(State(api): State<Arc<Api>>) -> Answer {
    let names = api.notifier.blocking(|dispatcher, _| {
        dispatcher.plan().receivers.iter().map(|receiver| json!({ "name": receiver.name })).collect()
    });
    Ok(Json(names.await?))
}

async fn status(State(api): State<Arc<Api>>) -> Answer {
    let plan = api.notifier.blocking(|dispatcher, _| dispatcher.plan().described()).await?;
    Ok(Json(json!({
        "cluster": { "status": "disabled" },
        "config": { "original": configured::yaml(&plan) },
        "uptime": time(Some(api.started_at)),
        "versionInfo": {
            "version": "0.28.0",
            "revision": env!("CARGO_PKG_VERSION"),
            "branch": "quintet",
            "buildUser": "",
            "buildDate": "",
            "goVersion": "",
        },
    })))
}

async fn healthy() -> &'static str {
    "OK"
}
