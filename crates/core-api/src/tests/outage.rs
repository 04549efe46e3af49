//! What callers and the readiness probe see when the database is out of reach.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use quintet_store::{Settings, Store};
use quintet_testkit::databases;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Api, api_on, apis};

#[tokio::test]
async fn without_a_database_requests_are_503_and_the_probe_says_no() {
    for api in apis().await {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shutdown = CancellationToken::new();
        let record = {
            let (seen, shutdown) = (seen.clone(), shutdown.clone());
            move |ready| {
                seen.lock().unwrap().push(ready);
                shutdown.cancel();
            }
        };
        let probe = |record| {
            tokio::time::timeout(
                Duration::from_secs(10),
                quintet_database::probe(api.store.clone(), record, shutdown.clone()),
            )
        };
        probe(record.clone()).await.unwrap().unwrap();
        api.store.close().await;
        probe(record).await.unwrap().unwrap();
        assert_eq!(*seen.lock().unwrap(), [true, false], "{}", api.name);

        let refused = api.get("/api/v1/users").await;
        assert_eq!(refused.header("retry-after"), "2");
        refused.refused(503, "unavailable");
    }
}

/// A way to a server that can be cut and mended: while it is cut, open connections end and new ones are closed.
struct Relay {
    address: String,
    open: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Relay {
    async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (open, is_open) = watch::channel(true);
        let relay = async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                if !*is_open.borrow() {
                    continue;
                }
                let (server, mut is_open) = (server.clone(), is_open.clone());
                connections.spawn(async move {
                    let mut upstream = TcpStream::connect(server).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut upstream) => {}
                        _ = is_open.wait_for(|open| !open) => {}
                    }
                });
            }
        };
        Self { address, open, _tasks: JoinSet::from_iter([relay]) }
    }
}

/// The API on a PostgreSQL server behind a relay; nothing where there is no server.
async fn behind_a_relay() -> Option<(Api, Relay)> {
    let database = databases().await.into_iter().find(|database| database.name == "postgres")?;
    let (user, rest) = database.url.split_once('@').unwrap();
    let (server, name) = rest.split_once('/').unwrap();
    let relay = Relay::to(server.to_owned()).await;
    let mut settings = Settings::for_url(format!("{user}@{}/{name}", relay.address));
    // The time a request waits for a connection before it is refused.
    settings.acquire_timeout_ms = 500;
    let store = Store::connect(&settings).await.unwrap();
    Some((api_on(database, store).await, relay))
}

#[tokio::test]
async fn once_the_database_is_back_requests_succeed_and_the_probe_says_yes() {
    let Some((api, relay)) = behind_a_relay().await else { return };
    let shutdown = CancellationToken::new();
    let (record, mut ready) = watch::channel(None);
    let record = move |answers| record.send_modify(|ready| *ready = Some(answers));
    let _probe = JoinSet::from_iter([quintet_database::probe(api.store.clone(), record, shutdown.clone())]);
    let mut says = async |expected| {
        let said = ready.wait_for(|ready| *ready == Some(expected));
        tokio::time::timeout(Duration::from_secs(30), said).await.unwrap().unwrap();
    };
    says(true).await;
    let user = api.user("ann@example.com").await;

    relay.open.send_replace(false);
    says(false).await;
    let path = format!("/api/v1/users/{user}");
    let refused = api.get(&path).await;
    assert_eq!(refused.header("retry-after"), "2");
    refused.refused(503, "unavailable");
    let late = serde_json::json!({ "email": "bob@example.com", "name": "Bob" });
    api.post("/api/v1/users", late.clone()).await.refused(503, "unavailable");

    relay.open.send_replace(true);
    says(true).await;
    api.get(&path).await.expect(200);
    api.post("/api/v1/users", late).await.expect(201);
    shutdown.cancel();
}
