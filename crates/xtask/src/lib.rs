//! What the tasks, the end-to-end tests and the benchmarks share: a client that sees a fleet as its users do, and an issuer
//! for those of the five that are measured or broken without the others.

pub mod gateway;
pub mod issuer;
