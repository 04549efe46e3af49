//! Media types by extension.

use http::HeaderValue;

const KNOWN: [(&str, &str); 46] = [
    ("html", "text/html; charset=utf-8"),
    ("htm", "text/html; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("map", "application/json"),
    ("webmanifest", "application/manifest+json"),
    ("xml", "application/xml"),
    ("rss", "application/rss+xml"),
    ("atom", "application/atom+xml"),
    ("txt", "text/plain; charset=utf-8"),
    ("md", "text/markdown; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("ics", "text/calendar; charset=utf-8"),
    ("vtt", "text/vtt; charset=utf-8"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("apng", "image/apng"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("avif", "image/avif"),
    ("jxl", "image/jxl"),
    ("ico", "image/vnd.microsoft.icon"),
    ("bmp", "image/bmp"),
    ("mp3", "audio/mpeg"),
    ("m4a", "audio/mp4"),
    ("ogg", "audio/ogg"),
    ("opus", "audio/ogg"),
    ("wav", "audio/wav"),
    ("flac", "audio/flac"),
    ("mp4", "video/mp4"),
    ("webm", "video/webm"),
    ("mov", "video/quicktime"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("ttf", "font/ttf"),
    ("otf", "font/otf"),
    ("wasm", "application/wasm"),
    ("pdf", "application/pdf"),
    ("zip", "application/zip"),
    ("gz", "application/gzip"),
    ("zst", "application/zstd"),
    ("tar", "application/x-tar"),
];

/// The media type of a file by this name; the operator's come first.
pub(super) fn of(name: &[u8], own: &[(String, HeaderValue)]) -> HeaderValue {
    let file = name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let extension = match file.iter().rposition(|byte| *byte == b'.') {
        Some(dot) => file.get(dot + 1..).unwrap_or_default(),
        None => b"",
    };
    let is = |known: &str| extension.eq_ignore_ascii_case(known.as_bytes());
    if let Some((_, value)) = own.iter().find(|(known, _)| is(known)) {
        return value.clone();
    }
    let known = KNOWN.iter().find(|(known, _)| is(known)).map(|(_, value)| *value);
    HeaderValue::from_static(known.unwrap_or("application/octet-stream"))
}
