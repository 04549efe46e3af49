//! Names: OpenTelemetry's dots to Prometheus' underscores, units to suffixes, resources to services.

use crate::model::{Resource, Value};

/// What a resource without `service.name` is called, by OpenTelemetry's convention.
const UNKNOWN_SERVICE: &str = "unknown_service";

/// Takes the service's name out of a resource's attributes.
pub(super) fn resource(mut attributes: Vec<(String, Value)>) -> Resource {
    let found = attributes.iter().position(|(name, _)| name == "service.name");
    let service = found.map(|index| attributes.remove(index).1.to_text()).filter(|name| !name.is_empty());
    Resource { service: service.unwrap_or_else(|| UNKNOWN_SERVICE.to_owned()), attributes }
}

/// A label name: letters, digits and underscores, not starting with a digit.
pub(crate) fn label_name(name: &str) -> String {
    let mut label: String =
        name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect();
    if label.chars().next().is_none_or(|first| first.is_ascii_digit()) {
        label.insert_str(0, "key_");
    }
    label
}

/// A metric name with its unit and type suffixes.
pub(super) fn metric_name(name: &str, unit: &str, is_counter: bool, is_gauge: bool) -> String {
    let mut metric: String = name
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || letter == ':' { letter } else { '_' })
        .collect();
    if metric.chars().next().is_none_or(|first| first.is_ascii_digit()) {
        metric.insert(0, '_');
    }
    let suffix = match unit {
        "1" if is_gauge => Some("ratio"),
        unit => unit_suffix(unit),
    };
    let base = metric.strip_suffix("_total").unwrap_or(&metric).to_owned();
    let mut metric = if is_counter { base } else { metric };
    if let Some(suffix) = suffix
        && !metric.ends_with(suffix)
    {
        metric.push('_');
        metric.push_str(suffix);
    }
    if is_counter {
        metric.push_str("_total");
    }
    metric
}

/// UCUM's units as Prometheus writes them.
fn unit_suffix(unit: &str) -> Option<&'static str> {
    Some(match unit {
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "KBy" => "kilobytes",
        "MBy" => "megabytes",
        "GBy" => "gigabytes",
        "m" => "meters",
        "V" => "volts",
        "A" => "amperes",
        "J" => "joules",
        "W" => "watts",
        "g" => "grams",
        "Cel" => "celsius",
        "Hz" => "hertz",
        "%" => "percent",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_their_suffixes_once() {
        let check = |name: &str, unit: &str, counter: bool, gauge: bool, expected: &str| {
            assert_eq!(metric_name(name, unit, counter, gauge), expected);
        };
        check("http.server.request.duration", "s", false, false, "http_server_request_duration_seconds");
        check("orders", "{order}", true, false, "orders_total");
        check("orders_total", "1", true, false, "orders_total");
        check("disk.read", "By", true, false, "disk_read_bytes_total");
        check("memory_bytes", "By", false, true, "memory_bytes");
        check("cache.hit", "1", false, true, "cache_hit_ratio");
        check("2xx", "", false, true, "_2xx");
        assert_eq!(label_name("request.id"), "request_id");
        assert_eq!(label_name("1st"), "key_1st");
    }
}
