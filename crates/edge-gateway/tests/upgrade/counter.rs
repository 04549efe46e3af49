//! An upstream that counts what it did for each request, and restarts without failing one.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

#[derive(Default)]
struct Shared {
    done: Mutex<HashMap<String, usize>>,
    /// Counts restarts; connections of an earlier life end with their next answer.
    life: AtomicUsize,
    /// Requests for `/held/` that wait, and whether they may go on.
    held: Mutex<(usize, bool)>,
    moved: Condvar,
}

pub(crate) struct Counter {
    path: PathBuf,
    shared: Arc<Shared>,
}

impl Counter {
    pub(crate) fn start(path: &Path) -> Self {
        let counter = Self { path: path.to_owned(), shared: Arc::default() };
        counter.listen();
        counter
    }

    /// Takes a new socket in the place of the old one. For a moment there is none, which the gateway waits out.
    pub(crate) fn restart(&self) {
        self.shared.life.fetch_add(1, Ordering::SeqCst);
        // Ends the old listener: it looks at its age after each connection.
        drop(UnixStream::connect(&self.path).unwrap());
        std::fs::remove_file(&self.path).unwrap();
        self.listen();
    }

    fn listen(&self) {
        let listener = UnixListener::bind(&self.path).unwrap();
        let shared = Arc::clone(&self.shared);
        let born = shared.life.load(Ordering::SeqCst);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let connection = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &connection, born));
                if shared.life.load(Ordering::SeqCst) != born {
                    // Whoever is in the queue is served before the listener closes.
                    listener.set_nonblocking(true).unwrap();
                }
            }
        });
    }

    /// Waits until a request for `/held/` is here.
    #[cfg(feature = "http3")]
    pub(crate) fn wait_until_held(&self) {
        let held = self.shared.held.lock().unwrap();
        drop(self.shared.moved.wait_while(held, |(waiting, _)| *waiting == 0).unwrap());
    }

    /// Answers requests for `/held/`.
    #[cfg(feature = "http3")]
    pub(crate) fn release(&self) {
        self.shared.held.lock().unwrap().1 = true;
        self.shared.moved.notify_all();
    }

    pub(crate) fn ensure_each_once(&self, requests: usize) {
        let done = self.shared.done.lock().unwrap();
        let doubled: Vec<_> = done.iter().filter(|(_, times)| **times != 1).collect();
        assert!(doubled.is_empty(), "done more than once: {doubled:?}");
        assert_eq!(done.len(), requests);
    }
}

fn serve(mut stream: UnixStream, shared: &Shared, born: usize) {
    // An accepted socket of a listener that does not block blocks.
    let mut unread = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        unread.extend_from_slice(&chunk[..count]);
        if !unread.ends_with(b"\r\n\r\n") {
            continue;
        }
        let head = String::from_utf8(std::mem::take(&mut unread)).unwrap();
        let path = head.split(' ').nth(1).unwrap();
        if path.starts_with("/once/") {
            *shared.done.lock().unwrap().entry(path.to_owned()).or_default() += 1;
        }
        if path.starts_with("/held/") {
            let mut held = shared.held.lock().unwrap();
            held.0 += 1;
            shared.moved.notify_all();
            drop(shared.moved.wait_while(held, |(_, released)| !*released).unwrap());
        }
        let last = shared.life.load(Ordering::SeqCst) != born;
        let close = if last { "Connection: close\r\n" } else { "" };
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{close}\r\nok");
        if stream.write_all(answer.as_bytes()).is_err() || last {
            return;
        }
    }
}
