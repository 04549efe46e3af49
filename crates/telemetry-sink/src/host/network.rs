//! Network interfaces, sockets and the protocols' own counters.

use std::path::Path;

use super::{Facts, names, read, read_number};

const RECEIVED: [&str; 8] = ["bytes", "packets", "errs", "drop", "fifo", "frame", "compressed", "multicast"];
const SENT: [&str; 8] = ["bytes", "packets", "errs", "drop", "fifo", "colls", "carrier", "compressed"];
/// What node_exporter shows of /proc/net/netstat and /proc/net/snmp.
const PROTOCOL_FIGURES: [&str; 38] = [
    "Icmp_InErrors",
    "Icmp_InMsgs",
    "Icmp_OutMsgs",
    "IpExt_InOctets",
    "IpExt_OutOctets",
    "Ip_Forwarding",
    "TcpExt_ListenDrops",
    "TcpExt_ListenOverflows",
    "TcpExt_SyncookiesFailed",
    "TcpExt_SyncookiesRecv",
    "TcpExt_SyncookiesSent",
    "TcpExt_TCPOFOQueue",
    "TcpExt_TCPRcvQDrop",
    "TcpExt_TCPSynRetrans",
    "TcpExt_TCPTimeouts",
    "Tcp_ActiveOpens",
    "Tcp_CurrEstab",
    "Tcp_InErrs",
    "Tcp_InSegs",
    "Tcp_OutRsts",
    "Tcp_OutSegs",
    "Tcp_PassiveOpens",
    "Tcp_RetransSegs",
    "UdpLite_InErrors",
    "Udp_InDatagrams",
    "Udp_InErrors",
    "Udp_NoPorts",
    "Udp_OutDatagrams",
    "Udp_RcvbufErrors",
    "Udp_SndbufErrors",
    "Icmp6_InErrors",
    "Icmp6_InMsgs",
    "Icmp6_OutMsgs",
    "Udp6_InDatagrams",
    "Udp6_InErrors",
    "Udp6_NoPorts",
    "Udp6_OutDatagrams",
    "Ip6_InOctets",
];
const MAX_DEVICES: usize = 128;

pub(super) fn collect(proc: &Path, sys: &Path, facts: &mut Facts) {
    if let Some(text) = read(&proc.join("net/dev")) {
        devices(&text, facts);
    }
    if let Some(text) = read(&proc.join("net/sockstat")) {
        sockets(&text, facts);
    }
    for file in ["net/netstat", "net/snmp"] {
        if let Some(text) = read(&proc.join(file)) {
            protocols(&text, facts);
        }
    }
    let directory = sys.join("class/net");
    for name in names(&directory).into_iter().take(MAX_DEVICES) {
        link(&directory.join(&name), &name, facts);
    }
}

fn devices(text: &str, facts: &mut Facts) {
    for line in text.lines().skip(2).take(MAX_DEVICES) {
        let Some((device, rest)) = line.split_once(':') else { continue };
        let device = device.trim();
        let values: Vec<f64> = rest.split_ascii_whitespace().map_while(|word| word.parse().ok()).collect();
        let (received, sent) = values.split_at(values.len().min(RECEIVED.len()));
        for (direction, columns, values) in [("receive", RECEIVED, received), ("transmit", SENT, sent)] {
            for (column, value) in columns.iter().zip(values) {
                let name = format!("node_network_{direction}_{column}_total");
                facts.counter(&name, "A figure of /proc/net/dev.", &[("device", device)], *value);
            }
        }
    }
}

fn link(directory: &Path, device: &str, facts: &mut Facts) {
    let text =
        |name: &str| read(&directory.join(name)).map(|text| text.trim().to_owned()).unwrap_or_default();
    let state = text("operstate");
    let labels = [("device", device)];
    let up = if state == "up" { 1.0 } else { 0.0 };
    facts.gauge("node_network_up", "Whether the interface is up.", &labels, up);
    if let Some(mtu) = read_number(&directory.join("mtu")) {
        facts.gauge("node_network_mtu_bytes", "Largest packet.", &labels, mtu);
    }
    // Interfaces without a speed say -1, or nothing.
    let megabits = read_number(&directory.join("speed")).filter(|speed| *speed > 0.0);
    if let Some(megabits) = megabits {
        facts.gauge("node_network_speed_bytes", "Bytes a second.", &labels, megabits * 125_000.0);
    }
    let labels = [
        ("device", device),
        ("operstate", &state),
        ("address", &text("address")),
        ("duplex", &text("duplex")),
    ];
    facts.gauge("node_network_info", "What an interface is.", &labels, 1.0);
}

/// `TCP: inuse 5 orphan 0 tw 0 alloc 6 mem 1`
fn sockets(text: &str, facts: &mut Facts) {
    for line in text.lines() {
        let Some((protocol, rest)) = line.split_once(':') else { continue };
        let words: Vec<_> = rest.split_ascii_whitespace().collect();
        for (name, value) in words.iter().zip(words.iter().skip(1)).step_by(2) {
            let Ok(value) = value.parse() else { continue };
            let name = format!("node_sockstat_{protocol}_{name}");
            facts.gauge(&name, "A figure of /proc/net/sockstat.", &[], value);
        }
    }
}

/// Pairs of lines: the names of a protocol's figures, then their values.
fn protocols(text: &str, facts: &mut Facts) {
    let lines: Vec<_> = text.lines().collect();
    for pair in lines.chunks(2) {
        let [names, values] = pair else { continue };
        let (Some((protocol, names)), Some((_, values))) = (names.split_once(':'), values.split_once(':'))
        else {
            continue;
        };
        for (name, value) in names.split_ascii_whitespace().zip(values.split_ascii_whitespace()) {
            let name = format!("{protocol}_{name}");
            let Ok(value) = value.parse() else { continue };
            if PROTOCOL_FIGURES.contains(&name.as_str()) {
                let kind = "A figure of /proc/net/netstat or /proc/net/snmp.";
                facts.counter(&format!("node_netstat_{name}"), kind, &[], value);
            }
        }
    }
}
