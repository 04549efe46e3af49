//! Disks, mounts and network interfaces.

use serde_json::{Value, json};

use super::Roots;
use crate::host::{Mount, is_disk, mounted, names, read, read_number};

const SECTOR_BYTES: f64 = 512.0;
const MAX_ITEMS: usize = 256;

pub(super) fn disks(roots: &Roots) -> Value {
    let directory = roots.sys.join("block");
    let disk = |name: String| {
        let at = directory.join(&name);
        let text = |path: &str| read(&at.join(path)).map(|text| text.trim().to_owned());
        json!({
            "name": name,
            "bytes": read_number(&at.join("size")).map(|sectors| sectors * SECTOR_BYTES),
            "rotational": text("queue/rotational").map(|text| text == "1"),
            "removable": text("removable").map(|text| text == "1"),
            "read_only": text("ro").map(|text| text == "1"),
            "model": text("device/model"),
        })
    };
    let disks: Vec<_> =
        names(&directory).into_iter().filter(|name| is_disk(name)).take(MAX_ITEMS).map(disk).collect();
    json!({ "disks": disks })
}

pub(super) fn mounts(roots: &Roots) -> Value {
    let mount = |mount: Mount| {
        let room = mount.has_room().then(|| rustix::fs::statvfs(mount.point.as_str()).ok()).flatten();
        let bytes = |blocks: u64, size: u64| blocks.saturating_mul(size);
        json!({
            "device": mount.device,
            "point": mount.point,
            "kind": mount.kind,
            "options": mount.options,
            "bytes": room.as_ref().map(|room| bytes(room.f_blocks, room.f_frsize)),
            "available_bytes": room.as_ref().map(|room| bytes(room.f_bavail, room.f_frsize)),
            "files": room.as_ref().map(|room| room.f_files),
            "files_free": room.as_ref().map(|room| room.f_ffree),
        })
    };
    let mounts: Vec<_> = mounted(&roots.proc).into_iter().take(MAX_ITEMS).map(mount).collect();
    json!({ "mounts": mounts })
}

pub(super) fn network(roots: &Roots) -> Value {
    let directory = roots.sys.join("class/net");
    let interface = |name: String| {
        let at = directory.join(&name);
        let text = |path: &str| read(&at.join(path)).map(|text| text.trim().to_owned());
        json!({
            "name": name,
            "state": text("operstate"),
            "hardware_address": text("address"),
            "mtu": read_number(&at.join("mtu")),
            "megabits": read_number(&at.join("speed")).filter(|speed| *speed > 0.0),
            "received_bytes": read_number(&at.join("statistics/rx_bytes")),
            "sent_bytes": read_number(&at.join("statistics/tx_bytes")),
            "errors": read_number(&at.join("statistics/rx_errors")),
        })
    };
    let interfaces: Vec<_> = names(&directory).into_iter().take(MAX_ITEMS).map(interface).collect();
    let routes = read(&roots.proc.join("net/fib_trie")).unwrap_or_default();
    json!({ "interfaces": interfaces, "addresses": addresses(&routes) })
}

/// The machine's own IPv4 addresses: in the kernel's routing trie, the line before `/32 host LOCAL`.
fn addresses(trie: &str) -> Vec<&str> {
    let mut found: Vec<_> = trie
        .lines()
        .zip(trie.lines().skip(1))
        .filter(|(_, next)| next.trim() == "/32 host LOCAL")
        .filter_map(|(line, _)| line.trim().strip_prefix("|-- "))
        .collect();
    found.sort_unstable();
    found.dedup();
    found.truncate(MAX_ITEMS);
    found
}

#[cfg(test)]
mod tests {
    use super::addresses;

    #[test]
    fn own_addresses_are_found_in_the_trie() {
        let trie = "Local:\n  +-- 0.0.0.0/0 2 0 2\n     |-- 10.0.0.5\n        /32 host LOCAL\n     |-- 10.0.0.255\n        /32 link BROADCAST\n     |-- 127.0.0.1\n        /32 host LOCAL\n";
        assert_eq!(addresses(trie), ["10.0.0.5", "127.0.0.1"]);
    }
}
