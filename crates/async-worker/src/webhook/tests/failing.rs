//! What becomes of a message that is not taken, and of an endpoint that takes none.

use super::*;

/// The wait that a failed attempt asks for, zero for that of the schedule, or nothing when it was given up.
fn wait_of(result: Result<(), HandlerError>) -> Option<Duration> {
    match result {
        Err(HandlerError::Retry(_)) => Some(Duration::ZERO),
        Err(HandlerError::RetryAfter(_, delay)) => Some(delay),
        Err(HandlerError::Discard(_)) => None,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_failed_attempt_is_tried_again_by_the_schedule_and_read_no_further_than_its_beginning() {
    let database = databases().await.into_iter().next().unwrap();
    let receiver = Receiver::start().await;
    let endpoints = endpoints(&database, &FakeClock::default()).await;
    let deliver = deliver(&endpoints, &receiver.settings());
    for (path, attempt, asked, status, words, kept) in [
        ("/fail", 1, 0, Some(500), "answered 500", 1024),
        ("/busy", 1, 7200, Some(503), "answered 503", 0),
        // It cannot hurry a retry.
        ("/busy", 5, 18_000, Some(503), "answered 503", 0),
        ("/redirect", 1, 0, Some(302), "redirects are not followed", 0),
    ] {
        let (endpoint, _) = endpoints.create(&receiver.url(path), "", &[]).await.unwrap();
        let wait = wait_of(deliver.deliver(&message(endpoint.id), attempt).await).unwrap();
        assert_eq!(wait.as_secs(), asked, "{path}");
        let written = endpoints.deliveries(endpoint.id, None, 10).await.unwrap().remove(0);
        assert_eq!((written.status, written.answer.len()), (status, kept), "{path}");
        assert!(written.error.unwrap().contains(words), "{path}");
    }
    let minutes = |place: usize| match deliver.policy().backoff {
        Some(quintet_jobs::Backoff::Delays(delays)) => delays[place].as_secs() / 60,
        other => panic!("{other:?}"),
    };
    assert_eq!([0, 1, 2, 8].map(minutes), [0, 5, 30, 1440]);
    // Without an end, and yet a success: only its beginning is read.
    let (endpoint, _) = endpoints.create(&receiver.url("/endless"), "", &[]).await.unwrap();
    deliver.deliver(&message(endpoint.id), 1).await.unwrap();
    assert_eq!(endpoints.deliveries(endpoint.id, None, 10).await.unwrap()[0].answer.len(), 1024);
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_is_given_up_in_time() {
    let database = databases().await.into_iter().next().unwrap();
    let receiver = Receiver::start().await;
    let endpoints = endpoints(&database, &FakeClock::default()).await;
    let settings = Settings { timeout_ms: 200, ..receiver.settings() };
    let (endpoint, _) = endpoints.create(&receiver.url("/slow"), "", &[]).await.unwrap();
    let failed = deliver(&endpoints, &settings).deliver(&message(endpoint.id), 1).await;
    assert!(wait_of(failed).is_some());
    let written = endpoints.deliveries(endpoint.id, None, 10).await.unwrap().remove(0);
    assert!(written.status.is_none() && written.error.unwrap().contains("in time"));
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_disabled_and_asked_no_more_until_it_is_enabled() {
    for database in databases().await {
        let mut receiver = Receiver::start().await;
        let endpoints = endpoints(&database, &FakeClock::default()).await;
        let deliver = deliver(&endpoints, &receiver.settings());
        let (endpoint, _) = endpoints.create(&receiver.url("/gone"), "", &[]).await.unwrap();
        assert_eq!(wait_of(deliver.deliver(&message(endpoint.id), 1).await), None);
        assert_eq!(receiver.received().await["path"], "/gone");
        let reason = endpoints.find(endpoint.id).await.unwrap().disabled_reason;
        assert_eq!(reason.as_deref(), Some("it answered 410 Gone"), "{}", database.name);
        assert_eq!(wait_of(deliver.deliver(&message(endpoint.id), 1).await), None);
        assert_eq!(endpoints.deliveries(endpoint.id, None, 10).await.unwrap().len(), 1);
        endpoints.switch(endpoint.id, None).await.unwrap();
        assert_eq!(wait_of(deliver.deliver(&message(endpoint.id), 1).await), None);
        assert_eq!(receiver.received().await["path"], "/gone");
        endpoints.delete(endpoint.id).await.unwrap();
        assert_eq!(wait_of(deliver.deliver(&message(endpoint.id), 1).await), None);
    }
}

#[tokio::test]
async fn only_failures_without_a_success_between_them_disable_an_endpoint() {
    for database in databases().await {
        let receiver = Receiver::start().await;
        let clock = FakeClock::default();
        let endpoints = endpoints(&database, &clock).await;
        let deliver = deliver(&endpoints, &receiver.settings());
        let (endpoint, _) = endpoints.create(&receiver.url("/fail"), "", &[]).await.unwrap();
        let moved = async |path: &str| {
            let mut tx = database.store.begin().await.unwrap();
            let url = receiver.url(path);
            let sql = "UPDATE webhook_endpoints SET url = $2 WHERE id = $1";
            tx.execute(sql, quintet_store::args![endpoint.id, url]).await.unwrap();
            tx.commit().await.unwrap();
        };
        assert!(wait_of(deliver.deliver(&message(endpoint.id), 1).await).is_some());
        assert!(endpoints.find(endpoint.id).await.unwrap().failing_since.is_some());
        moved("/ok").await;
        clock.advance(Duration::from_hours(60));
        deliver.deliver(&message(endpoint.id), 1).await.unwrap();
        assert!(endpoints.find(endpoint.id).await.unwrap().failing_since.is_none(), "{}", database.name);
        moved("/fail").await;
        clock.advance(Duration::from_hours(60));
        assert!(wait_of(deliver.deliver(&message(endpoint.id), 1).await).is_some());
        clock.advance(Duration::from_hours(119));
        assert!(wait_of(deliver.deliver(&message(endpoint.id), 1).await).is_some());
        clock.advance(Duration::from_hours(1));
        assert_eq!(wait_of(deliver.deliver(&message(endpoint.id), 1).await), None);
        let reason = endpoints.find(endpoint.id).await.unwrap().disabled_reason;
        assert_eq!(reason.as_deref(), Some("every attempt failed for 120 hours"));
    }
}

#[tokio::test]
async fn of_an_endpoints_attempts_the_newest_are_kept() {
    for database in databases().await {
        let endpoints = endpoints(&database, &FakeClock::default()).await;
        let (endpoint, _) = endpoints.create("https://shop.example/", "", &[]).await.unwrap();
        let attempted = send::Attempted {
            status: Some(200),
            failure: None,
            latency: Duration::ZERO,
            answer: String::new(),
            retry_after: None,
        };
        for attempt in 1..=505 {
            let subject = Subject { endpoint: endpoint.id, message_id: "m", event_type: "a", attempt };
            endpoints.record(&subject, &attempted, Duration::MAX).await.unwrap();
        }
        let count = "SELECT count(*) AS n FROM webhook_deliveries";
        let row = database.store.fetch_one(count, quintet_store::args![]).await.unwrap();
        assert_eq!(row.get::<i64>("n").unwrap(), 500, "{}", database.name);
    }
}

#[test]
fn a_database_out_of_reach_uses_up_no_attempt_to_publish_or_deliver() {
    let unavailable = quintet_store::Error::Unavailable("too many clients".into());
    let error = super::super::gone(EndpointError::Store(unavailable));
    assert!(matches!(error, HandlerError::Unavailable(_)), "{error:?}");
}
