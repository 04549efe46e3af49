//! Looks at the machine that runs the tests, through the routes and the command.

use axum::body::Body;
use http::Request;
use quintet_testkit::issuer::TestIssuer;
use tower::ServiceExt as _;

use super::*;

async fn get_json(router: &Router, path: &str, token: Option<&str>) -> (StatusCode, Value) {
    let mut request = Request::get(path);
    if let Some(token) = token {
        request = request.header("authorization", token);
    }
    let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), 16 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

#[tokio::test]
async fn only_who_may_see_machines_sees_this_one() {
    let issuer = TestIssuer::new();
    let router = router(Roots::new(&HostSection::default()), issuer.verifier());
    let (reader, other) = (issuer.bearer("usr_1", &[SCOPE]), issuer.bearer("usr_2", &["telemetry:read"]));
    let (_, list) = get_json(&router, "/telemetry/v1/diagnostics", Some(&reader)).await;
    let mut paths = vec!["/telemetry/v1/diagnostics".to_owned()];
    let looks = list["diagnostics"].as_array().unwrap();
    paths.extend(
        looks.iter().map(|look| format!("/telemetry/v1/diagnostics/{}", look["name"].as_str().unwrap())),
    );
    assert_eq!(paths.len(), LOOKS.len() + 1);
    for path in paths {
        assert_eq!(get_json(&router, &path, None).await.0, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(get_json(&router, &path, Some(&other)).await.0, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(get_json(&router, &path, Some(&reader)).await.0, StatusCode::OK, "{path}");
    }
    let unknown = "/telemetry/v1/diagnostics/environment";
    assert_eq!(get_json(&router, unknown, Some(&reader)).await.0, StatusCode::NOT_FOUND);
}

#[test]
fn the_real_machine_is_seen() {
    let roots = Roots::new(&HostSection::default());
    let processes = processes::list(&roots);
    let own = u64::from(std::process::id());
    let found = processes["processes"].as_array().unwrap().iter().find(|process| process["pid"] == own);
    let found = found.expect("this very process");
    assert!(found["resident_bytes"].as_u64().unwrap() > 0);
    assert!(found.get("arguments").is_none() && found.get("command").is_none());

    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let sockets = sockets::list(&roots);
    let is_ours = |socket: &&Value| socket["local"] == address.as_str() && socket["state"] == "listening";
    assert!(sockets["sockets"].as_array().unwrap().iter().any(|socket| is_ours(&socket)));

    assert!(!machine::mounts(&roots)["mounts"].as_array().unwrap().is_empty());
    let network = machine::network(&roots);
    assert!(network["interfaces"].as_array().unwrap().iter().any(|interface| interface["name"] == "lo"));
    assert!(kernel::messages(&roots)["messages"].is_array());
}

#[test]
fn the_command_prints_what_the_api_shows() {
    let command = command(clap::Command::new("telemetry-sink"));
    let matches = command.clone().try_get_matches_from(["telemetry-sink", "diagnose", "mounts"]).unwrap();
    let mut output = Vec::new();
    run_alone(&matches, &mut output).unwrap().unwrap();
    assert!(serde_json::from_slice::<Value>(&output).unwrap()["mounts"].is_array());
    assert!(command.clone().try_get_matches_from(["telemetry-sink", "diagnose", "secrets"]).is_err());
    let none = command.try_get_matches_from(["telemetry-sink"]).unwrap();
    assert!(run_alone(&none, &mut Vec::new()).is_none());
}

#[test]
fn generations_are_what_the_nodes_agent_published() {
    let directory = tempfile::tempdir().unwrap();
    let status = directory.path().join(GENERATIONS);
    std::fs::create_dir_all(status.parent().unwrap()).unwrap();
    std::fs::write(&status, r#"{"boots":[{"version":"1.2.3"}]}"#).unwrap();
    let mut roots = Roots::new(&HostSection::default());
    roots.run = directory.path().to_owned();
    assert_eq!(generations(&roots)["generations"]["boots"][0]["version"], "1.2.3");
    std::fs::remove_file(&status).unwrap();
    assert_eq!(generations(&roots)["generations"], Value::Null);
}
