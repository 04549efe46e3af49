//! A datagram that another endpoint has received than the one it is for.

use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use quinn::udp::{EcnCodepoint, RecvMeta};

/// Bytes that wait for an endpoint at most; more is dropped, as on a link that is full.
const WAITING: usize = 1024 * 1024;
/// What [`Stray::to_bytes`] puts before the datagram.
pub(super) const HEAD: usize = 18 + 17 + 1 + 4;

/// A datagram, or several of the same length, with where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stray {
    from: SocketAddr,
    to: Option<IpAddr>,
    ecn: u8,
    stride: u32,
    pub(super) payload: Vec<u8>,
}

impl Stray {
    pub(super) fn new(meta: &RecvMeta, payload: &[u8]) -> Self {
        Self {
            from: meta.addr,
            to: meta.dst_ip,
            ecn: meta.ecn.map_or(0, |ecn| ecn as u8),
            stride: u32::try_from(meta.stride).unwrap_or(u32::MAX),
            payload: payload.to_vec(),
        }
    }

    /// For another process of the same program on this machine.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD + self.payload.len());
        out.extend(address_bytes(self.from.ip()));
        out.extend(self.from.port().to_be_bytes());
        out.push(u8::from(self.to.is_some()));
        out.extend(address_bytes(self.to.unwrap_or(self.from.ip())));
        out.push(self.ecn);
        out.extend(self.stride.to_be_bytes());
        out.extend(&self.payload);
        out
    }

    /// The counterpart of [`Self::to_bytes`].
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (from, rest) = bytes.split_first_chunk::<16>()?;
        let (port, rest) = rest.split_first_chunk::<2>()?;
        let (has_to, rest) = rest.split_first()?;
        let (to, rest) = rest.split_first_chunk::<16>()?;
        let (ecn, rest) = rest.split_first()?;
        let (stride, payload) = rest.split_first_chunk::<4>()?;
        Some(Self {
            from: SocketAddr::new(address(*from), u16::from_be_bytes(*port)),
            to: (*has_to == 1).then(|| address(*to)),
            ecn: *ecn,
            stride: u32::from_be_bytes(*stride),
            payload: payload.to_vec(),
        })
    }

    /// Puts it where a receiver expects what it has received.
    fn place(&self, buffer: &mut [u8], meta: &mut RecvMeta) {
        let length = self.payload.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..length), self.payload.get(..length)) {
            to.copy_from_slice(from);
        }
        *meta = RecvMeta {
            addr: self.from,
            len: length,
            stride: usize::try_from(self.stride).unwrap_or(length).max(1),
            ecn: EcnCodepoint::from_bits(self.ecn),
            dst_ip: self.to,
        };
    }
}

/// IPv4 as it is mapped into IPv6.
fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn address(bytes: [u8; 16]) -> IpAddr {
    let address = std::net::Ipv6Addr::from(bytes);
    address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4)
}

/// What waits for one endpoint.
#[derive(Debug, Default)]
pub(super) struct Inbox(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    strays: VecDeque<Stray>,
    bytes: usize,
    /// Of the endpoint's task.
    waker: Option<Waker>,
}

impl Inbox {
    /// Leaves a datagram for the endpoint, unless too much waits already.
    pub(super) fn put(&self, stray: Stray) {
        let mut waiting = self.lock();
        if waiting.bytes + stray.payload.len() > WAITING {
            return;
        }
        waiting.bytes += stray.payload.len();
        waiting.strays.push_back(stray);
        let waker = waiting.waker.take();
        drop(waiting);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes what waits, as many as there is room for; none leaves a waker for the next.
    pub(super) fn take(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> usize {
        let mut waiting = self.lock();
        let mut taken = 0;
        for (buffer, meta) in buffers.iter_mut().zip(metas) {
            let Some(stray) = waiting.strays.pop_front() else { break };
            waiting.bytes -= stray.payload.len();
            stray.place(buffer, meta);
            taken += 1;
        }
        if taken == 0 && !waiting.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            waiting.waker = Some(cx.waker().clone());
        }
        taken
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Whole between any two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    fn stray(payload: &[u8]) -> Stray {
        let meta = RecvMeta {
            addr: "192.0.2.1:443".parse().unwrap(),
            len: payload.len(),
            stride: payload.len(),
            ecn: Some(EcnCodepoint::Ce),
            dst_ip: Some("2001:db8::1".parse().unwrap()),
        };
        Stray::new(&meta, payload)
    }

    #[test]
    fn another_process_reads_what_one_writes() {
        let mut stray = stray(b"datagram");
        assert_eq!(Stray::from_bytes(&stray.to_bytes()), Some(stray.clone()));
        stray.to = None;
        assert_eq!(stray.to_bytes().len(), HEAD + 8);
        assert_eq!(Stray::from_bytes(&stray.to_bytes()), Some(stray));
        assert_eq!(Stray::from_bytes(&[0; HEAD - 1]), None);
    }

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn an_inbox_wakes_its_endpoint_and_is_bounded() {
        let inbox = Inbox::default();
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Arc::clone(&count).into();
        let mut cx = Context::from_waker(&waker);
        let mut bytes = [0u8; 64];
        let mut metas = [RecvMeta::default()];
        assert_eq!(inbox.take(&mut cx, &mut [IoSliceMut::new(&mut bytes)], &mut metas), 0);
        inbox.put(stray(b"abc"));
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert_eq!(inbox.take(&mut cx, &mut [IoSliceMut::new(&mut bytes)], &mut metas), 1);
        assert_eq!((&bytes[..metas[0].len], metas[0].addr.port()), (&b"abc"[..], 443));
        for _ in 0..3 {
            inbox.put(stray(&vec![0; WAITING / 2]));
        }
        assert_eq!(inbox.lock().strays.len(), 2);
    }
}
