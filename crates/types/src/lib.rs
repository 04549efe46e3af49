//! The words every part of Quintet shares: ids, money, time and randomness.
//!
//! Nothing here does I/O. Time and randomness are traits so that a test owns both; the two
//! system implementations are the only places that ask the operating system.

pub mod entropy;
pub mod id;
pub mod money;
pub mod time;

pub use entropy::{Entropy, SystemEntropy};
pub use id::{IdError, InvoiceId, ItemId, JobId, OrderId, OrganizationId, PriceId, UserId};
pub use money::{Currency, Money, MoneyError};
pub use time::{Clock, SharedClock, SystemClock, Timestamp};
