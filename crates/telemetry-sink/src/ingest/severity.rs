//! Levels as senders write them, as OpenTelemetry's severity numbers; and syslog's facilities.

const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
    "local7",
];
/// A level in words: those of OpenTelemetry, syslog, Loki and the usual libraries. 0 is none of them.
pub(crate) fn from_text(text: &str) -> u8 {
    match text.trim().to_ascii_lowercase().as_str() {
        "trace" | "trc" => 1,
        "debug" | "dbg" => 5,
        "info" | "information" | "informational" | "inf" => 9,
        "notice" => 10,
        "warn" | "warning" | "wrn" => 13,
        "error" | "err" | "eror" => 17,
        "critical" | "crit" => 21,
        "alert" => 22,
        "fatal" | "panic" | "emergency" | "emerg" => 24,
        _ => 0,
    }
}

/// A syslog severity, 0 (emergency) to 7 (debug), by the table in OpenTelemetry's log data model.
pub(crate) fn from_syslog(severity: u8) -> u8 {
    match severity {
        0 => 24,
        1 => 22,
        2 => 21,
        3 => 17,
        4 => 13,
        5 => 10,
        6 => 9,
        _ => 5,
    }
}

/// The name of a facility by its number.
pub(crate) fn facility(number: u8) -> &'static str {
    FACILITIES.get(usize::from(number)).copied().unwrap_or("unknown")
}
