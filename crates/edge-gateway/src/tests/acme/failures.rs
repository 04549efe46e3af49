//! What goes wrong with an authority concerns the one certificate, is told, and is tried again.

use serde_json::json;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_down_at_the_start_is_waited_for() {
    let mut pebble = Pebble::new();
    let mut fixture = Fixture::start(&format!("{SHOP}{}", pebble.section("http-01"))).await;
    fixture.get_certificates();
    let all = until(&fixture, &pebble, |all| all.iter().any(|one| one["failures"].as_u64() > Some(1))).await;
    assert_eq!(all[0]["state"], "awaited");
    assert!(all[0]["error"].as_str().unwrap().contains("cannot connect to https://127.0.0.1"), "{all:?}");
    // Neither another name's certificate nor one that nobody trusts; other names are served.
    let refusal = fixture.try_connect("shop.test").await.unwrap_err();
    assert!(refusal.to_string().contains("AccessDenied"), "{refusal}");
    fixture.connect("a.test", &[b"h2"]).await;
    pebble.start(fixture.http.port(), fixture.https.port());
    let all = issued(&fixture, &pebble).await;
    assert_eq!((&all[0]["failures"], &all[0]["error"]), (&json!(0), &json!(null)));
    shown(&fixture, &pebble.root().await, "shop.test").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_name_does_not_hold_up_other_certificates() {
    let mut pebble = Pebble::new();
    pebble.config = json!({ "domainBlocklist": ["blocked.test"] });
    let more = format!("[[certificates]]\nacme = [\"blocked.test\"]\n{SHOP}");
    let fixture = start(&mut pebble, "http-01", &more).await;
    // The first tries may come before the authority listens.
    let refused =
        |one: &Value| one["error"].as_str().is_some_and(|error| error.contains("rejectedIdentifier"));
    let all =
        until(&fixture, &pebble, |all| all.len() == 2 && refused(&all[0]) && all[1]["state"] == "current")
            .await;
    assert_eq!(all[0]["state"], "awaited");
    assert!(all[0]["next_try"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_cannot_be_verified_is_told_with_the_reason() {
    let mut pebble = Pebble::new();
    let mut fixture = Fixture::start(&format!("{SHOP}{}", pebble.section("http-01"))).await;
    // The authority looks for the answer where nobody listens.
    pebble.start(pebble.port + 1, 1);
    fixture.get_certificates();
    let all = until(&fixture, &pebble, |all| {
        all.iter().any(|one| one["error"].as_str().is_some_and(|error| error.contains("could not verify")))
    })
    .await;
    let error = all[0]["error"].as_str().unwrap();
    assert!(error.contains("shop.test: "), "{error}");
    assert_eq!(all[0]["state"], "awaited");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_nonces_are_survived() {
    let mut pebble = Pebble::new();
    pebble.environment.push(("PEBBLE_WFE_NONCEREJECT", "30".to_owned()));
    let fixture = start(&mut pebble, "http-01", SHOP).await;
    issued(&fixture, &pebble).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_bound_to_an_external_one() {
    let mut pebble = Pebble::new();
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    pebble.config =
        json!({ "externalAccountBindingRequired": true, "externalAccountMACKeys": { "kid-1": key } });
    let fixture = start(&mut pebble, "http-01", SHOP).await;
    let all = until(&fixture, &pebble, |all| {
        all.iter()
            .any(|one| one["error"].as_str().is_some_and(|error| error.contains("externalAccountRequired")))
    })
    .await;
    assert_eq!(all[0]["state"], "awaited");
    let file = pebble.path("hmac");
    std::fs::write(&file, key).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let bound =
        format!("external_account = {{ key_id = \"kid-1\", hmac_key_file = \"{}\" }}\n", file.display());
    fixture.reload(&format!("{SHOP}{}{bound}", pebble.section("http-01"))).unwrap();
    issued(&fixture, &pebble).await;
}
