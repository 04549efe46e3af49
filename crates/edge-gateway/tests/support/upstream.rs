//! An upstream that keeps every byte it gets.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::message::Message;

/// What the upstream does with a request; the path of each is given.
pub(crate) type Conduct = fn(&str) -> Act;

pub(crate) enum Act {
    /// Sends these bytes and waits for the next request.
    Send(Vec<u8>),
    /// Sends these bytes and closes.
    SendAndClose(Vec<u8>),
    /// Sends a head, then so many zero bytes, and closes.
    Stream(Vec<u8>, u64),
    /// Reads no further and keeps the connection.
    Hang,
    /// Answers nothing and waits for the gateway to close.
    Wait,
}

/// Answers everything with 200.
pub(crate) fn obliging(_: &str) -> Act {
    Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec())
}

type Recorded = Arc<Mutex<Vec<Vec<u8>>>>;

pub(crate) struct Upstream {
    /// By connection.
    recorded: Recorded,
}

impl Upstream {
    pub(crate) fn start(path: &Path, conduct: Conduct) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let recorded = Recorded::default();
        let record = Arc::clone(&recorded);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut all = record.lock().unwrap();
                all.push(Vec::new());
                let (at, record) = (all.len() - 1, Arc::clone(&record));
                drop(all);
                std::thread::spawn(move || serve(stream, at, &record, conduct));
            }
        });
        Self { recorded }
    }

    pub(crate) fn forget(&self) {
        self.take();
    }

    /// What came since the last look, by connection and byte for byte.
    pub(crate) fn take(&self) -> Vec<Vec<u8>> {
        let mut all = self.recorded.lock().unwrap();
        all.iter_mut().map(std::mem::take).filter(|bytes| !bytes.is_empty()).collect()
    }

    /// How many requests have begun since the last look.
    pub(crate) fn count(&self) -> usize {
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).matches(" HTTP/1.1\r\n").count();
        self.recorded.lock().unwrap().iter().map(text).sum()
    }
}

fn serve(mut stream: UnixStream, at: usize, record: &Recorded, conduct: Conduct) {
    let mut unread = Vec::new();
    let mut chunk = [0u8; 16 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        record.lock().unwrap()[at].extend_from_slice(&chunk[..count]);
        unread.extend_from_slice(&chunk[..count]);
        if unread.starts_with(b"POST /hang ") {
            act(&mut stream, Act::Hang);
        }
        while let Some(request) = Message::request(&unread) {
            let path = request.head.split(' ').nth(1).unwrap().to_owned();
            let length = request.length;
            if !act(&mut stream, conduct(&path)) {
                return;
            }
            unread.drain(..length);
        }
    }
}

/// Whether the connection goes on.
fn act(stream: &mut UnixStream, act: Act) -> bool {
    match act {
        Act::Send(bytes) => stream.write_all(&bytes).is_ok(),
        Act::SendAndClose(bytes) => {
            // The gateway may have closed first.
            let _ = stream.write_all(&bytes);
            false
        }
        Act::Stream(head, mut length) => {
            let zeros = [0u8; 16 * 1024];
            let mut open = stream.write_all(&head).is_ok();
            while open && length > 0 {
                let piece = zeros.len().min(usize::try_from(length).unwrap_or(usize::MAX));
                open = stream.write_all(&zeros[..piece]).is_ok();
                length -= piece as u64;
            }
            false
        }
        Act::Wait => {
            let _ = stream.read_to_end(&mut Vec::new());
            false
        }
        Act::Hang => loop {
            std::thread::park();
        },
    }
}

/// A recorded request in the form that tables are written in: `METHOD path`, the header lines that the gateway did
/// not write itself in alphabetical order, an empty line, and the body as it was framed.
pub(crate) fn normal(request: &Message<'_>) -> String {
    let mut lines = request.head.trim_end().split("\r\n");
    let line = lines.next().unwrap().strip_suffix(" HTTP/1.1").expect("requests go on as HTTP/1.1");
    let mut kept = Vec::new();
    let mut own = Vec::new();
    for header in lines {
        let (name, _) = header.split_once(": ").unwrap();
        match name {
            // Only of requests that are traced.
            "traceparent" => {}
            _ if OWN.contains(&name) => own.push(name),
            _ => kept.push(header),
        }
    }
    own.sort_unstable();
    assert_eq!(own, OWN, "{:?}", request.head);
    kept.sort_unstable();
    kept.insert(0, line);
    if request.body.is_empty() {
        return kept.join("\n");
    }
    format!("{}\n\n{}", kept.join("\n"), String::from_utf8_lossy(request.body))
}

/// What the gateway says about a request, once each.
const OWN: [&str; 6] =
    ["forwarded", "host", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-request-id"];
