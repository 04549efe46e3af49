//! The gateway on real sockets: TLS clients in front, real upstreams on unix sockets behind.

mod acme;
mod cache;
mod client_auth;
mod content;
mod documents;
mod edge;
mod files;
mod harness;
mod http1;
#[cfg(feature = "http3")]
mod http3;
mod limits;
mod names;
mod origin;
mod parking;
mod plain;
mod proxy_protocol;
mod proxying;
mod raw;
mod reload;
mod resilience;
mod routing;
mod signin;
mod slow_bodies;
mod transport;
mod upstreams;

pub(crate) use self::harness::{ECHO, Fixture, PATIENCE, echo, get, post, write_certificate};
