//! The document is a contract: a change to it is seen in review.

use axum::http::Method;

use super::apis;

#[tokio::test]
async fn the_document_is_as_reviewed() {
    let api = apis().await.remove(0);
    let document = api.send(Method::GET, "/api/openapi.json", &[], "").await.expect(200).json();
    insta::assert_json_snapshot!("openapi", document);
}

#[tokio::test]
async fn every_reference_within_the_document_resolves() {
    let api = apis().await.remove(0);
    let document = api.send(Method::GET, "/api/openapi.json", &[], "").await.json();
    let mut open = vec![&document];
    let mut references = 0;
    while let Some(node) = open.pop() {
        if let Some(reference) = node.get("$ref").and_then(|reference| reference.as_str()) {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
            references += 1;
        }
        open.extend(node.as_object().into_iter().flat_map(|object| object.values()));
        open.extend(node.as_array().into_iter().flatten());
    }
    assert!(references > 50);
}
