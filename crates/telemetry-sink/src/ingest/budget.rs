//! The share of the memory budget for requests that are being decoded.
//!
//! A request is charged while it is unpacked, so that many small bodies that unpack to much are refused before
//! they exist. Nobody waits: a request that does not fit is told to come back.

use tokio::sync::{Semaphore, SemaphorePermit};

use super::response::Refusal;

const UNIT: usize = 1024;

/// What all requests of an intake may use together.
#[derive(Debug)]
pub(crate) struct Budget {
    units: usize,
    free: Semaphore,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        let units = (bytes / UNIT).max(1);
        Self { units, free: Semaphore::new(units) }
    }

    /// A charge of nothing yet; each byte added to it counts `cost` times.
    pub(crate) fn charge(&self, cost: usize) -> Charge<'_> {
        Charge { budget: self, cost, bytes: 0, held: 0, permits: Vec::new() }
    }

    #[cfg(test)]
    pub(crate) fn occupy(&self) {
        let units = u32::try_from(self.units).unwrap();
        self.free.try_acquire_many(units).unwrap().forget();
    }
}

/// What one request uses, given back when dropped.
#[derive(Debug)]
pub(crate) struct Charge<'a> {
    budget: &'a Budget,
    cost: usize,
    bytes: usize,
    held: usize,
    permits: Vec<SemaphorePermit<'a>>,
}

impl Charge<'_> {
    /// Charges for more bytes. A request that needs more than there is at all gets everything, if nobody else
    /// has any of it: its size has a bound of its own.
    pub(crate) fn add(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.bytes = self.bytes.saturating_add(bytes);
        self.at_least(self.bytes.saturating_mul(self.cost))
    }

    /// Charges for so many bytes of memory together, if it does not yet.
    pub(crate) fn at_least(&mut self, bytes: usize) -> Result<(), Refusal> {
        let wanted = (bytes / UNIT + 1).min(self.budget.units);
        let more = wanted.saturating_sub(self.held);
        if more == 0 {
            return Ok(());
        }
        let units = u32::try_from(more).map_err(|_| Refusal::overloaded())?;
        let permit = self.budget.free.try_acquire_many(units).map_err(|_| Refusal::overloaded())?;
        match self.permits.last_mut() {
            Some(last) => last.merge(permit),
            None => self.permits.push(permit),
        }
        self.held = wanted;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_charged_is_refused_to_others_until_it_is_dropped() {
        let budget = Budget::new(100 * UNIT);
        let mut first = budget.charge(3);
        first.add(10 * UNIT).unwrap();
        first.add(10 * UNIT).unwrap();
        let mut second = budget.charge(1);
        assert!(second.add(50 * UNIT).is_err());
        drop(first);
        assert!(second.add(1).is_ok());
    }

    #[test]
    fn a_request_larger_than_everything_passes_alone() {
        let budget = Budget::new(10 * UNIT);
        let mut large = budget.charge(8);
        large.add(1 << 20).unwrap();
        large.add(1 << 20).unwrap();
        assert!(budget.charge(1).add(1).is_err());
    }
}
