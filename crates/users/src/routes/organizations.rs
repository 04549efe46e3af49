//! The HTTP side of organizations, members and invitations.
//!
//! These routes are not within the organization that a request names by its header: the path says which, and the
//! caller's role there decides. A stranger hears 404.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use quintet_auth::Principal;
use quintet_http::extract::{Json, Path, Query};
use quintet_http::problem::Problem;
use quintet_module::page::{Page, PageQuery};
use quintet_module::{Allowed, Role, conditional, store_problem, tenancy};
use quintet_types::{OrganizationId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{UsersRead, UsersWrite};
use crate::organizations::{self, By, Error, InvitationId, Organizations};

pub(super) fn router(organizations: Organizations) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(find, rename))
        .routes(routes!(list_members))
        .routes(routes!(set_member, remove_member))
        .routes(routes!(invite, list_invitations))
        .routes(routes!(revoke))
        .routes(routes!(accept))
        .with_state(organizations)
}

/// An organization to make, or its new name.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct OrganizationName {
    #[schema(min_length = 1, max_length = 200, example = "Analytical Engines Ltd")]
    name: String,
}

/// A tenant: what belongs to one organization is not there for another.
#[derive(Debug, Serialize, ToSchema)]
struct Organization {
    /// What the header `Quintet-Organization` takes.
    #[schema(value_type = String, example = "org_01k0000000e008000000000000")]
    id: OrganizationId,
    name: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<organizations::Organization> for Organization {
    fn from(organization: organizations::Organization) -> Self {
        let organizations::Organization { id, name, created_at, updated_at, version: _ } = organization;
        Self { id, name, created_at, updated_at }
    }
}

/// What a member is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RoleToGive {
    #[schema(inline, example = "member")]
    role: Role,
}

/// A member of an organization.
#[derive(Debug, Serialize, ToSchema)]
struct Member {
    /// The identity provider's id of a person or a client.
    #[schema(example = "demo")]
    subject: String,
    #[schema(inline)]
    role: Role,
    /// Who gave the role.
    added_by: String,
    #[schema(value_type = String, format = DateTime)]
    added_at: Timestamp,
}

impl From<organizations::Member> for Member {
    fn from(member: organizations::Member) -> Self {
        let organizations::Member { subject, role, added_by, added_at } = member;
        Self { subject, role, added_by, added_at }
    }
}

/// An invitation to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct InvitationToMake {
    #[schema(inline, example = "member")]
    role: Role,
    /// Whom it is for, such as an e-mail address.
    #[schema(min_length = 1, max_length = 200, example = "bob@example.com")]
    note: String,
}

/// An open invitation.
#[derive(Debug, Serialize, ToSchema)]
struct Invitation {
    #[schema(value_type = String, example = "ivt_01k0000000e008000000000000")]
    id: InvitationId,
    #[schema(inline)]
    role: Role,
    note: String,
    invited_by: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// What accepts it; shown once, when it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    secret: Option<String>,
}

impl Invitation {
    fn new(invitation: organizations::Invitation, secret: Option<String>) -> Self {
        let organizations::Invitation { id, role, note, invited_by, created_at, expires_at } = invitation;
        Self { id, role, note, invited_by, created_at, expires_at, secret }
    }
}

/// An invitation to accept.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct InvitationToAccept {
    #[schema(min_length = 1, max_length = 128)]
    secret: String,
}

/// What the caller has become.
#[derive(Debug, Serialize, ToSchema)]
struct Membership {
    organization: Organization,
    #[schema(inline)]
    role: Role,
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let words = error.to_string();
        match &error {
            Error::Name => {
                Self::unprocessable("invalid_organization", "a field is not acceptable").with_error("", words)
            }
            Error::Subject => Self::unprocessable("invalid_subject", words),
            Error::Unknown(_) => Self::not_found("organization"),
            Error::Changed => Self::precondition_failed(),
            Error::UnknownMember => Self::not_found("member"),
            Error::UnknownInvitation => Self::not_found("invitation"),
            Error::OwnersOnly => tenancy::missing(Role::Owner),
            Error::LastOwner => Self::conflict("last_owner", words),
            Error::TooMany { .. } => Self::conflict("too_many", words),
            Error::Store(error) => store_problem(error),
        }
    }
}

fn entity(status: StatusCode, organization: organizations::Organization) -> Response {
    let etag = conditional::etag(organization.version);
    (status, [(header::ETAG, etag)], axum::Json(Organization::from(organization))).into_response()
}

impl Organizations {
    /// What the caller is in an organization, once it was found to be at least `needed`.
    async fn admit(
        &self,
        organization: OrganizationId,
        principal: &Principal,
        needed: Role,
    ) -> Result<Role, Problem> {
        self.tenancy.require(organization, principal, needed).await?;
        let role = self.tenancy.role(organization, principal).await;
        role.map_err(|error| store_problem(&error))?.ok_or_else(|| Problem::not_found("organization"))
    }

    /// The caller as one who changes members.
    async fn manager(
        &self,
        organization: OrganizationId,
        allowed: &Allowed<UsersWrite>,
        needed: Role,
    ) -> Result<By, Problem> {
        let role = self.admit(organization, &allowed.principal, needed).await?;
        Ok(By { actor: allowed.actor(), role })
    }
}

/// Make an organization; the caller becomes its owner.
#[utoipa::path(
    post, path = "/organizations", tag = "organizations", operation_id = "create_organization",
    request_body = OrganizationName,
    responses(
        (status = 201, description = "The organization", body = Organization, headers(
            ("Location" = String, description = "Where the organization is"),
            ("ETag" = String, description = "The organization's version"))),
        (status = 409, description = "`too_many`: the caller owns as many organizations as one may"),
        (status = 422, description = "`invalid_organization`: a field is not acceptable"),
    ),
    security(("oauth2" = ["users:write"])),
)]
async fn create(
    State(organizations): State<Organizations>,
    allowed: Allowed<UsersWrite>,
    Json(body): Json<OrganizationName>,
) -> Result<Response, Problem> {
    let made = organizations.create(&body.name, allowed.principal.subject(), &allowed.actor()).await?;
    let location = format!("/api/v1/organizations/{}", made.id);
    Ok(([(header::LOCATION, location)], entity(StatusCode::CREATED, made)).into_response())
}

/// List the organizations that the caller may act in, newest first.
#[utoipa::path(
    get, path = "/organizations", tag = "organizations", operation_id = "list_organizations",
    params(PageQuery),
    responses((status = 200, description = "A page of organizations", body = Page<Organization>)),
    security(("oauth2" = ["users:read"])),
)]
async fn list(
    State(organizations): State<Organizations>,
    allowed: Allowed<UsersRead>,
    Query(query): Query<PageQuery>,
) -> Result<axum::Json<Page<Organization>>, Problem> {
    let principal = &allowed.principal;
    let in_default = organizations.tenancy.role(OrganizationId::DEFAULT, principal).await;
    let in_default = in_default.map_err(|error| store_problem(&error))?.is_some();
    let slice = organizations.of_subject(principal.subject(), in_default, query.window()?).await?;
    Ok(axum::Json(Page::new(slice, |found| found.id.to_string(), Organization::from)))
}

/// Read one organization.
#[utoipa::path(
    get, path = "/organizations/{id}", tag = "organizations", operation_id = "read_organization",
    params(("id" = String, Path, description = "The organization's id", pattern = "^org_[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    responses(
        (status = 200, description = "The organization", body = Organization, headers(
            ("ETag" = String, description = "The organization's version, for `If-Match`"))),
        (status = 304, description = "The organization is still as named in `If-None-Match`"),
        (status = 404, description = "There is no such organization, or the caller is no member"),
    ),
    security(("oauth2" = ["users:read"])),
)]
async fn find(
    State(organizations): State<Organizations>,
    allowed: Allowed<UsersRead>,
    Path(id): Path<OrganizationId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    organizations.admit(id, &allowed.principal, Role::Viewer).await?;
    let found = organizations.find(id).await?;
    let etag = conditional::etag(found.version);
    if conditional::is_fresh(&headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    Ok(entity(StatusCode::OK, found))
}

/// Rename an organization; for its admins and owners.
#[utoipa::path(
    patch, path = "/organizations/{id}", tag = "organizations", operation_id = "rename_organization",
    params(
        ("id" = String, Path, description = "The organization's id", pattern = "^org_[0-7][0-9a-hjkmnp-tv-z]{25}$"),
        ("If-Match" = String, Header, description = "The `ETag` of the version to change"),
    ),
    request_body = OrganizationName,
    responses(
        (status = 200, description = "The renamed organization", body = Organization, headers(
            ("ETag" = String, description = "The organization's new version"))),
        (status = 404, description = "There is no such organization, or the caller is no member"),
        (status = 412, description = "`precondition_failed`: the organization changed meanwhile"),
        (status = 422, description = "`invalid_organization`: a field is not acceptable"),
        (status = 428, description = "`precondition_required`: send `If-Match`"),
    ),
    security(("oauth2" = ["users:write"])),
)]
async fn rename(
    State(organizations): State<Organizations>,
    allowed: Allowed<UsersWrite>,
    Path(id): Path<OrganizationId>,
    headers: HeaderMap,
    Json(body): Json<OrganizationName>,
) -> Result<Response, Problem> {
    organizations.admit(id, &allowed.principal, Role::Admin).await?;
    let expected = conditional::Expected::from_headers(&headers)?;
    Ok(entity(StatusCode::OK, organizations.rename(id, &expected, &body.name).await?))
}

/// List an organization's members by their subjects.
#[utoipa::path(
    get, path = "/organizations/{id}/members", tag = "organizations", operation_id = "list_members",
    params(("id" = String, Path, description = "The organization's id", pattern = "^org_[0-7][0-9a-hjkmnp-tv-z]{25}$"), PageQuery),
    responses(
        (status = 200, description = "A page of members", body = Page<Member>),
        (status = 404, description = "There is no such organization, or the caller is no member"),
    ),
    security(("oauth2" = ["users:read"])),
)]
async fn list_members(
    State(organizations): State<Organizations>,
    allowed: Allowed<UsersRead>,
    Path(id): Path<OrganizationId>,
    Query(query): Query<PageQuery>,
) -> Result<axum::Json<Page<Member>>, Problem> {
    organizations.admit(id, &allowed.principal, Role::Viewer).await?;
    let slice = organizations.members(id, query.window()?).await?;
    Ok(axum::Json(Page::new(slice, |member| member.subject.clone(), Member::from)))
}

/// Add a member, or give it another role; for admins, and for owners where an owner is made or changed.
#[utoipa::path(
    put, path = "/organizations/{id}/members/{subject}", tag = "organizations", operation_id = "set_member",
    params(
        ("id" = String, Path, description = "The organization's id", pattern = "^org_[0-7][0-9a-hjkmnp-tv-z]{25}$"),
        ("subject" = String, Path, description = "The identity provider's id of a person or a client", pattern = "^[!-~]{1,255}$"),
    ),
    request_body = RoleToGive,
    responses(
        (status = 200, description = "The member", body = Member),
        (status = 404, description = "There is no such organization, or the caller is no member"),
        (status = 409, description = "`last_owner`: the organization would be left without an owner; `too_many`: it has \
            as many members as one may"),
        (status = 422, description = "`invalid_subject`"),
    ),
    security(("oauth2" = ["users:write"])),
)]
async fn set_member(
    State(organizations): State<Organizations>,
    allowed: Allowed<UsersWrite>,
    Path((id, subject)): Path<(OrganizationId, String)>,
    Json(body): Json<RoleToGive>,
) -> Result<axum::Json<Member>, Problem> {
    let by = organizations.manager(id, &allowed, Role::Admin).await?;
    Ok(axum::Json(organizations.set_member(id, &subject, body.role, &by).await?.into()))
}

/// Remove a member; for admins, for owners where it is an owner, and for the member itself.
#[utoipa::path(
    delete, path = "/organizations/{id}/members/{subject}", tag = "organizations", operation_id = "remove_member",
    params(
        ("id" = String, Path, description = "The organization's id", pattern = "^org_[0-7][0-9a-hjkmnp-tv-z]{25}$"),
        ("subject" = String, Path, description = "The identity provider's id of a person or a client", pattern = "^[!-~]{1,255}$"),
    ),
    responses(
        (status = 204, description = "It is no member any more"),
        (status = 404, description = "There is no such member or organization, or the caller is no member"),
        (status = 409, description = "`last_owner`: the organization would be left without an owner"),
    ),
    security(("oauth2" = ["users:write"])),
)]
async fn remove_member(
    State(organizations): State<Organizations>,
    allowed: Allowed<UsersWrite>,
    Path((id, subject)): Path<(OrganizationId, String)>,
) -> Result<StatusCode, Problem> {
    let needed = if allowed.principal.subject() == subject { Role::Viewer } else { Role::Admin };
    let by = organizations.manager(id, &allowed, needed).await?;
    organizations.remove_member(id, &subject, &by).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Invite somebody: who sends the secret that is answered becomes a member; for admins and owners.
#[utoipa::path(
    post, path = "/organizations/{id}/invitations", tag = "organizations", operation_id = "invite",
    params(("id" = String, Path, description = "The organization's id", pattern = "^org_[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    request_body = InvitationToMake,
    responses(
        (status = 201, description = "The invitation with its secret, which is not shown again", body = Invitation),
        (status = 404, description = "There is no such organization, or the caller is no member"),
        (status = 409, description = "`too_many`: as many invitations are open as may be"),
        (status = 422, description = "`invalid_organization`: a field is not acceptable"),
    ),
    security(("oauth2" = ["users:write"])),
)]
async fn invite(
    State(organizations): State<Organizations>,
    allowed: Allowed<UsersWrite>,
    Path(id): Path<OrganizationId>,
    Json(body): Json<InvitationToMake>,
) -> Result<(StatusCode, axum::Json<Invitation>), Problem> {
    let by = organizations.manager(id, &allowed, Role::Admin).await?;
    let (invitation, secret) = organizations.invite(id, body.role, &body.note, &by).await?;
    Ok((StatusCode::CREATED, axum::Json(Invitation::new(invitation, Some(secret)))))
}

/// List an organization's open invitations, newest first; for admins and owners.
#[utoipa::path(
    get, path = "/organizations/{id}/invitations", tag = "organizations", operation_id = "list_invitations",
    params(("id" = String, Path, description = "The organization's id", pattern = "^org_[0-7][0-9a-hjkmnp-tv-z]{25}$"), PageQuery),
    responses(
        (status = 200, description = "A page of invitations", body = Page<Invitation>),
        (status = 404, description = "There is no such organization, or the caller is no member"),
    ),
    security(("oauth2" = ["users:read"])),
)]
async fn list_invitations(
    State(organizations): State<Organizations>,
    allowed: Allowed<UsersRead>,
    Path(id): Path<OrganizationId>,
    Query(query): Query<PageQuery>,
) -> Result<axum::Json<Page<Invitation>>, Problem> {
    organizations.admit(id, &allowed.principal, Role::Admin).await?;
    let slice = organizations.invitations(id, query.window()?).await?;
    let present = |invitation| Invitation::new(invitation, None);
    Ok(axum::Json(Page::new(slice, |invitation| invitation.id.to_string(), present)))
}

/// Take an invitation back; for admins and owners.
#[utoipa::path(
    delete, path = "/organizations/{id}/invitations/{invitation}", tag = "organizations", operation_id = "revoke_invitation",
    params(
        ("id" = String, Path, description = "The organization's id", pattern = "^org_[0-7][0-9a-hjkmnp-tv-z]{25}$"),
        ("invitation" = String, Path, description = "The invitation's id", pattern = "^ivt_[0-7][0-9a-hjkmnp-tv-z]{25}$"),
    ),
    responses(
        (status = 204, description = "It cannot be accepted any more"),
        (status = 404, description = "There is no such invitation or organization, or the caller is no member"),
    ),
    security(("oauth2" = ["users:write"])),
)]
async fn revoke(
    State(organizations): State<Organizations>,
    allowed: Allowed<UsersWrite>,
    Path((id, invitation)): Path<(OrganizationId, InvitationId)>,
) -> Result<StatusCode, Problem> {
    organizations.admit(id, &allowed.principal, Role::Admin).await?;
    organizations.revoke(id, invitation).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Accept an invitation: the caller becomes a member. It works once.
#[utoipa::path(
    post, path = "/invitations/accept", tag = "organizations", operation_id = "accept_invitation",
    request_body = InvitationToAccept,
    responses(
        (status = 200, description = "What the caller is now, and where", body = Membership),
        (status = 404, description = "There is no such invitation, or it was accepted, taken back or has expired"),
        (status = 409, description = "`too_many`: the organization has as many members as one may"),
    ),
    security(("oauth2" = ["users:read"])),
)]
async fn accept(
    State(organizations): State<Organizations>,
    allowed: Allowed<UsersRead>,
    Json(body): Json<InvitationToAccept>,
) -> Result<axum::Json<Membership>, Problem> {
    let (organization, role) = organizations.accept(&body.secret, allowed.principal.subject()).await?;
    Ok(axum::Json(Membership { organization: organization.into(), role }))
}
