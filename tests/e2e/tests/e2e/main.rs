//! The story and its accidents, each against a fleet of its own.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "steps that several tests share fail like the tests themselves"
)]

mod crash;
mod full_disk;
mod oversell;
mod readme;
mod refusals;
mod settings;
mod smtp;
mod story;
