//! An entry of the journal as a log record, by systemd.journal-fields(7).

use crate::ingest::severity;
use crate::model::{LogRecord, Resource, Value, parse_hex};

const UNKNOWN_SERVICE: &str = "unknown_service";
const MAX_ATTRIBUTES: usize = 64;

/// Reads the fields of an entry: the program is the service, `_HOSTNAME` and the unit belong to its resource, what
/// the program itself added becomes attributes in lower case. Of the fields that journald adds the rest is left out.
pub(super) fn read<'a>(
    fields: impl Iterator<Item = (&'a str, &'a [u8])>,
    realtime: u64,
) -> (Resource, LogRecord) {
    let time = i64::try_from(realtime.saturating_mul(1000)).unwrap_or(i64::MAX);
    let mut record = LogRecord { time, ..LogRecord::default() };
    let (mut identifier, mut unit, mut command) = (String::new(), String::new(), String::new());
    let mut resource = Resource::default();
    for (name, value) in fields {
        let text = || String::from_utf8_lossy(value).into_owned();
        match name {
            "MESSAGE" => record.body = text(),
            "PRIORITY" => {
                let number = text().parse().ok();
                record.severity = number.map_or(0, severity::from_syslog);
            }
            "SYSLOG_IDENTIFIER" => identifier = text(),
            "_COMM" => command = text(),
            "_SYSTEMD_UNIT" => {
                unit = text();
                resource.attributes.push(("systemd.unit".to_owned(), Value::Text(unit.clone())));
            }
            "_HOSTNAME" => resource.attributes.push(("host.name".to_owned(), Value::Text(text()))),
            "TRACE_ID" => record.trace_id = parse_hex(&text()),
            "SPAN_ID" => record.span_id = parse_hex(&text()),
            "SYSLOG_FACILITY" => {
                let facility = text().parse().map_or("unknown", severity::facility);
                attribute(&mut record, "syslog.facility", facility.to_owned());
            }
            "_PID" => attribute(&mut record, "process.pid", text()),
            "_TRANSPORT" => attribute(&mut record, "journal.transport", text()),
            "_BOOT_ID" => attribute(&mut record, "journal.boot_id", text()),
            "SYSLOG_PID" | "SYSLOG_TIMESTAMP" | "SYSLOG_RAW" => {}
            name if name.starts_with('_') => {}
            name => attribute(&mut record, &name.to_ascii_lowercase(), text()),
        }
    }
    let unit = unit.trim_end_matches(".service");
    let named = [identifier.as_str(), unit, command.as_str()].into_iter().find(|name| !name.is_empty());
    named.unwrap_or(UNKNOWN_SERVICE).clone_into(&mut resource.service);
    (resource, record)
}

fn attribute(record: &mut LogRecord, name: &str, value: String) {
    if record.attributes.len() < MAX_ATTRIBUTES {
        record.attributes.push((name.to_owned(), Value::Text(value)));
    }
}
