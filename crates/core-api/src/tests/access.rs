//! Every operation of the document refuses callers without a token and without its scope.

use axum::http::Method;
use quintet_module::openapi::scopes_of;
use serde_json::Value;

use super::{ALL_SCOPES, Api, apis};

/// Routes that anybody may call, reviewed: they describe the API and hold nobody's data.
const PUBLIC: [&str; 4] = ["/api/openapi.json", "/api/docs", "/api/docs/page.js", "/api/docs/page.css"];

struct Operation {
    method: Method,
    path: String,
    scope: String,
}

async fn operations(api: &Api) -> Vec<Operation> {
    let document = api.send(Method::GET, "/api/openapi.json", &[], "").await.expect(200).json();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let scopes = scopes_of(operation);
            let [scope] = scopes.as_slice() else {
                panic!("{method} {path} names the scopes {scopes:?}, not one")
            };
            operations.push(Operation {
                method: method.to_uppercase().parse().unwrap(),
                path: path
                    .split('/')
                    .map(|part| if part.starts_with('{') { "nobody" } else { part })
                    .collect::<Vec<_>>()
                    .join("/"),
                scope: scope.clone(),
            });
        }
    }
    operations
}

#[tokio::test]
async fn every_operation_without_a_token_is_401() {
    let api = apis().await.remove(0);
    let operations = operations(&api).await;
    assert!(operations.len() >= 19, "the document lists {} operations", operations.len());
    for Operation { method, path, .. } in operations {
        for headers in [&[][..], &[("authorization", "Bearer nonsense")][..]] {
            let answer = api.send(method.clone(), &path, headers, "{}").await;
            assert_eq!(answer.status, 401, "{method} {path}");
            assert!(answer.header("www-authenticate").starts_with("Bearer"), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn every_operation_asks_for_exactly_the_scope_that_it_documents() {
    let api = apis().await.remove(0);
    for Operation { method, path, scope } in operations(&api).await {
        assert!(ALL_SCOPES.contains(&&*scope), "{scope} is not a scope of the contract");
        let others: Vec<&str> = ALL_SCOPES.iter().copied().filter(|other| *other != scope).collect();
        let bearer = api.issuer.bearer("usr_tester", &others);
        // The body is no JSON: the scope is checked before anything is read.
        let answer = api.send(method.clone(), &path, &[("authorization", &bearer)], "no json").await;
        assert_eq!((answer.status.as_u16(), &*answer.code()), (403, "scope_missing"), "{method} {path}");
        assert!(answer.header("www-authenticate").contains(&scope), "{method} {path}");

        let bearer = api.issuer.bearer("usr_tester", &[&scope]);
        let answer = api.send(method.clone(), &path, &[("authorization", &bearer)], "no json").await;
        assert!(!matches!(answer.status.as_u16(), 401 | 403 | 500), "{method} {path}: {answer:?}");
    }
}

#[tokio::test]
async fn what_is_public_is_on_the_reviewed_list() {
    let api = apis().await.remove(0);
    for path in PUBLIC {
        let answer = api.send(Method::GET, path, &[], "").await.expect(200);
        assert!(!answer.header("content-security-policy").is_empty(), "{path}");
    }
    let unknown = api.send(Method::GET, "/api/v1/nothing", &[], "").await;
    unknown.refused(404, "route_not_found");
}

#[tokio::test]
async fn every_error_answer_of_the_document_is_a_problem() {
    let api = apis().await.remove(0);
    let document = api.send(Method::GET, "/api/openapi.json", &[], "").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                let is_problem =
                    response.pointer("/content/application~1problem+json").is_some_and(Value::is_object);
                let is_error = status.starts_with('4') || status.starts_with('5');
                assert_eq!(is_problem, is_error, "{method} {path} {status}");
            }
        }
    }
}
