//! Tenants: every route of the document tried across two organizations.
//!
//! The fixtures are made from the document too: each operation that makes something is called with the examples of its
//! schema, where an example id stands for one of the same kind that the tenant has. So a new module's routes are tried
//! without a line here, and one whose examples do not work is reported.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::Method;
use serde_json::{Map, Value, json};

use super::{ALL_SCOPES, Answer, Api, apis};

/// Ids by their prefix.
type Ids = BTreeMap<String, String>;

struct Operation {
    method: Method,
    path: String,
    details: Value,
}

impl Operation {
    fn name(&self) -> &str {
        self.details["operationId"].as_str().unwrap()
    }

    /// Whether it is within the organization that the header names.
    fn is_within(&self) -> bool {
        self.details["tags"][0] != "organizations"
    }

    fn path_parameters(&self) -> impl Iterator<Item = (&str, String)> {
        let parameters = self.details["parameters"].as_array().into_iter().flatten();
        parameters.filter(|parameter| parameter["in"] == "path").map(|parameter| {
            let pattern = parameter["schema"]["pattern"].as_str().unwrap_or_default();
            let kind =
                pattern.strip_prefix('^').and_then(|rest| rest.split_once('_')).map_or("", |(kind, _)| kind);
            (parameter["name"].as_str().unwrap(), kind.to_owned())
        })
    }

    /// The path with a tenant's ids; nothing when it has none of a kind.
    fn path_of(&self, ids: &Ids) -> Option<String> {
        let mut path = self.path.clone();
        for (name, kind) in self.path_parameters() {
            path = path.replace(&format!("{{{name}}}"), ids.get(&kind)?);
        }
        Some(path)
    }

    /// A body made of the schema's examples; nothing when it refers to what the tenant does not have.
    fn body_of(&self, document: &Value, ids: &Ids) -> Option<String> {
        match self.details.pointer("/requestBody/content/application~1json/schema") {
            Some(schema) => example(schema, document, ids).map(|body| body.to_string()),
            None => Some("GIF89a".to_owned()),
        }
    }

    fn media_type(&self) -> String {
        let content = self.details.pointer("/requestBody/content").and_then(Value::as_object);
        content.and_then(|content| content.keys().next().cloned()).unwrap_or_default()
    }
}

fn id_kind(text: &str) -> Option<&str> {
    let (kind, digits) = text.split_once('_')?;
    (digits.len() == 26).then_some(kind)
}

fn example(schema: &Value, document: &Value, ids: &Ids) -> Option<Value> {
    if let Some(reference) = schema["$ref"].as_str() {
        return example(document.pointer(reference.strip_prefix('#')?)?, document, ids);
    }
    if let Some(known) = schema.get("example").or_else(|| schema["examples"].get(0)) {
        return match known.as_str().and_then(id_kind) {
            Some(kind) => ids.get(kind).map(|id| json!(id)),
            None => Some(known.clone()),
        };
    }
    match schema["type"].as_str() {
        Some("object") => {
            let fields = schema["properties"].as_object()?.iter();
            let fields: Option<Map<String, Value>> =
                fields.map(|(name, field)| Some((name.clone(), example(field, document, ids)?))).collect();
            fields.map(Value::Object)
        }
        Some("array") => Some(json!([example(&schema["items"], document, ids)?])),
        Some("integer") => Some(schema.get("minimum").cloned().unwrap_or_else(|| json!(1))),
        _ => Some(schema["enum"].get(0).cloned().unwrap_or_else(|| json!("text"))),
    }
}

async fn operations(api: &Api) -> (Value, Vec<Operation>) {
    let document = api.send(Method::GET, "/api/openapi.json", &[], "").await.expect(200).json();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, details) in item.as_object().unwrap() {
            let method = method.to_uppercase().parse().unwrap();
            operations.push(Operation { method, path: path.clone(), details: details.clone() });
        }
    }
    (document, operations)
}

/// Everything in an answer that looks like an id.
fn ids_in(answer: &Answer) -> BTreeSet<String> {
    let mut text = String::from_utf8_lossy(&answer.bytes).into_owned();
    text.push_str(answer.header("location"));
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| id_kind(word).is_some()).map(str::to_owned).collect()
}

struct Tenant {
    organization: String,
    bearer: String,
    ids: Ids,
    /// Every id that this tenant was shown.
    seen: BTreeSet<String>,
}

impl Tenant {
    /// An organization of `subject` in which everything was made once.
    async fn new(api: &Api, subject: &str) -> Self {
        let bearer = api.issuer.bearer(subject, ALL_SCOPES);
        let headers = [("authorization", &*bearer), ("content-type", "application/json")];
        let body = json!({ "name": subject }).to_string();
        let made = api.send(Method::POST, "/api/v1/organizations", &headers, body).await.expect(201);
        let organization = made.text("id");
        let ids = Ids::from([("org".to_owned(), organization.clone()), (String::new(), subject.to_owned())]);
        let mut tenant = Self { organization: organization.clone(), bearer, ids, seen: BTreeSet::new() };
        tenant.seen.insert(organization);
        tenant.fill(api).await;
        tenant
    }

    /// Calls what makes things until nothing new comes of it.
    async fn fill(&mut self, api: &Api) {
        let (document, operations) = operations(api).await;
        let posts = |operation: &&Operation| {
            operation.method == Method::POST && operation.name() != "create_organization"
        };
        let mut open: Vec<&Operation> = operations.iter().filter(posts).collect();
        for _ in 0..4 {
            let mut still = Vec::new();
            for operation in open {
                let path = operation.path_of(&self.ids);
                let body = operation.body_of(&document, &self.ids);
                let (Some(path), Some(body)) = (path, body) else {
                    still.push(operation);
                    continue;
                };
                let answer = self.call(api, operation, &self.organization, &path, body).await;
                // Made, or to be made in the background.
                if [201, 202].contains(&answer.status.as_u16()) {
                    for id in ids_in(&answer) {
                        self.ids.entry(id_kind(&id).unwrap().to_owned()).or_insert_with(|| id.clone());
                        self.seen.insert(id);
                    }
                } else {
                    still.push(operation);
                }
            }
            open = still;
        }
        let left: Vec<&str> = open.iter().map(|operation| operation.name()).collect();
        assert_eq!(left, NOT_BY_EXAMPLE, "the examples of these operations make nothing");
    }

    async fn call(
        &self,
        api: &Api,
        operation: &Operation,
        organization: &str,
        path: &str,
        body: String,
    ) -> Answer {
        let media_type = operation.media_type();
        let key = quintet_types::id::encode(quintet_types::id::draw_from_system());
        let mut headers = vec![
            ("authorization", &*self.bearer),
            ("quintet-organization", organization),
            ("idempotency-key", &key),
            ("if-match", "*"),
        ];
        if !media_type.is_empty() {
            headers.push(("content-type", &media_type));
        }
        api.send(operation.method.clone(), path, &headers, body).await
    }

    /// What every read operation says.
    async fn view(&self, api: &Api) -> Vec<(String, Value)> {
        let mut view = Vec::new();
        for operation in operations(api).await.1.iter().filter(|operation| operation.method == Method::GET) {
            let path = operation.path_of(&self.ids);
            let path = path.unwrap_or_else(|| panic!("no tenant has what {} is about", operation.name()));
            let answer = self.call(api, operation, &self.organization, &path, String::new()).await;
            // A refusal names its request, which is another one each time.
            let said = if answer.status.is_success() { answer.json() } else { json!(told(&answer)) };
            view.push((path, said));
        }
        view
    }
}

/// Operations that need more than examples: the secret of an invitation.
const NOT_BY_EXAMPLE: [&str; 1] = ["accept_invitation"];

/// As many ids that nothing has.
fn unknown(ids: &Ids) -> Ids {
    let fresh = |(kind, id): (&String, &String)| {
        let digits = quintet_types::id::encode(quintet_types::id::draw_from_system());
        let id = if kind.is_empty() { format!("not-{id}") } else { format!("{kind}_{digits}") };
        (kind.clone(), id)
    };
    ids.iter().map(fresh).collect()
}

fn told(answer: &Answer) -> (u16, Value) {
    (answer.status.as_u16(), answer.json()["code"].clone())
}

#[tokio::test]
async fn no_route_shows_or_changes_what_is_another_organizations() {
    for api in apis().await {
        let (a, b) = (Tenant::new(&api, "usr_a").await, Tenant::new(&api, "usr_b").await);
        let before = a.view(&api).await;
        let (document, operations) = operations(&api).await;
        let mut across = 0;
        for operation in &operations {
            let label = format!("{} on {}", operation.name(), api.name);
            let own = operation.path_of(&b.ids).unwrap();
            let body = operation.body_of(&document, &b.ids).unwrap();

            // B names A's organization.
            let path = operation.path_of(&a.ids).unwrap();
            if operation.is_within() {
                let answer = b.call(&api, operation, &a.organization, &path, body.clone()).await;
                assert_eq!(told(&answer), (404, json!("not_found")), "{label}");
            }
            // B asks for A's things in its own organization, and hears what it hears of things that nobody has.
            if path != operation.path {
                across += 1;
                let answer = b.call(&api, operation, &b.organization, &path, body.clone()).await;
                assert_eq!(told(&answer).0, 404, "{label}: {answer:?}");
                let nowhere = operation.path_of(&unknown(&a.ids)).unwrap();
                let nothing = b.call(&api, operation, &b.organization, &nowhere, body.clone()).await;
                assert_eq!(told(&answer), told(&nothing), "{label}");
                assert!(ids_in(&answer).is_disjoint(&a.seen), "{label}: {answer:?}");
            }
            // B refers to A's things in a body.
            let foreign = operation.body_of(&document, &a.ids).unwrap();
            if foreign != body {
                across += 1;
                let answer = b.call(&api, operation, &b.organization, &own, foreign).await;
                let nothing = operation.body_of(&document, &unknown(&a.ids)).unwrap();
                let nothing = b.call(&api, operation, &b.organization, &own, nothing).await;
                assert!(answer.status.is_client_error(), "{label}: {answer:?}");
                assert_eq!(told(&answer), told(&nothing), "{label}");
            }
            // What B may read has nothing of A.
            if operation.method == Method::GET {
                let answer = b.call(&api, operation, &b.organization, &own, String::new()).await;
                assert!(ids_in(&answer).is_disjoint(&a.seen), "{label}: {answer:?}");
            }
        }
        assert!(across >= 20, "only {across} operations were tried across tenants");
        assert_eq!(a.view(&api).await, before, "{}", api.name);
    }
}

#[tokio::test]
async fn a_viewer_reads_everything_and_changes_nothing() {
    for api in apis().await {
        let a = Tenant::new(&api, "usr_a").await;
        let (document, operations) = operations(&api).await;
        let set = operations.iter().find(|operation| operation.name() == "set_member").unwrap();
        let path = format!("/api/v1/organizations/{}/members/usr_viewer", a.organization);
        a.call(&api, set, &a.organization, &path, json!({ "role": "viewer" }).to_string()).await.expect(200);
        let viewer = Tenant {
            organization: a.organization.clone(),
            bearer: api.issuer.bearer("usr_viewer", ALL_SCOPES),
            ids: a.ids.clone(),
            seen: BTreeSet::new(),
        };
        for operation in operations.iter().filter(|operation| operation.is_within()) {
            let path = operation.path_of(&a.ids).unwrap();
            let body = operation.body_of(&document, &a.ids).unwrap();
            let answer = viewer.call(&api, operation, &a.organization, &path, body).await;
            if operation.method == Method::GET {
                assert!(!matches!(answer.status.as_u16(), 401 | 403), "{}: {answer:?}", operation.name());
            } else {
                assert_eq!(told(&answer), (403, json!("role_missing")), "{}", operation.name());
            }
        }
    }
}
