//! Connection ids (RFC 9000 section 5.1) that say who serves the connection: which process in a chain of upgrades, and
//! which of its endpoints.
//!
//! The kernel spreads datagrams by addresses, so that a client that moves arrives at another worker, and in an upgrade
//! two processes read the same sockets. What is in an id tells nobody more than that two of 256 × 256 parts
//! of the clients are not the same.

use quinn::{ConnectionId, ConnectionIdGenerator};
use quintet_types::{Entropy as _, SystemEntropy};

/// Bytes of an id; six of them are random.
const LENGTH: usize = 8;

/// Makes the ids of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    /// Counts processes along a chain of upgrades, and wraps.
    pub(super) generation: u8,
    /// The endpoint among those of its process.
    pub(super) slot: u8,
}

impl ConnectionIdGenerator for Owner {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0u8; LENGTH];
        SystemEntropy.fill(&mut id);
        let [generation, slot, ..] = &mut id;
        (*generation, *slot) = (self.generation, self.slot);
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        LENGTH
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

impl Owner {
    /// Whose connection a datagram is for, by the id in its first packet. None where the client may have chosen the id,
    /// as in its first packets, and where there is none.
    pub(super) fn of(datagram: &[u8]) -> Option<Self> {
        let first = *datagram.first()?;
        let is_long = first & 0x80 != 0;
        let id = if !is_long {
            datagram.get(1..=LENGTH)?
        // Initial and 0-RTT packets have the client's own id at first (RFC 9000 section 17.2).
        } else if first & 0x30 >= 0x20 && usize::from(*datagram.get(5)?) == LENGTH {
            datagram.get(6..6 + LENGTH)?
        } else {
            return None;
        };
        let [generation, slot, ..] = *id else { return None };
        Some(Self { generation, slot })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_name_the_owner_of_their_connection() {
        let mut owner = Owner { generation: 7, slot: 3 };
        let id = owner.generate_cid();
        let short = [&[0x40][..], &id, &[9; 20]].concat();
        assert_eq!(Owner::of(&short), Some(owner));
        let handshake = [&[0xe0, 0, 0, 0, 1, 8][..], &id, &[9; 20]].concat();
        assert_eq!(Owner::of(&handshake), Some(owner));
    }

    #[test]
    fn ids_that_a_client_may_have_chosen_name_nobody() {
        for first in [0xc0, 0xd0] {
            let packet = [&[first, 0, 0, 0, 1, 8][..], &[7; 28]].concat();
            assert_eq!(Owner::of(&packet), None);
        }
        let other_length = [&[0xe0, 0, 0, 0, 1, 20][..], &[7; 40]].concat();
        assert_eq!(Owner::of(&other_length), None);
        for short in [&[][..], &[0x40], &[0x40, 1, 2, 3, 4, 5, 6, 7], &[0xe0, 0, 0, 0, 1]] {
            assert_eq!(Owner::of(short), None);
        }
    }
}
