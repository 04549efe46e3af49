//! Which endpoint of which process a datagram goes to.
//!
//! All processes of a chain of upgrades hold the same sockets. The newest reads them and passes on what is for its
//! predecessor's connections, over a pair of unix sockets that the predecessor made for it; the predecessor does the
//! same for its own, if that still drains. Answers need no such way: each process sends on the sockets itself.
//! For the moment in which two read, what one takes from the other's clients is lost, as datagrams may be.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use aws_lc_rs::hmac;
use quintet_types::{Entropy as _, SystemEntropy};
use rustix::net::RecvFlags;
use tokio_util::sync::CancellationToken;

use super::ids::Owner;
use super::stray::{Inbox, Stray};

/// Of what a predecessor tells its successor.
const FORM: u8 = 1;
const SECRET: usize = 32;
const HELLO: usize = 2 + SECRET;

/// What the endpoints of a process share.
#[derive(Debug)]
pub(super) struct Routes {
    generation: u8,
    inboxes: Vec<Inbox>,
    predecessor: Option<Predecessor>,
    /// Gets what a successor passes on.
    own: UnixDatagram,
    /// Cancelled when a successor reads the sockets.
    succeeded: CancellationToken,
}

#[derive(Debug)]
struct Predecessor {
    link: UnixDatagram,
    gone: AtomicBool,
}

/// Where a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Here,
    Slot(u8),
    Predecessor,
    Nowhere,
}

/// What processes of a chain of upgrades have in common, so that each can end the connections of one that is gone
/// (RFC 9000 section 10.3), and take the clients that another has sent back for a proof of their address.
#[derive(Clone)]
pub(super) struct ChainSecret([u8; SECRET]);

impl std::fmt::Debug for ChainSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChainSecret")
    }
}

impl ChainSecret {
    /// Signs stateless resets.
    pub(super) fn reset_key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.derived(b"quintet http3 reset"))
    }

    /// Seals the tokens of Retry packets.
    pub(super) fn token_key(&self) -> Prk {
        Salt::new(HKDF_SHA256, b"quintet http3 token").extract(&self.0)
    }

    fn derived(&self, label: &[u8]) -> [u8; SECRET] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let mut derived = [0u8; SECRET];
        derived.copy_from_slice(hmac::sign(&key, label).as_ref());
        derived
    }
}

impl Routes {
    /// For so many endpoints. Also gives the chain's secret, and the end of the link for the next process. `link` was
    /// passed by a predecessor.
    pub(super) fn new(
        slots: usize,
        link: Option<UnixDatagram>,
        succeeded: CancellationToken,
    ) -> io::Result<(Self, ChainSecret, UnixDatagram)> {
        let told = link.as_ref().and_then(hear);
        let (generation, secret) = told.unwrap_or_else(|| {
            let mut fresh = [0u8; 1 + SECRET];
            SystemEntropy.fill(&mut fresh);
            let [generation, secret @ ..] = fresh;
            (generation, secret)
        });
        let (own, next) = UnixDatagram::pair()?;
        for socket in [&own, &next] {
            socket.set_nonblocking(true)?;
        }
        own.send(&hello(generation.wrapping_add(1), &secret))?;
        let predecessor = link.filter(|_| told.is_some());
        let predecessor = predecessor.map(|link| Predecessor { link, gone: AtomicBool::new(false) });
        let inboxes = (0..slots).map(|_| Inbox::default()).collect();
        Ok((Self { generation, inboxes, predecessor, own, succeeded }, ChainSecret(secret), next))
    }

    pub(super) fn owner(&self, slot: u8) -> Owner {
        Owner { generation: self.generation, slot }
    }

    pub(super) fn inbox(&self, slot: u8) -> Option<&Inbox> {
        self.inboxes.get(usize::from(slot))
    }

    /// Another handle of the socket that a successor passes datagrams on by.
    pub(super) fn link(&self) -> io::Result<UnixDatagram> {
        self.own.try_clone()
    }

    /// Whether a successor reads the sockets.
    pub(super) fn is_succeeded(&self) -> bool {
        self.succeeded.is_cancelled()
    }

    /// Where a datagram goes that the endpoint `slot` has received.
    pub(super) fn way(&self, slot: u8, datagram: &[u8]) -> Way {
        let Some(owner) = Owner::of(datagram) else { return Way::Here };
        if owner.generation == self.generation {
            return match owner.slot {
                own if own == slot => Way::Here,
                other if usize::from(other) < self.inboxes.len() => Way::Slot(other),
                _ => Way::Here,
            };
        }
        // To answer with a reset, which the next process could have signed as well, would end a connection that lives.
        if owner.generation == self.generation.wrapping_add(1) {
            return Way::Nowhere;
        }
        match &self.predecessor {
            Some(predecessor) if !predecessor.gone.load(Ordering::Relaxed) => Way::Predecessor,
            _ => Way::Here,
        }
    }

    /// Brings a datagram on its way.
    pub(super) fn pass_on(&self, way: Way, stray: Stray) {
        match way {
            Way::Slot(slot) => {
                if let Some(inbox) = self.inbox(slot) {
                    inbox.put(stray);
                }
            }
            Way::Predecessor => self.send_back(&stray),
            Way::Here | Way::Nowhere => {}
        }
    }

    fn send_back(&self, stray: &Stray) {
        let Some(predecessor) = &self.predecessor else { return };
        match predecessor.link.send(&stray.to_bytes()) {
            Ok(_) => {}
            // Full: it is lost, as datagrams may be.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => predecessor.gone.store(true, Ordering::Relaxed),
        }
    }
}

fn hello(generation: u8, secret: &[u8; SECRET]) -> [u8; HELLO] {
    let mut hello = [0u8; HELLO];
    let [form, of, rest @ ..] = &mut hello;
    (*form, *of) = (FORM, generation);
    rest.copy_from_slice(secret);
    hello
}

/// What the predecessor says of this process: its generation and the secret. It stays there for another successor, if
/// this one should fail.
fn hear(link: &UnixDatagram) -> Option<(u8, [u8; SECRET])> {
    let mut hello = [0u8; HELLO];
    let (read, whole) =
        rustix::net::recv(link, &mut hello[..], RecvFlags::PEEK | RecvFlags::DONTWAIT).ok()?;
    let [form, generation, secret @ ..] = hello;
    (form == FORM && read == HELLO && whole == HELLO).then_some((generation, secret))
}

#[cfg(test)]
mod tests {
    use quinn::ConnectionIdGenerator as _;

    use super::*;

    fn routes(link: Option<UnixDatagram>) -> (Routes, ChainSecret, UnixDatagram) {
        Routes::new(2, link, CancellationToken::new()).unwrap()
    }

    fn packet(mut owner: Owner) -> Vec<u8> {
        [&[0x40][..], &owner.generate_cid(), &[0; 30]].concat()
    }

    #[test]
    fn a_successor_passes_on_what_is_for_connections_of_its_predecessors() {
        let (first, secret, link) = routes(None);
        let spare = link.try_clone().unwrap();
        let (failed, ..) = routes(Some(spare));
        let (second, same, link) = routes(Some(link));
        assert_eq!(second.generation, failed.generation, "the hello is there for each successor");
        assert_eq!(secret.0, same.0);
        let (third, ..) = routes(Some(link));
        let of_first = packet(first.owner(1));
        assert_eq!(first.way(0, &of_first), Way::Slot(1));
        assert_eq!(first.way(1, &of_first), Way::Here);
        assert_eq!(third.way(0, &of_first), Way::Predecessor);
        let meta = quinn::udp::RecvMeta::default();
        third.pass_on(Way::Predecessor, Stray::new(&meta, &of_first));
        let mut bytes = [0u8; 200];
        let length = second.own.recv(&mut bytes).unwrap();
        let stray = Stray::from_bytes(&bytes[..length]).unwrap();
        assert_eq!(second.way(0, &stray.payload), Way::Predecessor);
        second.pass_on(Way::Predecessor, stray);
        assert!(first.own.recv(&mut bytes).is_ok());
    }

    #[test]
    fn a_connection_of_the_next_process_is_never_reset_by_this_one() {
        let (first, _, link) = routes(None);
        let (second, ..) = routes(Some(link));
        assert_eq!(first.way(0, &packet(second.owner(0))), Way::Nowhere);
    }

    #[test]
    fn connections_of_processes_that_are_gone_are_answered_here() {
        let (first, _, link) = routes(None);
        let (second, ..) = routes(Some(link));
        let of_first = packet(first.owner(0));
        drop(first);
        assert_eq!(second.way(0, &of_first), Way::Predecessor);
        second.pass_on(Way::Predecessor, Stray::new(&quinn::udp::RecvMeta::default(), &of_first));
        assert_eq!(second.way(0, &of_first), Way::Here, "which resets it");
        assert_eq!(second.way(0, &packet(Owner { generation: second.generation, slot: 9 })), Way::Here);
    }
}
