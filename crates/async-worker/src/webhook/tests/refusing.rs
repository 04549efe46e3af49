//! Where webhooks do not go.

use super::*;

#[tokio::test]
async fn a_name_that_resolves_into_our_network_is_not_connected_to() {
    let database = databases().await.into_iter().next().unwrap();
    let mut receiver = Receiver::start().await;
    let endpoints = endpoints(&database, &FakeClock::default()).await;
    let closed = Settings { allowed_networks: Vec::new(), allow_http: true, ..receiver.settings() };
    let strict = deliver(&endpoints, &closed);
    // The last two are names to us and 127.0.0.1 to the resolver.
    for origin in ["https://localhost", "http://localhost", "http://2130706433", "http://0x7f.1"] {
        let url = format!("{origin}:{}/ok", receiver.port);
        let (endpoint, _) = endpoints.create(&url, "", &[]).await.unwrap();
        let failed = strict.deliver(&message(endpoint.id), 1).await;
        assert!(matches!(failed, Err(HandlerError::Retry(_))), "{failed:?}");
        let written = endpoints.deliveries(endpoint.id, None, 10).await.unwrap().remove(0);
        let error = written.error.unwrap();
        assert!(error.contains("has no address that may be connected to"), "{origin}: {error}");
    }
    // The same receiver is reached where the network is allowed, and this is the first it hears.
    let (endpoint, _) = endpoints.create(&receiver.url("/first"), "", &[]).await.unwrap();
    deliver(&endpoints, &receiver.settings()).deliver(&message(endpoint.id), 1).await.unwrap();
    assert_eq!(receiver.received().await["path"], "/first");
}

#[tokio::test]
async fn a_certificate_of_somebody_else_gets_no_message() {
    let database = databases().await.into_iter().next().unwrap();
    let receiver = Receiver::start().await;
    let endpoints = endpoints(&database, &FakeClock::default()).await;
    let (endpoint, _) = endpoints.create(&receiver.url("/ok"), "", &[]).await.unwrap();
    let foreign = Settings { ca_file: None, ..receiver.settings() };
    let failed = deliver(&endpoints, &foreign).deliver(&message(endpoint.id), 1).await;
    assert!(matches!(failed, Err(HandlerError::Retry(_))), "{failed:?}");
}

#[tokio::test]
async fn a_url_that_is_plainly_wrong_is_refused_when_it_is_given() {
    let receiver = Receiver::start().await;
    let closed = Settings { allowed_networks: vec!["10.1.0.0/16".to_owned()], ..receiver.settings() };
    let sender = Sender::new(&closed).unwrap();
    for (url, taken) in [
        ("https://shop.example/hooks?x=1", true),
        ("https://10.1.2.3/hooks", true),
        ("http://shop.example/hooks", false),
        ("https://10.2.2.3/hooks", false),
        ("https://127.0.0.1/", false),
        ("https://[::1]/", false),
        ("https://[::ffff:169.254.169.254]/", false),
        ("https://user:secret@shop.example/", false),
        ("https:///hooks", false),
        ("unix:/run/core-api.sock", false),
        ("/hooks", false),
        ("", false),
    ] {
        assert_eq!(sender.target(url).is_ok(), taken, "{url}");
    }
    let http = Sender::new(&Settings { allow_http: true, ..closed }).unwrap();
    assert!(http.target("http://shop.example/hooks").is_ok());
    assert!(http.target("ftp://shop.example/hooks").is_err());
}
