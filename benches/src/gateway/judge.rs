//! The figures against the bars that the gateway is held to.

use super::figures::Figures;
use super::plan::Case;
use super::proxy::Proxy;
use super::{idle, slow_readers, syscalls};
use crate::report::Report;

const CPU: &str = "cpu_us_per_request";
const HANDSHAKES: &str = "handshakes_per_cpu_second";
/// 64 KB read ahead, up to 128 KB in hyper's queue, which takes another piece while it holds less than 64, 64 KB
/// encrypted, and what a connection holds on both sides.
const SLOW_READER: f64 = 288.0 * 1024.0;

/// Records every bar. One whose figures are missing is recorded as not measured, which is not met.
pub(super) fn judge(all: &[Figures], report: &mut Report) {
    let find = |case: Case| Found(all.iter().find(|figures| figures.is(case.name())));
    let best = &[Proxy::Nginx, Proxy::Haproxy][..];
    for (case, how) in [(Case::PlainSmall, "plain"), (Case::TlsSmall, "over TLS")] {
        report.at_most_or(
            format!("CPU per HTTP/1.1 request {how}, small body, ours to better of nginx, HAProxy"),
            find(case).ratio(CPU, best),
            1.0,
        );
    }
    report.at_most_or(
        "CPU per HTTP/3 request, small body, ours to Caddy",
        find(Case::H3Small).ratio(CPU, &[Proxy::Caddy]),
        1.0,
    );
    report.at_least_or(
        "TLS handshakes per CPU second, ours to nginx",
        find(Case::Handshakes).ratio(HANDSHAKES, &[Proxy::Nginx]),
        1.3,
    );
    for (figure, how_many) in [(idle::EACH_OF_1000, "1,000"), (idle::EACH_OF_10000, "10,000")] {
        report.at_most_or(
            format!("memory per idle connection of {how_many}, ours to HAProxy"),
            find(Case::Idle).ratio(figure, &[Proxy::Haproxy]),
            1.0,
        );
    }
    report.at_most_or(
        "bytes a client may hold that takes 1 GB slowly",
        find(Case::SlowReaders).ours(slow_readers::EACH),
        SLOW_READER,
    );
    report.at_most_or(
        "system calls per HTTP/1.1 request over TLS",
        find(Case::Syscalls).ours(syscalls::PER_REQUEST),
        4.5,
    );
}

struct Found<'a>(Option<&'a Figures>);

impl Found<'_> {
    fn ours(&self, figure: &str) -> Result<f64, String> {
        let figures = self.0.ok_or("the case was not run")?;
        figures.median(Proxy::Ours, figure).ok_or_else(|| match figures.absence(Proxy::Ours) {
            Some(why) => why.to_owned(),
            None => format!("this run has no {figure} of the gateway"),
        })
    }

    fn ratio(&self, figure: &str, peers: &[Proxy]) -> Result<f64, String> {
        let ours = self.ours(figure)?;
        let peer =
            self.0.and_then(|figures| figures.least(peers, figure)).ok_or("the peer was not measured")?;
        Ok(ours / peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_of_cases_that_were_not_run_are_not_met() {
        let mut report = Report::new();
        judge(&[], &mut report);
        let json = serde_json::to_value(&report).unwrap();
        let bars = json["bars"].as_array().unwrap();
        assert_eq!(bars.len(), 8);
        assert!(bars.iter().all(|bar| bar["met"] == false && bar["reason"] == "the case was not run"));
    }
}
