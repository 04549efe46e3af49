//! What clients may take: allowances by key, and networks.

use axum::body::Bytes;
use http::{Request, StatusCode};
use quintet_http::Client;

use super::harness::*;

fn limited(route: &str) -> String {
    format!("{ECHO}{route}\n")
}

async fn ask(client: &Client, header: (&'static str, &str)) -> StatusCode {
    let request = Request::builder().uri("/").header(header.0, header.1).body(Bytes::new()).unwrap();
    client.request(request).await.unwrap().status()
}

const ONE: &str = "rate_limit = { requests = 1, window_ms = 600000, key = ";

#[tokio::test]
async fn each_value_of_a_header_has_its_own_allowance() {
    let mut fixture = Fixture::start(&limited(&format!("{ONE}\"header:X-Api-Key\" }}"))).await;
    fixture.serve("echo", echo());
    let client = fixture.client();
    for (key, expected) in [("a", 200), ("b", 200), ("a", 429), ("b", 429), ("c", 200)] {
        assert_eq!(ask(&client, ("x-api-key", key)).await, expected, "{key}");
    }
    // Without the header the client's address counts.
    assert_eq!(ask(&client, ("x-other", "d")).await, 200);
    assert_eq!(ask(&client, ("x-other", "e")).await, 429);
}

#[tokio::test]
async fn an_allowance_of_the_route_is_shared_by_all() {
    let mut fixture = Fixture::start(&limited(&format!("{ONE}\"route\" }}"))).await;
    fixture.serve("echo", echo());
    let client = fixture.client();
    assert_eq!(ask(&client, ("x-api-key", "a")).await, 200);
    assert_eq!(ask(&client, ("x-api-key", "b")).await, 429);
}

#[tokio::test]
async fn clients_of_a_denied_network_get_a_problem_that_says_so() {
    for (more, path, expected) in [
        (format!("{}[limits]\ndeny = [\"127.0.0.0/8\"]\n", limited("")), "/", Some("network_denied")),
        (format!("{}[limits]\nallow = [\"10.0.0.0/8\", \"127.0.0.1\"]\n", limited("")), "/", None),
        (limited("allow = [\"10.0.0.0/8\"]"), "/", Some("network_denied")),
        (limited("deny = [\"127.0.0.1/32\"]"), "/", Some("network_denied")),
        (limited("deny = [\"127.0.0.1/32\"]"), "/.gateway/healthz", None),
    ] {
        let mut fixture = Fixture::start(&more).await;
        fixture.serve("echo", echo());
        let answer = fixture.client().request(get(path)).await.unwrap();
        match expected {
            None => assert_eq!(answer.status(), StatusCode::OK, "{more}"),
            Some(code) => {
                assert_eq!(
                    (answer.status(), &*problem_code(&answer)),
                    (StatusCode::FORBIDDEN, code),
                    "{more}"
                );
            }
        }
    }
}

#[tokio::test]
async fn each_subject_has_its_own_allowance() {
    let more = "auth = \"token\"\nrate_limit = { requests = 1, window_ms = 600000, key = \"subject\" }\n\
                [identity]\nissuer = \"https://localhost/identity\"\njwks = \"unix:DIR/identity.sock\"\n";
    let mut fixture = Fixture::start(&limited(more)).await;
    fixture.serve("echo", echo());
    let issuer = fixture.issuer.clone();
    fixture.serve("identity", issuer.router());
    let client = fixture.client();
    let (one, two) = (issuer.bearer("usr_1", &[]), issuer.bearer("usr_2", &[]));
    // Until the keys have been fetched nobody is anybody.
    let first = loop {
        let status = ask(&client, ("authorization", &one)).await;
        if status != StatusCode::SERVICE_UNAVAILABLE {
            break status;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(first, 200);
    for (bearer, expected) in [(&one, 429), (&two, 200), (&two, 429)] {
        assert_eq!(ask(&client, ("authorization", bearer)).await, expected);
    }
}
