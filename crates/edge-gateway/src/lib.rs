//! The edge gateway: TLS termination, rate limiting, request routing and load balancing; the only public
//! listener of a Quintet machine.

mod access_log;
mod acme;
mod answer;
mod auth;
mod body;
mod cache;
mod client_auth;
mod client_io;
mod command;
mod config;
mod connection;
mod content;
mod exchange;
mod explain;
mod files;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod gateway;
mod handler;
mod headers;
mod http1;
#[cfg(feature = "http3")]
mod http3;
mod identity;
mod import;
mod interim;
mod limits;
mod listener;
mod metrics;
mod mirror;
mod path;
mod pool;
mod proxy;
mod proxy_protocol;
mod ranges;
mod representation;
mod router;
mod seal;
mod secured;
mod session;
mod signin;
#[cfg(test)]
mod tests;
mod ticks;
mod tls;
mod tokens;
mod top;
mod trace;
mod tunnel;
mod upstream;
mod validators;
mod why;
mod wire;
mod worker;

use std::process::ExitCode;

/// Runs the program until it is told to stop.
pub fn run() -> ExitCode {
    quintet_service::run::<gateway::EdgeGateway>()
}
