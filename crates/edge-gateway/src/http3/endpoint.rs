//! A worker's endpoints: handshakes under the limits, and what QUIC is set to.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{HandshakeData, NoInitialCipherSuite, QuicServerConfig};
use quinn::{Endpoint, EndpointConfig, Incoming, ServerConfig, TransportConfig, VarInt};
use rustls::ServerConfig as TlsConfig;
use tokio::task::JoinSet;

use super::code::Code;
use super::listen::OwnSocket;
use super::routes::ChainSecret;
use super::socket::{LocalRuntime, RoutedSocket};
use crate::config::Limits;
use crate::connection::{CONNECTION_WINDOW, Client, ConnectionState, STREAM_WINDOW, http3};
use crate::metrics::Metrics;
use crate::worker::Worker;

/// Handshakes of one endpoint that may run at the same time before new clients have to prove their address first
/// (RFC 9000 section 8.1.2), which costs them a round trip and keeps forged addresses out.
const HALF_OPEN: usize = 64;
/// First packets that wait to be looked at, and bytes that are kept of what follows them.
const INCOMING: usize = 1_024;
const INCOMING_BYTES: u64 = 4 * 1024 * 1024;
/// Streams of a client's own direction at a time: control, two of QPACK, and some of types that mean nothing.
const UNI_STREAMS: u32 = 8;
/// Bytes of answers on their way that a connection holds until they are acknowledged.
const SEND_WINDOW: u64 = 512 * 1024;
/// How long closing connections may take to tell their clients.
const FAREWELL: Duration = Duration::from_millis(200);

/// The endpoints of one worker; connections are taken until it is dropped.
pub(crate) struct Endpoints {
    endpoints: Vec<Endpoint>,
    _accepting: JoinSet<()>,
}

impl Endpoints {
    /// Opens them on the current worker.
    pub(crate) fn open(worker: &Rc<Worker>, sockets: Vec<OwnSocket>) -> io::Result<Self> {
        let (mut endpoints, mut accepting) = (Vec::new(), JoinSet::new());
        for OwnSocket { slot, socket, routes, secret } in sockets {
            let owner = routes.owner(slot);
            let mut config = EndpointConfig::new(Arc::new(secret.reset_key()));
            config.cid_generator(move || Box::new(owner));
            let settings = Settings::new(worker, secret)?;
            let socket = Arc::new(RoutedSocket::new(socket, routes, slot)?);
            let server = settings.current.clone();
            let endpoint = Endpoint::new_with_abstract_socket(
                config,
                Some(Arc::unwrap_or_clone(server)),
                socket,
                Arc::new(LocalRuntime),
            )?;
            accepting.spawn_local(accept(Rc::clone(worker), endpoint.clone(), settings));
            endpoints.push(endpoint);
        }
        Ok(Self { endpoints, _accepting: accepting })
    }

    /// Ends all connections that are left.
    pub(crate) async fn close(self) {
        for endpoint in &self.endpoints {
            endpoint.close(Code::NoError.into(), b"");
        }
        for endpoint in &self.endpoints {
            // Those that do not get it find out by their own timers.
            let _ = tokio::time::timeout(FAREWELL, endpoint.wait_idle()).await;
        }
    }
}

/// Takes connections until the endpoint is closed; while the worker drains nobody new.
async fn accept(worker: Rc<Worker>, endpoint: Endpoint, mut settings: Settings) {
    let half_open = Rc::new(Cell::new(0));
    while let Some(incoming) = endpoint.accept().await {
        if worker.shutdown.is_cancelled() {
            incoming.refuse();
        } else if half_open.get() >= HALF_OPEN && !incoming.remote_address_validated() {
            // Only one that has been sent back already cannot be again, and that one has a proof.
            let _ = incoming.retry();
        } else {
            take(&worker, incoming, settings.refreshed(&worker), HalfOpen::new(&half_open));
        }
    }
}

/// Serves a connection in a task of its own. One that a limit forbids is refused as it is dropped.
fn take(worker: &Rc<Worker>, incoming: Incoming, config: Arc<ServerConfig>, half_open: HalfOpen) {
    worker.start(Client::new(incoming.remote_address()), true, |state| async move {
        let shaken = match incoming.accept_with(config) {
            Ok(connecting) => connecting.await,
            Err(error) => Err(error),
        };
        drop(half_open);
        match shaken {
            Ok(connection) => serve(&state, connection).await,
            Err(error) => {
                Metrics::handshake_failed("quic");
                tracing::debug!(client = state.client.text(), %error, "QUIC handshake failed");
            }
        }
    });
}

async fn serve(state: &Rc<ConnectionState>, connection: quinn::Connection) {
    state.worker.gateway.metrics.handshakes.increment(1);
    let data = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    state.handshake_done(false, data.and_then(|data| data.server_name).as_deref());
    if let Err(error) = Box::pin(http3::serve(state, connection)).await {
        tracing::debug!(client = state.client.text(), %error, "connection ended with an error");
    }
}

/// A handshake in progress.
struct HalfOpen(Rc<Cell<usize>>);

impl HalfOpen {
    fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for HalfOpen {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// What new connections are set to; a reload changes it.
struct Settings {
    secret: ChainSecret,
    crypto: Arc<QuicServerConfig>,
    /// The gateway's generation that `current` is of.
    seen: u64,
    current: Arc<ServerConfig>,
}

impl Settings {
    fn new(worker: &Worker, secret: ChainSecret) -> io::Result<Self> {
        let seen = worker.gateway.generation();
        let crypto = Arc::new(crypto(&worker.gateway.quic_tls).map_err(io::Error::other)?);
        let current = Arc::new(server_config(&crypto, &secret, worker.view().limits()));
        Ok(Self { secret, crypto, seen, current })
    }

    fn refreshed(&mut self, worker: &Worker) -> Arc<ServerConfig> {
        let generation = worker.gateway.generation();
        if self.seen != generation {
            self.seen = generation;
            self.current = Arc::new(server_config(&self.crypto, &self.secret, worker.view().limits()));
        }
        Arc::clone(&self.current)
    }
}

fn crypto(tls: &Arc<TlsConfig>) -> Result<QuicServerConfig, NoInitialCipherSuite> {
    QuicServerConfig::try_from(Arc::clone(tls))
}

fn server_config(crypto: &Arc<QuicServerConfig>, secret: &ChainSecret, limits: &Limits) -> ServerConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(limits.h2_streams.into())
        .max_concurrent_uni_streams(UNI_STREAMS.into())
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(CONNECTION_WINDOW.into())
        .send_window(SEND_WINDOW)
        // A client that is gone; one that is idle is found by the worker's sweep.
        .max_idle_timeout(VarInt::from_u64(limits.keep_alive_timeout_ms).ok().map(Into::into))
        // Datagrams of RFC 9221 are no part of what is served.
        .datagram_receive_buffer_size(None);
    let mut config = ServerConfig::new(Arc::clone(crypto) as _, Arc::new(secret.token_key()));
    config
        .transport_config(Arc::new(transport))
        .max_incoming(INCOMING)
        .incoming_buffer_size_total(INCOMING_BYTES)
        .migration(true);
    config
}
