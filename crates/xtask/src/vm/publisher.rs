//! A web server for update bundles, on the loopback interface, that answers ranges and nothing more.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;

const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Publisher {
    port: u16,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    /// Serves what is below a directory.
    pub(super) fn start(directory: PathBuf) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen")?;
        let port = listener.local_addr()?.port();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            // One at a time: its only client fetches one range after the other.
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let _ = answer(&stream, &directory);
            }
        });
        Ok(Self { port, stop, thread: Some(thread) })
    }

    /// The address of a directory as a machine sees it: user-mode networking has this machine at 10.0.2.2.
    pub(super) fn source(&self, name: &str) -> String {
        format!("http://10.0.2.2:{}/{name}", self.port)
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(mut stream: &TcpStream, directory: &Path) -> anyhow::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream.take(16 * 1024)).lines();
    let request = lines.next().context("no request")??;
    let path = request.split_whitespace().nth(1).unwrap_or("/").trim_start_matches('/').to_owned();
    let mut range = None;
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("range: bytes=") {
            let (first, last) = value.split_once('-').context("a range has two ends")?;
            range = Some((first.trim().parse::<u64>()?, last.trim().parse::<u64>()?));
        }
    }
    let plain = !path.split('/').any(|part| part == ".." || part.is_empty());
    let Some(mut file) = plain.then(|| File::open(directory.join(&path)).ok()).flatten() else {
        stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
        return Ok(());
    };
    let size = file.metadata()?.len();
    let (status, first, length) = match range {
        Some((first, last)) if first <= last && last < size => {
            ("206 Partial Content", first, last - first + 1)
        }
        Some(_) => ("416 Range Not Satisfiable", 0, 0),
        None => ("200 OK", 0, size),
    };
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n")?;
    write!(stream, "Content-Range: bytes {first}-{}/{size}\r\n\r\n", (first + length).saturating_sub(1))?;
    file.seek(SeekFrom::Start(first))?;
    std::io::copy(&mut file.take(length), &mut stream)?;
    Ok(())
}
