//! What a fleet of a hundred machines sends that each serve a shop: a hundred series of each, with the names and shapes that dashboards
//! ask for.

use bytes::Bytes;

use super::data::{Batch, Lots, SAMPLES_PER_REQUEST, Signal};
use super::wire::Message;

/// Series of a machine.
pub(super) const SERIES: usize = 100;

/// How a value goes on.
#[derive(Debug, Clone, Copy)]
enum Walk {
    /// Grows by less than this.
    Counter(u32),
    /// Goes up or down by less than half of this, in hundredths, and stays above zero.
    Gauge(u32),
    Constant,
}

struct Series {
    /// Labels of a remote write `TimeSeries`.
    labels: Vec<u8>,
    walk: Walk,
    value: f64,
}

/// The machines and where their series stand.
pub(super) struct Shop {
    series: Vec<Series>,
    lots: Lots,
}

const BOUNDS: [&str; 11] = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "+Inf"];

impl Shop {
    pub(super) fn new(machines: usize) -> Self {
        let mut shop = Self { series: Vec::new(), lots: Lots(11) };
        for machine in 0..machines {
            shop.serve(machine);
            shop.run(machine);
        }
        shop
    }

    pub(super) fn series(&self) -> usize {
        self.series.len()
    }

    fn push(&mut self, machine: usize, name: &str, more: &[(&str, &str)], walk: Walk, value: f64) {
        let instance = format!("10.0.{}.{}:9100", machine / 250, machine % 250);
        let mut pairs = vec![("__name__", name), ("instance", &instance), ("job", "shop")];
        pairs.extend(more);
        pairs.sort_unstable();
        let mut message = Message::default();
        for (name, value) in pairs {
            message.message(1, |label| {
                label.bytes(1, name.as_bytes()).bytes(2, value.as_bytes());
            });
        }
        self.series.push(Series { labels: message.0, walk, value });
    }

    /// What the service itself counts: 38 series of requests, 31 of jobs.
    fn serve(&mut self, machine: usize) {
        for route in ["/api/v1/orders", "/api/v1/stock"] {
            for method in ["GET", "POST"] {
                for (code, most) in [("200", 400), ("404", 12), ("500", 3)] {
                    let labels = [("code", code), ("method", method), ("route", route)];
                    self.push(machine, "http_requests_total", &labels, Walk::Counter(most), 1e5);
                }
            }
            for (at, bound) in (1..).zip(BOUNDS) {
                let labels = [("le", bound), ("route", route)];
                let name = "http_request_duration_seconds_bucket";
                self.push(machine, name, &labels, Walk::Counter(60 * at), 1e4 * f64::from(at));
            }
            let labels = [("route", route)];
            self.push(machine, "http_request_duration_seconds_sum", &labels, Walk::Counter(40), 1e3);
            self.push(machine, "http_request_duration_seconds_count", &labels, Walk::Counter(660), 1.1e5);
        }
        for queue in
            ["mail", "reports", "webhooks", "images", "payments", "search", "stock", "sync", "audit", "low"]
        {
            self.push(machine, "queue_depth", &[("queue", queue)], Walk::Gauge(900), 40.0);
            for state in ["completed", "failed"] {
                self.push(
                    machine,
                    "jobs_total",
                    &[("queue", queue), ("state", state)],
                    Walk::Counter(30),
                    5e4,
                );
            }
        }
        self.push(machine, "app_build_info", &[("version", "1.4.2")], Walk::Constant, 1.0);
    }

    /// What the machine under it does: 31 series.
    fn run(&mut self, machine: usize) {
        for cpu in ["0", "1", "2", "3"] {
            for (mode, most) in [("idle", 15), ("user", 4), ("system", 2), ("iowait", 1)] {
                let labels = [("cpu", cpu), ("mode", mode)];
                self.push(machine, "node_cpu_seconds_total", &labels, Walk::Counter(most + 1), 1e5);
            }
        }
        for (name, value) in
            [("node_memory_MemAvailable_bytes", 6.5e9), ("node_memory_MemTotal_bytes", 1.6e10)]
        {
            let walk = if name.contains("Total") { Walk::Constant } else { Walk::Gauge(1 << 28) };
            self.push(machine, name, &[], walk, value);
        }
        for mountpoint in ["/", "/var"] {
            let labels = [("mountpoint", mountpoint)];
            self.push(machine, "node_filesystem_avail_bytes", &labels, Walk::Gauge(1 << 26), 4e10);
            self.push(machine, "node_filesystem_size_bytes", &labels, Walk::Constant, 1e11);
        }
        for device in ["eth0", "eth1"] {
            let labels = [("device", device)];
            self.push(machine, "node_network_receive_bytes_total", &labels, Walk::Counter(1 << 22), 1e9);
            self.push(machine, "node_network_transmit_bytes_total", &labels, Walk::Counter(1 << 21), 1e9);
        }
        self.push(machine, "node_load1", &[], Walk::Gauge(60), 1.2);
        self.push(machine, "up", &[], Walk::Constant, 1.0);
        self.push(machine, "process_resident_memory_bytes", &[], Walk::Gauge(1 << 24), 2e8);
        self.push(machine, "process_cpu_seconds_total", &[], Walk::Counter(8), 4e3);
        self.push(machine, "process_open_fds", &[], Walk::Gauge(400), 120.0);
    }

    /// Everything once, at this time in milliseconds since 1970, as remote write requests.
    pub(super) fn scrape(&mut self, time: i64) -> anyhow::Result<Vec<Batch>> {
        let time = u64::try_from(time).unwrap_or(0);
        let mut snappy = snap::raw::Encoder::new();
        let mut batches = Vec::new();
        let Self { series, lots } = self;
        for (shard, some) in series.chunks_mut(SAMPLES_PER_REQUEST).enumerate() {
            let mut request = Message::default();
            for one in some {
                one.step(lots);
                request.message(1, |message| {
                    message.0.extend_from_slice(&one.labels);
                    message.message(2, |sample| {
                        sample.fixed(1, one.value.to_bits()).number(2, time);
                    });
                });
            }
            let body: Bytes = snappy.compress_vec(&request.0)?.into();
            batches.push(Batch { signal: Signal::Samples, shard, body });
        }
        Ok(batches)
    }
}

impl Series {
    fn step(&mut self, lots: &mut Lots) {
        match self.walk {
            Walk::Counter(most) => self.value += f64::from(lots.below(most)),
            Walk::Gauge(most) => {
                let by = f64::from(lots.below(most)) - f64::from(most / 2);
                self.value = ((self.value * 100.0 + by).max(0.0)).round() / 100.0;
            }
            Walk::Constant => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_a_hundred_series() {
        assert_eq!(Shop::new(3).series(), 3 * SERIES);
    }

    #[test]
    fn a_scrape_has_every_series_once() {
        let mut shop = Shop::new(50);
        let batches = shop.scrape(1_700_000_000_000).unwrap();
        assert_eq!(batches.len(), 50 * SERIES / SAMPLES_PER_REQUEST + 1);
    }
}
