//! A frame as lines of text.

use std::fmt::Write;

use super::frame::{Frame, RouteRow, UpstreamRow};
use super::view::{Tables, View};
use crate::upstream::Condition;

/// Room for names where the width of the page is not known.
const PLAIN_NAME: usize = 40;
/// What the figures of a row take, beside the name.
const ROUTE_FIGURES: usize = 60;
const SHORTEST_NAME: usize = 16;

/// How a line stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    /// The head of a table.
    Head,
    Bad,
}

/// One line of the page.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) tone: Tone,
}

impl Line {
    fn new(tone: Tone, text: String) -> Self {
        Self { text, tone }
    }
}

/// What stands above the tables.
pub(super) fn summary(frame: &Frame) -> Vec<Line> {
    let plain = |text| Line::new(Tone::Plain, text);
    let (requests, connections, cache, limits) =
        (&frame.requests, &frame.connections, &frame.cache, &frame.limits);
    let refused = limits.rate_limited_per_s
        + limits.memory_limited_per_s
        + limits.connections_refused_per_s
        + limits.connections_reaped_per_s;
    vec![
        plain(format!(
            "edge-gateway {}   {}   up {}   cpu {:.0} %   memory {}   files {:.0}   reloads {}",
            frame.version,
            frame.at.get(..19).unwrap_or(&frame.at),
            duration(frame.uptime_s),
            frame.cpu_percent,
            bytes(frame.memory_bytes),
            frame.open_files,
            frame.reloads,
        )),
        Line::new(
            if requests.server_errors_per_s > 0.0 { Tone::Bad } else { Tone::Plain },
            format!(
                "requests     {}/s   4xx {}/s   5xx {}/s",
                count(requests.per_s),
                count(requests.client_errors_per_s),
                count(requests.server_errors_per_s),
            ),
        ),
        plain(format!(
            "connections  {} of {}   parked {}   tunnels {:.0}   new {}/s   TLS handshakes {}/s, failed {}/s",
            connections.open,
            connections.limit,
            connections.parked,
            connections.tunnels,
            count(connections.accepted_per_s),
            count(connections.tls_handshakes_per_s),
            count(connections.tls_failures_per_s),
        )),
        Line::new(
            if refused > 0.0 { Tone::Bad } else { Tone::Plain },
            format!(
                "limits       429 {}/s   connections refused {}/s, ended {}/s",
                count(limits.rate_limited_per_s + limits.memory_limited_per_s),
                count(limits.connections_refused_per_s),
                count(limits.connections_reaped_per_s),
            ),
        ),
        plain(format!(
            "cache        {} in {:.0} objects   {}/s asked, {}/s hit",
            bytes(cache.bytes),
            cache.objects,
            count(cache.lookups_per_s),
            count(cache.hits_per_s),
        )),
    ]
}

/// The tables that `view` shows; `width` is none where lines may be of any length.
pub(super) fn tables(frame: &Frame, view: &View, width: Option<usize>) -> Vec<Line> {
    let mut lines = Vec::new();
    if view.tables != Tables::Upstreams {
        routes(frame, view, width, &mut lines);
    }
    if view.tables != Tables::Routes {
        if !lines.is_empty() {
            lines.push(Line::new(Tone::Plain, String::new()));
        }
        upstreams(frame, width, &mut lines);
    }
    lines
}

fn routes(frame: &Frame, view: &View, width: Option<usize>, lines: &mut Vec<Line>) {
    let room = width.map_or(PLAIN_NAME, |width| width.saturating_sub(ROUTE_FIGURES).max(SHORTEST_NAME));
    let order = format!("ROUTE (by {}{})", view.sort.word(), if view.reversed { ", reversed" } else { "" });
    let mut head = fitted(&order, room);
    for title in ["REQ/S", "4XX/S", "5XX/S", "P50 MS", "P99 MS", "CACHED"] {
        let _ = write!(head, " {title:>9}");
    }
    lines.push(Line::new(Tone::Head, head));
    lines.extend(frame.routes.iter().map(|row| route(row, room)));
}

fn route(row: &RouteRow, room: usize) -> Line {
    let mut text = fitted(&row.route, room);
    let requests = &row.requests;
    for value in [
        count(requests.per_s),
        count(requests.client_errors_per_s),
        count(requests.server_errors_per_s),
        row.p50_ms.map_or_else(dash, millis),
        row.p99_ms.map_or_else(dash, millis),
        row.cache_hit_percent.map_or_else(dash, |percent| format!("{percent:.0} %")),
    ] {
        let _ = write!(text, " {value:>9}");
    }
    Line::new(if requests.server_errors_per_s > 0.0 { Tone::Bad } else { Tone::Plain }, text)
}

fn upstreams(frame: &Frame, width: Option<usize>, lines: &mut Vec<Line>) {
    let room = width.map_or(PLAIN_NAME, |width| width.saturating_sub(ROUTE_FIGURES).max(SHORTEST_NAME));
    let mut head = fitted("UPSTREAM", room);
    for title in ["HEALTH", "IN FLIGHT", "EWMA MS", "RETRIES/S", "EJECTED/S", "NEW/S"] {
        let _ = write!(head, " {title:>9}");
    }
    lines.push(Line::new(Tone::Head, head));
    for row in &frame.upstreams {
        lines.push(upstream(row, room));
        for endpoint in &row.endpoints {
            let mut text = fitted(&format!("  {}", endpoint.address), room);
            let latency = endpoint.latency_ms.map_or_else(dash, millis);
            let _ = write!(text, " {:>9} {:>9} {latency:>9}", endpoint.health.word(), endpoint.in_flight);
            lines.push(Line::new(
                if endpoint.health == Condition::Up { Tone::Plain } else { Tone::Bad },
                text,
            ));
        }
    }
}

fn upstream(row: &UpstreamRow, room: usize) -> Line {
    let up = row.endpoints.iter().filter(|endpoint| endpoint.health == Condition::Up).count();
    let mut text = fitted(&row.upstream, room);
    let health = format!("{up}/{}", row.endpoints.len());
    let in_flight = if row.pending > 0 {
        format!("{}+{}", row.in_flight, row.pending)
    } else {
        row.in_flight.to_string()
    };
    for value in [
        health,
        in_flight,
        String::new(),
        count(row.retries_per_s),
        count(row.ejections_per_s),
        count(row.connects_per_s),
    ] {
        let _ = write!(text, " {value:>9}");
    }
    if row.connect_failures_per_s > 0.0 {
        let _ = write!(text, "   {}/s cannot connect", count(row.connect_failures_per_s));
    }
    Line::new(if up == 0 { Tone::Bad } else { Tone::Plain }, text)
}

/// Exactly so many characters, the last one `…` where some are missing; what a terminal would obey is shown as `?`.
fn fitted(text: &str, room: usize) -> String {
    let mut shown: String = text.chars().map(|one| if one.is_control() { '?' } else { one }).collect();
    if shown.chars().count() > room {
        shown = shown.chars().take(room.saturating_sub(1)).collect();
        shown.push('…');
    }
    format!("{shown:<room$}")
}

fn dash() -> String {
    "-".to_owned()
}

/// A rate: whole where it is large.
fn count(value: f64) -> String {
    if value >= 100.0 || value == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

fn millis(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn bytes(value: f64) -> String {
    let units = [(1024.0 * 1024.0 * 1024.0, "GiB"), (1024.0 * 1024.0, "MiB"), (1024.0, "KiB")];
    let unit = units.into_iter().find(|(size, _)| value >= *size);
    unit.map_or_else(|| format!("{value:.0} B"), |(size, unit)| format!("{:.1} {unit}", value / size))
}

fn duration(seconds: f64) -> String {
    let units = [(86_400.0, "d"), (3_600.0, "h"), (60.0, "min")];
    let unit = units.into_iter().find(|(size, _)| seconds >= *size);
    unit.map_or_else(|| format!("{seconds:.0} s"), |(size, unit)| format!("{:.1} {unit}", seconds / size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_takes_its_room_and_no_more() {
        assert_eq!(fitted("abc", 5), "abc  ");
        assert_eq!(fitted("abcdef", 5), "abcd…");
        assert_eq!(fitted("añb", 3), "añb");
        assert_eq!(fitted("\x1b[2J", 5), "?[2J ", "a name cannot command the terminal");
    }

    #[test]
    fn figures_have_a_unit_and_few_digits() {
        assert_eq!((bytes(512.0), bytes(1536.0)), ("512 B".to_owned(), "1.5 KiB".to_owned()));
        assert_eq!((duration(59.0), duration(5_400.0)), ("59 s".to_owned(), "1.5 h".to_owned()));
        assert_eq!((count(0.0), count(1.26), count(12_345.6)), ("0".into(), "1.3".into(), "12346".into()));
    }
}
