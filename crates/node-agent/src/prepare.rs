//! What comes before the five at each boot: secrets, a certificate, configurations with this node's address, and the
//! books opened for this boot.
//!
//! The image is the same on every node. What is a node's own comes as systemd credentials: `quintet.origin`, the
//! address under which clients reach it; `NAME.toml`, which replaces the configuration of one binary; and any secret
//! that the units import.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context as _, ensure};
use quintet_http::Origin;
use quintet_service::Code;
use quintet_types::{Clock as _, SystemClock};

use crate::secrets::{self, ADMINISTRATOR_PASSWORD, Secrets};
use crate::status::{self, Books, Outcome};
use crate::version::Version;
use crate::{certificate, files, paths};

/// What the shipped configurations have for the node's address.
pub(crate) const ORIGIN: &str = "https://localhost";
const ORIGIN_CREDENTIAL: &str = "quintet.origin";
const CERTIFICATE: &str = "edge-gateway.certificate";
const CERTIFICATE_KEY: &str = "edge-gateway.certificate-key";
const GATEWAY_USER: &str = "quintet-gateway";

pub(crate) fn run(output: &mut dyn Write) -> anyhow::Result<Code> {
    let secrets = Secrets {
        given: secrets::given(),
        kept: paths::SECRETS.into(),
        credentials: secrets::credential_store().to_owned(),
    };
    let origin = origin(&secrets)?;
    let made = secrets.ensure()?;
    let fingerprint = ensure_certificate(&secrets, &origin)?;
    install_certificate(&secrets, Path::new(paths::CONFIGURATIONS))?;
    configure(Path::new(paths::TEMPLATES), Path::new(paths::CONFIGURATIONS), &origin, &secrets)?;
    let version = Version::running(Path::new(paths::OS_RELEASE))?;
    let mut books = Books::open();
    books.begin(&version, Outcome::Started, SystemClock.now());
    books.close_if_there_is_room();
    status::publish(&books)?;
    writeln!(output, "generation {version}, reached as {origin}")?;
    if let Some(fingerprint) = fingerprint {
        writeln!(output, "its certificate is its own, SHA-256 {fingerprint}")?;
    }
    if made.contains(&ADMINISTRATOR_PASSWORD) {
        show_on_console(&secrets.kept_text(ADMINISTRATOR_PASSWORD)?)?;
    }
    Ok(Code::Ok)
}

/// Whoever sees the console of a machine owns it, and nobody else could ever tell the password. The journal, which the unit's
/// output goes to as well, is for more people.
fn show_on_console(password: &str) -> anyhow::Result<()> {
    let mut console = fs::OpenOptions::new().write(true).open("/dev/console").context("open the console")?;
    // A terminal in raw mode wants both.
    write!(console, "\r\nthe administrator's first password is {password}\r\n")
        .context("write to the console")
}

fn origin(secrets: &Secrets) -> anyhow::Result<String> {
    let Some(text) = secrets.given_text(ORIGIN_CREDENTIAL)? else { return Ok(ORIGIN.to_owned()) };
    let parsed: Origin = text.parse().with_context(|| format!("read the credential {ORIGIN_CREDENTIAL}"))?;
    ensure!(
        matches!(parsed, Origin::Https { .. }),
        "the credential {ORIGIN_CREDENTIAL} is {text}: write https://HOST or https://HOST:PORT"
    );
    Ok(text.trim_end_matches('/').to_owned())
}

/// Makes a certificate unless there is one, and returns the fingerprint of one made now.
fn ensure_certificate(secrets: &Secrets, origin: &str) -> anyhow::Result<Option<String>> {
    match (secrets.is_given(CERTIFICATE), secrets.is_given(CERTIFICATE_KEY)) {
        (true, true) => return Ok(None),
        (false, false) => {}
        _ => anyhow::bail!("give both credentials, {CERTIFICATE} and {CERTIFICATE_KEY}, or neither"),
    }
    // The key is kept first, so a certificate that is there has its key.
    if secrets.offer_kept(CERTIFICATE)? {
        ensure!(
            secrets.offer_kept(CERTIFICATE_KEY)?,
            "the certificate's key is missing in {}",
            paths::SECRETS
        );
        return Ok(None);
    }
    let host = match origin.parse() {
        Ok(Origin::Https { host, .. }) => host,
        _ => "localhost".to_owned(),
    };
    let made = certificate::make(&host, &SystemClock)?;
    secrets.keep(CERTIFICATE_KEY, made.key.as_bytes())?;
    secrets.keep(CERTIFICATE, made.certificate.as_bytes())?;
    Ok(Some(made.fingerprint))
}

/// Puts the certificate where the gateway's configuration names it; the key is for the gateway's user alone.
fn install_certificate(secrets: &Secrets, configurations: &Path) -> anyhow::Result<()> {
    let directory = configurations.join("tls");
    let text = |name: &str| match secrets.given_text(name)? {
        Some(given) => Ok(given),
        None => secrets.kept_text(name),
    };
    files::replace(&directory.join("cert.pem"), text(CERTIFICATE)?.as_bytes(), 0o644)?;
    let key = directory.join("key.pem");
    files::replace(&key, text(CERTIFICATE_KEY)?.as_bytes(), 0o600)?;
    let gateway = user_id(&fs::read_to_string("/etc/passwd").context("read /etc/passwd")?, GATEWAY_USER)
        .with_context(|| format!("there is no user {GATEWAY_USER}"))?;
    std::os::unix::fs::chown(&key, Some(gateway), None)
        .with_context(|| format!("give {} to the gateway", key.display()))
}

/// The number of a user in passwd(5).
fn user_id(passwd: &str, name: &str) -> Option<u32> {
    let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    fields.into_iter().find(|fields| fields.first() == Some(&name))?.get(2)?.parse().ok()
}

/// Writes the configurations of this boot.
fn configure(templates: &Path, to: &Path, origin: &str, secrets: &Secrets) -> anyhow::Result<()> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(templates).with_context(|| format!("list {}", templates.display()))? {
        let name = entry?.file_name().into_string();
        names.extend(name.ok().filter(|name| Path::new(name).extension().is_some_and(|end| end == "toml")));
    }
    for name in names {
        let text = match secrets.given_text(&name)? {
            Some(theirs) => theirs,
            None => {
                with_origin(&fs::read_to_string(templates.join(&name)).context("read a template")?, origin)
            }
        };
        // Configurations hold no secrets, and each binary runs as a user of its own.
        files::replace(&to.join(&name), text.as_bytes(), 0o644)?;
    }
    Ok(())
}

fn with_origin(template: &str, origin: &str) -> String {
    template.replace(ORIGIN, origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(root: &Path) -> Secrets {
        Secrets { given: vec![root.join("given")], kept: root.join("kept"), credentials: root.join("run") }
    }

    #[test]
    fn a_configuration_that_was_given_replaces_the_shipped_one_and_others_get_the_origin() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for directory in ["given", "templates"] {
            fs::create_dir(at(directory)).unwrap();
        }
        fs::write(at("templates/core-api.toml"), "issuer = \"https://localhost/identity\"\n").unwrap();
        fs::write(at("templates/async-worker.toml"), "a = 1\n").unwrap();
        fs::write(at("templates/README"), "no").unwrap();
        fs::write(at("given/async-worker.toml"), "a = 2\n").unwrap();
        let origin = "https://shop.example:8443";
        configure(&at("templates"), &at("etc"), origin, &secrets(root.path())).unwrap();
        let core = fs::read_to_string(at("etc/core-api.toml")).unwrap();
        assert_eq!(core, "issuer = \"https://shop.example:8443/identity\"\n");
        assert_eq!(fs::read_to_string(at("etc/async-worker.toml")).unwrap(), "a = 2");
        assert!(!at("etc/README").exists());
    }

    #[test]
    fn an_origin_without_tls_is_refused_with_the_form_it_should_have() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("given")).unwrap();
        fs::write(root.path().join("given/quintet.origin"), "http://shop.example").unwrap();
        let error = origin(&secrets(root.path())).unwrap_err().to_string();
        assert!(error.contains("https://HOST"), "{error}");
    }

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let passwd =
            "root:x:0:0::/root:/usr/sbin/nologin\nquintet-gateway2:x:7:7:::\nquintet-gateway:x:995:990:::\n";
        assert_eq!(user_id(passwd, "quintet-gateway"), Some(995));
        assert_eq!(user_id(passwd, "quintet"), None);
    }

    #[test]
    fn a_certificate_is_made_once_and_half_a_given_one_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let secrets = secrets(root.path());
        assert!(ensure_certificate(&secrets, "https://shop.example").unwrap().is_some());
        assert!(ensure_certificate(&secrets, "https://shop.example").unwrap().is_none());
        fs::create_dir(root.path().join("given")).unwrap();
        fs::write(root.path().join("given/edge-gateway.certificate"), "PEM").unwrap();
        let error = ensure_certificate(&secrets, "https://shop.example").unwrap_err().to_string();
        assert!(error.contains("or neither"), "{error}");
    }
}
