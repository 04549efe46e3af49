//! Alerts that keep quiet because another fires.

use std::collections::HashMap;

use crate::model::matcher::all_accept;
use crate::model::{Labels, Matcher};

/// While an alert that fits `source` fires, those that fit `target` and have the same values of `equal` keep quiet. An absent
/// label is the empty text.
#[derive(Debug)]
pub(super) struct Inhibition {
    pub(super) source: Vec<Matcher>,
    pub(super) target: Vec<Matcher>,
    pub(super) equal: Vec<String>,
}

impl Inhibition {
    fn key<'a>(&self, labels: &'a Labels) -> Vec<&'a str> {
        self.equal.iter().map(|name| labels.get(name).unwrap_or("")).collect()
    }
}

/// By the values of `equal`: an alert, and whether it is a target itself.
type Sources<'a> = HashMap<Vec<&'a str>, Vec<(u64, bool)>>;

/// The firing alerts that make others keep quiet, found once for many questions.
pub(super) struct Inhibitors<'a> {
    rules: Vec<(&'a Inhibition, Sources<'a>)>,
}

impl<'a> Inhibitors<'a> {
    pub(super) fn new(
        inhibitions: &'a [Inhibition],
        firing: impl Iterator<Item = (u64, &'a Labels)> + Clone,
    ) -> Self {
        let rules = inhibitions.iter().map(|rule| {
            let mut sources = Sources::new();
            for (fingerprint, labels) in firing.clone().filter(|(_, labels)| all_accept(&rule.source, labels))
            {
                let is_target = all_accept(&rule.target, labels);
                sources.entry(rule.key(labels)).or_default().push((fingerprint, is_target));
            }
            (rule, sources)
        });
        Self { rules: rules.collect() }
    }

    /// Which alert makes this one keep quiet, if any.
    pub(super) fn of(&self, labels: &Labels) -> Option<u64> {
        self.rules.iter().filter(|(rule, _)| all_accept(&rule.target, labels)).find_map(|(rule, sources)| {
            // What is both would silence itself, and two of a kind each other.
            let is_source = all_accept(&rule.source, labels);
            let sources = sources.get(&rule.key(labels))?;
            sources
                .iter()
                .find(|(_, is_target)| !(is_source && *is_target))
                .map(|(fingerprint, _)| *fingerprint)
        })
    }
}
