//! The HTTP side of exports: wire types, permissions, and errors as problems.

use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use quintet_http::extract::{Json, Path, Query};
use quintet_http::problem::Problem;
use quintet_module::page::{Page, PageQuery};
use quintet_module::{Report as Exportable, Within, permissions, store_problem};
use quintet_types::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::exports::{Error, ExportId, Exports, Record, State, Wanted};
use crate::format::Format;

permissions! {
    /// Looking at exports and fetching their files.
    ExportsRead = "exports:read";
    /// Asking for exports.
    ExportsWrite = "exports:write";
}

pub(crate) fn router(exports: Exports) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list_reports))
        .routes(routes!(create, list))
        .routes(routes!(find))
        .routes(routes!(file))
        .with_state(exports)
}

/// Something that can be exported.
#[derive(Debug, Serialize, ToSchema)]
struct Report {
    #[schema(example = "invoices")]
    name: &'static str,
    /// What it holds.
    about: &'static str,
    /// The scope that an export of it needs besides those for exports.
    #[schema(example = "billing:read")]
    scope: &'static str,
    /// The names of its columns, in their order.
    columns: Vec<&'static str>,
}

impl From<&'static Exportable> for Report {
    fn from(report: &'static Exportable) -> Self {
        let columns = report.columns.iter().map(|column| column.name()).collect();
        Self { name: report.name, about: report.about, scope: report.scope, columns }
    }
}

/// What can be exported.
#[derive(Debug, Serialize, ToSchema)]
struct Reports {
    items: Vec<Report>,
}

/// An export to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ExportToMake {
    /// The report's name, from `/reports`.
    #[schema(max_length = 64, example = "invoices")]
    report: String,
    format: Format,
    /// Rows made at this instant or later; from the first unless given.
    #[schema(value_type = Option<String>, format = DateTime, nullable = false, example = "2026-01-01T00:00:00Z")]
    from: Option<Timestamp>,
    /// Rows made before this instant; until the export is asked for unless given.
    #[schema(value_type = Option<String>, format = DateTime, nullable = false, example = "2027-01-01T00:00:00Z")]
    until: Option<Timestamp>,
}

/// An export, made or on its way.
#[derive(Debug, Serialize, ToSchema)]
struct Export {
    #[schema(value_type = String, example = "exp_01k0000000e008000000000000")]
    id: ExportId,
    report: String,
    format: Format,
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
    /// `pending`, `ready` or `failed`.
    state: &'static str,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    failure: Option<String>,
    /// How many rows it has, without the line of names.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    rows: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    size_bytes: Option<i64>,
    requested_by: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    finished_at: Option<Timestamp>,
}

impl From<Record> for Export {
    fn from(record: Record) -> Self {
        Self {
            id: record.id,
            report: record.report,
            format: record.format,
            from: record.selection.from,
            until: record.selection.until,
            state: record.state.as_str(),
            failure: record.failure,
            rows: record.file.as_ref().map(|file| file.rows),
            size_bytes: record.file.as_ref().map(|file| file.size_bytes),
            requested_by: record.requested_by,
            created_at: record.created_at,
            finished_at: record.finished_at,
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match &error {
            Error::Range => Self::unprocessable("invalid_export", "the export is not acceptable")
                .with_error("/until", error.to_string()),
            Error::Unknown(_) => Self::not_found("export"),
            Error::Lost(_) => Self::internal(&error),
            Error::Jobs(error) => Self::internal(error),
            Error::Blob(error) => Self::internal(error),
            Error::Store(error) => store_problem(error),
        }
    }
}

/// List what can be exported.
#[utoipa::path(
    get, path = "/reports", tag = "exports", operation_id = "list_reports",
    responses((status = 200, description = "The reports", body = Reports)),
    security(("oauth2" = ["exports:read"])),
)]
async fn list_reports(Shared(exports): Shared<Exports>, _: Within<ExportsRead>) -> axum::Json<Reports> {
    axum::Json(Reports { items: exports.reports().iter().copied().map(Report::from).collect() })
}

/// Ask for an export. Its file is written in the background.
#[utoipa::path(
    post, path = "/exports", tag = "exports", operation_id = "create_export",
    request_body = ExportToMake,
    responses(
        (status = 202, description = "The export, on its way", body = Export, headers(
            ("Location" = String, description = "Where the export is"))),
        (status = 422, description = "`unknown_report` or `invalid_export`: a field is not acceptable"),
    ),
    security(("oauth2" = ["exports:write"])),
)]
async fn create(
    Shared(exports): Shared<Exports>,
    allowed: Within<ExportsWrite>,
    Json(body): Json<ExportToMake>,
) -> Result<Response, Problem> {
    let report = exports.report(&body.report).ok_or_else(|| {
        Problem::unprocessable("unknown_report", "there is no such report")
            .with_error("/report", "GET /api/v1/reports lists them")
    })?;
    // An export shows what reading the rows one by one would, to whom it would.
    allowed.principal.require(report.scope)?;
    let wanted = Wanted {
        report,
        format: body.format,
        organization: allowed.organization,
        from: body.from,
        until: body.until,
        actor: allowed.actor(),
    };
    let export = Export::from(exports.ask(wanted).await?);
    let location = format!("/api/v1/exports/{}", export.id);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], axum::Json(export)).into_response())
}

/// List exports, newest first.
#[utoipa::path(
    get, path = "/exports", tag = "exports", operation_id = "list_exports",
    params(PageQuery),
    responses((status = 200, description = "A page of exports", body = Page<Export>)),
    security(("oauth2" = ["exports:read"])),
)]
async fn list(
    Shared(exports): Shared<Exports>,
    allowed: Within<ExportsRead>,
    Query(query): Query<PageQuery>,
) -> Result<axum::Json<Page<Export>>, Problem> {
    let slice = exports.list(allowed.organization, query.window()?).await?;
    Ok(axum::Json(Page::new(slice, |record| record.id.to_string(), Export::from)))
}

/// Read one export.
#[utoipa::path(
    get, path = "/exports/{id}", tag = "exports", operation_id = "read_export",
    params(("id" = String, Path, description = "The export's id", pattern = "^exp_[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    responses(
        (status = 200, description = "The export", body = Export),
        (status = 404, description = "There is no such export"),
    ),
    security(("oauth2" = ["exports:read"])),
)]
async fn find(
    Shared(exports): Shared<Exports>,
    allowed: Within<ExportsRead>,
    Path(id): Path<ExportId>,
) -> Result<axum::Json<Export>, Problem> {
    Ok(axum::Json(exports.find(allowed.organization, id).await?.into()))
}

/// Fetch the file of an export.
#[utoipa::path(
    get, path = "/exports/{id}/file", tag = "exports", operation_id = "read_export_file",
    params(("id" = String, Path, description = "The export's id", pattern = "^exp_[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    responses(
        (status = 200, description = "The file", content(
            (Vec<u8> = "text/csv"), (Vec<u8> = "application/jsonl"))),
        (status = 404, description = "`export_pending`: not written yet; `export_failed`: it will not be; \
            `not_found`: no such export"),
    ),
    security(("oauth2" = ["exports:read"])),
)]
async fn file(
    Shared(exports): Shared<Exports>,
    allowed: Within<ExportsRead>,
    Path(id): Path<ExportId>,
) -> Result<Response, Problem> {
    let record = exports.find(allowed.organization, id).await?;
    // A report that this release does not know any more is nobody's.
    let report = exports.report(&record.report).ok_or_else(|| Problem::not_found("export"))?;
    allowed.principal.require(report.scope)?;
    let absent = |code, detail: &str| Problem::new(StatusCode::NOT_FOUND, code, detail.to_owned());
    let file = match (record.state, &record.file) {
        (State::Ready, Some(file)) => file,
        (State::Failed, _) => return Err(absent("export_failed", "the export failed; read it to see why")),
        _ => return Err(absent("export_pending", "the export is not written yet")),
    };
    let reader = exports.open(file).await?;
    let date = record.created_at.strftime("%Y-%m-%d");
    let name = format!("attachment; filename=\"{}-{date}.{}\"", record.report, record.format.as_str());
    let headers = [
        (header::CONTENT_TYPE, record.format.media_type().to_owned()),
        (header::CONTENT_LENGTH, file.size_bytes.to_string()),
        (header::CONTENT_DISPOSITION, name),
        (header::CACHE_CONTROL, "private, no-store".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    Ok((headers, Body::from_stream(reader.into_stream())).into_response())
}
