//! OpenAPI 3.1 documents: what the handlers of an API say, completed with what holds for all.
//!
//! Each operation names its scope; here the answers that follow from it (401, 403), from being
//! within an organization (404), from having a body (400, 413, 415, 422) and from being served at
//! all (503) are added, every error answer gets the problem schema, and the scopes are gathered
//! into the security scheme.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use utoipa::openapi::{InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder};

/// An API as its document presents it.
#[derive(Debug, Clone, Copy)]
pub struct Api {
    /// What it is called.
    pub title: &'static str,
    /// What it is for, and what holds for every operation; Markdown.
    pub about: &'static str,
    /// Its release.
    pub version: &'static str,
    /// The groups of its operations, in the order in which they are shown. Where `organizations` is one of them, all
    /// other operations are within an organization.
    pub tags: &'static [&'static str],
}

/// The group of operations that say in their path which organization they are about.
const ORGANIZATIONS: &str = "organizations";

/// The document before any paths.
pub fn base(api: &Api) -> OpenApi {
    let info = InfoBuilder::new()
        .title(api.title)
        .version(api.version)
        .description(Some(api.about))
        .license(Some(LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build()));
    OpenApiBuilder::new().info(info.build()).build()
}

/// The finished document. `issuer` is the URL of who gives out tokens.
///
/// # Errors
/// When the document cannot be written as JSON.
pub fn complete(api: &Api, document: &OpenApi, issuer: &str) -> Result<Value, serde_json::Error> {
    let mut document = serde_json::to_value(document)?;
    let mut scopes = BTreeMap::new();
    if let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) {
        for operation in paths.values_mut().filter_map(Value::as_object_mut).flat_map(Map::values_mut) {
            complete_operation(api, operation);
            scopes.extend(scopes_of(operation).into_iter().map(|scope| (scope.clone(), describe(&scope))));
        }
    }
    let Some(root) = document.as_object_mut() else { return Ok(document) };
    root.insert("servers".to_owned(), json!([{ "url": "/" }]));
    root.insert("tags".to_owned(), api.tags.iter().map(|tag| json!({ "name": tag })).collect());
    let components = root.entry("components").or_insert_with(|| json!({}));
    if let Some(components) = components.as_object_mut() {
        components.insert("securitySchemes".to_owned(), security_schemes(issuer, &scopes));
        let schemas = components.entry("schemas").or_insert_with(|| json!({}));
        if let Some(schemas) = schemas.as_object_mut() {
            schemas.iter_mut().for_each(|(name, schema)| refer_to_entry(name, schema));
            schemas.insert("Problem".to_owned(), problem_schema());
        }
    }
    Ok(document)
}

/// The scopes that an operation asks for.
pub fn scopes_of(operation: &Value) -> Vec<String> {
    let requirements = operation.get("security").and_then(Value::as_array).into_iter().flatten();
    let scopes = requirements.filter_map(|requirement| requirement.get("oauth2")?.as_array()).flatten();
    scopes.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn describe(scope: &str) -> String {
    match scope.split_once(':') {
        Some((what, "read")) => format!("Read {what}"),
        Some((what, "write")) => format!("Change {what}"),
        Some((what, "enqueue")) => format!("Enqueue {what}"),
        Some((what, "work")) => format!("Claim and run {what}"),
        _ => scope.to_owned(),
    }
}

/// The generator repeats an entry's schema inside its list's; a reference says the same.
fn refer_to_entry(name: &str, schema: &mut Value) {
    let Some((_, entry)) = name.split_once('_').filter(|(list, _)| ["Page", "List"].contains(list)) else {
        return;
    };
    for entries in ["/properties/items/items", "/properties/data/items"] {
        if let Some(items) = schema.pointer_mut(entries) {
            *items = json!({ "$ref": format!("#/components/schemas/{entry}") });
        }
    }
}

/// A picture is bytes, not the array of numbers that its Rust type would be in JSON.
fn describe_pictures(content: Option<&mut Value>) {
    let types = content.and_then(Value::as_object_mut).into_iter().flatten();
    for (_, schema) in types.filter(|(media_type, _)| media_type.starts_with("image/")) {
        *schema = json!({ "schema": { "type": "string", "format": "binary" } });
    }
}

fn name_organization(operation: &mut Value) {
    let parameter = json!({
        "name": "Quintet-Organization",
        "in": "header",
        "required": false,
        "description": "The organization that the request is for; the default one when absent",
        "schema": { "type": "string", "pattern": "^org_[0-7][0-9a-hjkmnp-tv-z]{25}$" },
    });
    let Some(operation) = operation.as_object_mut() else { return };
    let parameters = operation.entry("parameters").or_insert_with(|| json!([]));
    if let Some(parameters) = parameters.as_array_mut() {
        parameters.push(parameter);
    }
}

fn complete_operation(api: &Api, operation: &mut Value) {
    let has_organizations = api.tags.contains(&ORGANIZATIONS);
    let within = has_organizations && operation.pointer("/tags/0").is_some_and(|tag| tag != ORGANIZATIONS);
    if within {
        name_organization(operation);
    }
    describe_pictures(operation.pointer_mut("/requestBody/content"));
    let has_body = operation.get("requestBody").is_some();
    let takes_json = operation.pointer("/requestBody/content/application~1json").is_some();
    let has_input = has_body || operation.get("parameters").is_some();
    let scopes = scopes_of(operation);
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };
    let mut add = |status: &str, description: &str| {
        responses.entry(status).or_insert_with(|| json!({ "description": description }));
    };
    if !scopes.is_empty() {
        add("401", "The access token is missing, expired or not valid");
        let lacks = format!("`scope_missing`: the access token lacks the scope `{}`", scopes.join(" "));
        let role = "`role_missing`: the caller's role in the organization is too small";
        add("403", &if has_organizations { format!("{lacks}; {role}") } else { lacks });
    }
    if within {
        add("404", "There is no such organization, or the caller is no member");
    }
    if has_input {
        add("400", "The request cannot be understood");
    }
    if has_body {
        add("413", "`body_too_large`");
        add("415", "`unsupported_media_type`");
    }
    if takes_json {
        add("422", "`invalid_body`: the JSON has another shape; `errors` says where");
    }
    add("503", "The service is overloaded or its database is out of reach; see `Retry-After`");
    for (status, response) in responses.iter_mut() {
        let is_error = status.starts_with('4') || status.starts_with('5');
        describe_pictures(response.get_mut("content"));
        if let (true, Some(response)) = (is_error, response.as_object_mut()) {
            response.entry("content").or_insert_with(
                || json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } }),
            );
        }
    }
}

fn security_schemes(issuer: &str, scopes: &BTreeMap<String, String>) -> Value {
    json!({
        "oauth2": {
            "type": "oauth2",
            "description": "Access tokens of the identity provider (RFC 9068), sent as `Authorization: Bearer`. \
                A browser that is signed in needs none: the gateway adds it.",
            "flows": {
                "authorizationCode": {
                    "authorizationUrl": format!("{issuer}/authorize"),
                    "tokenUrl": format!("{issuer}/token"),
                    "scopes": scopes,
                },
                "clientCredentials": { "tokenUrl": format!("{issuer}/token"), "scopes": scopes },
            },
        },
    })
}

fn problem_schema() -> Value {
    json!({
        "type": "object",
        "description": "RFC 9457 problem details.",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            "type": { "type": "string", "format": "uri-reference" },
            "title": { "type": "string", "description": "The status phrase" },
            "status": { "type": "integer" },
            "detail": { "type": "string", "description": "What happened, in words" },
            "code": { "type": "string", "description": "Stable; match on it", "examples": ["out_of_stock"] },
            "request_id": { "type": "string", "description": "Names the request in logs and traces" },
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["pointer", "detail"],
                    "properties": {
                        "pointer": { "type": "string", "description": "JSON pointer or parameter name" },
                        "detail": { "type": "string" },
                    },
                },
            },
        },
    })
}
