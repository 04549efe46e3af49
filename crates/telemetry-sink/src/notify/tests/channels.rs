//! What receivers are sent, as they see it.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::{A, B, SECOND, START, alert};
use crate::notify::engine::Notifier;
use crate::notify::fingerprint;
use crate::notify::message::Message;
use crate::notify::plan::Plan;
use crate::notify::send::SendError;
use crate::notify::settings::Settings;

fn message() -> Message {
    let (first, second) = (alert(A, START, START + SECOND, START), alert(B, START, START + 1, START));
    let now = START + 500;
    Message {
        receiver: "ops".into(),
        group_key: "{}:x".into(),
        group_labels: [("alertname", "Down"), ("cluster", "x")].into_iter().collect(),
        external_url: "https://console.example".into(),
        now,
        alerts: vec![(fingerprint(&first.labels), first), (fingerprint(&second.labels), second)],
    }
}

#[test]
fn the_json_of_webhooks_is_alertmanagers() {
    let body = message().json(1);
    assert_eq!(body["version"], "4");
    assert_eq!(
        (&body["status"], &body["receiver"], &body["truncatedAlerts"]),
        (&json!("firing"), &json!("ops"), &json!(1))
    );
    assert_eq!(body["commonLabels"], json!({"alertname": "Down", "cluster": "x"}));
    assert_eq!(body["commonAnnotations"], json!({"summary": "it <is> down"}));
    let alert = &body["alerts"][0];
    assert_eq!((&alert["status"], &alert["endsAt"]), (&json!("firing"), &json!("0001-01-01T00:00:00Z")));
    assert_eq!(alert["startsAt"], "2023-11-14T22:13:20Z");
    assert_eq!(alert["fingerprint"].as_str().unwrap().len(), 16);
    assert_eq!(message().subject(), "[FIRING:1] Down (cluster=x)");
    assert!(message().html().contains("it &lt;is&gt; down") && message().text().contains("it <is> down"));
}

/// A server that fails some times before it takes what it is sent.
async fn server(
    failures: usize,
    status: StatusCode,
) -> (u16, Arc<Mutex<Vec<(HeaderMap, Json)>>>, Arc<AtomicUsize>) {
    type Taken = (Arc<Mutex<Vec<(HeaderMap, Json)>>>, Arc<AtomicUsize>, usize, StatusCode);
    async fn take(
        State((taken, asked, failures, status)): State<Taken>,
        headers: HeaderMap,
        body: Bytes,
    ) -> StatusCode {
        if asked.fetch_add(1, Ordering::SeqCst) < failures {
            return status;
        }
        taken.lock().unwrap().push((headers, serde_json::from_slice(&body).unwrap()));
        StatusCode::OK
    }
    let (taken, asked) = (Arc::default(), Arc::new(AtomicUsize::new(0)));
    let state: Taken = (Arc::clone(&taken), Arc::clone(&asked), failures, status);
    let router =
        Router::new().route("/hook", post(take)).route("/api/v2/alerts", post(take)).with_state(state);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    #[expect(clippy::disallowed_methods, reason = "ends with the runtime of the test")]
    tokio::spawn(async move { axum::serve(listener, router).await });
    (port, taken, asked)
}

fn plan(receiver: &str) -> Plan {
    let settings: Settings = toml::from_str(&format!("[[receiver]]\nname = \"ops\"\n{receiver}")).unwrap();
    Plan::new(&settings).unwrap()
}

async fn deliver(plan: &Plan, patience: Duration) -> Result<(), SendError> {
    plan.receivers[1].channels[0].deliver(&message(), plan.mailer.as_ref(), patience).await
}

#[tokio::test]
async fn a_webhook_is_tried_again_until_it_is_taken_and_carries_its_token() {
    let (port, taken, asked) = server(1, StatusCode::SERVICE_UNAVAILABLE).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "s3cret\n").unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let receiver = format!(
        "webhook = [{{ url = \"http://127.0.0.1:{port}/hook\", token_file = {:?} }}]",
        file.to_str().unwrap()
    );
    deliver(&plan(&receiver), Duration::from_secs(30)).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    let taken = taken.lock().unwrap();
    let (headers, body) = &taken[0];
    assert_eq!(headers["authorization"], "Bearer s3cret");
    assert_eq!(body["groupKey"], "{}:x");
}

#[tokio::test]
async fn what_a_webhook_refuses_for_good_is_not_tried_again() {
    let (port, _, asked) = server(9, StatusCode::BAD_REQUEST).await;
    let plan = plan(&format!("webhook = [{{ url = \"http://127.0.0.1:{port}/hook\" }}]"));
    let error = deliver(&plan, Duration::from_secs(30)).await.unwrap_err();
    assert!(matches!(error, SendError::Never(_)), "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    // Nobody listens there any more: that may pass.
    let plan = self::plan("webhook = [{ url = \"http://127.0.0.1:1/hook\" }]");
    let error = deliver(&plan, Duration::from_millis(10)).await.unwrap_err();
    assert!(matches!(error, SendError::Later(_)), "{error}");
}

#[tokio::test]
async fn slack_is_sent_an_attachment() {
    let (port, taken, _) = server(0, StatusCode::OK).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("url");
    std::fs::write(&file, format!("http://127.0.0.1:{port}/hook")).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let receiver = format!("slack = [{{ url_file = {:?}, channel = \"#ops\" }}]", file.to_str().unwrap());
    deliver(&plan(&receiver), Duration::from_secs(30)).await.unwrap();
    let taken = taken.lock().unwrap();
    assert_eq!(taken[0].1["attachments"][0]["color"], "danger");
    assert_eq!(taken[0].1["channel"], "#ops");
}

#[tokio::test]
async fn another_alertmanager_is_told_once_a_minute_and_of_the_end() {
    let (port, taken, _) = server(1, StatusCode::BAD_GATEWAY).await;
    let settings: Settings =
        toml::from_str(&format!("[[alertmanager]]\ntarget = \"http://127.0.0.1:{port}\"\n")).unwrap();
    let target = Arc::new(crate::notify::relay::Target::new(&settings.alertmanager[0]).unwrap());
    let external = [("region".to_owned(), "eu".to_owned())].into_iter().collect();
    let end = START + 3_600_000;
    for seconds in [0, 15, 30, 45] {
        target.offer(&[alert(A, START, end, START)], &external, START + seconds * SECOND);
    }
    let shutdown = tokio_util::sync::CancellationToken::new();
    let until = |count: usize| {
        let taken = Arc::clone(&taken);
        async move {
            while taken.lock().unwrap().len() < count {
                tokio::task::yield_now().await;
            }
        }
    };
    let story = async {
        until(1).await;
        target.offer(&[alert(A, START, end, START)], &external, START + 61 * SECOND);
        until(2).await;
        target.offer(&[alert(A, START, START + 62 * SECOND, START)], &external, START + 62 * SECOND);
        until(3).await;
        shutdown.cancel();
    };
    tokio::join!(target.run(&shutdown), story);
    let taken = taken.lock().unwrap();
    assert_eq!(taken[0].1[0]["labels"]["region"], "eu");
    assert_eq!(taken[2].1[0]["endsAt"], "2023-11-14T22:14:22Z");
    assert_eq!(taken.len(), 3);
}

#[tokio::test]
async fn a_receiver_that_never_answers_delays_no_other() {
    let (port, taken, _) = server(0, StatusCode::OK).await;
    // Connections are made and wait for ever. The route's name sorts its group behind the others.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings: Settings = toml::from_str(&format!(
        "group_wait_seconds = 0\ngroup_by = [\"...\"]\ndefault_receiver = \"silent\"\n\
         [[receiver]]\nname = \"silent\"\nwebhook = [{{ url = \"http://{}/hook\" }}]\n\
         [[receiver]]\nname = \"ops\"\nwebhook = [{{ url = \"http://127.0.0.1:{port}/hook\" }}]\n\
         [[route]]\nname = \"~last\"\nmatchers = [\"instance=last\"]\nreceiver = \"ops\"\n",
        silent.local_addr().unwrap()
    ))
    .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let clock = quintet_types::SystemClock::shared();
    let notifier = Arc::new(Notifier::open(&settings, "", directory.path(), clock).unwrap());
    let now = notifier.now();
    let names = (0..40).map(|number| format!("a{number}")).chain(["last".to_owned()]);
    let alerts = names.map(|name| alert(&[("instance", &name)], now, now + 3_600_000, now));
    notifier.post(alerts.collect());
    let shutdown = tokio_util::sync::CancellationToken::new();
    let told = async {
        while taken.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        done = Arc::clone(&notifier).run(shutdown) => panic!("ended: {done:?}"),
        told = tokio::time::timeout(Duration::from_secs(8), told) => told.expect("told before others are given up"),
    }
}

#[tokio::test]
async fn a_mail_has_text_and_html_and_goes_over_tls() {
    let directory = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    // A server that is not ours, which the worker's tests have too.
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../async-worker/src/mail/tests/smtpd.py");
    let mut process = tokio::process::Command::new("/usr/bin/python3")
        .args([script.as_os_str(), "starttls".as_ref(), certificate.as_os_str(), key.as_os_str()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let first: Json = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
    let receiver = format!(
        "email = [{{ to = [\"ops@example.com\", \"On Call <call@example.com>\"] }}]\n[smtp]\nfrom = \"Alerts <alerts@example.com>\"\n\
         host = \"localhost\"\nport = {}\ntls = \"starttls\"\nca_file = {:?}\n",
        first["port"],
        certificate.to_str().unwrap()
    );
    deliver(&plan(&receiver), Duration::from_mins(1)).await.unwrap();
    let taken: Json = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
    assert_eq!(
        (&taken["to"], &taken["tls"]),
        (&json!(["ops@example.com", "call@example.com"]), &json!(true))
    );
    let mail = String::from_utf8(STANDARD.decode(taken["message"].as_str().unwrap()).unwrap()).unwrap();
    assert!(mail.contains("Subject: [FIRING:1] Down (cluster=x)"), "{mail}");
    assert!(
        mail.contains("text/plain") && mail.contains("text/html") && mail.contains("instance = a"),
        "{mail}"
    );
}
