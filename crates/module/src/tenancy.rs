//! Organizations as tenants: which one a request is for, and whether its caller may act there.
//!
//! A request names its organization by the header `Quintet-Organization`; without it, it is for the
//! default one. The caller must be a member. A stranger hears 404, as for an organization that does
//! not exist: nobody learns which do.
//!
//! Everybody whom the issuer lets in works in the default organization with the role that the
//! installation gives (`tenancy.default_role`), so that a company of one organization needs to
//! manage no members; the issuer's administrators are its owners.
//!
//! Roles are asked of a [`Directory`] and remembered for [`REMEMBERED`], so that a request costs no
//! round trip for it. Until then a member that another process removed may still act.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::request::Parts;
use axum::http::{HeaderName, StatusCode};
use quintet_auth::Principal;
use quintet_http::problem::Problem;
use quintet_types::{OrganizationId, SharedClock, Timestamp};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

use crate::store_problem;

/// How long a role that was looked up is believed.
pub const REMEMBERED: Duration = Duration::from_secs(2);

/// Roles that are remembered at once; beyond it all are forgotten and looked up again.
const MAX_REMEMBERED: usize = 10_000;

/// The issuer's role of administrators.
const ADMINISTRATOR: &str = "admin";

static HEADER: HeaderName = HeaderName::from_static("quintet-organization");

/// What a member may do; each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Reads and changes.
    Member,
    /// Renames the organization and manages its members, but for owners.
    Admin,
    /// Manages owners too.
    Owner,
}

/// A text that is no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a role is viewer, member, admin or owner")]
pub struct UnknownRole;

impl Role {
    /// The name in the API and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// The role that a permission needs: a viewer reads, a member changes.
    pub const fn for_scope(scope: &str) -> Self {
        match scope.as_bytes() {
            [.., b':', b'r', b'e', b'a', b'd'] => Self::Viewer,
            _ => Self::Member,
        }
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let roles = [Self::Viewer, Self::Member, Self::Admin, Self::Owner];
        roles.into_iter().find(|role| role.as_str() == text).ok_or(UnknownRole)
    }
}

/// Where members are looked up.
#[async_trait]
pub trait Directory: Send + Sync {
    /// The role of `subject` in an organization; none for a stranger and for an organization that does not exist.
    async fn role(
        &self,
        organization: OrganizationId,
        subject: &str,
    ) -> Result<Option<Role>, quintet_store::Error>;
}

/// The section `[tenancy]` of a configuration file.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What everybody with an access token may do in the default organization; `none` where each of its members is
    /// named, as an installation with several tenants wants.
    #[serde(default)]
    pub default_role: DefaultRole,
}

/// The role of those who are no named members of the default organization.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DefaultRole {
    /// None: they are strangers.
    None,
    /// They read.
    Viewer,
    /// They read and change.
    #[default]
    Member,
}

impl DefaultRole {
    const fn role(self) -> Option<Role> {
        match self {
            Self::None => None,
            Self::Viewer => Some(Role::Viewer),
            Self::Member => Some(Role::Member),
        }
    }
}

/// What subjects are in organizations, and when that was looked up.
type Remembered = HashMap<(OrganizationId, String), (Option<Role>, Timestamp)>;

/// Who may act where; cheap to clone. The API puts it into the extensions of every request.
#[derive(Clone)]
pub struct Tenancy {
    directory: Arc<dyn Directory>,
    default_role: Option<Role>,
    clock: SharedClock,
    remembered: Arc<Mutex<Remembered>>,
}

impl std::fmt::Debug for Tenancy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tenancy").field("default_role", &self.default_role).finish_non_exhaustive()
    }
}

impl Tenancy {
    /// What `directory` says of members, and `settings` of everybody else.
    pub fn new(directory: Arc<dyn Directory>, settings: Settings, clock: SharedClock) -> Self {
        Self { directory, default_role: settings.default_role.role(), clock, remembered: Arc::default() }
    }

    /// What the caller is in an organization; none for a stranger.
    ///
    /// # Errors
    /// When the database failed.
    pub async fn role(
        &self,
        organization: OrganizationId,
        principal: &Principal,
    ) -> Result<Option<Role>, quintet_store::Error> {
        let granted = self.granted(organization, principal);
        Ok(granted.max(self.looked_up(organization, principal.subject()).await?))
    }

    /// Forgets what was looked up of one subject, after its role was changed here.
    pub fn forget(&self, organization: OrganizationId, subject: &str) {
        self.remembered().remove(&(organization, subject.to_owned()));
    }

    /// What the caller is without being a named member.
    fn granted(&self, organization: OrganizationId, principal: &Principal) -> Option<Role> {
        if organization != OrganizationId::DEFAULT {
            return None;
        }
        if principal.has_role(ADMINISTRATOR) { Some(Role::Owner) } else { self.default_role }
    }

    async fn looked_up(
        &self,
        organization: OrganizationId,
        subject: &str,
    ) -> Result<Option<Role>, quintet_store::Error> {
        let now = self.clock.now();
        let key = (organization, subject.to_owned());
        if let Some((role, at)) = self.remembered().get(&key)
            && now.duration_since(*at).unsigned_abs() < REMEMBERED
        {
            return Ok(*role);
        }
        let role = self.directory.role(organization, subject).await?;
        let mut remembered = self.remembered();
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(key, (role, now));
        Ok(role)
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        // What a panicking thread left is still a map of roles that were looked up.
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses a caller that has not at least the role `needed` in an organization.
    ///
    /// # Errors
    /// 404 to a stranger, 403 `role_missing` to a member with too small a role.
    pub async fn require(
        &self,
        organization: OrganizationId,
        principal: &Principal,
        needed: Role,
    ) -> Result<(), Problem> {
        if self.granted(organization, principal) >= Some(needed) {
            return Ok(());
        }
        let role = self.role(organization, principal).await.map_err(|error| store_problem(&error))?;
        match role {
            None => Err(Problem::not_found("organization")),
            Some(role) if role < needed => Err(missing(needed)),
            Some(_) => Ok(()),
        }
    }
}

/// 403: the caller is a member and needs a greater role.
pub fn missing(needed: Role) -> Problem {
    let detail = format!("this needs the role {} in the organization", needed.as_str());
    Problem::new(StatusCode::FORBIDDEN, "role_missing", detail)
}

/// The organization that a request is for, once its caller was found to have at least the role `needed` there.
pub(crate) async fn admit(
    parts: &Parts,
    principal: &Principal,
    needed: Role,
) -> Result<OrganizationId, Problem> {
    let organization = named(parts)?;
    // Without a directory in front nobody is a member, so a forgotten layer denies.
    let tenancy = parts.extensions.get::<Tenancy>().ok_or_else(|| Problem::not_found("organization"))?;
    tenancy.require(organization, principal, needed).await?;
    Ok(organization)
}

fn named(parts: &Parts) -> Result<OrganizationId, Problem> {
    let mut values = parts.headers.get_all(&HEADER).iter();
    let Some(value) = values.next() else { return Ok(OrganizationId::DEFAULT) };
    let id = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    match (id, values.next()) {
        (Some(id), None) => Ok(id),
        _ => Err(Problem::bad_request(
            "invalid_organization",
            "Quintet-Organization is one organization's id, such as org_00000000000000000000000000",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::http::Request;
    use quintet_testkit::FakeClock;
    use quintet_testkit::issuer::TestIssuer;

    use super::*;

    /// One member of one organization, and how often somebody asked.
    struct One {
        organization: OrganizationId,
        role: Mutex<Option<Role>>,
        asked: AtomicUsize,
    }

    #[async_trait]
    impl Directory for One {
        async fn role(
            &self,
            organization: OrganizationId,
            subject: &str,
        ) -> Result<Option<Role>, quintet_store::Error> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let known = organization == self.organization && subject == "ann";
            Ok(if known { *self.role.lock().unwrap() } else { None })
        }
    }

    fn with(role: Role, default_role: DefaultRole) -> (Arc<One>, Tenancy, FakeClock) {
        let one = Arc::new(One {
            organization: OrganizationId::new(),
            role: Mutex::new(Some(role)),
            asked: AtomicUsize::new(0),
        });
        let clock = FakeClock::default();
        let tenancy = Tenancy::new(one.clone(), Settings { default_role }, clock.shared());
        (one, tenancy, clock)
    }

    async fn principal(subject: &str, roles: &[&str]) -> Principal {
        let issuer = TestIssuer::new();
        issuer.verifier().verify(&issuer.token(subject).roles(roles).mint()).await.unwrap()
    }

    async fn status(tenancy: &Tenancy, organization: OrganizationId, who: &Principal, needed: Role) -> u16 {
        tenancy
            .require(organization, who, needed)
            .await
            .map_or_else(|problem| problem.status.as_u16(), |()| 200)
    }

    #[tokio::test]
    async fn a_stranger_hears_404_and_a_member_with_too_small_a_role_403() {
        let (one, tenancy, _) = with(Role::Member, DefaultRole::Member);
        let (ann, bob) = (principal("ann", &[]).await, principal("bob", &["admin"]).await);
        for (who, needed, expected) in [
            (&ann, Role::Viewer, 200),
            (&ann, Role::Member, 200),
            (&ann, Role::Admin, 403),
            (&bob, Role::Viewer, 404),
        ] {
            assert_eq!(status(&tenancy, one.organization, who, needed).await, expected, "{needed:?}");
        }
        assert_eq!(status(&tenancy, OrganizationId::new(), &ann, Role::Viewer).await, 404);
    }

    #[tokio::test]
    async fn everybody_has_the_default_role_in_the_default_organization_and_administrators_own_it() {
        let anybody = principal("bob", &[]).await;
        let administrator = principal("root", &["admin"]).await;
        for (default, reads, writes) in
            [(DefaultRole::None, 404, 404), (DefaultRole::Viewer, 200, 403), (DefaultRole::Member, 200, 200)]
        {
            let (_, tenancy, _) = with(Role::Owner, default);
            let default = OrganizationId::DEFAULT;
            assert_eq!(status(&tenancy, default, &anybody, Role::Viewer).await, reads);
            assert_eq!(status(&tenancy, default, &anybody, Role::Member).await, writes);
            assert_eq!(status(&tenancy, default, &administrator, Role::Owner).await, 200);
        }
    }

    #[tokio::test]
    async fn a_role_is_remembered_for_two_seconds_and_forgotten_on_demand() {
        let (one, tenancy, clock) = with(Role::Owner, DefaultRole::Member);
        let ann = principal("ann", &[]).await;
        for _ in 0..5 {
            assert_eq!(status(&tenancy, one.organization, &ann, Role::Owner).await, 200);
        }
        assert_eq!(one.asked.load(Ordering::Relaxed), 1);
        *one.role.lock().unwrap() = None;
        clock.advance(Duration::from_millis(1999));
        assert_eq!(status(&tenancy, one.organization, &ann, Role::Owner).await, 200);
        clock.advance(Duration::from_millis(1));
        assert_eq!(status(&tenancy, one.organization, &ann, Role::Owner).await, 404);
        *one.role.lock().unwrap() = Some(Role::Viewer);
        tenancy.forget(one.organization, "ann");
        assert_eq!(status(&tenancy, one.organization, &ann, Role::Viewer).await, 200);
    }

    #[tokio::test]
    async fn the_default_role_needs_no_look_up() {
        let (one, tenancy, _) = with(Role::Owner, DefaultRole::Member);
        let ann = principal("ann", &[]).await;
        assert_eq!(status(&tenancy, OrganizationId::DEFAULT, &ann, Role::Member).await, 200);
        assert_eq!(one.asked.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_request_names_one_organization_or_none() {
        let id = OrganizationId::new();
        let (text, other) = (id.to_string(), OrganizationId::new().to_string());
        let cases: [(&[&str], Option<OrganizationId>); 5] = [
            (&[], Some(OrganizationId::DEFAULT)),
            (&[&text], Some(id)),
            (&["itm_00000000000000000000000000"], None),
            (&[""], None),
            (&[&text, &other], None),
        ];
        for (values, expected) in cases {
            let mut request = Request::builder();
            for value in values {
                request = request.header(&HEADER, *value);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(named(&parts).ok(), expected, "{values:?}");
        }
    }

    #[test]
    fn roles_rise_from_viewer_to_owner() {
        assert!(Role::Viewer < Role::Member && Role::Member < Role::Admin && Role::Admin < Role::Owner);
        assert_eq!(
            (Role::for_scope("users:read"), Role::for_scope("users:write")),
            (Role::Viewer, Role::Member)
        );
        assert_eq!("root".parse::<Role>(), Err(UnknownRole));
    }
}
