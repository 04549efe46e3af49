//! `cargo xtask up`: a whole fleet on this machine, from nothing, that keeps its data.
//!
//! Everything it makes is in the data directory ([`layout`]). Secrets and the certificate authority are made once;
//! configurations are written anew at each start, so that they always fit the binaries. The process that runs this
//! supervises the five ([`supervisor`]) and ends by draining them.

pub(crate) mod certificates;
pub(crate) mod config;
mod demo;
pub(crate) mod layout;
mod load;
mod ports;
pub(crate) mod secrets;
mod status;
pub(crate) mod supervisor;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use xtask::gateway::Gateway;

use self::layout::{Layout, Lock};
use self::status::Probes;
use self::supervisor::Fleet;
use crate::build::{self, Profile};
use crate::{detach, workspace};

const READY_WITHIN: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(25);

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// The gateway's TLS port.
    #[arg(long, default_value_t = 8443)]
    pub(crate) https_port: u16,
    /// The gateway's plain port, which redirects to the TLS port.
    #[arg(long, default_value_t = 8080)]
    pub(crate) http_port: u16,
    /// Where the fleet keeps everything.
    #[arg(long, default_value = ".quintet")]
    pub(crate) data_dir: PathBuf,
    /// How to build.
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    pub(crate) profile: Profile,
    /// Use the binaries in this directory instead of building.
    #[arg(long)]
    pub(crate) bin_dir: Option<PathBuf>,
    /// PostgreSQL instead of the embedded SQLite: postgres://USER:PASSWORD@HOST:PORT/DATABASE, or file:PATH of a
    /// file that holds the URL.
    #[arg(long, value_name = "URL")]
    pub(crate) database: Option<String>,
    /// Hand mail to this SMTP server, without TLS, instead of a local mail directory.
    #[arg(long, value_name = "smtp://HOST:PORT")]
    pub(crate) smtp: Option<SmtpServer>,
    /// Return when the fleet is ready; `cargo xtask down` stops it.
    #[arg(long)]
    pub(crate) detach: bool,
    /// Place this many orders a second, so that there is something to see.
    #[arg(long, value_name = "PER_SECOND", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=5000))]
    pub(crate) demo_load: u32,
    /// This is the supervisor that `--detach` left behind.
    #[arg(long, hide = true)]
    pub(crate) supervisor: bool,
}

/// A mail server on this machine.
#[derive(Debug, Clone)]
pub(crate) struct SmtpServer {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl FromStr for SmtpServer {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let address = text.strip_prefix("smtp://").and_then(|rest| rest.rsplit_once(':'));
        let (host, port) = address.context("write it as smtp://HOST:PORT")?;
        Ok(Self { host: host.to_owned(), port: port.parse().context("the port is a number up to 65535")? })
    }
}

pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    let layout = Layout::new(&options.data_dir)?;
    if options.supervisor {
        rustix::process::setsid().context("leave the terminal's session")?;
    }
    // Before the build, which may take minutes.
    drop(prepare(&layout)?);
    check_ports(&options)?;
    let bin_dir = if let Some(given) = &options.bin_dir {
        let given = std::path::absolute(given)?;
        build::all_present(&given)?;
        given
    } else {
        build::console(&workspace::root())?;
        build::binaries(options.profile)?
    };
    if options.detach {
        return detach::run(&options, &layout, &bin_dir);
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(supervise(&options, &layout, &bin_dir))
}

fn prepare(layout: &Layout) -> anyhow::Result<Lock> {
    layout.create()?;
    Lock::take(layout)
}

fn check_ports(options: &Options) -> anyhow::Result<()> {
    if options.https_port == options.http_port {
        bail!("--https-port and --http-port are both {}: give them different numbers", options.https_port);
    }
    ports::check_free(options.https_port, "--https-port")?;
    ports::check_free(options.http_port, "--http-port")
}

async fn supervise(options: &Options, layout: &Layout, bin_dir: &Path) -> anyhow::Result<()> {
    let _lock = prepare(layout)?;
    let _ = std::fs::remove_file(layout.ready_mark());
    certificates::ensure(layout)?;
    config::write(options, layout)?;
    let mut stop = Stop::listen()?;
    let begun = Instant::now();
    let mut fleet = Fleet::start(layout, bin_dir)?;
    let probes = Probes::new(layout, &fleet.programs);
    let gateway = Gateway::new(options.https_port, &layout.tls("ca.pem"))?;
    let outcome = tokio::select! {
        error = fleet.failure() => Err(error),
        outcome = live(options, layout, &probes, &gateway, begun) => outcome,
        () = stop.requested() => Ok(()),
    };
    let _ = std::fs::remove_file(layout.ready_mark());
    eprintln!("\nstopping");
    tokio::select! {
        () = fleet.stop() => {}
        () = stop.requested() => eprintln!("stopped without draining"),
    }
    outcome
}

/// From the first poll to the end of the fleet; returns only with an error.
async fn live(
    options: &Options,
    layout: &Layout,
    probes: &Probes,
    gateway: &Gateway,
    begun: Instant,
) -> anyhow::Result<()> {
    wait_until_ready(probes, gateway).await?;
    let ready_after = begun.elapsed();
    let secret = secrets::ensure(layout, config::DEMO_CLIENT_SECRET)?;
    let signed_in = gateway.sign_in(config::DEMO_CLIENT, &secret).await.context("sign the demo client in")?;
    let shop =
        demo::ensure(&signed_in, &layout.root.join("demo.json")).await.context("make the demo data")?;
    if !options.supervisor {
        summary(options, layout)?;
        println!("fleet ready after {} ms", ready_after.as_millis());
    }
    std::fs::write(layout.ready_mark(), format!("{}\n", ready_after.as_millis()))
        .context("note that all are ready")?;
    tokio::select! {
        () = status::stream(probes) => {}
        outcome = load::run(options.demo_load, gateway, &secret, &shop) => outcome?,
    }
    bail!("the status display ended")
}

async fn wait_until_ready(probes: &Probes, gateway: &Gateway) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let waiting = probes.not_ready().await;
        let front_door = gateway.get("/identity/.well-known/openid-configuration").await;
        if waiting.is_empty() && front_door.as_ref().is_ok_and(|answer| answer.status.is_success()) {
            return Ok(());
        }
        if begun.elapsed() > READY_WITHIN {
            if waiting.is_empty() {
                bail!(
                    "all five are ready, but the gateway does not lead to the identity provider: {front_door:?}"
                );
            }
            bail!("not ready after {READY_WITHIN:?}: {}; see their logs", waiting.join(", "));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// What a person needs to use the fleet.
pub(crate) fn summary(options: &Options, layout: &Layout) -> anyhow::Result<()> {
    let origin = format!("https://localhost:{}", options.https_port);
    let password = secrets::ensure_readable(layout, config::ADMINISTRATOR_PASSWORD)?;
    let authority = layout.tls("ca.pem");
    let demo_secret = layout.secret(config::DEMO_CLIENT_SECRET);
    println!();
    println!("  console        {origin}/");
    println!("  sign in as     {}  {password}", config::ADMINISTRATOR);
    println!("  API            {origin}/api/v1/   (OpenAPI: {origin}/api/openapi.json)");
    println!("  jobs           {origin}/jobs/v1/  (OpenAPI: {origin}/jobs/v1/openapi.json)");
    println!("  identity       {origin}/identity/.well-known/openid-configuration");
    println!("  authority      {}", authority.display());
    println!("  logs           {}", layout.root.join("log").display());
    println!();
    println!(
        "  TOKEN=$(curl -s --cacert {} {origin}/identity/token -u {}:$(cat {}) \\",
        authority.display(),
        config::DEMO_CLIENT,
        demo_secret.display()
    );
    println!(
        "    -d grant_type=client_credentials -d 'scope=orders:read' | sed 's/.*\"access_token\":\"\\([^\"]*\\).*/\\1/')"
    );
    println!(
        "  curl --cacert {} -H \"Authorization: Bearer $TOKEN\" {origin}/api/v1/orders",
        authority.display()
    );
    println!();
    Ok(())
}

/// The two signals that end a fleet.
#[derive(Debug)]
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn listen() -> anyhow::Result<Self> {
        let of = |kind| signal(kind).context("listen for signals");
        Ok(Self { interrupt: of(SignalKind::interrupt())?, terminate: of(SignalKind::terminate())? })
    }

    async fn requested(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
