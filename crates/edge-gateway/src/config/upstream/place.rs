//! One address of an upstream: a text, or a table that gives it a weight.

use std::fmt;

use quintet_http::listen::Address;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

pub(super) const MAX_WEIGHT: u32 = 1_000;

/// An address and its part of the requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) address: Address,
    /// 1 to 1000.
    pub(crate) weight: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    address: Address,
    #[serde(default = "one")]
    weight: u32,
}

const fn one() -> u32 {
    1
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PlaceVisitor)
    }
}

struct PlaceVisitor;

impl<'de> Visitor<'de> for PlaceVisitor {
    type Value = Place;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address such as \"10.0.0.1:8080\", or { address = \"10.0.0.1:8080\", weight = 3 }")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Place, E> {
        Ok(Place { address: text.parse().map_err(E::custom)?, weight: one() })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Place, A::Error> {
        let Table { address, weight } = Table::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Place { address, weight })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        if self.weight == one() { Ok(()) } else { write!(f, " (weight {})", self.weight) }
    }
}
