//! HTTP/1.1 messages as the strictest reader sees them.

/// How a message's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    /// At the close of the connection.
    Close,
}

/// One message at the start of `bytes`: its head, its body as sent, and how many bytes it takes. None while it
/// is not complete.
pub(crate) struct Message<'a> {
    pub(crate) head: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) length: usize,
}

impl<'a> Message<'a> {
    pub(crate) fn request(bytes: &'a [u8]) -> Option<Self> {
        Self::read(bytes, Framing::Length(0))
    }

    pub(crate) fn response(bytes: &'a [u8]) -> Option<Self> {
        let none = matches!(bytes.get(9..12), Some([b'1', ..] | [b'2' | b'3', b'0', b'4']));
        Self::read(bytes, if none { Framing::Length(0) } else { Framing::Close })
    }

    fn read(bytes: &'a [u8], otherwise: Framing) -> Option<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&bytes[..end]).expect("a head of ASCII");
        let rest = &bytes[end..];
        let body = match framing(head, otherwise) {
            Framing::Length(length) => rest.get(..length)?,
            Framing::Chunked => &rest[..chunked_length(rest)?],
            Framing::Close => rest,
        };
        Some(Self { head, body, length: end + body.len() })
    }
}

/// Fails on what leaves room for two opinions.
fn framing(head: &str, otherwise: Framing) -> Framing {
    let mut found = Vec::new();
    for line in head.split("\r\n").skip(1).filter(|line| !line.is_empty()) {
        assert!(!line.contains(['\r', '\n', '\0']) && !line.starts_with([' ', '\t']), "{head:?}");
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("{head:?}"));
        match &*name.to_ascii_lowercase() {
            "content-length" => found.push(Framing::Length(value.trim().parse().unwrap())),
            "transfer-encoding" => {
                assert_eq!(value.trim(), "chunked", "{head:?}");
                found.push(Framing::Chunked);
            }
            _ => {}
        }
    }
    match found[..] {
        [] => otherwise,
        [one] => one,
        _ => panic!("two framings in one head: {head:?}"),
    }
}

/// Bytes up to the end of the last chunk and its trailers.
fn chunked_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = line(bytes, at)?;
        let size = usize::from_str_radix(std::str::from_utf8(line).unwrap(), 16).expect("a bare chunk size");
        at += line.len() + 2;
        if size == 0 {
            break;
        }
        assert_eq!(bytes.get(at + size..at + size + 2)?, b"\r\n");
        at += size + 2;
    }
    loop {
        let line = line(bytes, at)?;
        at += line.len() + 2;
        if line.is_empty() {
            return Some(at);
        }
    }
}

fn line(bytes: &[u8], from: usize) -> Option<&[u8]> {
    let rest = bytes.get(from..)?;
    Some(&rest[..rest.windows(2).position(|two| two == b"\r\n")?])
}

/// The status codes of all answers in `bytes`, in order.
pub(crate) fn statuses(mut bytes: &[u8]) -> Vec<u16> {
    let mut all = Vec::new();
    while let Some(message) = Message::response(bytes) {
        let code = message.head.split(' ').nth(1).and_then(|code| code.parse().ok());
        all.push(code.unwrap_or_else(|| panic!("no status in {:?}", message.head)));
        bytes = &bytes[message.length..];
    }
    assert!(bytes.is_empty(), "after {all:?} there is more: {:?}", String::from_utf8_lossy(bytes));
    all
}
