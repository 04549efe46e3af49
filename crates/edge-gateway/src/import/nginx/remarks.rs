//! What the operator is told.

use std::collections::BTreeSet;

use super::tree::{Directive, Place};

/// What is not the same as in nginx, in the order in which it was found.
#[derive(Debug, Default)]
pub(super) struct Remarks {
    lines: Vec<String>,
    said: BTreeSet<String>,
}

impl Remarks {
    /// It is left out: the gateway has nothing for it, or the import does not know what it means.
    pub(super) fn left_out(&mut self, directive: &Directive, why: &str) {
        let name = &directive.name;
        let args = directive.args.first().map(|first| format!(" {first}")).unwrap_or_default();
        self.add(&directive.place, format!("not converted: `{name}{args}`: {why}"));
    }

    /// It is converted, to something that is not quite the same.
    pub(super) fn differs(&mut self, place: &Place, what: &str) {
        self.add(place, format!("differs: {what}"));
    }

    /// It has to be filled in.
    pub(super) fn missing(&mut self, place: Option<&Place>, what: &str) {
        match place {
            Some(place) => self.add(place, format!("fill in: {what}")),
            None => self.lines.push(format!("fill in: {what}")),
        }
    }

    fn add(&mut self, place: &Place, text: String) {
        let line = format!("{place}: {text}");
        // What an outer block says is met again in each inner one.
        if self.said.insert(line.clone()) {
            self.lines.push(line);
        }
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        self.lines
    }
}
