//! The `[notify]` section.

use std::path::PathBuf;

use quintet_http::Origin;
use quintet_service::{Invalid, SecretFile};
use serde::Deserialize;

use super::plan::Plan;

/// Who is told of alerts, when and how. Without receivers alerts can be seen and silenced but nobody is told.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// The receiver of alerts that no route takes.
    pub(crate) default_receiver: Option<String>,
    /// Alerts with the same values of these labels come in one notification; `["..."]` for each alert alone.
    pub(crate) group_by: Vec<String>,
    /// How long the first notification of a group waits for more alerts, in seconds.
    pub(crate) group_wait_seconds: u64,
    /// How long a group waits before it tells of changes, in seconds.
    pub(crate) group_interval_seconds: u64,
    /// After which time a notification is repeated while nothing changes, in seconds.
    pub(crate) repeat_interval_seconds: u64,
    /// How long an alert from outside lives that says no end, in seconds.
    pub(crate) resolve_timeout_seconds: u64,
    /// Routes in the order in which they are tried.
    pub(crate) route: Vec<Route>,
    /// Who can be told.
    pub(crate) receiver: Vec<Receiver>,
    /// Alerts that make others keep quiet.
    pub(crate) inhibit: Vec<Inhibit>,
    /// Times that routes name; several of one name add up.
    pub(crate) time_interval: Vec<TimeInterval>,
    /// The mail server, for receivers with `email`.
    pub(crate) smtp: Option<Smtp>,
    /// Alertmanagers that get every alert of the rules as well.
    pub(crate) alertmanager: Vec<Alertmanager>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            default_receiver: None,
            group_by: vec!["alertname".to_owned()],
            group_wait_seconds: 30,
            group_interval_seconds: 300,
            repeat_interval_seconds: 14_400,
            resolve_timeout_seconds: 300,
            route: Vec::new(),
            receiver: Vec::new(),
            inhibit: Vec::new(),
            time_interval: Vec::new(),
            smtp: None,
            alertmanager: Vec::new(),
        }
    }
}

/// A branch of the routing tree. What it leaves out it has from its parent.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    pub(crate) name: String,
    /// The route, further up in the file, that must take an alert before this one is tried.
    pub(crate) parent: Option<String>,
    /// Such as `severity="critical"` or `team=~"db|ops"`; all must fit.
    #[serde(default)]
    pub(crate) matchers: Vec<String>,
    pub(crate) receiver: Option<String>,
    pub(crate) group_by: Option<Vec<String>>,
    pub(crate) group_wait_seconds: Option<u64>,
    pub(crate) group_interval_seconds: Option<u64>,
    pub(crate) repeat_interval_seconds: Option<u64>,
    /// Whether the routes after it are tried too.
    #[serde(default, rename = "continue")]
    pub(crate) goes_on: bool,
    /// Times at which nobody is told.
    #[serde(default)]
    pub(crate) mute_time_intervals: Vec<String>,
    /// Times outside of which nobody is told.
    #[serde(default)]
    pub(crate) active_time_intervals: Vec<String>,
}

/// Somebody to be told, by each of the ways given.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Receiver {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) webhook: Vec<Webhook>,
    #[serde(default)]
    pub(crate) email: Vec<Email>,
    #[serde(default)]
    pub(crate) slack: Vec<Slack>,
}

/// A POST in the JSON of Alertmanager's webhooks. One of `url` and `url_file`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Webhook {
    pub(crate) url: Option<String>,
    /// The file with the URL, where it holds a secret.
    pub(crate) url_file: Option<SecretFile>,
    /// The file with a token for `Authorization: Bearer`.
    pub(crate) token_file: Option<SecretFile>,
    #[serde(default = "yes")]
    pub(crate) send_resolved: bool,
    /// The most alerts of one message; zero for all.
    #[serde(default)]
    pub(crate) max_alerts: usize,
}

/// A message by e-mail, through `[notify.smtp]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Email {
    pub(crate) to: Vec<String>,
    #[serde(default = "yes")]
    pub(crate) send_resolved: bool,
}

/// An incoming webhook of Slack, or of what understands the same, such as Mattermost.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Slack {
    /// The file with the webhook's URL, which is a secret.
    pub(crate) url_file: SecretFile,
    /// Another channel than the webhook's own.
    pub(crate) channel: Option<String>,
    #[serde(default = "yes")]
    pub(crate) send_resolved: bool,
}

fn yes() -> bool {
    true
}

/// While an alert that fits `source` fires, those that fit `target` keep quiet.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Inhibit {
    pub(crate) source: Vec<String>,
    pub(crate) target: Vec<String>,
    /// Labels that must be the same in both.
    #[serde(default)]
    pub(crate) equal: Vec<String>,
}

/// Times of a calendar. Each list that is not empty must fit.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TimeInterval {
    pub(crate) name: String,
    /// Such as `09:00-17:30`; the end is not part of it, `24:00` is midnight.
    #[serde(default)]
    pub(crate) times: Vec<String>,
    /// Such as `monday` or `monday:friday`.
    #[serde(default)]
    pub(crate) weekdays: Vec<String>,
    /// Such as `1:5` or `-3:-1`, which counts from the end of the month.
    #[serde(default)]
    pub(crate) days_of_month: Vec<String>,
    /// Such as `december` or `6:8`.
    #[serde(default)]
    pub(crate) months: Vec<String>,
    /// Such as `2026` or `2026:2028`.
    #[serde(default)]
    pub(crate) years: Vec<String>,
    /// A time zone such as `Europe/Berlin`; UTC unless set.
    pub(crate) location: Option<String>,
}

/// A mail server to hand messages to.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Smtp {
    /// The sender, such as `Alerts <alerts@example.com>`.
    pub(crate) from: String,
    /// Its name, also the one that its certificate must carry.
    pub(crate) host: String,
    /// Its port: usually 587 with `tls = "starttls"`, 465 with `"implicit"`.
    pub(crate) port: u16,
    /// How the connection is protected: `"none"` is for a relay on the same machine.
    pub(crate) tls: Tls,
    /// PEM file with the roots to trust besides the public ones.
    pub(crate) ca_file: Option<PathBuf>,
    /// Who signs in (AUTH PLAIN or LOGIN).
    pub(crate) username: Option<String>,
    /// The file with the password.
    pub(crate) password_file: Option<SecretFile>,
}

/// How the connection to the mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tls {
    /// TLS from the first byte (port 465).
    Implicit,
    /// STARTTLS, required (port 587).
    Starttls,
    /// None: for a relay on the same machine.
    None,
}

/// Another Alertmanager.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Alertmanager {
    pub(crate) target: Origin,
    /// What its path begins with.
    #[serde(default)]
    pub(crate) path_prefix: String,
    /// The file with a token for `Authorization: Bearer`.
    pub(crate) token_file: Option<SecretFile>,
}

impl Settings {
    /// Checks everything that needs no network; `--check-config` calls it.
    pub(crate) fn validate(&self) -> Result<(), Invalid> {
        Plan::new(self).map(drop)
    }
}
