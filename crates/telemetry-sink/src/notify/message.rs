//! A notification: what all channels say, in Alertmanager's JSON, as text and as HTML.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use quintet_types::Timestamp;
use serde::Serialize;
use serde_json::{Value as JsonValue, json};

use super::store::Alert;
use crate::model::Labels;

/// Alerts that a text shows; the rest is counted.
const MOST_SHOWN: usize = 50;

/// A group's alerts at a time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    pub(crate) receiver: String,
    pub(crate) group_key: String,
    pub(crate) group_labels: Labels,
    pub(crate) external_url: String,
    pub(crate) now: i64,
    /// With their fingerprints, those that fire first.
    pub(crate) alerts: Vec<(u64, Alert)>,
}

/// RFC 3339; the zero time of Go where there is none.
pub(crate) fn time(millis: Option<i64>) -> String {
    let time = millis.and_then(|millis| Timestamp::from_millisecond(millis).ok());
    time.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |time| time.to_string())
}

fn map(labels: &Labels) -> BTreeMap<&str, &str> {
    labels.iter().collect()
}

/// The pairs that all have in common.
fn common<'a>(mut maps: impl Iterator<Item = BTreeMap<&'a str, &'a str>>) -> BTreeMap<&'a str, &'a str> {
    let mut shared = maps.next().unwrap_or_default();
    for map in maps {
        shared.retain(|name, value| map.get(name) == Some(value));
    }
    shared
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    status: &'static str,
    labels: BTreeMap<&'a str, &'a str>,
    annotations: &'a BTreeMap<String, String>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
    fingerprint: String,
}

impl Message {
    fn firing(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.iter().map(|(_, alert)| alert).filter(|alert| !alert.is_resolved(self.now))
    }

    pub(crate) fn status(&self) -> &'static str {
        if self.firing().next().is_some() { "firing" } else { "resolved" }
    }

    fn common_labels(&self) -> BTreeMap<&str, &str> {
        common(self.alerts.iter().map(|(_, alert)| map(&alert.labels)))
    }

    /// The body of a webhook; `max_alerts` of zero shows all.
    pub(crate) fn json(&self, max_alerts: usize) -> JsonValue {
        let most = if max_alerts == 0 { usize::MAX } else { max_alerts };
        let annotations = self.alerts.iter().map(|(_, alert)| {
            alert.annotations.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
        });
        let alerts: Vec<_> =
            self.alerts.iter().take(most).map(|(print, alert)| self.shown(*print, alert)).collect();
        json!({
            "version": "4",
            "groupKey": self.group_key,
            "truncatedAlerts": self.alerts.len().saturating_sub(most),
            "status": self.status(),
            "receiver": self.receiver,
            "groupLabels": map(&self.group_labels),
            "commonLabels": self.common_labels(),
            "commonAnnotations": common(annotations),
            "externalURL": self.external_url,
            "alerts": alerts,
        })
    }

    fn shown<'a>(&self, fingerprint: u64, alert: &'a Alert) -> Shown<'a> {
        let over = alert.is_resolved(self.now);
        Shown {
            status: if over { "resolved" } else { "firing" },
            labels: map(&alert.labels),
            annotations: &alert.annotations,
            starts_at: time(Some(alert.starts_at)),
            ends_at: time(over.then_some(alert.ends_at)),
            generator_url: &alert.generator_url,
            fingerprint: format!("{fingerprint:016x}"),
        }
    }

    /// `[FIRING:2] DiskFull (host=a)`
    pub(crate) fn subject(&self) -> String {
        let firing = self.firing().count();
        let count = if firing > 0 { format!(":{firing}") } else { String::new() };
        let common = self.common_labels();
        let name = common.get("alertname").copied().unwrap_or("Alerts");
        let rest: Vec<_> = self
            .group_labels
            .iter()
            .filter(|(label, _)| *label != "alertname")
            .map(|(label, value)| format!("{label}={value}"))
            .collect();
        let rest = if rest.is_empty() { String::new() } else { format!(" ({})", rest.join(", ")) };
        // A line break would begin another header.
        format!("[{}{count}] {name}{rest}", self.status().to_uppercase()).replace(['\r', '\n'], " ")
    }

    /// What the rest of the alerts are, where not all are shown.
    fn more(&self) -> Option<String> {
        let more = self.alerts.len().saturating_sub(MOST_SHOWN);
        (more > 0).then(|| format!("and {more} more"))
    }

    fn title(alert: &Alert) -> &str {
        let annotation =
            ["summary", "description", "message"].iter().find_map(|name| alert.annotations.get(*name));
        annotation.map(String::as_str).or_else(|| alert.labels.get("alertname")).unwrap_or_default()
    }

    /// The body of a text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (_, alert) in self.alerts.iter().take(MOST_SHOWN) {
            let state = if alert.is_resolved(self.now) { "resolved" } else { "firing" };
            let _ = writeln!(text, "{state}: {}", Self::title(alert));
            for (name, value) in alert.labels.iter() {
                let _ = writeln!(text, "  {name} = {value}");
            }
            for (name, value) in &alert.annotations {
                let _ = writeln!(text, "  {name}: {value}");
            }
            let _ = writeln!(text, "  since {}", time(Some(alert.starts_at)));
            if alert.is_resolved(self.now) {
                let _ = writeln!(text, "  until {}", time(Some(alert.ends_at)));
            }
            if !alert.generator_url.is_empty() {
                let _ = writeln!(text, "  {}", alert.generator_url);
            }
            text.push('\n');
        }
        text.extend(self.more().map(|more| format!("{more}\n\n")));
        if !self.external_url.is_empty() {
            let _ = writeln!(text, "{}/alerts", self.external_url);
        }
        text
    }

    /// The same for mail programs that show HTML. Nothing in it is fetched from anywhere.
    pub(crate) fn html(&self) -> String {
        let mut html =
            String::from("<!doctype html><meta charset=\"utf-8\"><body style=\"font-family:sans-serif\">");
        for (_, alert) in self.alerts.iter().take(MOST_SHOWN) {
            let (state, colour) =
                if alert.is_resolved(self.now) { ("resolved", "#1a7f37") } else { ("firing", "#b42318") };
            let _ = write!(
                html,
                "<h3 style=\"margin:1em 0 .3em\"><span style=\"color:{colour}\">{state}</span> {}</h3><table>",
                escape(Self::title(alert))
            );
            let annotations = alert.annotations.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            for (name, value) in alert.labels.iter().chain(annotations) {
                let _ = write!(html, "<tr><td>{}</td><td>{}</td></tr>", escape(name), escape(value));
            }
            let _ = write!(html, "<tr><td>since</td><td>{}</td></tr></table>", time(Some(alert.starts_at)));
        }
        html.extend(self.more().map(|more| format!("<p>{more}</p>")));
        if self.external_url.starts_with("https://") || self.external_url.starts_with("http://") {
            let url = escape(&self.external_url);
            let _ = write!(html, "<p><a href=\"{url}/alerts\">{url}/alerts</a></p>");
        }
        html
    }

    /// The body of Slack's incoming webhooks.
    pub(crate) fn slack(&self, channel: Option<&str>) -> JsonValue {
        let colour = if self.status() == "firing" { "danger" } else { "good" };
        let mut body = json!({
            "attachments": [{
                "color": colour,
                "title": self.subject(),
                "title_link": if self.external_url.is_empty() { String::new() } else { format!("{}/alerts", self.external_url) },
                "fallback": self.subject(),
                "text": self.alerts.iter().take(MOST_SHOWN).map(|(_, alert)| Self::title(alert)).collect::<Vec<_>>().join("\n"),
            }],
        });
        if let (Some(channel), Some(body)) = (channel, body.as_object_mut()) {
            body.insert("channel".to_owned(), json!(channel));
        }
        body
    }
}

fn escape(plain: &str) -> String {
    plain.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;")
}
