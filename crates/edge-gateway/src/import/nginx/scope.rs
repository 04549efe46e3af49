//! Which directives hold in a block: its own, or else those of the blocks around it.

use super::tree::Directive;

/// A block and the blocks around it, the innermost first.
#[derive(Debug, Clone)]
pub(super) struct Scope<'t>(Vec<&'t [Directive]>);

impl<'t> Scope<'t> {
    pub(super) fn new(outermost: &'t [Directive]) -> Self {
        Self(vec![outermost])
    }

    pub(super) fn within(&self, block: &'t [Directive]) -> Self {
        Self(std::iter::once(block).chain(self.0.iter().copied()).collect())
    }

    /// The directives of this name in the innermost block that has any: there they replace those further out.
    pub(super) fn all(&self, name: &str) -> Vec<&'t Directive> {
        self.any(&[name])
    }

    /// Like [`Self::all`], for names that replace each other.
    pub(super) fn any(&self, names: &[&str]) -> Vec<&'t Directive> {
        let of = |block: &&'t [Directive]| -> Vec<&'t Directive> {
            block.iter().filter(|directive| names.contains(&directive.name.as_str())).collect()
        };
        self.0.iter().map(of).find(|found| !found.is_empty()).unwrap_or_default()
    }

    /// The last of them, which is the one that counts where there can be one only.
    pub(super) fn one(&self, name: &str) -> Option<&'t Directive> {
        self.all(name).last().copied()
    }

    /// In this block alone.
    pub(super) fn own(&self, name: &str) -> Option<&'t Directive> {
        self.0.first()?.iter().rev().find(|directive| directive.name == name)
    }

    /// Whether a switch is on.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.one(name).is_some_and(|directive| directive.arg(0) == "on")
    }
}
