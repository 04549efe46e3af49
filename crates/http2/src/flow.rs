//! Flow control (RFC 9113 section 5.2 and 6.9).

/// The largest window.
pub(crate) const LARGEST: i64 = 0x7fff_ffff;
/// Every window's size before settings.
pub(crate) const INITIAL: u32 = 65_535;

/// What may still be sent; below 0 after a client has made its initial window smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SendWindow(i64);

impl SendWindow {
    pub(crate) fn new(size: u32) -> Self {
        Self(i64::from(size))
    }

    pub(crate) fn available(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    pub(crate) fn take(&mut self, bytes: usize) {
        self.0 -= i64::try_from(bytes).unwrap_or(LARGEST);
    }

    /// False where it would be larger than a window may be.
    #[must_use]
    pub(crate) fn change(&mut self, by: i64) -> bool {
        self.0 += by;
        self.0 <= LARGEST
    }
}

/// What the client may still send, and what has been used up and is not yet given back.
#[derive(Debug)]
pub(crate) struct ReceiveWindow {
    size: u32,
    left: u32,
    used: u32,
}

impl ReceiveWindow {
    pub(crate) fn new(size: u32) -> Self {
        Self { size, left: size, used: 0 }
    }

    /// So many bytes came; false where they are more than the window had.
    #[must_use]
    pub(crate) fn take(&mut self, bytes: usize) -> bool {
        let left = u32::try_from(bytes).ok().and_then(|bytes| self.left.checked_sub(bytes));
        self.left = left.unwrap_or(0);
        left.is_some()
    }

    /// So many bytes are held no longer; the increment to announce, once it is half of the window.
    pub(crate) fn release(&mut self, bytes: usize) -> Option<u32> {
        self.used = self.used.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        if self.used < self.size / 2 || self.used == 0 {
            return None;
        }
        let increment = std::mem::take(&mut self.used);
        self.left = self.left.saturating_add(increment);
        Some(increment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_send_window_can_be_negative_and_not_too_large() {
        let mut window = SendWindow::new(10);
        window.take(10);
        assert!(window.change(-5));
        assert_eq!(window.available(), 0);
        assert!(window.change(6));
        assert_eq!(window.available(), 1);
        assert!(window.change(LARGEST - 1));
        assert!(!window.change(1));
    }

    #[test]
    fn a_receive_window_is_given_back_by_halves_and_is_not_exceeded() {
        let mut window = ReceiveWindow::new(100);
        assert!(window.take(80));
        assert_eq!((window.release(49), window.release(1)), (None, Some(50)));
        assert!(window.take(70));
        assert!(!window.take(1));
    }
}
