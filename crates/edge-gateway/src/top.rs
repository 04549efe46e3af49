//! `edge-gateway top`: what the running gateway does, as a page that renews itself, as one page, or as JSON.
//!
//! Two looks at the gateway make a [`frame`]: [`status`] says what is, the counters of `/metrics` say what
//! happened in between. The gateway keeps nothing for it and does no work but when it is asked.

mod exposition;
mod frame;
mod page;
mod status;
mod terminal;
mod view;

use std::io::{IsTerminal as _, Write};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use quintet_http::{Address, Client, Origin};
use quintet_service::{Code, StartError};

use self::exposition::Exposition;
use self::frame::{Frame, Sample};
use self::status::Status;
pub(crate) use self::status::routes;
use self::view::{Sort, View};
use crate::config::Config;

const TIMEOUT: Duration = Duration::from_secs(5);
/// Several thousand routes have that many series.
const MAX_METRICS: usize = 64 * 1024 * 1024;

/// What to show of the running gateway.
#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Print one page and end; so it is wherever the output is no terminal
    #[arg(long)]
    once: bool,
    /// Print JSON, one line for each interval; with --once a single document
    #[arg(long)]
    json: bool,
    /// Milliseconds between two looks
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(100..=3_600_000))]
    interval_ms: u64,
    /// Order of the routes
    #[arg(long, value_enum, default_value_t)]
    sort: Sort,
    /// Only routes and upstreams whose names contain this
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
    /// Admin listener to ask, where it is not the configured one: `unix:/path` or `127.0.0.1:9000`
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<Address>,
}

/// Where samples come from.
struct Source {
    client: Client,
    admin: Address,
    interval: Duration,
}

/// Shows the running gateway; 69 where it does not answer.
pub(crate) fn run(config: &Config, asked: &Top, output: &mut dyn Write) -> anyhow::Result<Code> {
    let source = Source::new(
        asked.admin.as_ref().unwrap_or(&config.service.admin),
        Duration::from_millis(asked.interval_ms),
    );
    let view = View { sort: asked.sort, filter: asked.filter.clone(), ..View::default() };
    let live =
        !asked.once && !asked.json && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if live {
            return terminal::run(&source, view, output).await;
        }
        let mut before = source.sample().await?;
        loop {
            let after = source.next().await?;
            let mut frame = Frame::between(&before, &after);
            view.apply(&mut frame);
            let written = print(&frame, &view, asked, output);
            if written.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe) {
                return Ok(());
            }
            written?;
            if asked.once || !asked.json {
                return Ok(());
            }
            before = after;
        }
    })?;
    Ok(Code::Ok)
}

fn print(frame: &Frame, view: &View, asked: &Top, output: &mut dyn Write) -> std::io::Result<()> {
    if asked.json {
        if asked.once {
            serde_json::to_writer_pretty(&mut *output, frame)?;
        } else {
            serde_json::to_writer(&mut *output, frame)?;
        }
        writeln!(output)?;
    } else {
        let lines = page::summary(frame).into_iter().map(|line| line.text);
        let tables = page::tables(frame, view, None).into_iter().map(|line| line.text);
        for line in lines.chain(std::iter::once(String::new())).chain(tables) {
            writeln!(output, "{}", line.trim_end())?;
        }
    }
    output.flush()
}

impl Source {
    fn new(admin: &Address, interval: Duration) -> Self {
        let origin = match admin {
            Address::Unix(path) => Origin::Unix(path.clone()),
            Address::Tcp(address) => Origin::Http { host: address.ip().to_string(), port: address.port() },
        };
        let client = Client::new(origin).timeout(TIMEOUT).max_body(MAX_METRICS);
        Self { client, admin: admin.clone(), interval }
    }

    /// Looks at the gateway.
    async fn sample(&self) -> anyhow::Result<Sample> {
        let look = async {
            let status: Status = self.client.get_json(status::PATH).await?;
            let metrics = self.client.get("/metrics").await?;
            let counted = Exposition::parse(&String::from_utf8_lossy(metrics.body()));
            anyhow::Ok(Sample { status, counted, at: Instant::now() })
        };
        let unanswered =
            || format!("no gateway of this version answers on the admin listener {}", self.admin);
        look.await.with_context(unanswered).map_err(|error| StartError::new(Code::Unavailable, error).into())
    }

    /// The look after the next interval.
    async fn next(&self) -> anyhow::Result<Sample> {
        tokio::time::sleep(self.interval).await;
        self.sample().await
    }
}

#[cfg(test)]
mod tests;
