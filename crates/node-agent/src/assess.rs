//! Whether a generation is good: the five say that they are ready, and the gateway leads to the identity provider.
//!
//! `boot-complete.target` waits for this. A unit that systemd gave up decides at once; otherwise the five have a
//! bounded time. Why it failed is written into the books, with the last words of the units that are not well.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use quintet_http::{Client, Origin};
use quintet_service::Code;
use quintet_types::{Clock as _, SystemClock};
use tokio::time::Instant;

use crate::config::{Config, Probe};
use crate::status::{self, Books, Outcome};
use crate::version::Version;
use crate::{entries, journal, paths};

const POLL: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_secs(2);
/// Lines of each unit that is not well.
const LAST_LINES: u32 = 5;

pub(crate) fn run(config: &Config) -> anyhow::Result<Code> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    let verdict = runtime.block_on(judge(config));
    let version = Version::running(Path::new(paths::OS_RELEASE))?;
    let mut books = Books::open();
    let (outcome, code) = match &verdict {
        Ok(()) => (Outcome::Healthy, Code::Ok),
        Err(_) => (Outcome::Unhealthy, Code::Unavailable),
    };
    books.end(&version, outcome, verdict.err(), SystemClock.now());
    books.close_if_there_is_room();
    status::publish(&books)?;
    Ok(code)
}

/// Leaves this generation for the previous one, and says with [`Code::Unavailable`] that there is none.
///
/// A generation that says of itself that it is unwell needs no second try: it is condemned at once. Those that say
/// nothing have their tries counted by the boot loader.
pub(crate) fn give_up() -> anyhow::Result<Code> {
    let version = Version::running(Path::new(paths::OS_RELEASE))?;
    let entries = Path::new(paths::ENTRIES);
    // Whatever cannot be read or written here, the reboot that follows uses up a try.
    let known = entries::list(entries).unwrap_or_default();
    if !known.is_empty() && entries::previous(&known, &version).is_none() {
        return Ok(Code::Unavailable);
    }
    let condemned = entries::condemn(entries, &version);
    let mut books = Books::open();
    let failure = condemned.err().map(|error| format!("{error:#}"));
    books.end(&version, Outcome::GivenUp, failure, SystemClock.now());
    books.close_if_there_is_room();
    Ok(Code::Ok)
}

async fn judge(config: &Config) -> Result<(), String> {
    let begun = Instant::now();
    let smoke = smoke_client(&config.assess.gateway).map_err(|error| format!("{error:#}"))?;
    loop {
        let mut troubles = Vec::new();
        for probe in &config.assess.ready {
            let client = Client::new(probe.address.clone()).timeout(PATIENCE);
            if let Err(error) = client.get("/readyz").await {
                troubles.push((probe, error.to_string()));
            }
        }
        let failed = config.assess.ready.iter().find(|probe| has_failed(&probe.unit));
        if troubles.is_empty() {
            match smoke.get(&config.assess.path).await {
                Ok(_) => return Ok(()),
                Err(error) if begun.elapsed() > config.assess.within() => {
                    return Err(format!("GET {} through the gateway: {error}", config.assess.path));
                }
                Err(_) => {}
            }
        } else if failed.is_some() || begun.elapsed() > config.assess.within() {
            return Err(described(&troubles));
        }
        tokio::time::sleep(POLL).await;
    }
}

fn described(troubles: &[(&Probe, String)]) -> String {
    let each = troubles.iter().map(|(probe, error)| {
        let words = journal::last_lines(&probe.unit, LAST_LINES);
        format!(
            "{} is not ready ({error}); it is {}; its last words:\n{words}",
            probe.unit,
            state(&probe.unit)
        )
    });
    each.collect::<Vec<_>>().join("\n")
}

/// Whether systemd has given the unit up.
fn has_failed(unit: &str) -> bool {
    property(unit, "ActiveState") == "failed"
}

/// Such as `failed, exit-code, 78`.
fn state(unit: &str) -> String {
    ["ActiveState", "Result", "ExecMainStatus"].map(|name| property(unit, name)).join(", ")
}

/// One at a time: systemctl prints several in an order of its own.
fn property(unit: &str, name: &str) -> String {
    let mut ask = Command::new("/usr/bin/systemctl");
    ask.args(["show", "--value", &format!("--property={name}"), unit]);
    match ask.output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Err(error) => format!("unknown ({error})"),
    }
}

/// The gateway of this very machine, whatever its certificate: who answers on a loopback address needs no proof.
fn smoke_client(gateway: &Origin) -> anyhow::Result<Client> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .context("choose TLS versions")?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    Ok(Client::with_tls(gateway.clone(), tls).timeout(PATIENCE * 5))
}

/// Takes every certificate, but still checks that the other side has its key.
#[derive(Debug)]
struct Anybody(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &rustls::pki_types::CertificateDer<'_>,
        _intermediates: &[rustls::pki_types::CertificateDer<'_>],
        _server_name: &rustls::pki_types::ServerName<'_>,
        _ocsp_response: &[u8],
        _now: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
