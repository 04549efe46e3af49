//! The UDP sockets of HTTP/3, beside the TCP listeners for HTTPS.

use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;

use anyhow::Context as _;
use quintet_service::{Code, Context, OrExit as _};
use tokio_util::sync::CancellationToken;

use super::{Assembled, Giver};
use crate::http3;

/// The name of the UDP sockets, as systemd and an upgrade pass them.
const HTTP3: &str = "http3";
/// The name of the link to a predecessor.
const LINK: &str = "http3-link";

/// Opens the sockets where the configuration asks for HTTP/3, and passes them on to a successor.
pub(in crate::gateway) fn open_from(
    assembled: &mut Assembled,
    cx: &Context,
    from: Giver,
) -> anyhow::Result<()> {
    if !assembled.gateway.snapshot().config.listen.http3 {
        return Ok(());
    }
    let link = cx.inherited_link(LINK)?;
    let opened = open(assembled, cx.inherited_udp(HTTP3)?, link, cx.succeeded(), from)?;
    for socket in &opened.passed {
        cx.pass_on(HTTP3, socket)?;
    }
    cx.pass_on(LINK, &opened.link)?;
    Ok(())
}

/// What a successor gets.
pub(crate) struct ForSuccessor {
    pub(crate) passed: Vec<UdpSocket>,
    pub(crate) link: UnixDatagram,
}

/// Gives the workers their sockets.
pub(crate) fn open(
    assembled: &mut Assembled,
    mut passed: Vec<UdpSocket>,
    link: Option<UnixDatagram>,
    succeeded: CancellationToken,
    from: Giver,
) -> anyhow::Result<ForSuccessor> {
    let workers = assembled.sockets.len();
    let addresses = addresses(assembled)?;
    let mut bound = Vec::new();
    for address in &addresses {
        let of_address = from.choose(&mut passed, *address, UdpSocket::local_addr);
        of_address.iter().try_for_each(http3::take).context("cannot use an inherited UDP socket")?;
        if of_address.is_empty() {
            let beside_v4 = addresses.iter().any(|other| other.is_ipv4() && other.port() == address.port());
            bound.extend(http3::bind(*address, beside_v4, workers).or_exit(Code::Unavailable)?);
        } else {
            bound.extend(of_address);
        }
        tracing::info!(listener = HTTP3, address = %address, "listening");
    }
    let for_successor = bound.iter().map(UdpSocket::try_clone).collect::<Result<_, _>>()?;
    let opened = http3::open(bound, workers, link, succeeded)?;
    for (worker, sockets) in assembled.sockets.iter_mut().zip(opened.sockets) {
        worker.quic = sockets;
    }
    Ok(ForSuccessor { passed: for_successor, link: opened.link })
}

/// Where HTTPS is listened for, with the ports that the kernel has chosen.
fn addresses(assembled: &Assembled) -> anyhow::Result<Vec<SocketAddr>> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for socket in assembled.sockets.iter().flat_map(|sockets| &sockets.https) {
        // A socket of systemd's may listen elsewhere than is configured.
        let local = socket.listener.local_addr()?;
        if !addresses.contains(&local) {
            addresses.push(local);
        }
    }
    Ok(addresses)
}
