//! Prefixed, time-ordered ids: `ord_01jd2w…`, a UUIDv7 (RFC 9562) in Crockford base 32 behind the
//! kind of thing it names.
//!
//! The prefix makes an id readable in a log and makes passing an invoice where an order is meant
//! a parse error. Text order is creation order, so keyset pagination needs no second column.

use thiserror::Error;

use crate::entropy::{Entropy, SystemEntropy};
use crate::time::{Clock, SystemClock};

/// Why a text is not an id of the asked kind.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdError {
    /// The text does not start with the kind's prefix and an underscore.
    #[error("an id here starts with {expected}_")]
    Prefix {
        /// The prefix without its underscore.
        expected: &'static str,
    },
    /// What follows the prefix is not 26 Crockford base 32 digits of a 128-bit number.
    #[error("an id ends in 26 lower-case base 32 digits")]
    Digits,
}

const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// What a byte is worth as a digit.
const fn worth(byte: u8) -> Option<u8> {
    Some(match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'h' => byte - b'a' + 10,
        b'j'..=b'k' => byte - b'j' + 18,
        b'm'..=b'n' => byte - b'm' + 20,
        b'p'..=b't' => byte - b'p' + 22,
        b'v'..=b'z' => byte - b'v' + 27,
        _ => return None,
    })
}

/// Draws a UUIDv7: 48 bits of milliseconds, then 74 random bits.
pub fn draw(clock: &dyn Clock, entropy: &dyn Entropy) -> u128 {
    let millis = u128::from(clock.now().as_millisecond().max(0).unsigned_abs()) & 0xffff_ffff_ffff;
    let mut random = [0u8; 16];
    entropy.fill(&mut random);
    let random = u128::from_be_bytes(random);
    let rand_a = (random >> 64) & 0x0fff;
    let rand_b = random & 0x3fff_ffff_ffff_ffff;
    (millis << 80) | (0x7 << 76) | (rand_a << 64) | (0b10 << 62) | rand_b
}

/// Draws from the system's clock and generator.
pub fn draw_from_system() -> u128 {
    draw(&SystemClock, &SystemEntropy)
}

/// The 26 digits of a 128-bit number, most significant first.
pub fn encode(value: u128) -> String {
    (0..26u32)
        .rev()
        .map(|position| {
            let digit = (value >> (position * 5)) & 0x1f;
            char::from(DIGITS.get(usize::try_from(digit).unwrap_or(0)).copied().unwrap_or(b'0'))
        })
        .collect()
}

/// Reads what [`encode`] wrote; upper case, excluded letters and overflow are errors.
pub fn decode(text: &str) -> Result<u128, IdError> {
    if text.len() != 26 || text.as_bytes().first().is_none_or(|first| *first > b'7') {
        return Err(IdError::Digits);
    }
    text.bytes().try_fold(0u128, |value, byte| {
        let digit = worth(byte).ok_or(IdError::Digits)?;
        Ok((value << 5) | u128::from(digit))
    })
}

/// Defines a prefixed id type: its text form, parsing, ordering and JSON form.
#[macro_export]
macro_rules! define_id {
    ($(#[$meta:meta])* $name:ident, $prefix:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// The kind's prefix, without the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// A fresh id from the system's clock and generator.
            #[expect(clippy::new_without_default, reason = "a default id would be a different one each time")]
            pub fn new() -> Self {
                Self($crate::id::draw_from_system())
            }

            /// A fresh id from the given clock and generator.
            pub fn generate(clock: &dyn $crate::Clock, entropy: &dyn $crate::Entropy) -> Self {
                Self($crate::id::draw(clock, entropy))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}_{}", $prefix, $crate::id::encode(self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::IdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let digits = text
                    .strip_prefix(concat!($prefix, "_"))
                    .ok_or($crate::IdError::Prefix { expected: $prefix })?;
                $crate::id::decode(digits).map(Self)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}

define_id!(
    /// A person or company that buys; owned by the users module.
    UserId,
    "usr"
);
define_id!(
    /// A thing that can be stocked and sold; owned by the inventory module.
    ItemId,
    "itm"
);
define_id!(
    /// What one item costs in one currency; owned by the billing module.
    PriceId,
    "prc"
);
define_id!(
    /// An invoice; owned by the billing module.
    InvoiceId,
    "inv"
);
define_id!(
    /// An order; owned by the orders module.
    OrderId,
    "ord"
);
define_id!(
    /// A tenant: an organization that business rows belong to; owned by the users module.
    OrganizationId,
    "org"
);

impl OrganizationId {
    /// The organization of an installation that needs no other: what was written before there were any belongs to
    /// it, and so does every request that names none.
    pub const DEFAULT: Self = Self(0);
}

define_id!(
    /// A background job.
    JobId,
    "job"
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_number_survives_its_text_form(value: u128) {
            prop_assert_eq!(decode(&encode(value)), Ok(value));
        }

        #[test]
        fn text_order_is_number_order(a: u128, b: u128) {
            prop_assert_eq!(encode(a).cmp(&encode(b)), a.cmp(&b));
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".{0,40}") {
            let _ = text.parse::<OrderId>();
        }
    }

    #[test]
    fn another_kind_of_id_is_rejected_with_the_expected_prefix() {
        let invoice = InvoiceId::new().to_string();
        assert_eq!(invoice.parse::<OrderId>(), Err(IdError::Prefix { expected: "ord" }));
    }

    #[test]
    fn an_overflowing_first_digit_is_rejected() {
        assert_eq!("ord_8zzzzzzzzzzzzzzzzzzzzzzzzz".parse::<OrderId>(), Err(IdError::Digits));
    }

    #[test]
    fn fresh_ids_carry_version_7_and_the_rfc_variant() {
        let value = draw_from_system();
        assert_eq!((value >> 76) & 0xf, 7);
        assert_eq!((value >> 62) & 0b11, 0b10);
    }
}
