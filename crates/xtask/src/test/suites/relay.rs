//! TLS for suites that speak in the clear: each connection to the relay is one to the gateway's TLS port.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_util::task::TaskTracker;

/// Relays connections as long as the runtime lives; the address to connect to.
pub(super) async fn listen(tasks: &TaskTracker, port: u16, tls: ClientConfig) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("bind the relay")?;
    let address = listener.local_addr()?;
    let connector = TlsConnector::from(Arc::new(tls));
    let connections = tasks.clone();
    tasks.spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let connector = connector.clone();
            connections.spawn(async move { pass(client, port, connector).await });
        }
    });
    Ok(address)
}

/// To an address, so that no server name is sent and hosts are checked by nothing but the request.
async fn pass(mut client: TcpStream, port: u16, connector: TlsConnector) -> std::io::Result<()> {
    let tcp = TcpStream::connect(("127.0.0.1", port)).await?;
    tcp.set_nodelay(true)?;
    client.set_nodelay(true)?;
    let name = ServerName::from(std::net::IpAddr::from([127, 0, 0, 1]));
    let mut gateway = connector.connect(name, tcp).await?;
    tokio::io::copy_bidirectional(&mut client, &mut gateway).await.map(drop)
}
