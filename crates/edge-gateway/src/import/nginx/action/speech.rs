//! What is spoken with an upstream: HTTP/1.1 or, for gRPC, HTTP/2, in the clear or over TLS.

use rustls_pki_types::ServerName;

use super::{Remarks, Scope, Table, text};
use crate::import::nginx::tree::Directive;
use crate::import::nginx::upstream::Target;

/// Where the certificate's name is not known.
const NO_NAME: &str = "upstream.invalid";

/// What the directives that go with it begin with.
pub(super) fn family(directive: &Directive) -> &'static str {
    if directive.name == "grpc_pass" { "grpc" } else { "proxy" }
}

/// The keys of the upstream that `proxy_pass` or `grpc_pass` names.
pub(super) fn of(
    directive: &Directive,
    target: &Target<'_>,
    scope: &Scope<'_>,
    remarks: &mut Remarks,
) -> Table {
    let mut keys = Table::default();
    if family(directive) == "grpc" {
        keys.set("protocol", text(if target.tls { "h2" } else { "h2c" }));
    }
    if target.tls {
        keys.set("tls", tls(directive, target, scope, remarks).inline());
    }
    keys
}

fn tls(directive: &Directive, target: &Target<'_>, scope: &Scope<'_>, remarks: &mut Remarks) -> Table {
    let family = family(directive);
    let one = |name: &str| scope.one(&format!("{family}_ssl_{name}"));
    let mut table = Table::default();
    let given = one("name").map(|name| name.arg(0)).filter(|name| !name.contains('$'));
    if let Some(name) = given.or_else(|| target.server_name()) {
        let known = ServerName::try_from(name).is_ok();
        if !known {
            remarks.missing(Some(&directive.place), "the name that the upstream's certificate has");
        }
        table.set("server_name", text(if known { name } else { NO_NAME }));
    }
    let mut file = |name: &str, key: &str| {
        let Some(file) = one(name).map(|file| file.arg(0)) else { return };
        if !file.starts_with('/') {
            remarks.missing(Some(&directive.place), &format!("the absolute path of `{file}`"));
        }
        table.set(key, text(file));
    };
    file("trusted_certificate", "ca_file");
    if one("certificate").is_some() && one("certificate_key").is_some() {
        file("certificate", "cert_file");
        file("certificate_key", "key_file");
    }
    if !scope.is_on(&format!("{family}_ssl_verify")) {
        let what = "the upstream's certificate is verified, which nginx does only when it is told to";
        remarks.differs(&directive.place, what);
    }
    if one("trusted_certificate").is_none() {
        let what =
            "the authority of the upstream's certificate must be a public one; set `tls.ca_file` for another";
        remarks.differs(&directive.place, what);
    }
    table
}
