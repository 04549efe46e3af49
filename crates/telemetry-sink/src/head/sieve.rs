//! A sieve that keeps most of what cannot match from being decoded.
//!
//! Texts stand in an encoded record as they are, so a record that lacks a text's bytes lacks the text. One that has them may
//! have them elsewhere: whoever uses a sieve still looks at what it lets through.

use memchr::memmem::Finder;

/// The texts that a record must hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sieve {
    texts: Vec<Finder<'static>>,
}

impl Sieve {
    /// A sieve for all of `texts`; empty ones are in everything.
    pub(crate) fn new<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let found = texts.filter(|text| !text.is_empty()).map(|text| Finder::new(text).into_owned());
        Self { texts: found.collect() }
    }

    /// Whether these bytes, of one record or of many, may hold all texts.
    pub(crate) fn may_pass(&self, encoded: &[u8]) -> bool {
        self.texts.iter().all(|text| text.find(encoded).is_some())
    }
}
