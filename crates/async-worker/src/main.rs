//! Runs the jobs that the other binaries enqueue, and shows the queue to operators.

use std::process::ExitCode;

use quintet_memory as _;

mod api;
#[cfg(test)]
mod calls;
mod config;
mod description;
mod images;
mod mail;
mod page;
mod permissions;
mod start;
mod webhook;

struct AsyncWorker;

impl quintet_service::Binary for AsyncWorker {
    const NAME: &'static str = "async-worker";
    const ABOUT: &'static str = "Runs durable background jobs: e-mail, images and the modules' own";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Config = config::Config;

    fn common(config: &Self::Config) -> quintet_service::Common<'_> {
        quintet_service::Common { service: &config.service, telemetry: &config.telemetry }
    }

    fn validate(config: &Self::Config) -> Result<(), quintet_service::Invalid> {
        config.validate()
    }

    async fn start(config: Self::Config, cx: &quintet_service::Context) -> anyhow::Result<()> {
        start::start(config, cx).await
    }
}

fn main() -> ExitCode {
    quintet_service::run::<AsyncWorker>()
}
