//! `[acme]`: where certificates come from that the gateway gets by itself (RFC 8555).

use std::path::{Path, PathBuf};

use quintet_http::Origin;
use quintet_service::{Invalid, SecretFile};
use serde::Deserialize;

use super::{Config, invalid};

/// What the public authorities allow in one certificate.
const MAX_NAMES: usize = 100;
const MAX_RETRY_MS: u64 = 24 * 3_600 * 1_000;

/// The authority that issues the certificates of `[[certificates]]` sections with `acme`, and how it is dealt with.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AcmeSection {
    /// URL of the authority's directory, such as `"https://acme-v02.api.letsencrypt.org/directory"`.
    pub(crate) directory: String,
    /// Where the authority may write to, such as `"mailto:ops@shop.example"`.
    #[serde(default)]
    pub(crate) contact: Vec<String>,
    /// Must be `true`: you have read the authority's terms of service and agree to them.
    #[serde(default)]
    pub(crate) terms_of_service_agreed: bool,
    /// How the authority sees that a name is yours.
    #[serde(default)]
    pub(crate) challenge: ChallengeKind,
    /// Directory for the account's key and the certificates, made where it is missing. Its files are for the gateway
    /// alone (mode 0600); one gateway at a time works in it.
    pub(crate) storage: PathBuf,
    /// PEM file with the roots to trust when talking to the authority; the public ones unless set.
    pub(crate) ca_file: Option<PathBuf>,
    /// An account that you have with the authority already, to which the new one is bound.
    pub(crate) external_account: Option<ExternalAccount>,
    /// Follow the renewal time that the authority suggests, where it has that (ARI, RFC 9773).
    #[serde(default = "default_renewal_info")]
    pub(crate) renewal_info: bool,
    /// Without a suggestion, a certificate is renewed after this share of its lifetime; 0.1 to 0.9.
    #[serde(default = "default_renew_at")]
    pub(crate) renew_at_lifetime_share: f64,
    /// Wait after a first failure; each further one doubles it. 100 to 86400000.
    #[serde(default = "default_retry_min_ms")]
    pub(crate) retry_min_ms: u64,
    /// Longest wait after failures; an authority that asks for more by `Retry-After` gets it. At most 86400000.
    #[serde(default = "default_retry_max_ms")]
    pub(crate) retry_max_ms: u64,
}

/// How the authority sees that a name belongs to this gateway.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum ChallengeKind {
    /// It asks for a file on port 80 of the name, which a plain listener answers.
    #[default]
    #[serde(rename = "http-01")]
    Http,
    /// It shakes hands on port 443 of the name with a protocol of its own (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn,
}

/// External account binding (RFC 8555 section 7.3.4).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExternalAccount {
    /// The key's name, as the authority gave it.
    pub(crate) key_id: String,
    /// The key, base64url as authorities give it.
    pub(crate) hmac_key_file: SecretFile,
}

fn default_renewal_info() -> bool {
    true
}
fn default_renew_at() -> f64 {
    0.667
}
fn default_retry_min_ms() -> u64 {
    60_000
}
fn default_retry_max_ms() -> u64 {
    6 * 3_600 * 1_000
}

impl AcmeSection {
    /// Key and chain of the certificate for `names` in one file, so that they are replaced at the same instant. Called
    /// after the first name: a certificate whose list grows is served until its successor is there.
    pub(crate) fn bundle(&self, names: &[String]) -> PathBuf {
        let first = names.first().map_or("none", String::as_str);
        self.storage.join("certificates").join(format!("{first}.pem"))
    }
}

/// A certificate's files: written by an operator, or by the gateway itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CertificateSource {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    /// Names that the gateway gets the certificate for; empty for an operator's files.
    pub(crate) managed: Vec<String>,
}

impl Config {
    /// The certificates in their order.
    pub(crate) fn certificate_sources(&self) -> Vec<CertificateSource> {
        let sections = self.certificates.iter();
        let source = |section: &super::Certificate| match (&section.cert, &section.key, &self.acme) {
            (Some(cert), Some(key), _) => {
                Some(CertificateSource { cert: cert.clone(), key: key.clone(), managed: Vec::new() })
            }
            (_, _, Some(acme)) => {
                let bundle = acme.bundle(&section.acme);
                Some(CertificateSource { cert: bundle.clone(), key: bundle, managed: section.acme.clone() })
            }
            _ => None,
        };
        sections.filter_map(source).collect()
    }
}

pub(super) fn check(config: &Config) -> Result<(), Invalid> {
    let mut firsts = Vec::new();
    for (at, section) in config.certificates.iter().enumerate() {
        let key = format!("certificates.{at}");
        match (&section.cert, &section.key, section.acme.as_slice()) {
            (Some(_), Some(_), []) => {}
            (None, None, names @ [first, ..]) => {
                check_names(&key, names)?;
                if firsts.contains(&first) {
                    let message = "another section begins with the same name; put its names into one list";
                    return invalid(&format!("{key}.acme.0"), message);
                }
                firsts.push(first);
                if config.acme.is_none() {
                    let message = "needs an [acme] section that says which authority issues it";
                    return invalid(&format!("{key}.acme"), message);
                }
            }
            _ => {
                return invalid(
                    &key,
                    "needs either `cert` and `key`, or `acme` with the names to get one for",
                );
            }
        }
    }
    config.acme.as_ref().map_or(Ok(()), |section| check_section(config, section))
}

fn check_section(config: &Config, section: &AcmeSection) -> Result<(), Invalid> {
    if !is_https(&section.directory) {
        let message = "must be an https URL such as \"https://acme-v02.api.letsencrypt.org/directory\"";
        return invalid("acme.directory", message);
    }
    if !section.terms_of_service_agreed {
        let message = "must be true: read the authority's terms of service, then say that you agree";
        return invalid("acme.terms_of_service_agreed", message);
    }
    if let Some(at) = section.contact.iter().position(|contact| !contact.starts_with("mailto:")) {
        return invalid(&format!("acme.contact.{at}"), "must begin with \"mailto:\"");
    }
    if !Path::new(&section.storage).is_absolute() {
        return invalid("acme.storage", "must be an absolute path such as \"/var/lib/quintet/acme\"");
    }
    if section.challenge == ChallengeKind::Http && config.listen.http.addresses().is_empty() {
        let message = "\"http-01\" is answered by a plain listener: set listen.http, or use \"tls-alpn-01\"";
        return invalid("acme.challenge", message);
    }
    if !(0.1..=0.9).contains(&section.renew_at_lifetime_share) {
        return invalid("acme.renew_at_lifetime_share", "must be a share from 0.1 to 0.9");
    }
    if !(100..=MAX_RETRY_MS).contains(&section.retry_min_ms) {
        return invalid("acme.retry_min_ms", "must be from 100 to 86400000 (a day)");
    }
    if !(section.retry_min_ms..=MAX_RETRY_MS).contains(&section.retry_max_ms) {
        return invalid("acme.retry_max_ms", "must be from acme.retry_min_ms to 86400000 (a day)");
    }
    Ok(())
}

/// RFC 8555 section 6.1 allows nothing else.
fn is_https(directory: &str) -> bool {
    let url = url::Url::parse(directory);
    url.is_ok_and(|url| {
        url.scheme() == "https" && url.origin().ascii_serialization().parse::<Origin>().is_ok()
    })
}

fn check_names(key: &str, names: &[String]) -> Result<(), Invalid> {
    if names.len() > MAX_NAMES {
        return invalid(&format!("{key}.acme"), "has more than the 100 names that a certificate may hold");
    }
    for (at, name) in names.iter().enumerate() {
        let refused = |message| invalid(&format!("{key}.acme.{at}"), message);
        if name.starts_with("*.") {
            return refused(
                "is a wildcard, which needs DNS-01: name each host, or bring the certificate in files",
            );
        }
        if !is_dns_name(name) {
            return refused("must be a DNS name in lower case such as \"shop.example\"");
        }
        if names.iter().take(at).any(|earlier| earlier == name) {
            return refused("is in the list already");
        }
    }
    Ok(())
}

fn is_dns_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    name.len() <= 253
        && name.contains('.')
        && name.split('.').all(is_label)
        && name.rsplit('.').next().is_some_and(|last| !is_number(last))
}

#[cfg(test)]
mod tests {
    use super::super::Plan;
    use super::*;

    const BASE: &str = "[service]\nadmin = \"unix:/run/admin.sock\"\n[listen]\nhttps = \"0.0.0.0:8443\"\nhttp = \"0.0.0.0:8080\"\n\
        [[routes]]\npath_prefix = \"/\"\nrespond = { status = 200 }\n";
    const ACME: &str = "[acme]\ndirectory = \"https://ca.example/directory\"\nterms_of_service_agreed = true\n\
        storage = \"/var/lib/acme\"\n";

    fn refusal(certificates: &str, acme: &str) -> Option<String> {
        let config: Config = toml::from_str(&format!("{BASE}{certificates}{acme}")).unwrap();
        Plan::new(&config).err().map(|invalid| invalid.to_string())
    }

    #[test]
    fn names_with_an_authority_are_taken() {
        let names = "[[certificates]]\nacme = [\"shop.example\", \"www.shop.example\"]\n";
        assert_eq!(refusal(names, ACME), None);
    }

    #[test]
    fn what_cannot_be_issued_is_refused_by_its_key() {
        let names = |list: &str| format!("[[certificates]]\nacme = [{list}]\n");
        let shop = names("\"shop.example\"");
        for (certificates, acme, key) in [
            (names("\"*.shop.example\""), ACME.to_owned(), "certificates.0.acme.0"),
            (names("\"Shop.example\""), ACME.to_owned(), "certificates.0.acme.0"),
            (names("\"192.0.2.1\""), ACME.to_owned(), "certificates.0.acme.0"),
            (names("\"../etc.example\""), ACME.to_owned(), "certificates.0.acme.0"),
            (names("\"shop.example\", \"shop.example\""), ACME.to_owned(), "certificates.0.acme.1"),
            (format!("{shop}{shop}"), ACME.to_owned(), "certificates.1.acme.0"),
            (shop.clone(), String::new(), "certificates.0.acme"),
            (format!("{shop}cert = \"/a.pem\"\n"), ACME.to_owned(), "certificates.0"),
            ("[[certificates]]\ncert = \"/a.pem\"\n".to_owned(), ACME.to_owned(), "certificates.0"),
            (shop.clone(), ACME.replace("https://", "http://"), "acme.directory"),
            (shop.clone(), ACME.replace("true", "false"), "acme.terms_of_service_agreed"),
            (shop.clone(), ACME.replace("/var", "var"), "acme.storage"),
            (shop.clone(), format!("{ACME}contact = [\"ops@shop.example\"]\n"), "acme.contact.0"),
            (shop.clone(), format!("{ACME}renew_at_lifetime_share = 1.0\n"), "acme.renew_at_lifetime_share"),
            (shop.clone(), format!("{ACME}retry_min_ms = 0\n"), "acme.retry_min_ms"),
            (shop, format!("{ACME}retry_max_ms = 5\n"), "acme.retry_max_ms"),
        ] {
            let refusal = refusal(&certificates, &acme).unwrap_or_else(|| panic!("{certificates}{acme}"));
            assert!(refusal.contains(&format!("`{key}`")), "{key}: {refusal}");
        }
    }

    #[test]
    fn http_01_needs_a_plain_listener() {
        let text = format!("{BASE}[[certificates]]\nacme = [\"shop.example\"]\n{ACME}");
        let config: Config = toml::from_str(&text.replace("http = \"0.0.0.0:8080\"\n", "")).unwrap();
        let refusal = Plan::new(&config).err().map(|invalid| invalid.to_string()).unwrap();
        assert!(refusal.contains("`acme.challenge`"), "{refusal}");
    }
}
