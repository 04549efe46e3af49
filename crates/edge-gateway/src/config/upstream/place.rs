//! Where an upstream is: an address or a DNS name, as a text or in a table that gives it a weight.

use std::fmt;
use std::str::FromStr;

use quintet_http::listen::{Address, AddressError};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

pub(super) const MAX_WEIGHT: u32 = 1_000;

/// An address and its part of the requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) address: Site,
    /// 1 to 1000.
    pub(crate) weight: u32,
}

/// What an upstream is reached by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Site {
    Address(Address),
    /// A DNS name, which stands for any number of addresses that change.
    Name(HostPort),
}

/// A DNS name with a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPort {
    pub(crate) host: String,
    pub(crate) port: u16,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    address: Site,
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
        f.write_str("an address such as \"10.0.0.1:8080\" or \"app.internal:8080\", or { address = \"10.0.0.1:8080\", weight = 3 }")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Place, E> {
        Ok(Place { address: text.parse().map_err(E::custom)?, weight: one() })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Place, A::Error> {
        let Table { address, weight } = Table::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Place { address, weight })
    }
}

impl FromStr for Site {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(address) => Ok(Self::Address(address)),
            Err(AddressError::Form(_)) => HostPort::parse(text).map(Self::Name).ok_or_else(|| {
                format!("`{text}` is no address; write IP:PORT, NAME:PORT, such as app.internal:8080, or unix:/PATH")
            }),
            Err(other) => Err(other.to_string()),
        }
    }
}

impl<'de> Deserialize<'de> for Site {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(Error::custom)
    }
}

impl HostPort {
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|port| digits && *port > 0)?;
        is_dns_name(host).then(|| Self { host: host.to_ascii_lowercase(), port })
    }
}

/// A name as resolvers take it. One whose last label is a number is a mistyped address.
fn is_dns_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253 && name.split('.').all(label) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        if self.weight == one() { Ok(()) } else { write!(f, " (weight {})", self.weight) }
    }
}
