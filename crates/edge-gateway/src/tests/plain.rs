//! Plain-HTTP listeners that serve routes.

use http::StatusCode;
use quintet_http::{Client, Origin};
use quintet_types::SystemClock;

use super::harness::*;

const LISTEN: &str = "http_mode = \"proxy\"\nhsts_max_age_s = 60\n";

fn client(fixture: &Fixture) -> Client {
    Client::new(Origin::Http { host: "127.0.0.1".to_owned(), port: fixture.http.port() }).timeout(PATIENCE)
}

#[tokio::test]
async fn routes_without_auth_are_served_in_the_clear_and_upstreams_are_told() {
    let mut fixture = Fixture::start_with(LISTEN, ECHO, SystemClock::shared()).await;
    fixture.serve("echo", echo());
    let answer = client(&fixture).request(get("/a?b=c")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(!answer.headers().contains_key("strict-transport-security"), "{:?}", answer.headers());
    let seen = Seen::of(answer.body());
    assert_eq!((&*seen.target, seen.header("x-forwarded-proto")), ("/a?b=c", Some("http")));
    assert!(seen.header("forwarded").unwrap().ends_with(";proto=http"));
    let secure = fixture.client().request(get("/")).await.unwrap();
    assert_eq!(secure.headers()["strict-transport-security"], "max-age=60; includeSubDomains");
    assert_eq!(Seen::of(secure.body()).header("x-forwarded-proto"), Some("https"));
}

#[tokio::test]
async fn tokens_and_sessions_are_not_taken_in_the_clear() {
    let more = format!(
        "{ECHO}[[routes]]\npath_prefix = \"/api\"\nupstream = \"echo\"\nauth = \"token\"\n\
         [identity]\nissuer = \"{ISSUER}\"\njwks = \"unix:DIR/identity.sock\"\n"
    );
    let mut fixture = Fixture::start_with(LISTEN, &more, SystemClock::shared()).await;
    let counter = Counter::default();
    fixture.serve("echo", counter.router());
    for path in ["/api/x?y=1", "/.auth/login"] {
        let answer = client(&fixture).request(get(path)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::PERMANENT_REDIRECT, "{path}");
        let location = format!("https://127.0.0.1:{}{path}", fixture.https.port());
        assert_eq!(answer.headers()["location"], location.as_str());
    }
    assert_eq!(counter.total(), 0);
}

#[tokio::test]
async fn a_reload_changes_what_plain_listeners_do() {
    let mut fixture = Fixture::start(ECHO).await;
    fixture.serve("echo", echo());
    let client = client(&fixture);
    assert_eq!(client.request(get("/")).await.unwrap().status(), StatusCode::PERMANENT_REDIRECT);
    fixture.reload_listening(LISTEN, ECHO).unwrap();
    assert_eq!(client.request(get("/")).await.unwrap().status(), StatusCode::OK);
}
