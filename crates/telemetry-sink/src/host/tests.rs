//! The readers on fixtures, and on the machine that runs the tests.

use std::fs;

use super::*;
use crate::model::is_stale;
use crate::storage::disk::RealDisk;

struct Machine {
    directory: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { directory: tempfile::tempdir().unwrap() };
        for (path, text) in [
            (
                "proc/stat",
                "cpu  9 9 9 9\ncpu0 100 200 300 400 500 600 700 800 900 1000\nctxt 5\nbtime 7\nprocesses 8\nprocs_running 2\n",
            ),
            ("proc/loadavg", "0.50 0.25 0.125 1/100 999\n"),
            ("proc/uptime", "123.5 100.0\n"),
            (
                "proc/pressure/memory",
                "some avg10=0.00 avg60=0.00 avg300=0.00 total=2000000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1000000\n",
            ),
            ("proc/sys/fs/file-nr", "1024\t0\t65536\n"),
            ("proc/sys/kernel/hostname", "box\n"),
            ("proc/sys/kernel/osrelease", "6.12.1\n"),
            ("proc/meminfo", "MemTotal:  1000 kB\nActive(anon):  2 kB\nHugePages_Total:  3\n"),
            ("proc/vmstat", "pgfault 11\noom_kill 1\nnr_free 4\n"),
            (
                "proc/diskstats",
                " 253 0 vda 1 2 4 1000 5 6 8 2000 1 3000 4000\n 253 1 vda1 1 1 1 1 1 1 1 1 1 1 1\n 259 0 nvme0n1 1 0 2 0 0 0 0 0 0 0 0\n 259 1 nvme0n1p1 1 0 2 0 0 0 0 0 0 0 0\n",
            ),
            ("proc/net/dev", "Inter-|  Receive\n face |bytes\n  eth0: 100 2 0 1 0 0 0 0 200 3 0 0 0 0 0 0\n"),
            ("proc/net/sockstat", "sockets: used 9\nTCP: inuse 5 orphan 0 tw 2 alloc 6 mem 1\n"),
            ("proc/net/snmp", "Tcp: RtoAlgorithm ActiveOpens\nTcp: 1 42\n"),
            ("sys/class/net/eth0/operstate", "up\n"),
            ("sys/class/net/eth0/speed", "1000\n"),
            ("sys/class/thermal/thermal_zone0/temp", "45500\n"),
            ("sys/class/thermal/thermal_zone0/type", "x86_pkg_temp\n"),
        ] {
            machine.write(path, text);
        }
        machine
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn collector(&self) -> Collector {
        let at = |name: &str| self.directory.path().join(name);
        let settings =
            HostSection { proc: at("proc"), sys: at("sys"), run: at("run"), ..HostSection::default() };
        Collector::new(settings)
    }
}

/// The value of the series with this name and these labels besides `job` and `instance`.
fn value(batch: &MetricBatch, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let fits = |sample: &&Sample| {
        sample.labels.name() == name
            && labels.iter().all(|(label, value)| sample.labels.get(label) == Some(value))
    };
    batch.samples.iter().find(fits).map(|sample| sample.value)
}

#[test]
fn figures_have_node_exporters_names_and_units() {
    let batch = Machine::new().collector().collect(1000);
    for (name, labels, expected) in [
        ("node_cpu_seconds_total", &[("cpu", "0"), ("mode", "iowait")][..], 5.0),
        ("node_cpu_guest_seconds_total", &[("mode", "nice")], 10.0),
        ("node_context_switches_total", &[], 5.0),
        ("node_load15", &[], 0.125),
        ("node_uptime_seconds", &[], 123.5),
        ("node_pressure_memory_waiting_seconds_total", &[], 2.0),
        ("node_pressure_memory_stalled_seconds_total", &[], 1.0),
        ("node_filefd_maximum", &[], 65536.0),
        ("node_uname_info", &[("release", "6.12.1"), ("nodename", "box")], 1.0),
        ("node_memory_MemTotal_bytes", &[], 1_024_000.0),
        ("node_memory_Active_anon_bytes", &[], 2048.0),
        ("node_memory_HugePages_Total", &[], 3.0),
        ("node_vmstat_oom_kill", &[], 1.0),
        ("node_disk_read_bytes_total", &[("device", "vda")], 2048.0),
        ("node_disk_io_time_seconds_total", &[("device", "vda")], 3.0),
        ("node_disk_reads_completed_total", &[("device", "nvme0n1")], 1.0),
        ("node_network_receive_drop_total", &[("device", "eth0")], 1.0),
        ("node_network_transmit_bytes_total", &[("device", "eth0")], 200.0),
        ("node_network_up", &[("device", "eth0")], 1.0),
        ("node_network_speed_bytes", &[("device", "eth0")], 125_000_000.0),
        ("node_sockstat_TCP_tw", &[], 2.0),
        ("node_netstat_Tcp_ActiveOpens", &[], 42.0),
        ("node_thermal_zone_temp", &[("zone", "0"), ("type", "x86_pkg_temp")], 45.5),
        ("up", &[("job", "host"), ("instance", "box")], 1.0),
    ] {
        assert_eq!(value(&batch, name, labels), Some(expected), "{name}");
    }
    for (name, labels) in [
        ("node_cpu_seconds_total", [("cpu", "")]),
        ("node_disk_read_bytes_total", [("device", "vda1")]),
        ("node_disk_read_bytes_total", [("device", "nvme0n1p1")]),
        ("node_vmstat_nr_free", [("job", "host")]),
    ] {
        assert_eq!(value(&batch, name, &labels), None, "{name} {labels:?}");
    }
}

#[test]
fn services_are_read_from_control_groups_of_version_two() {
    let machine = Machine::new();
    let group = "sys/fs/cgroup/quintet.slice/core-api.service";
    machine.write("sys/fs/cgroup/cgroup.controllers", "cpu io memory pids\n");
    for (file, text) in [
        (
            "cpu.stat",
            "usage_usec 3000000\nuser_usec 2000000\nsystem_usec 1000000\nnr_periods 4\nnr_throttled 1\nthrottled_usec 500000\n",
        ),
        ("memory.current", "1000\n"),
        ("memory.max", "max\n"),
        ("memory.stat", "anon 600\nfile 400\ninactive_file 300\n"),
        ("memory.events", "low 0\noom 2\noom_kill 1\n"),
        ("io.stat", "253:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n"),
        ("pids.current", "7\n"),
        ("cgroup.procs", "1\n2\n"),
        ("cpu.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=4000000\n"),
        ("inner.service/pids.current", "99\n"),
    ] {
        machine.write(&format!("{group}/{file}"), text);
    }
    machine.write("sys/fs/cgroup/quintet.slice/memory.max", "4096\n");
    machine.write("sys/fs/cgroup/dev-hugepages.mount/pids.current", "1\n");
    let batch = machine.collector().collect(1000);
    let service = [("name", "core-api.service"), ("id", "/quintet.slice/core-api.service")];
    for (name, expected) in [
        ("container_cpu_usage_seconds_total", 3.0),
        ("container_cpu_cfs_throttled_seconds_total", 0.5),
        ("container_memory_working_set_bytes", 700.0),
        ("container_memory_rss", 600.0),
        ("container_oom_events_total", 1.0),
        ("container_threads", 7.0),
        ("container_processes", 2.0),
        ("container_pressure_cpu_waiting_seconds_total", 4.0),
    ] {
        assert_eq!(value(&batch, name, &service), Some(expected), "{name}");
    }
    let written = value(&batch, "container_fs_writes_bytes_total", &[service[0], ("device", "vda")]);
    assert_eq!(written, Some(20.0));
    let limit = |name| value(&batch, "container_spec_memory_limit_bytes", &[("name", name)]);
    assert_eq!((limit("quintet.slice"), limit("core-api.service")), (Some(4096.0), None));
    assert_eq!(value(&batch, "container_threads", &[("name", "inner.service")]), None);
    assert_eq!(value(&batch, "container_threads", &[("name", "dev-hugepages.mount")]), None);
}

#[test]
fn services_are_read_from_control_groups_of_version_one() {
    let machine = Machine::new();
    let group = "system.slice/sshd.service";
    for (file, text) in [
        ("cpuacct/GROUP/cpuacct.usage", "2500000000\n"),
        ("cpuacct/GROUP/cpuacct.stat", "user 150\nsystem 100\n"),
        ("memory/GROUP/memory.usage_in_bytes", "1000\n"),
        ("memory/GROUP/memory.limit_in_bytes", "9223372036854771712\n"),
        ("memory/GROUP/memory.stat", "rss 1\ntotal_rss 500\ntotal_inactive_file 100\n"),
        ("memory/GROUP/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
        (
            "blkio/GROUP/blkio.throttle.io_service_bytes",
            "253:0 Read 10\n253:0 Write 20\n253:0 Total 30\nTotal 30\n",
        ),
        ("pids/GROUP/pids.current", "4\n"),
    ] {
        machine.write(&format!("sys/fs/cgroup/{}", file.replace("GROUP", group)), text);
    }
    let batch = machine.collector().collect(1000);
    let service = [("name", "sshd.service")];
    for (name, expected) in [
        ("container_cpu_usage_seconds_total", 2.5),
        ("container_cpu_user_seconds_total", 1.5),
        ("container_memory_working_set_bytes", 900.0),
        ("container_memory_rss", 500.0),
        ("container_oom_events_total", 3.0),
        ("container_fs_reads_bytes_total", 10.0),
        ("container_threads", 4.0),
    ] {
        assert_eq!(value(&batch, name, &service), Some(expected), "{name}");
    }
    assert_eq!(value(&batch, "container_spec_memory_limit_bytes", &service), None);
}

#[test]
fn a_unit_that_starts_again_is_counted_even_if_it_was_away() {
    let machine = Machine::new();
    let units = machine.directory.path().join("run/systemd/units");
    fs::create_dir_all(&units).unwrap();
    let link = units.join("invocation:core-api.service");
    let mut collector = machine.collector();
    let mut restarts = || {
        let batch = collector.collect(1000);
        value(&batch, "node_systemd_service_restart_total", &[("name", "core-api.service")])
    };
    std::os::unix::fs::symlink("aaaa", &link).unwrap();
    assert_eq!((restarts(), restarts()), (Some(0.0), Some(0.0)));
    fs::remove_file(&link).unwrap();
    // Its series ends, which is a marker and no number.
    assert!(restarts().is_some_and(is_stale));
    std::os::unix::fs::symlink("bbbb", &link).unwrap();
    assert_eq!(restarts(), Some(1.0));
}

#[test]
fn a_disk_that_is_taken_out_ends_its_series() {
    let machine = Machine::new();
    let mut collector = machine.collector();
    collector.collect(1000);
    machine.write("proc/diskstats", "");
    let batch = collector.collect(2000);
    let ended = value(&batch, "node_disk_read_bytes_total", &[("device", "vda")]);
    assert!(ended.is_some_and(is_stale));
    assert_eq!(value(&collector.collect(3000), "node_disk_read_bytes_total", &[("device", "vda")]), None);
}

#[test]
fn an_empty_machine_is_no_error() {
    let machine = Machine { directory: tempfile::tempdir().unwrap() };
    assert_eq!(value(&machine.collector().collect(1000), "up", &[("instance", "localhost")]), Some(1.0));
}

#[test]
fn the_real_machine_has_the_figures_that_dashboards_need() {
    let directory = tempfile::tempdir().unwrap();
    let storage = crate::tests::storage(directory.path(), Arc::new(RealDisk));
    let mut collector = Collector::new(HostSection::default());
    collector.store(&storage);
    let batch = collector.collect(storage.clock().now().as_millisecond());
    for name in [
        "node_cpu_seconds_total",
        "node_memory_MemAvailable_bytes",
        "node_filesystem_avail_bytes",
        "node_network_receive_bytes_total",
        "node_load1",
        "node_boot_time_seconds",
        "node_uname_info",
    ] {
        assert!(value(&batch, name, &[]).is_some(), "{name}");
    }
    assert!(batch.samples.len() < 5000, "{} series", batch.samples.len());
}
