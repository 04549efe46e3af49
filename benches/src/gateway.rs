//! The gateway beside nginx, HAProxy and Caddy, on the same work in one run.
//!
//! Every proxy has one thread on a core of its own; the upstream and the load are on the other cores. What
//! is compared is the proxy's own processor time per request, which does not depend on how busy the machine
//! is otherwise; times on the clock do, and are given with their extremes. Proxies take turns within each
//! round. Access logs are off, except in the case that is about them.

mod certificate;
mod client;
mod cores;
mod figures;
mod handshakes;
mod http3;
mod idle;
mod judge;
mod latency;
mod load;
mod plan;
mod proxy;
mod slow_readers;
mod syscalls;
mod tools;
mod upstream;

use std::path::Path;

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use self::certificate::Certificate;
use self::client::{Client, KeyExchange};
use self::cores::Cores;
use self::figures::{Absent, Figures};
use self::latency::Rate;
use self::load::{Generator, Load, Timing};
pub(crate) use self::plan::Choice;
use self::plan::{Case, Plan};
use self::proxy::{AccessLog, Proxy, Running, Setting};
use self::upstream::Upstream;
use crate::report::Report;

/// Share of the slowest peer's most that the latency is measured at.
const LATENCY_LOAD: f64 = 0.5;

pub(crate) fn measure(choice: &Choice) -> anyhow::Result<Report> {
    let plan = Plan::new(choice);
    plan.require_tools()?;
    let cores = Cores::divide()?;
    cores.leave_the_proxys()?;
    let directory = tempfile::tempdir().context("make a directory for this run")?;
    let certificate = Certificate::make(directory.path())?;
    let upstream = Upstream::start()?;
    let suite = Suite {
        client: Client::new(certificate.der.clone(), KeyExchange::X25519)?,
        generator: Generator::new(directory.path(), &certificate, &upstream)?,
        certificate: &certificate,
        directory: directory.path(),
        cores: &cores,
        plan: &plan,
    };
    let mut report = Report::new();
    let figures = suite.run(&mut report)?;
    judge::judge(&figures, &mut report);
    Ok(report)
}

struct Suite<'a> {
    client: Client,
    generator: Generator<'a>,
    certificate: &'a Certificate,
    directory: &'a Path,
    cores: &'a Cores,
    plan: &'a Plan,
}

impl Suite<'_> {
    fn run(&self, report: &mut Report) -> anyhow::Result<Vec<Figures>> {
        let silent = self.start("quiet", AccessLog::Off)?;
        let logging = if self.plan.has(Case::TlsSmallLogged) {
            self.start("logging", AccessLog::File)?
        } else {
            Vec::new()
        };
        self.describe(report, &silent, &logging)?;
        let mut all: Vec<Figures> = Vec::new();
        for case in self.plan.cases() {
            let figures = match case {
                Case::TlsSmallLogged => self.throughput(case, &logging)?,
                Case::H3Small => self.http3(report)?,
                Case::Idle => self.idle()?,
                Case::SlowReaders => self.slow_readers()?,
                Case::Handshakes => self.handshakes(&silent)?,
                Case::Syscalls => self.syscalls(&silent)?,
                Case::Latency => self.latency(&silent, &all)?,
                _ => self.throughput(case, &silent)?,
            };
            println!("{}", figures.table());
            report.silent_row(figures.json());
            all.push(figures);
        }
        if self.plan.has(Case::Handshakes) {
            self.post_quantum(&silent, report)?;
        }
        Ok(all)
    }

    fn setting<'s>(&'s self, directory: &'s Path, access_log: AccessLog) -> Setting<'s> {
        Setting {
            directory,
            certificate: self.certificate,
            upstream: self.generator.upstream.address,
            access_log,
            http3: false,
            cores: self.cores,
        }
    }

    fn start(&self, name: &str, access_log: AccessLog) -> anyhow::Result<Vec<Running>> {
        let directory = self.directory.join(name);
        proxy::start_all(self.plan.proxies(), &self.setting(&directory, access_log), &self.client)
    }

    /// What a reader needs to judge the figures or to repeat them.
    fn describe(&self, report: &mut Report, silent: &[Running], logging: &[Running]) -> anyhow::Result<()> {
        let mut versions = Map::new();
        for proxy in self.plan.proxies() {
            versions.insert(proxy.name().to_owned(), Value::String(proxy.version()?));
        }
        for (name, version) in &versions {
            println!("{name}: {}", version.as_str().unwrap_or_default());
        }
        report.setup("versions", Value::Object(versions));
        report.setup("cores", json!(self.cores));
        report.setup("plan", self.plan.json());
        report.setup("configurations", Value::Object(configurations(silent)));
        report.setup("configurations_with_access_log", Value::Object(configurations(logging)));
        Ok(())
    }

    fn throughput(&self, case: Case, running: &[Running]) -> anyhow::Result<Figures> {
        let load = case.load();
        let all: Vec<&Running> = running.iter().collect();
        Figures::interleave(case.name(), case.what(), &all, self.plan.rounds, |running| {
            Ok(self.passed(running, load)?.sample())
        })
    }

    /// By proxies of their own: where HTTP/3 is spoken each answer over TLS says so (`Alt-Svc`).
    fn http3(&self, report: &mut Report) -> anyhow::Result<Figures> {
        let directory = self.directory.join("http3");
        let setting = Setting { http3: true, ..self.setting(&directory, AccessLog::Off) };
        let (mut able, mut absent) = (Vec::new(), Vec::<Absent>::new());
        for &proxy in self.plan.proxies() {
            match proxy.lacks_http3(&setting)? {
                Some(why) => absent.push((proxy, why)),
                None => able.push(proxy),
            }
        }
        let running = proxy::start_all(&able, &setting, &self.client)?;
        report.setup("configurations_with_http3", Value::Object(configurations(&running)));
        Ok(self.throughput(Case::H3Small, &running)?.without(absent))
    }

    fn passed(&self, running: &Running, load: Load) -> anyhow::Result<load::Passed> {
        let wait = |_: &[u32], window| {
            std::thread::sleep(window);
            Ok(())
        };
        Ok(self.generator.pass(running, load, self.plan.timing, wait)?.0)
    }

    fn handshakes(&self, running: &[Running]) -> anyhow::Result<Figures> {
        let case = Case::Handshakes;
        let all: Vec<&Running> = running.iter().collect();
        Figures::interleave(case.name(), case.what(), &all, self.plan.rounds, |running| {
            handshakes::measure(running, &self.client, self.plan.timing)
        })
    }

    /// What browsers negotiate with the gateway. The Debian peers' libraries do not have it.
    fn post_quantum(&self, running: &[Running], report: &mut Report) -> anyhow::Result<()> {
        let client = Client::new(self.certificate.der.clone(), KeyExchange::X25519MlKem768)?;
        let able: Vec<&Running> = running.iter().filter(|it| client.connect(it.https).is_ok()).collect();
        let what = "full TLS 1.3 handshakes with X25519MLKEM768, by the proxies that have it";
        let figures = Figures::interleave("handshakes-pq", what, &able, self.plan.rounds, |running| {
            handshakes::measure(running, &client, self.plan.timing)
        })?;
        println!("{}", figures.table());
        report.silent_row(figures.json());
        Ok(())
    }

    fn syscalls(&self, running: &[Running]) -> anyhow::Result<Figures> {
        let case = Case::Syscalls;
        let all: Vec<&Running> = running.iter().collect();
        Figures::interleave(case.name(), case.what(), &all, 1, |running| {
            syscalls::measure(&self.generator, running, case.load(), self.plan.timing)
        })
    }

    /// Each proxy is started for itself: memory that an earlier case left behind would be used again.
    fn idle(&self) -> anyhow::Result<Figures> {
        let case = Case::Idle;
        let fresh = self.start("idle", AccessLog::Off)?;
        let all: Vec<&Running> = fresh.iter().collect();
        Figures::interleave(case.name(), case.what(), &all, 1, |running| {
            idle::measure(running, &self.client, self.plan.idle_connections)
        })
    }

    fn slow_readers(&self) -> anyhow::Result<Figures> {
        let case = Case::SlowReaders;
        let fresh = self.start("slow-readers", AccessLog::Off)?;
        let all: Vec<&Running> = fresh.iter().filter(|it| slow_readers::can_take_part(it)).collect();
        Figures::interleave(case.name(), case.what(), &all, 1, |running| {
            slow_readers::measure(running, &self.client, self.plan.slow_readers)
        })
    }

    fn latency(&self, running: &[Running], earlier: &[Figures]) -> anyhow::Result<Figures> {
        let most = self.slowest_peers_most(running, earlier)?;
        let Timing { warm_up, .. } = self.plan.timing;
        let rate = Rate { per_second: most * LATENCY_LOAD, warm_up, window: self.plan.latency_window };
        let case = Case::Latency;
        let what = format!("{}: {:.0} requests a second", case.what(), rate.per_second);
        let all: Vec<&Running> = running.iter().collect();
        Figures::interleave(case.name(), &what, &all, self.plan.latency_rounds, |running| {
            latency::measure(running, &self.client, rate)
        })
    }

    /// From the case that measured it, or measured now.
    fn slowest_peers_most(&self, running: &[Running], earlier: &[Figures]) -> anyhow::Result<f64> {
        const FIGURE: &str = "requests_per_second";
        let peers: Vec<Proxy> =
            self.plan.proxies().iter().copied().filter(|proxy| *proxy != Proxy::Ours).collect();
        let among = if peers.is_empty() { &[Proxy::Ours][..] } else { &peers };
        let measured = earlier.iter().find(|figures| figures.is(Case::TlsSmall.name()));
        let now = match measured {
            Some(_) => None,
            None => Some(self.throughput(Case::TlsSmall, running)?),
        };
        measured.or(now.as_ref()).and_then(|figures| figures.least(among, FIGURE)).context("no proxy runs")
    }
}

/// The text of each one's configuration.
fn configurations(running: &[Running]) -> Map<String, Value> {
    running.iter().map(|it| (it.proxy.name().to_owned(), it.config.clone().into())).collect()
}
