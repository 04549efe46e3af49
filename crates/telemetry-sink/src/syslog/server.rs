//! The sockets of syslog, and the task that stores what they bring.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use quintet_http::{Address, Listener, Peer};
use quintet_service::{Code, Context, OrExit};
use quintet_types::SharedClock;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::UdpSocket;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{Frames, MAX_MESSAGE, SyslogSection, parse};
use crate::ingest::count;
use crate::model::{Batch, LogRecord, Resource};
use crate::storage::{AppendError, Signal, Storage};

const MAX_CONNECTIONS: usize = 1024;
const IDLE: Duration = Duration::from_mins(10);
const HANDSHAKE: Duration = Duration::from_secs(10);
/// What may wait to be stored: messages, and their bytes.
const QUEUE: usize = 8192;
const QUEUE_BYTES: usize = 4 * 1024 * 1024;
/// What a record costs besides its text.
const RECORD_BYTES: usize = 256;
const BATCH: usize = 1000;
const GATHER: Duration = Duration::from_millis(100);
const RETRY: Duration = Duration::from_secs(1);
/// A burst of datagrams waits in the kernel while a batch is written.
const DATAGRAM_BUFFER: usize = 4 * 1024 * 1024;

/// Opens the sockets and starts the tasks behind them.
pub(crate) fn listen(cx: &Context, section: &SyslogSection, storage: &Arc<Storage>) -> anyhow::Result<()> {
    if section.udp.is_empty() && section.tcp.is_empty() && section.tls.is_empty() {
        return Ok(());
    }
    let (intake, queue) = Intake::new(Arc::clone(storage.clock()));
    let (storage, shutdown) = (Arc::clone(storage), cx.shutdown());
    cx.spawn("syslog-store", async move {
        store(queue, storage, shutdown).await;
        Ok(())
    });
    let mut passed = cx.inherited_udp("syslog-udp").context("the socket syslog-udp")?.into_iter();
    for address in &section.udp {
        let socket = datagrams(passed.next(), *address)
            .with_context(|| format!("cannot listen on udp {address}; see syslog.udp"))
            .or_exit(Code::Unavailable)?;
        let (intake, shutdown) = (intake.clone(), cx.shutdown());
        cx.spawn("syslog-udp", receive(socket, intake, shutdown));
    }
    for address in &section.tcp {
        let listener = cx.listener("syslog", &Address::Tcp(*address))?;
        cx.spawn("syslog", accept(listener, None, intake.clone(), cx.shutdown()));
    }
    if section.tls.is_empty() {
        return Ok(());
    }
    let tls = Arc::new(Tls::load(section).or_exit(Code::Config)?);
    for address in &section.tls {
        let listener = cx.listener("syslog-tls", &Address::Tcp(*address))?;
        cx.spawn("syslog-tls", accept(listener, Some(Arc::clone(&tls)), intake.clone(), cx.shutdown()));
    }
    cx.on_reload("syslog-tls", move || {
        let reloaded = tls.reload();
        async move { reloaded }
    });
    Ok(())
}

fn datagrams(passed: Option<std::net::UdpSocket>, address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = match passed {
        Some(socket) => socket,
        None => std::net::UdpSocket::bind(address)?,
    };
    socket.set_nonblocking(true)?;
    // The kernel gives less where it allows less.
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, DATAGRAM_BUFFER);
    UdpSocket::from_std(socket)
}

/// A certificate that is read again on reload.
pub(crate) struct Tls {
    section: SyslogSection,
    config: Mutex<Arc<ServerConfig>>,
}

impl Tls {
    pub(crate) fn load(section: &SyslogSection) -> anyhow::Result<Self> {
        Ok(Self { section: section.clone(), config: Mutex::new(server_config(section)?) })
    }

    fn reload(&self) -> anyhow::Result<()> {
        let fresh = server_config(&self.section)?;
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn server_config(section: &SyslogSection) -> anyhow::Result<Arc<ServerConfig>> {
    let set = |path: &Option<PathBuf>, key: &str| {
        path.clone().with_context(|| format!("syslog.tls needs syslog.{key}, the path of a PEM file"))
    };
    let chain = certificates(&set(&section.certificate, "certificate")?)?;
    let key = set(&section.private_key, "private_key")?;
    let key = PrivateKeyDer::from_pem_file(&key)
        .with_context(|| format!("syslog.private_key: no private key in {}", key.display()))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let builder = match &section.client_authorities {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = rustls::RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).with_context(|| format!("in {}", path.display()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let config = builder.with_single_cert(chain, key).context("syslog.certificate and syslog.private_key")?;
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.with_context(|| format!("cannot read certificates from {}", path.display()))?;
    anyhow::ensure!(!found.is_empty(), "{} has no certificate", path.display());
    Ok(found)
}

/// A message on its way to the storage, with its share of the queue.
struct Waiting {
    resource: Resource,
    record: LogRecord,
    _room: OwnedSemaphorePermit,
}

/// The queue's entrance.
#[derive(Clone)]
struct Intake {
    clock: SharedClock,
    room: Arc<Semaphore>,
    queue: mpsc::Sender<Waiting>,
}

impl Intake {
    fn new(clock: SharedClock) -> (Self, mpsc::Receiver<Waiting>) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        (Self { clock, room: Arc::new(Semaphore::new(QUEUE_BYTES)), queue }, waiting)
    }

    fn cost(message: &[u8]) -> u32 {
        u32::try_from(message.len().min(MAX_MESSAGE) * 2 + RECORD_BYTES).unwrap_or(u32::MAX)
    }

    fn read(&self, message: &[u8], peer: &str, room: OwnedSemaphorePermit) -> Waiting {
        let (resource, record) = parse(message, self.clock.now(), peer);
        Waiting { resource, record, _room: room }
    }

    /// Waits for room: the sender waits with it.
    async fn put(&self, message: &[u8], peer: &str) {
        // Neither is ever closed while a sender lives.
        if let Ok(room) = Arc::clone(&self.room).acquire_many_owned(Self::cost(message)).await {
            let _ = self.queue.send(self.read(message, peer, room)).await;
        }
    }

    /// Drops and counts what there is no room for.
    fn offer(&self, message: &[u8], peer: &str) {
        let room = Arc::clone(&self.room).try_acquire_many_owned(Self::cost(message));
        let put = room.ok().and_then(|room| self.queue.try_send(self.read(message, peer, room)).ok());
        if put.is_none() {
            metrics::counter!("quintet_sink_syslog_dropped_total").increment(1);
        }
    }
}

async fn receive(socket: UdpSocket, intake: Intake, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut buffer = vec![0; MAX_MESSAGE];
    loop {
        let received = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            received = socket.recv_from(&mut buffer) => received,
        };
        // An error here is an ICMP answer to nobody; the socket goes on.
        let Ok((length, peer)) = received else { continue };
        let message = buffer.get(..length).unwrap_or_default();
        if !message.is_empty() {
            intake.offer(message, &peer.ip().to_canonical().to_string());
        }
    }
}

async fn accept(
    listener: Listener,
    tls: Option<Arc<Tls>>,
    intake: Intake,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = async {
                let slot = Arc::clone(&slots).acquire_owned().await;
                (slot, listener.accept().await)
            } => accepted,
        };
        let (Ok(slot), Ok((stream, peer))) = accepted else {
            // Out of descriptors: others will be closed.
            tokio::time::sleep(RETRY).await;
            continue;
        };
        let peer = match peer {
            Peer::Tcp(address) => address.ip().to_canonical().to_string(),
            Peer::Unix => String::new(),
        };
        let (intake, shutdown) = (intake.clone(), shutdown.clone());
        let acceptor = tls.as_ref().map(|tls| tls.acceptor());
        connections.spawn(async move {
            let _slot = slot;
            let reading = connection(stream, acceptor, &peer, &intake);
            tokio::select! {
                () = shutdown.cancelled() => {}
                ended = reading => if let Err(error) = ended {
                    tracing::debug!(peer, error = %error, "a syslog connection ended early");
                },
            }
        });
    }
    while connections.join_next().await.is_some() {}
    Ok(())
}

async fn connection(
    stream: quintet_http::listen::Stream,
    acceptor: Option<TlsAcceptor>,
    peer: &str,
    intake: &Intake,
) -> io::Result<()> {
    match acceptor {
        None => messages(stream, peer, intake, IDLE).await,
        Some(acceptor) => {
            let handshake = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream));
            let stream = handshake.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            messages(stream, peer, intake, IDLE).await
        }
    }
}

/// Reads messages until the stream ends, loses its framing, or is silent for too long.
async fn messages(
    mut stream: impl AsyncRead + Unpin,
    peer: &str,
    intake: &Intake,
    idle: Duration,
) -> io::Result<()> {
    let (mut frames, mut buffer, mut complete) = (Frames::default(), vec![0; 16 * 1024], Vec::new());
    loop {
        let read = tokio::time::timeout(idle, stream.read(&mut buffer)).await;
        let length = read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let fed = match length {
            0 => {
                frames.finish(|message| complete.push(message.to_vec()));
                Ok(0)
            }
            length => frames
                .feed(buffer.get(..length).unwrap_or_default(), |message| complete.push(message.to_vec())),
        };
        for message in complete.drain(..) {
            intake.put(&message, peer).await;
        }
        match fed {
            Ok(0) => {}
            Ok(_) => metrics::counter!("quintet_sink_syslog_cut_total").increment(1),
            Err(_) => return Err(io::Error::new(io::ErrorKind::InvalidData, "the framing is lost")),
        }
        if length == 0 {
            return Ok(());
        }
    }
}

/// Stores what waits, together, and again until it is stored: what waits meanwhile is bounded by the queue.
async fn store(mut queue: mpsc::Receiver<Waiting>, storage: Arc<Storage>, shutdown: CancellationToken) {
    let mut waiting = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            biased;
            received = queue.recv_many(&mut waiting, BATCH) => if received == 0 { return },
            () = shutdown.cancelled() => return,
        }
        let _ = tokio::time::timeout(GATHER, async {
            while waiting.len() < BATCH {
                let room = BATCH - waiting.len();
                if queue.recv_many(&mut waiting, room).await == 0 {
                    return;
                }
            }
        })
        .await;
        let batch = Arc::new(grouped(waiting.drain(..)));
        while let Err(error) = append(&storage, &batch).await {
            if matches!(error.downcast_ref::<AppendError>(), Some(AppendError::TooLarge)) {
                metrics::counter!("quintet_sink_syslog_dropped_total")
                    .increment(u64::try_from(batch.len()).unwrap_or(0));
                break;
            }
            tracing::debug!(%error, "syslog messages wait for the storage");
            tokio::select! {
                () = shutdown.cancelled() => {
                    metrics::counter!("quintet_sink_syslog_dropped_total")
                        .increment(u64::try_from(batch.len()).unwrap_or(0));
                    return;
                }
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }
}

async fn append(storage: &Arc<Storage>, batch: &Arc<Batch<LogRecord>>) -> anyhow::Result<()> {
    let (storage, batch) = (Arc::clone(storage), Arc::clone(batch));
    tokio::task::spawn_blocking(move || {
        storage.append_logs(&batch)?;
        count(Signal::Logs, batch.len());
        Ok(())
    })
    .await?
}

fn grouped(waiting: impl Iterator<Item = Waiting>) -> Batch<LogRecord> {
    let mut batch = Batch::<LogRecord>::default();
    for Waiting { resource, record, .. } in waiting {
        match batch.groups.iter_mut().find(|(known, _)| **known == resource) {
            Some((_, records)) => records.push(record),
            None => batch.groups.push((Arc::new(resource), vec![record])),
        }
    }
    batch
}

#[cfg(test)]
mod tests;
