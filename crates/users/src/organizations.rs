//! Organizations, their members and invitations to them.
//!
//! A member is a subject of the issuer: a person's id or a client's. Who may do what is checked at
//! the edge by [`Tenancy`]; here stand the rules that hold whoever asks.
//!
//! Invariants: an organization that somebody made always has an owner; who is no owner makes none and
//! changes none; an invitation is accepted once and before it expires, and its secret is kept as a hash.
//! Every change of members locks the organization's row first, so that two owners cannot remove each other.

mod table;

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quintet_module::Role;
use quintet_module::conditional::Expected;
use quintet_module::page::{Slice, Window};
use quintet_module::retry::{self, Retryable};
use quintet_module::tenancy::{Directory, Tenancy};
use quintet_store::{Store, Tx};
use quintet_types::{Entropy as _, OrganizationId, SharedClock, SystemEntropy, Timestamp, time};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::accounts::checked_name;

quintet_types::define_id!(
    /// An invitation to an organization.
    InvitationId,
    "ivt"
);

/// How long an invitation can be accepted.
const INVITATION_VALID: Duration = Duration::from_hours(7 * 24);
/// One subject makes no more organizations than this.
const MAX_OWNED: i64 = 100;
const MAX_MEMBERS: i64 = 1000;
const MAX_INVITATIONS: i64 = 100;

/// An organization as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    /// Its id.
    pub id: OrganizationId,
    /// What it is called.
    pub name: String,
    /// 1 when made, one more with each change.
    pub version: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A member of an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The issuer's name for it.
    pub subject: String,
    /// What it may do.
    pub role: Role,
    /// Who made it a member.
    pub added_by: String,
    /// When.
    pub added_at: Timestamp,
}

/// An invitation that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Its id.
    pub id: InvitationId,
    /// What whoever accepts it becomes.
    pub role: Role,
    /// Whom it is for, in the words of who made it.
    pub note: String,
    /// Who made it.
    pub invited_by: String,
    /// When.
    pub created_at: Timestamp,
    /// Until when it can be accepted.
    pub expires_at: Timestamp,
}

/// Why an organization could not be read or changed.
#[derive(Debug, Error)]
pub enum Error {
    /// The name is not acceptable.
    #[error("a name has 1 to 200 characters and no control characters")]
    Name,
    /// The subject is not acceptable.
    #[error("a subject has 1 to 255 visible ASCII characters")]
    Subject,
    /// There is no such organization.
    #[error("organization {0} does not exist")]
    Unknown(OrganizationId),
    /// The organization changed since the version that the caller knows.
    #[error("the organization has changed since")]
    Changed,
    /// The subject is no member.
    #[error("there is no such member")]
    UnknownMember,
    /// No open invitation has this id or secret.
    #[error("there is no such invitation")]
    UnknownInvitation,
    /// Owners are made and changed by owners.
    #[error("only an owner makes, changes or removes an owner")]
    OwnersOnly,
    /// An organization keeps an owner.
    #[error("the organization would be left without an owner")]
    LastOwner,
    /// A bound is reached.
    #[error("there are {max} {what} already")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        max: i64,
    },
    /// The database failed.
    #[error("cannot read or write the organization")]
    Store(#[from] quintet_store::Error),
}

impl Retryable for Error {
    fn is_retryable(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_retryable())
    }
}

/// Who changes members, and what it is in the organization.
#[derive(Debug, Clone)]
pub struct By {
    /// For the record.
    pub actor: String,
    /// Its role.
    pub role: Role,
}

/// The members, as every request asks for them.
pub struct Members {
    store: Store,
}

impl Members {
    /// The members in `store`.
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

#[async_trait]
impl Directory for Members {
    async fn role(
        &self,
        organization: OrganizationId,
        subject: &str,
    ) -> Result<Option<Role>, quintet_store::Error> {
        Ok(table::member(&self.store, organization, subject).await?.map(|member| member.role))
    }
}

/// The organizations; cheap to clone.
#[derive(Clone)]
pub struct Organizations {
    store: Store,
    clock: SharedClock,
    /// Who may act where.
    pub(crate) tenancy: Tenancy,
}

impl Organizations {
    /// The organizations in `store`.
    pub fn new(store: Store, clock: SharedClock, tenancy: Tenancy) -> Self {
        Self { store, clock, tenancy }
    }

    /// Makes an organization that `subject` owns.
    pub async fn create(&self, name: &str, subject: &str, actor: &str) -> Result<Organization, Error> {
        let now = self.clock.now();
        let organization = Organization {
            id: OrganizationId::generate(&*self.clock, &SystemEntropy),
            name: checked_name(name).map_err(|_| Error::Name)?,
            version: 1,
            created_at: now,
            updated_at: now,
        };
        let owner = Member {
            subject: checked_subject(subject)?,
            role: Role::Owner,
            added_by: actor.to_owned(),
            added_at: now,
        };
        retry::transaction(async || {
            let mut tx = self.store.begin().await?;
            if table::owned(&mut tx, subject).await? >= MAX_OWNED {
                return Err(Error::TooMany { what: "organizations of this owner", max: MAX_OWNED });
            }
            table::insert(&mut tx, &organization, actor).await?;
            table::put_member(&mut tx, organization.id, &owner).await?;
            tx.commit().await?;
            Ok(organization.clone())
        })
        .await
    }

    /// One organization.
    pub async fn find(&self, id: OrganizationId) -> Result<Organization, Error> {
        table::find(&self.store, id).await?.ok_or(Error::Unknown(id))
    }

    /// The organizations that `subject` is a member of, newest first, and the default one when `with_default`.
    pub async fn of_subject(
        &self,
        subject: &str,
        with_default: bool,
        window: Window<OrganizationId>,
    ) -> Result<Slice<Organization>, Error> {
        let below = window.upper_bound(OrganizationId::PREFIX);
        let rows = table::of_subject(&self.store, subject, with_default, below, window.fetch_limit()).await?;
        Ok(window.slice(rows))
    }

    /// Renames an organization that is at an expected version.
    pub async fn rename(
        &self,
        id: OrganizationId,
        expected: &Expected,
        name: &str,
    ) -> Result<Organization, Error> {
        let name = checked_name(name).map_err(|_| Error::Name)?;
        retry::transaction(async || {
            let mut tx = self.store.begin().await?;
            let current = table::lock(&mut tx, id).await?.ok_or(Error::Unknown(id))?;
            if !expected.accepts(current.version) {
                return Err(Error::Changed);
            }
            let changed = Organization {
                name: name.clone(),
                version: current.version + 1,
                updated_at: self.clock.now(),
                ..current
            };
            table::update(&mut tx, &changed).await?;
            tx.commit().await?;
            Ok(changed)
        })
        .await
    }

    /// Members by their subjects, after one of them.
    pub async fn members(&self, id: OrganizationId, window: Window<Subject>) -> Result<Slice<Member>, Error> {
        let after = window.after.as_ref().map_or("", |subject| subject.0.as_str());
        Ok(window.slice(table::members(&self.store, id, after, window.fetch_limit()).await?))
    }

    /// Makes `subject` a member, or gives it another role.
    pub async fn set_member(
        &self,
        id: OrganizationId,
        subject: &str,
        role: Role,
        by: &By,
    ) -> Result<Member, Error> {
        let subject = checked_subject(subject)?;
        let member = retry::transaction::<_, Error, _, _>(async || {
            let mut tx = self.store.begin().await?;
            table::lock(&mut tx, id).await?.ok_or(Error::Unknown(id))?;
            let before = table::member_in(&mut tx, id, &subject).await?;
            let held = before.as_ref().map(|member| member.role);
            if (role == Role::Owner || held == Some(Role::Owner)) && by.role < Role::Owner {
                return Err(Error::OwnersOnly);
            }
            if held == Some(Role::Owner) && role < Role::Owner {
                keep_an_owner(&mut tx, id).await?;
            }
            if before.is_none() {
                room_for_a_member(&mut tx, id).await?;
            }
            let member = Member {
                subject: subject.clone(),
                role,
                added_by: by.actor.clone(),
                added_at: before.map_or_else(|| self.clock.now(), |member| member.added_at),
            };
            table::put_member(&mut tx, id, &member).await?;
            tx.commit().await?;
            Ok(member)
        })
        .await?;
        self.tenancy.forget(id, &subject);
        Ok(member)
    }

    /// Removes a member.
    pub async fn remove_member(&self, id: OrganizationId, subject: &str, by: &By) -> Result<(), Error> {
        retry::transaction::<_, Error, _, _>(async || {
            let mut tx = self.store.begin().await?;
            table::lock(&mut tx, id).await?.ok_or(Error::Unknown(id))?;
            let member = table::member_in(&mut tx, id, subject).await?.ok_or(Error::UnknownMember)?;
            if member.role == Role::Owner {
                if by.role < Role::Owner {
                    return Err(Error::OwnersOnly);
                }
                keep_an_owner(&mut tx, id).await?;
            }
            table::remove_member(&mut tx, id, subject).await?;
            Ok(tx.commit().await?)
        })
        .await?;
        self.tenancy.forget(id, subject);
        Ok(())
    }

    /// Invites whoever has the secret that is returned, and that nobody can ask for again.
    pub async fn invite(
        &self,
        id: OrganizationId,
        role: Role,
        note: &str,
        by: &By,
    ) -> Result<(Invitation, String), Error> {
        if role == Role::Owner && by.role < Role::Owner {
            return Err(Error::OwnersOnly);
        }
        let note = checked_name(note).map_err(|_| Error::Name)?;
        let mut secret = [0; 32];
        SystemEntropy.fill(&mut secret);
        let secret = URL_SAFE_NO_PAD.encode(secret);
        let invitation = retry::transaction::<_, Error, _, _>(async || {
            let now = self.clock.now();
            let mut tx = self.store.begin().await?;
            table::lock(&mut tx, id).await?.ok_or(Error::Unknown(id))?;
            table::remove_expired(&mut tx, id, now).await?;
            if table::invitation_count(&mut tx, id).await? >= MAX_INVITATIONS {
                return Err(Error::TooMany { what: "open invitations", max: MAX_INVITATIONS });
            }
            let invitation = Invitation {
                id: InvitationId::generate(&*self.clock, &SystemEntropy),
                role,
                note: note.clone(),
                invited_by: by.actor.clone(),
                created_at: now,
                expires_at: later(now, INVITATION_VALID),
            };
            table::insert_invitation(&mut tx, id, &invitation, &hashed(&secret)).await?;
            tx.commit().await?;
            Ok(invitation)
        })
        .await?;
        Ok((invitation, secret))
    }

    /// Open invitations, newest first.
    pub async fn invitations(
        &self,
        id: OrganizationId,
        window: Window<InvitationId>,
    ) -> Result<Slice<Invitation>, Error> {
        let below = window.upper_bound(InvitationId::PREFIX);
        let now = self.clock.now();
        Ok(window.slice(table::invitations(&self.store, id, now, below, window.fetch_limit()).await?))
    }

    /// Takes an invitation back.
    pub async fn revoke(&self, id: OrganizationId, invitation: InvitationId) -> Result<(), Error> {
        retry::transaction(async || {
            let mut tx = self.store.begin().await?;
            if table::remove_invitation(&mut tx, id, invitation).await? == 0 {
                return Err(Error::UnknownInvitation);
            }
            Ok(tx.commit().await?)
        })
        .await
    }

    /// Makes `subject` what an invitation says, unless it is more already. The invitation is used up.
    pub async fn accept(&self, secret: &str, subject: &str) -> Result<(Organization, Role), Error> {
        let subject = checked_subject(subject)?;
        let (organization, role) = retry::transaction::<_, Error, _, _>(async || {
            let now = self.clock.now();
            let mut tx = self.store.begin().await?;
            let (id, invitation) = table::take_invitation(&mut tx, &hashed(secret), now)
                .await?
                .ok_or(Error::UnknownInvitation)?;
            let organization = table::lock(&mut tx, id).await?.ok_or(Error::UnknownInvitation)?;
            let before = table::member_in(&mut tx, id, &subject).await?;
            if before.is_none() {
                room_for_a_member(&mut tx, id).await?;
            }
            let held = before.as_ref().map(|member| member.role);
            let role = held.map_or(invitation.role, |held| held.max(invitation.role));
            let member = Member {
                subject: subject.clone(),
                role,
                added_by: invitation.invited_by,
                added_at: before.map_or(now, |member| member.added_at),
            };
            table::put_member(&mut tx, id, &member).await?;
            tx.commit().await?;
            Ok((organization, role))
        })
        .await?;
        self.tenancy.forget(organization.id, &subject);
        Ok((organization, role))
    }
}

/// Refuses to take the last owner. The default organization has the issuer's administrators besides.
async fn keep_an_owner(tx: &mut Tx, id: OrganizationId) -> Result<(), Error> {
    if id != OrganizationId::DEFAULT && table::owner_count(tx, id).await? < 2 {
        return Err(Error::LastOwner);
    }
    Ok(())
}

async fn room_for_a_member(tx: &mut Tx, id: OrganizationId) -> Result<(), Error> {
    if table::member_count(tx, id).await? >= MAX_MEMBERS {
        return Err(Error::TooMany { what: "members", max: MAX_MEMBERS });
    }
    Ok(())
}

/// The subject of a member, as a position in their list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject(String);

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Subject {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        checked_subject(text).map(Self)
    }
}

fn checked_subject(text: &str) -> Result<String, Error> {
    let visible = (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if visible { Ok(text.to_owned()) } else { Err(Error::Subject) }
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    time::from_micros(time::micros(now).saturating_add(by))
}

fn hashed(secret: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_visible_ascii_of_bounded_length() {
        let long = "s".repeat(256);
        for (text, accepted) in [("usr_1", true), ("a|b", true), ("", false), ("a b", false), (&*long, false)]
        {
            assert_eq!(checked_subject(text).is_ok(), accepted, "{text}");
        }
    }
}
