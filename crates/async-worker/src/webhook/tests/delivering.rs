//! What a receiver gets.

use quintet_jobs::{Settings as WorkerSettings, Worker};

use super::*;

#[tokio::test]
async fn a_message_is_verified_by_a_receiver_that_is_not_ours_and_written_down() {
    for database in databases().await {
        let mut receiver = Receiver::start().await;
        let clock = FakeClock::default();
        let endpoints = endpoints(&database, &clock).await;
        let (endpoint, secret) = endpoints.create(&receiver.url("/ok?a=1"), "", &[]).await.unwrap();
        receiver.learn(secret.expose()).await;
        let message = message(endpoint.id);
        deliver(&endpoints, &receiver.settings()).deliver(&message, 1).await.unwrap();
        let got = receiver.received().await;
        assert_eq!(got["verified"], json!([true]), "{}", database.name);
        assert_eq!((&got["path"], &got["type"]), (&json!("/ok?a=1"), &json!("application/json")));
        assert_eq!(got["id"], json!(message.message_id));
        assert_eq!((&got["timestamp"], &got["body"]), (&json!("1772366400"), &json!(message.body)));
        let written = endpoints.deliveries(endpoint.id, None, 10).await.unwrap();
        assert_eq!((written.len(), written[0].status, written[0].attempt), (1, Some(200), 1));
        assert_eq!((written[0].answer.as_str(), &written[0].error), ("thanks\u{fffd}", &None));
    }
}

#[tokio::test]
async fn after_a_rotation_both_secrets_verify_until_the_old_one_ends() {
    for database in databases().await {
        let mut receiver = Receiver::start().await;
        let clock = FakeClock::default();
        let endpoints = endpoints(&database, &clock).await;
        let (endpoint, old) = endpoints.create(&receiver.url("/ok"), "", &[]).await.unwrap();
        let new = endpoints.rotate(endpoint.id, Duration::from_hours(24)).await.unwrap();
        receiver.learn(old.expose()).await;
        receiver.learn(new.expose()).await;
        let deliver = deliver(&endpoints, &receiver.settings());
        deliver.deliver(&message(endpoint.id), 1).await.unwrap();
        assert_eq!(receiver.received().await["verified"], json!([true, true]), "{}", database.name);
        clock.advance(Duration::from_hours(24));
        deliver.deliver(&message(endpoint.id), 1).await.unwrap();
        assert_eq!(receiver.received().await["verified"], json!([false, true]));
        for _ in 0..3 {
            endpoints.rotate(endpoint.id, Duration::from_hours(24)).await.unwrap();
        }
        let more = endpoints.rotate(endpoint.id, Duration::from_hours(24)).await;
        assert!(matches!(more, Err(EndpointError::TooManySecrets)));
        // At once: what leaked must not sign any longer.
        endpoints.rotate(endpoint.id, Duration::ZERO).await.unwrap();
        assert_eq!(endpoints.with_secrets(endpoint.id).await.unwrap().1.len(), 1);
    }
}

#[tokio::test]
async fn an_event_reaches_each_endpoint_that_wants_it_through_the_queue() {
    for database in databases().await {
        let mut receiver = Receiver::start().await;
        let clock = FakeClock::default();
        let endpoints = endpoints(&database, &clock).await;
        let placed = ["order.placed".to_owned()];
        let other = ["order.paid".to_owned()];
        endpoints.create(&receiver.url("/all"), "", &[]).await.unwrap();
        endpoints.create(&receiver.url("/placed"), "", &placed).await.unwrap();
        endpoints.create(&receiver.url("/other"), "", &other).await.unwrap();
        let (off, _) = endpoints.create(&receiver.url("/off"), "", &[]).await.unwrap();
        endpoints.switch(off.id, Some("off")).await.unwrap();

        let deliver = deliver(&endpoints, &receiver.settings());
        let handlers: Vec<Arc<dyn Handler>> = vec![Arc::new(Publish(endpoints.clone())), Arc::new(deliver)];
        let worker = Worker::new(database.store.clone(), clock.shared(), WorkerSettings::default(), handlers);
        let mut tx = database.store.begin().await.unwrap();
        let event = json!({"event_type": "order.placed", "data": {"id": "ord_1"}});
        let publish = NewJob::new("webhook.publish", &event);
        quintet_jobs::enqueue(&mut tx, &clock, publish).await.unwrap();
        tx.commit().await.unwrap();

        assert_eq!(worker.run_until_idle().await.unwrap(), 3, "{}", database.name);
        let got = [receiver.received().await, receiver.received().await];
        let mut paths = got.clone().map(|got| got["path"].as_str().unwrap().to_owned());
        paths.sort();
        assert_eq!(paths, ["/all", "/placed"], "{}", database.name);
        assert_eq!((&got[0]["id"], &got[0]["body"]), (&got[1]["id"], &got[1]["body"]));
        let body: serde_json::Value = serde_json::from_str(got[0]["body"].as_str().unwrap()).unwrap();
        let expected =
            json!({"type": "order.placed", "timestamp": "2026-03-01T12:00:00Z", "data": {"id": "ord_1"}});
        assert_eq!(body, expected);
    }
}
