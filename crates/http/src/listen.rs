//! Where a server listens: a TCP address or a unix socket, from configuration or inherited from
//! systemd.
//!
//! A unix socket left behind by a dead process is replaced; one that still answers is an
//! "address in use". The socket file is not removed at exit: during an overlapping restart it
//! already belongs to the next process.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

/// Waiting connections the kernel keeps; it clamps this to `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

/// `sun_path` is 108 bytes including the terminating zero (unix(7)).
const MAX_UNIX_PATH: usize = 107;

/// An address to listen on: `127.0.0.1:9000`, `[::]:443` or `unix:/run/quintet/core-api.sock`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address and a port; port 0 takes a free one.
    Tcp(SocketAddr),
    /// The path of a unix stream socket.
    Unix(PathBuf),
}

/// The text is not an [`Address`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AddressError {
    /// Neither `IP:PORT` nor `unix:/PATH`.
    #[error("`{0}` is not an address; write IP:PORT, such as 127.0.0.1:9000, or unix:/PATH")]
    Form(String),
    /// A unix socket path that is not absolute.
    #[error("the unix socket path `{0}` must be absolute")]
    Relative(String),
    /// A unix socket path the kernel cannot hold.
    #[error("the unix socket path `{0}` is longer than 107 bytes, the most the system allows")]
    TooLong(String),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let Some(path) = text.strip_prefix("unix:") else {
            return text.parse().map(Self::Tcp).map_err(|_| AddressError::Form(text.to_owned()));
        };
        unix_path(path).map(Self::Unix)
    }
}

/// Checks a unix socket path once, for listeners and clients alike.
pub(crate) fn unix_path(path: &str) -> Result<PathBuf, AddressError> {
    if !path.starts_with('/') {
        return Err(AddressError::Relative(path.to_owned()));
    }
    if path.len() > MAX_UNIX_PATH {
        return Err(AddressError::TooLong(path.to_owned()));
    }
    Ok(PathBuf::from(path))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why nothing listens on an address.
#[derive(Debug, Error)]
pub enum BindError {
    /// Another process answers there.
    #[error("address {0} is in use by another process")]
    InUse(Address),
    /// The path exists and is no socket; it is left alone.
    #[error("{0} exists and is not a socket; remove it or choose another path")]
    NotASocket(PathBuf),
    /// The inherited descriptor is no listening stream socket of a family we serve.
    #[error("inherited descriptor is not a listening TCP or unix stream socket")]
    Inherited(#[source] Option<io::Error>),
    /// The system refused.
    #[error("cannot listen on {address}")]
    System {
        /// What was asked for.
        address: Address,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

impl Address {
    /// Starts to listen. Must be called inside a Tokio runtime.
    pub fn bind(&self) -> Result<Listener, BindError> {
        let bound = match self {
            Self::Tcp(address) => bind_tcp(*address).map(Listener::Tcp),
            Self::Unix(path) => {
                remove_stale(path)?;
                bind_unix(path).map(Listener::Unix)
            }
        };
        bound.map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse(self.clone()),
            _ => BindError::System { address: self.clone(), source },
        })
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(path)?;
    // Group access lets the gateway's user connect; nobody else.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

fn remove_stale(path: &Path) -> Result<(), BindError> {
    let address = || Address::Unix(path.to_owned());
    let system = |source| BindError::System { address: address(), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(BindError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(BindError::InUse(address())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(system)
        }
        Err(error) => Err(system(error)),
    }
}

/// A socket that accepts connections.
#[derive(Debug)]
pub enum Listener {
    /// On TCP; accepted connections have `TCP_NODELAY` set.
    Tcp(TcpListener),
    /// On a unix socket.
    Unix(UnixListener),
}

impl Listener {
    /// Takes over a socket that is already listening, such as one from systemd.
    /// Must be called inside a Tokio runtime.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, BindError> {
        let inherited = |error| BindError::Inherited(Some(error));
        let socket = socket2::Socket::from(fd);
        if !socket.is_listener().map_err(inherited)?
            || socket.r#type().map_err(inherited)? != socket2::Type::STREAM
        {
            return Err(BindError::Inherited(None));
        }
        socket.set_nonblocking(true).map_err(inherited)?;
        let domain = socket.domain().map_err(inherited)?;
        let listener = if domain == socket2::Domain::UNIX {
            UnixListener::from_std(socket.into()).map(Self::Unix)
        } else if domain == socket2::Domain::IPV4 || domain == socket2::Domain::IPV6 {
            TcpListener::from_std(socket.into()).map(Self::Tcp)
        } else {
            return Err(BindError::Inherited(None));
        };
        listener.map_err(inherited)
    }

    /// Another descriptor of the same socket, for a process that is to go on with it.
    pub fn try_clone(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(listener) => listener.as_fd().try_clone_to_owned(),
            Self::Unix(listener) => listener.as_fd().try_clone_to_owned(),
        }
    }

    /// Where it really listens: port 0 has become a number.
    pub fn local_address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            Self::Unix(listener) => {
                let address = listener.local_addr()?;
                Ok(Address::Unix(address.as_pathname().unwrap_or_else(|| Path::new("")).to_owned()))
            }
        }
    }

    /// Waits for the next connection. Cancel safe.
    pub async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Fails only on a connection that is already gone; serving it will find out.
                let _ = stream.set_nodelay(true);
                Ok((Stream::Tcp(stream), Peer::Tcp(address)))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), Peer::Unix))
            }
        }
    }
}

/// Who is at the other end of a connection; an extension of every request served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// The remote address.
    Tcp(SocketAddr),
    /// A process on this machine.
    Unix,
}

/// An accepted or dialled connection.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a unix socket.
    Unix(UnixStream),
}

macro_rules! delegate {
    ($self:ident, $method:ident, $($argument:expr),*) => {
        match $self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).$method($($argument),*),
            Stream::Unix(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        delegate!(self, poll_read, cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        delegate!(self, poll_write, cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, poll_write_vectored, cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_flush, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_shutdown, cx)
    }
}
