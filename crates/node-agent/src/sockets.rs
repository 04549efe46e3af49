//! Which ports are open on this node, read from the kernel's tables (proc(5), `/proc/net/tcp`).

use std::collections::BTreeSet;

use serde::Serialize;

const LISTEN: &str = "0A";
/// UDP sockets without a peer.
const UNCONNECTED: &str = "07";

/// Open ports, each once, whatever the address.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Sockets {
    tcp: BTreeSet<u16>,
    udp: BTreeSet<u16>,
}

pub(crate) fn read() -> Sockets {
    let table = |name: &str| std::fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default();
    Sockets {
        tcp: ports(&[table("tcp"), table("tcp6")], LISTEN),
        udp: ports(&[table("udp"), table("udp6")], UNCONNECTED),
    }
}

fn ports(tables: &[String], state: &str) -> BTreeSet<u16> {
    let rows = tables.iter().flat_map(|table| table.lines().skip(1));
    let port = |row: &str| {
        let mut fields = row.split_whitespace().skip(1);
        let (local, found) = (fields.next()?, fields.nth(1)?);
        if found != state {
            return None;
        }
        u16::from_str_radix(local.rsplit(':').next()?, 16).ok()
    };
    rows.filter_map(port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_ports_are_read_and_connections_are_not() {
        let table = "  sl  local_address rem_address   st tx_queue\n\
                     0: 00000000:01BB 00000000:0000 0A 00000000:00000000\n\
                     1: 0100007F:1F90 0100007F:C350 01 00000000:00000000\n";
        assert_eq!(ports(&[table.to_owned()], LISTEN), BTreeSet::from([443]));
    }
}
