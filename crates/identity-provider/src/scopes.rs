//! Scopes, and which of them a role may hold.
//!
//! The table is closed: a scope exists because a binary of the fleet asks for it. A set is a bit
//! set over the table, so that intersection, the operation of every grant, cannot go wrong.

use std::fmt;
use std::ops::BitAnd;
use std::str::FromStr;

use thiserror::Error;

/// Every scope with what the consent page says of it.
const TABLE: &[(&str, &str)] = &[
    ("openid", "Confirm who you are"),
    ("profile", "See your name"),
    ("email", "See your e-mail address"),
    ("offline_access", "Stay connected after you sign out"),
    ("users:read", "Read user profiles"),
    ("users:write", "Create and change user profiles"),
    ("billing:read", "Read prices and invoices"),
    ("billing:write", "Create and change prices and invoices"),
    ("inventory:read", "Read items and stock"),
    ("inventory:write", "Create and change items and stock"),
    ("orders:read", "Read orders"),
    ("orders:write", "Place and change orders"),
    ("exports:read", "Fetch exports"),
    ("exports:write", "Ask for exports"),
    ("jobs:read", "Read background jobs"),
    ("jobs:write", "Start and change background jobs"),
    ("jobs:enqueue", "Enqueue background jobs of allowed kinds"),
    ("jobs:work", "Claim and run background jobs of allowed kinds"),
    ("telemetry:read", "Read logs, metrics and traces"),
    ("identity:admin", "Manage accounts and read the audit log"),
    ("node:read", "See the state of machines and their journals"),
    ("node:write", "Update, roll back and restart machines"),
    ("telemetry:write", "Silence alerts, post alerts and change dashboards"),
];

/// What a member may do beside the scopes of sign-in itself.
const MEMBER: &str = "openid profile email offline_access \
     users:read billing:read inventory:read orders:read orders:write";

/// A text that names no known scope.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("there is no scope {0}")]
pub(crate) struct UnknownScope(String);

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Scopes(u32);

impl Scopes {
    /// No scope at all.
    pub(crate) const NONE: Self = Self(0);

    /// Every scope of the table.
    pub(crate) fn all() -> Self {
        Self(TABLE.iter().enumerate().fold(0, |bits, (index, _)| bits | 1 << index))
    }

    /// The scopes of a request. Unknown ones are left out, as OpenID Connect Core §3.1.2.1 asks.
    pub(crate) fn requested(text: &str) -> Self {
        text.split(' ').filter_map(bit).fold(Self::NONE, |set, bit| Self(set.0 | bit))
    }

    /// The set of all `names`, none of which may be unknown.
    pub(crate) fn known<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, UnknownScope> {
        names.into_iter().try_fold(Self::NONE, |set, name| {
            bit(name).map(|bit| Self(set.0 | bit)).ok_or_else(|| UnknownScope(name.to_owned()))
        })
    }

    /// Whether nothing is in the set.
    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether every scope of `other` is in this set.
    pub(crate) const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the scope `name` is in the set.
    pub(crate) fn has(self, name: &str) -> bool {
        bit(name).is_some_and(|bit| self.0 & bit != 0)
    }

    /// What is in this set and not in `other`.
    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Both sets together.
    pub(crate) const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The names, in the table's order.
    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        self.entries().map(|(name, _)| name)
    }

    /// What the consent page says of each scope.
    pub(crate) fn descriptions(self) -> impl Iterator<Item = &'static str> {
        self.entries().map(|(_, description)| description)
    }

    fn entries(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        TABLE.iter().enumerate().filter(move |(index, _)| self.0 & 1 << index != 0).map(|(_, entry)| *entry)
    }
}

fn bit(name: &str) -> Option<u32> {
    TABLE.iter().position(|(known, _)| *known == name).map(|index| 1 << index)
}

impl BitAnd for Scopes {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.names().enumerate().try_for_each(|(index, name)| {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(name)
        })
    }
}

/// What an account is in the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// May do everything.
    Admin,
    /// May read and place orders.
    Member,
}

/// A text that is no role.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a role is admin or member")]
pub(crate) struct UnknownRole;

impl Role {
    /// The name in tokens and in the database.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Member => "member",
        }
    }

    /// What an account with this role may be granted.
    pub(crate) fn scopes(self) -> Scopes {
        match self {
            Self::Admin => Scopes::all(),
            Self::Member => Scopes::requested(MEMBER),
        }
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "admin" => Ok(Self::Admin),
            "member" => Ok(Self::Member),
            _ => Err(UnknownRole),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_never_holds_an_administrators_scopes() {
        let granted = Role::Member.scopes() & Scopes::all();
        for name in [
            "identity:admin",
            "users:write",
            "billing:write",
            "inventory:write",
            "jobs:write",
            "jobs:enqueue",
            "jobs:work",
            "telemetry:read",
            "telemetry:write",
            "node:read",
            "node:write",
        ] {
            assert!(!granted.has(name), "{name}");
        }
        assert!(granted.has("orders:write"));
    }

    #[test]
    fn every_scope_named_for_members_is_in_the_table() {
        assert!(Scopes::known(MEMBER.split(' ').filter(|name| !name.is_empty())).is_ok());
    }

    #[test]
    fn unknown_scopes_are_dropped_from_requests_and_refused_in_configuration() {
        assert_eq!(Scopes::requested("openid nonsense  email").to_string(), "openid email");
        assert_eq!(Scopes::known(["openid", "nonsense"]), Err(UnknownScope("nonsense".to_owned())));
    }

    #[test]
    fn text_and_set_are_the_same_thing() {
        assert_eq!(Scopes::requested(&Scopes::all().to_string()), Scopes::all());
        assert_eq!(Scopes::all().names().count(), TABLE.len());
    }
}
