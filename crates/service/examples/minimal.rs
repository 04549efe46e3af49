//! The smallest binary on `quintet-service`: one listener, one background task, one secret.
//!
//! The crate's lifecycle tests run it as a real process.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use axum::Router;
use axum::routing::{get, post};
use quintet_http::{Address, Limits, Problem};
use quintet_service::{Binary, Code, Common, Context, Invalid, SecretFile, ServiceSection};
use serde::Deserialize;
use tokio::sync::Notify;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    service: ServiceSection,
    #[serde(default)]
    telemetry: quintet_telemetry::Settings,
    listen: Listen,
    token_file: Option<SecretFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listen {
    public: Address,
    /// Never becomes ready.
    #[serde(default)]
    hang: bool,
    /// Has a thread that gives no sign of life.
    #[serde(default)]
    stuck: bool,
}

struct Minimal;

impl Binary for Minimal {
    const NAME: &'static str = "minimal";
    const ABOUT: &'static str = "The smallest Quintet binary";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Config = Config;

    fn common(config: &Config) -> Common<'_> {
        Common { service: &config.service, telemetry: &config.telemetry }
    }

    fn validate(config: &Config) -> Result<(), Invalid> {
        if config.listen.public == config.service.admin {
            return Err(Invalid::new("listen.public", "must differ from service.admin"));
        }
        Ok(())
    }

    fn commands(command: clap::Command) -> clap::Command {
        command.subcommand(clap::Command::new("address").about("Print where it listens"))
    }

    fn run_command(
        config: Config,
        _matches: &clap::ArgMatches,
        output: &mut dyn std::io::Write,
    ) -> anyhow::Result<Code> {
        writeln!(output, "{}", config.listen.public)?;
        Ok(Code::Ok)
    }

    async fn start(config: Config, cx: &Context) -> anyhow::Result<()> {
        if let Some(file) = &config.token_file {
            file.read("token_file")?;
        }
        if config.listen.hang {
            tracing::info!("hanging");
            std::future::pending::<()>().await;
        }
        if config.listen.stuck {
            let pulse = cx.pulse("stuck");
            let shutdown = cx.shutdown();
            cx.spawn("stuck", async move {
                shutdown.cancelled().await;
                drop(pulse);
                Ok(())
            });
        }
        let own = Router::new().route("/minimal", get(|| async { "its own" }));
        cx.serve_admin(own.route("/refusing", get(|| async { Problem::not_found("answer") })));
        let listener = cx.listener("public", &config.listen.public)?;
        let failing = Arc::new(Notify::new());
        let trigger = Arc::clone(&failing);
        let shutdown = cx.shutdown();
        cx.spawn("fragile", async move {
            tokio::select! {
                () = failing.notified() => Err(anyhow!("the disk is gone")).context("cannot keep books"),
                () = shutdown.cancelled() => Ok(()),
            }
        });
        cx.on_reload("words", || async { Ok(()) });
        let router = Router::new()
            .route("/hello", get(|| async { "hello" }))
            // Answers when the client has sent its whole body, so the client says how long it takes.
            .route("/echo", post(|body: String| async { body }))
            .route("/panic", get(oops))
            .route("/fail", get(|| async move { trigger.notify_one() }));
        cx.serve("public", listener, router, Limits::default());
        Ok(())
    }
}

#[expect(clippy::panic, reason = "the tests ask what a panic does")]
async fn oops() {
    panic!("asked for");
}

fn main() -> ExitCode {
    quintet_service::run::<Minimal>()
}
