//! The provider as its clients and its users meet it: requests through the router, on every
//! database there is, with a clock that the test moves.

mod access;
mod admin;
mod authorize;
mod backchannel;
mod client_auth;
mod device;
mod dpop;
mod exchange;
mod factors;
mod harness;
mod login;
mod logout;
mod mail;
mod passkeys;
mod pushed;
mod signing;
mod start;
mod token;
