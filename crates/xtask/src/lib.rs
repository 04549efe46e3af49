//! What the tasks and the end-to-end tests share: a client that sees a fleet as its users do.

pub mod gateway;
