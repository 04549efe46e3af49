//! `[content]`: what routes do to the content of their answers unless they say otherwise.

mod compress;
mod cors;
mod security;

use std::fmt;
use std::marker::PhantomData;

use quintet_service::Invalid;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

pub(crate) use self::compress::CompressSection;
pub(crate) use self::cors::CorsSection;
pub(crate) use self::security::SecuritySection;
use super::{Config, RouteSection, invalid};
use crate::content::Content;
use crate::router::Auth;

/// What routes do to the content of their answers unless they say otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ContentSection {
    /// Compress answers of routes with `auth = "none"`: `true`, `false`, or a table of settings. Other
    /// routes compress only where they ask for it themselves.
    pub(crate) compress: Switch<CompressSection>,
    /// Answers that one worker compresses at the same time; more pass uncompressed. 1 to 100000.
    pub(crate) compressed_streams: usize,
    /// Headers that tell browsers what to forbid: `true`, `false`, or a table of settings.
    pub(crate) security_headers: Switch<SecuritySection>,
    /// Scripts of other sites that may use routes: `false` or a table. Better said by the routes that need it.
    pub(crate) cors: Switch<CorsSection>,
}

impl Default for ContentSection {
    fn default() -> Self {
        Self {
            compress: Switch::Off,
            compressed_streams: 256,
            security_headers: Switch::Off,
            cors: Switch::Off,
        }
    }
}

/// `true`, `false`, or a table of settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Switch<T> {
    #[default]
    Off,
    /// With the settings of `[content]`, or the standard ones.
    On,
    With(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Switch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SwitchVisitor(PhantomData))
    }
}

/// Unlike an untagged enum it passes on what is wrong with the table.
struct SwitchVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for SwitchVisitor<T> {
    type Value = Switch<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true, false or a table")
    }

    fn visit_bool<E>(self, on: bool) -> Result<Switch<T>, E> {
        Ok(if on { Switch::On } else { Switch::Off })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Switch<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Switch::With)
    }
}

impl<T: Clone + Default> Switch<T> {
    /// The settings of a route that says `own`, where this is the default for all.
    fn for_route(&self, own: Option<&Self>) -> Option<T> {
        match (own.unwrap_or(self), self) {
            (Self::Off, _) => None,
            (Self::With(settings), _) | (Self::On, Self::With(settings)) => Some(settings.clone()),
            (Self::On, _) => Some(T::default()),
        }
    }
}

pub(super) fn check(section: &ContentSection) -> Result<(), Invalid> {
    if !(1..=100_000).contains(&section.compressed_streams) {
        return invalid("content.compressed_streams", "must be from 1 to 100000");
    }
    // A default that no route takes is checked as well.
    if let Switch::With(settings) = &section.compress {
        compress::check("content.compress", settings)?;
    }
    if let Switch::With(settings) = &section.security_headers {
        security::check("content.security_headers", settings)?;
    }
    match &section.cors {
        Switch::With(settings) => drop(cors::check("content.cors", settings)?),
        Switch::On => return invalid("content.cors", "must be a table with `allowed_origins`, or false"),
        Switch::Off => {}
    }
    Ok(())
}

/// What the route at `at` does to its answers, if anything.
pub(super) fn of_route(
    config: &Config,
    at: usize,
    route: &RouteSection,
) -> Result<Option<Box<Content>>, Invalid> {
    let defaults = &config.content;
    // Compression tells the length of a secret from that of what an attacker has it stand beside (BREACH):
    // where there is somebody signed in, it is the operator who says that it is safe.
    let compress = if route.auth != Auth::None && route.compress.is_none() {
        None
    } else {
        defaults.compress.for_route(route.compress.as_ref())
    };
    let key = format!("routes.{at}.compress");
    let compression = compress.map(|settings| compress::check(&key, &settings)).transpose()?;
    let security = defaults.security_headers.for_route(route.security_headers.as_ref());
    let key = format!("routes.{at}.security_headers");
    let security = security.map(|settings| security::check(&key, &settings)).transpose()?;
    let cors = defaults.cors.for_route(route.cors.as_ref());
    let key = format!("routes.{at}.cors");
    let cors = cors.map(|settings| cors::check(&key, &settings)).transpose()?;
    let content = Content { compression, security, cors };
    Ok((!content.is_empty()).then(|| Box::new(content)))
}
