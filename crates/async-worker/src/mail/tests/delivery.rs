//! Handing messages to a server that is not ours.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use lettre::Address;

use super::server::Server;
use super::*;
use crate::config::{Smtp as Settings, Tls};
use crate::mail::smtp::Smtp;

async fn deliver(smtp: &Smtp, to: &str) -> Result<(), Undelivered> {
    let from: Address = "shop@example.com".parse().unwrap();
    smtp.deliver(&from, &to.parse().unwrap(), b"Subject: x\r\n\r\n.dot\r\n").await
}

#[tokio::test]
async fn a_message_arrives_under_tls_from_the_first_byte_and_by_starttls() {
    for (mode, tls) in [("implicit", Tls::Implicit), ("starttls", Tls::Starttls)] {
        let mut server = Server::start(mode).await;
        let smtp = Smtp::open(&server.settings(tls)).unwrap();
        deliver(&smtp, "ada@example.com").await.unwrap();
        let taken = server.taken().await;
        assert_eq!((taken.to.as_str(), taken.tls), ("ada@example.com", true), "{mode}");
        assert_eq!(taken.message, b"Subject: x\r\n\r\n.dot\r\n");
    }
}

#[tokio::test]
async fn nothing_goes_in_the_clear_to_a_server_without_starttls_or_with_a_foreign_certificate() {
    let plain = Server::start("plain").await;
    let smtp = Smtp::open(&plain.settings(Tls::Starttls)).unwrap();
    assert!(matches!(deliver(&smtp, "ada@example.com").await, Err(Undelivered::Later(_))));
    let foreign = Server::start("implicit").await;
    let smtp = Smtp::open(&Settings { ca_file: None, ..foreign.settings(Tls::Implicit) }).unwrap();
    assert!(matches!(deliver(&smtp, "ada@example.com").await, Err(Undelivered::Later(_))));
}

#[tokio::test]
async fn a_refused_recipient_bounces_only_where_the_answer_is_about_the_address() {
    let server = Server::start("plain").await;
    let smtp = Smtp::open(&server.settings(Tls::None)).unwrap();
    for (local, bounced, refused) in [
        ("gone", true, false),
        ("old", true, false),
        ("closed", true, false),
        ("full", false, true),
        ("policy", false, true),
        ("spam", false, true),
        ("busy", false, false),
    ] {
        let error = deliver(&smtp, &format!("{local}@example.com")).await.unwrap_err();
        assert_eq!(matches!(error, Undelivered::Bounced(_)), bounced, "{local}: {error:?}");
        assert_eq!(matches!(error, Undelivered::Refused(_)), refused, "{local}: {error:?}");
    }
}

#[tokio::test]
async fn a_refused_sender_or_sign_in_is_tried_again_because_it_is_the_operators_to_mend() {
    let server = Server::start("starttls").await;
    let smtp = Smtp::open(&server.settings(Tls::Starttls)).unwrap();
    let nobody: Address = "nobody@example.com".parse().unwrap();
    let refused = smtp.deliver(&nobody, &"ada@example.com".parse().unwrap(), b"x: y\r\n\r\n").await;
    assert!(matches!(refused, Err(Undelivered::Later(_))), "{refused:?}");

    for (password, good) in [("sesame", true), ("wrong", false)] {
        let secret = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), password).unwrap();
        secret.as_file().set_permissions(std::fs::Permissions::from_mode(0o600)).unwrap();
        let settings = Settings {
            username: Some("shop".to_owned()),
            password_file: Some(quintet_service::SecretFile::Path(secret.path().to_path_buf())),
            ..server.settings(Tls::Starttls)
        };
        let sent = deliver(&Smtp::open(&settings).unwrap(), "ada@example.com").await;
        assert_eq!(sent.is_ok(), good, "{sent:?}");
        assert!(good || matches!(sent, Err(Undelivered::Later(_))), "{sent:?}");
    }
}

#[tokio::test]
async fn messages_share_no_more_connections_than_are_allowed() {
    let mut server = Server::start("plain").await;
    let smtp = Arc::new(Smtp::open(&server.settings(Tls::None)).unwrap());
    let mut sending = tokio::task::JoinSet::new();
    for number in 0..8 {
        let smtp = smtp.clone();
        sending.spawn(async move { deliver(&smtp, &format!("u{number}@example.com")).await.unwrap() });
    }
    while let Some(sent) = sending.join_next().await {
        sent.unwrap();
    }
    // A refusal does not cost the connection.
    assert!(deliver(&smtp, "gone@example.com").await.is_err());
    deliver(&smtp, "last@example.com").await.unwrap();
    let mut peers = std::collections::BTreeSet::new();
    for _ in 0..9 {
        peers.insert(server.taken().await.peer);
    }
    assert!(peers.len() <= 2, "{peers:?}");
}
