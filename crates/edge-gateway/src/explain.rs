//! `edge-gateway explain`: what would become of a request, from the configuration alone.
//!
//! Uses the router, the path rules and the texts that serve requests, so that it cannot tell another
//! story than they do. It reads the certificate files, asks no upstream and verifies no token.

mod certificate;
mod report;
mod routes;

use std::io::Write;
use std::net::IpAddr;

use anyhow::Context as _;
use clap::Args;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri};
use quintet_service::{Code, OrExit as _, StartError};

use self::report::{Listener, Refusal, Report, Request};
use crate::acme::PREFIX;
use crate::config::{ChallengeKind, Config, HttpMode, Plan};
use crate::handler::host_name;
use crate::path;
use crate::proxy_protocol::{Expect, Others};
use crate::router::Head;

/// A request to explain.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Method, such as GET
    method: String,
    /// Absolute URL, such as `https://shop.example/users/7?page=2`
    url: String,
    /// A request header, `Name: value`; may be repeated
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// The client's address
    #[arg(long, value_name = "IP", default_value = "192.0.2.1")]
    client: IpAddr,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Explains a request; exit code 0 whatever would become of it.
pub(crate) fn run(config: &Config, request: &Explain, output: &mut dyn Write) -> anyhow::Result<Code> {
    let report = report(config, request)?;
    if request.json {
        serde_json::to_writer_pretty(&mut *output, &report)?;
        writeln!(output)?;
    } else {
        write!(output, "{report}")?;
    }
    Ok(Code::Ok)
}

fn report(config: &Config, asked: &Explain) -> anyhow::Result<Report> {
    let method: Method = asked.method.parse().context("METHOD is no HTTP method").or_exit(Code::Usage)?;
    let headers = headers(&asked.headers).or_exit(Code::Usage)?;
    let uri: Uri = asked.url.parse().context("URL is not valid").or_exit(Code::Usage)?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(usage("URL must be absolute, such as https://example.com/path"));
    };
    let plan = Plan::new(config)?;
    let host = host_name(authority.as_str()).into_owned();
    let mut report = Report {
        request: Request {
            method: method.to_string(),
            url: asked.url.clone(),
            host: host.clone(),
            path: None,
            client: asked.client.to_string(),
        },
        listener: listener(config, &plan, scheme),
        certificate: None,
        client_certificate: None,
        acme: acme(config, scheme, &method, uri.path()),
        refused: None,
        limits: routes::connection_limits(config, &plan),
        route: None,
        other_routes: Vec::new(),
    };
    match scheme {
        "https" => {
            report.certificate = Some(certificate::choose(&config.certificate_sources(), &host));
            report.client_certificate = certificate::of_client(config, &host);
        }
        "http" if config.listen.http_mode == HttpMode::Redirect => {
            report.refused = Some(Refusal::new(308, "plain HTTP is sent to the same address on HTTPS"));
            return Ok(report);
        }
        "http" => {}
        _ => return Err(usage("URL must begin with https:// or http://")),
    }
    let canonical = match path::canonical(uri.path()) {
        Ok(canonical) => canonical,
        Err(error) => {
            report.refused = Some(Refusal::new(400, &format!("path_not_canonical: {error}")));
            return Ok(report);
        }
    };
    report.request.path = Some(canonical.clone().into_owned());
    if canonical.starts_with("/.auth/") || path::has_prefix(&canonical, "/.gateway") {
        report.refused =
            Some(Refusal::new(0, "the gateway's own pages under /.auth and /.gateway come before routes"));
        return Ok(report);
    }
    let head = Head { host: &host, path: &canonical, query: uri.query(), method: &method, headers: &headers };
    let client = asked.client.to_string();
    routes::explain(config, &plan, &head, &client, authority.as_str(), &mut report);
    if scheme == "http" && routes::needs_https(&plan, &head) {
        let reason = "tokens and sessions are not taken in the clear: sent to the same address on HTTPS";
        report.refused = Some(Refusal::new(308, reason));
    }
    Ok(report)
}

/// Challenges are answered before anything else is done with a request.
fn acme(config: &Config, scheme: &str, method: &Method, path: &str) -> Option<String> {
    let section = config.acme.as_ref()?;
    let asks = scheme == "http" && path.starts_with(PREFIX) && matches!(*method, Method::GET | Method::HEAD);
    (asks && section.challenge == ChallengeKind::Http).then(|| {
        let authority = &section.directory;
        format!("answered here while {authority} verifies a name by this token; otherwise as follows")
    })
}

fn usage(message: &str) -> anyhow::Error {
    StartError::message(Code::Usage, message.to_owned()).into()
}

fn headers(lines: &[String]) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) =
            line.split_once(':').with_context(|| format!("header {line:?} must be `Name: value`"))?;
        let name = HeaderName::from_bytes(name.trim().as_bytes()).context("a header name is not valid")?;
        let value = HeaderValue::from_str(value.trim()).context("a header value is not valid")?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn listener(config: &Config, plan: &Plan, scheme: &str) -> Listener {
    let (name, listen) = match scheme {
        "http" => ("http", &config.listen.http),
        _ => ("https", &config.listen.https),
    };
    let expects = plan.proxy_protocol.as_deref();
    let covered = |expect: &&Expect| listen.addresses().iter().any(|address| expect.covers(*address));
    let section = config.listen.proxy_protocol.as_ref();
    let client = expects.filter(covered).zip(section).map(|(expect, section)| {
        let others = match expect.others {
            Others::Refuse => "connections from elsewhere are closed",
            Others::Direct => "connections from elsewhere are clients of their own",
        };
        format!(
            "named by the PROXY header that connections from {} must begin with; {others}",
            section.from.join(", ")
        )
    });
    Listener { name, addresses: listen.addresses().iter().map(ToString::to_string).collect(), client }
}

#[cfg(test)]
mod tests;
