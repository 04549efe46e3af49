//! The SQL of `users_organizations`, `users_members` and `users_invitations`.

use quintet_module::Role;
use quintet_store::{Error, Row, Sql, Store, Tx, args};
use quintet_types::{OrganizationId, Timestamp};

use super::{Invitation, InvitationId, Member, Organization};

fn organization(row: &Row) -> Result<Organization, Error> {
    Ok(Organization {
        id: row.parse("id")?,
        name: row.get("name")?,
        version: row.get("version")?,
        created_at: row.timestamp("created_at")?,
        updated_at: row.timestamp("updated_at")?,
    })
}

fn role(row: &Row) -> Result<Role, Error> {
    row.parse("role")
}

fn as_member(row: &Row) -> Result<Member, Error> {
    Ok(Member {
        subject: row.get("subject")?,
        role: role(row)?,
        added_by: row.get("added_by")?,
        added_at: row.timestamp("added_at")?,
    })
}

fn invitation(row: &Row) -> Result<Invitation, Error> {
    Ok(Invitation {
        id: row.parse("id")?,
        role: role(row)?,
        note: row.get("note")?,
        invited_by: row.get("invited_by")?,
        created_at: row.timestamp("created_at")?,
        expires_at: row.timestamp("expires_at")?,
    })
}

const BY_ID: &str = "SELECT id, name, version, created_at, updated_at FROM users_organizations WHERE id = $1";

const BY_ID_LOCKED: Sql = Sql::per_dialect(
    BY_ID,
    "SELECT id, name, version, created_at, updated_at FROM users_organizations WHERE id = $1 FOR UPDATE",
);

pub(super) async fn find(store: &Store, id: OrganizationId) -> Result<Option<Organization>, Error> {
    store.fetch_optional(BY_ID, args![id]).await?.as_ref().map(organization).transpose()
}

pub(super) async fn lock(tx: &mut Tx, id: OrganizationId) -> Result<Option<Organization>, Error> {
    tx.fetch_optional(&BY_ID_LOCKED, args![id]).await?.as_ref().map(organization).transpose()
}

pub(super) async fn of_subject(
    store: &Store,
    subject: &str,
    with_default: bool,
    below: String,
    limit: i64,
) -> Result<Vec<Organization>, Error> {
    let default = if with_default { OrganizationId::DEFAULT.to_string() } else { String::new() };
    let rows = store
        .fetch_all(
            "SELECT id, name, version, created_at, updated_at FROM users_organizations
             WHERE id < $3 AND id IN (SELECT organization_id FROM users_members WHERE subject = $1 UNION SELECT $2)
             ORDER BY id DESC LIMIT $4",
            args![subject, default, below, limit],
        )
        .await?;
    rows.iter().map(organization).collect()
}

pub(super) async fn owned(tx: &mut Tx, subject: &str) -> Result<i64, Error> {
    let sql = "SELECT COUNT(*) AS n FROM users_members WHERE subject = $1 AND role = 'owner'";
    tx.fetch_one(sql, args![subject]).await?.get("n")
}

pub(super) async fn insert(tx: &mut Tx, made: &Organization, by: &str) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO users_organizations (id, name, version, created_by, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $5)",
        args![made.id, &made.name, made.version, by, made.created_at],
    )
    .await?;
    Ok(())
}

pub(super) async fn update(tx: &mut Tx, changed: &Organization) -> Result<(), Error> {
    tx.execute(
        "UPDATE users_organizations SET name = $2, version = $3, updated_at = $4 WHERE id = $1",
        args![changed.id, &changed.name, changed.version, changed.updated_at],
    )
    .await?;
    Ok(())
}

const MEMBER: &str = "SELECT subject, role, added_by, added_at FROM users_members
     WHERE organization_id = $1 AND subject = $2";

pub(super) async fn member(
    store: &Store,
    id: OrganizationId,
    subject: &str,
) -> Result<Option<Member>, Error> {
    store.fetch_optional(MEMBER, args![id, subject]).await?.as_ref().map(as_member).transpose()
}

pub(super) async fn member_in(
    tx: &mut Tx,
    id: OrganizationId,
    subject: &str,
) -> Result<Option<Member>, Error> {
    tx.fetch_optional(MEMBER, args![id, subject]).await?.as_ref().map(as_member).transpose()
}

pub(super) async fn members(
    store: &Store,
    id: OrganizationId,
    after: &str,
    limit: i64,
) -> Result<Vec<Member>, Error> {
    let rows = store
        .fetch_all(
            "SELECT subject, role, added_by, added_at FROM users_members
             WHERE organization_id = $1 AND subject > $2 ORDER BY subject LIMIT $3",
            args![id, after, limit],
        )
        .await?;
    rows.iter().map(as_member).collect()
}

pub(super) async fn member_count(tx: &mut Tx, id: OrganizationId) -> Result<i64, Error> {
    let sql = "SELECT COUNT(*) AS n FROM users_members WHERE organization_id = $1";
    tx.fetch_one(sql, args![id]).await?.get("n")
}

pub(super) async fn owner_count(tx: &mut Tx, id: OrganizationId) -> Result<i64, Error> {
    let sql = "SELECT COUNT(*) AS n FROM users_members WHERE organization_id = $1 AND role = 'owner'";
    tx.fetch_one(sql, args![id]).await?.get("n")
}

pub(super) async fn put_member(tx: &mut Tx, id: OrganizationId, member: &Member) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO users_members (organization_id, subject, role, added_by, added_at)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (organization_id, subject) DO UPDATE SET role = EXCLUDED.role, added_by = EXCLUDED.added_by",
        args![id, &member.subject, member.role.as_str(), &member.added_by, member.added_at],
    )
    .await?;
    Ok(())
}

pub(super) async fn remove_member(tx: &mut Tx, id: OrganizationId, subject: &str) -> Result<(), Error> {
    let sql = "DELETE FROM users_members WHERE organization_id = $1 AND subject = $2";
    tx.execute(sql, args![id, subject]).await?;
    Ok(())
}

pub(super) async fn insert_invitation(
    tx: &mut Tx,
    id: OrganizationId,
    made: &Invitation,
    secret_hash: &str,
) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO users_invitations
            (id, organization_id, role, note, secret_hash, invited_by, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        args![
            made.id.to_string(),
            id,
            made.role.as_str(),
            &made.note,
            secret_hash,
            &made.invited_by,
            made.created_at,
            made.expires_at
        ],
    )
    .await?;
    Ok(())
}

pub(super) async fn invitation_count(tx: &mut Tx, id: OrganizationId) -> Result<i64, Error> {
    let sql = "SELECT COUNT(*) AS n FROM users_invitations WHERE organization_id = $1";
    tx.fetch_one(sql, args![id]).await?.get("n")
}

pub(super) async fn remove_expired(tx: &mut Tx, id: OrganizationId, now: Timestamp) -> Result<(), Error> {
    let sql = "DELETE FROM users_invitations WHERE organization_id = $1 AND expires_at <= $2";
    tx.execute(sql, args![id, now]).await?;
    Ok(())
}

pub(super) async fn invitations(
    store: &Store,
    id: OrganizationId,
    now: Timestamp,
    below: String,
    limit: i64,
) -> Result<Vec<Invitation>, Error> {
    let rows = store
        .fetch_all(
            "SELECT id, role, note, invited_by, created_at, expires_at FROM users_invitations
             WHERE organization_id = $1 AND expires_at > $2 AND id < $3 ORDER BY id DESC LIMIT $4",
            args![id, now, below, limit],
        )
        .await?;
    rows.iter().map(invitation).collect()
}

pub(super) async fn remove_invitation(
    tx: &mut Tx,
    id: OrganizationId,
    invitation: InvitationId,
) -> Result<u64, Error> {
    let sql = "DELETE FROM users_invitations WHERE organization_id = $1 AND id = $2";
    tx.execute(sql, args![id, invitation.to_string()]).await
}

/// Removes the open invitation with this secret: of two that accept it at once one finds it.
pub(super) async fn take_invitation(
    tx: &mut Tx,
    secret_hash: &str,
    now: Timestamp,
) -> Result<Option<(OrganizationId, Invitation)>, Error> {
    let row = tx
        .fetch_optional(
            "DELETE FROM users_invitations WHERE secret_hash = $1 AND expires_at > $2
             RETURNING id, organization_id, role, note, invited_by, created_at, expires_at",
            args![secret_hash, now],
        )
        .await?;
    row.as_ref().map(|row| Ok((row.parse("organization_id")?, invitation(row)?))).transpose()
}
