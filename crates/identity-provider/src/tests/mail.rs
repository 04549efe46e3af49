//! Letters: a forgotten password, an address that is shown to be one's own, and a mail server that is not
//! always well. The server is a process that is not ours.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use zeroize::Zeroizing;

use super::harness::*;
use crate::mail::outbox;
use crate::scopes::Role;

const NEW_PASSWORD: &str = "a sentence is a good password";
const SCRIPT: &str = "../async-worker/src/mail/tests/smtpd.py";
/// Only so that a server that hangs fails the test instead of the whole run.
const PATIENCE: Duration = Duration::from_secs(30);

struct Server {
    port: u16,
    directory: tempfile::TempDir,
    lines: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Server {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (cert, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let mut process = Command::new("/usr/bin/python3")
            .arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(SCRIPT))
            .arg("starttls")
            .args([cert, key])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut server = Self { port: 0, directory, lines, _process: process };
        server.port = u16::try_from(server.line().await["port"].as_u64().unwrap()).unwrap();
        server
    }

    async fn line(&mut self) -> Value {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await.unwrap().unwrap();
        serde_json::from_str(&line.expect("the server goes on")).unwrap()
    }

    fn section(&self) -> Value {
        let ca = self.directory.path().join("cert.pem");
        json!({
            "from": "Accounts <accounts@example.com>",
            "smtp": { "host": "localhost", "port": self.port, "tls": "starttls", "ca_file": ca },
        })
    }

    /// The next message it took: to whom, and its text.
    async fn taken(&mut self) -> (String, String) {
        let line = self.line().await;
        assert_eq!(line["tls"], true);
        let bytes = STANDARD.decode(line["message"].as_str().unwrap()).unwrap();
        // Quoted-printable (RFC 2045 §6.7), of which a text in ASCII needs these two.
        let text = String::from_utf8(bytes).unwrap().replace("=\r\n", "").replace("=3D", "=");
        (line["to"][0].as_str().unwrap().to_owned(), text)
    }

    /// The path and query of the link in the next message.
    async fn link(&mut self) -> String {
        let (_, text) = self.taken().await;
        let from = text.find(ORIGIN).unwrap_or_else(|| panic!("{text}")) + ORIGIN.len();
        text[from..].split_whitespace().next().unwrap().to_owned()
    }
}

/// A mail server for each provider that sends to it.
async fn mailing() -> Vec<(Provider, Server)> {
    let mut pairs = Vec::new();
    let count = quintet_testkit::databases().await.len();
    let mut servers = Vec::new();
    for _ in 0..count {
        servers.push(Server::start().await);
    }
    let sections: Vec<Value> = servers.iter().map(Server::section).collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let change = |config: &mut Value| {
        config["mail"] = sections[next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)].clone();
    };
    for (provider, server) in providers_with(change).await.into_iter().zip(servers) {
        pairs.push((provider, server));
    }
    pairs
}

impl Browser {
    async fn ask_for_reset(&mut self, provider: &Provider, email: &str) -> Answer {
        let csrf = self.get(provider, "/identity/reset").await.field("csrf");
        self.post(provider, "/identity/reset", &[("csrf", &csrf), ("email", email)]).await
    }

    async fn choose(&mut self, provider: &Provider, link: &str, password: &str) -> Answer {
        let page = self.get(provider, link).await;
        if page.status != StatusCode::OK {
            return page;
        }
        let (csrf, token) = (page.field("csrf"), page.field("token"));
        let pairs = [("csrf", csrf.as_str()), ("token", &token), ("password", password)];
        self.post(provider, "/identity/reset/new", &pairs).await
    }
}

async fn deliver(provider: &Provider) {
    outbox::deliver_due(&provider.app).await.unwrap();
}

const LETTERS: &str = "SELECT count(*) AS n FROM identity_outbox";
const TOKENS: &str = "SELECT count(*) AS n FROM identity_mail_tokens";

#[tokio::test]
async fn a_forgotten_password_is_replaced_by_the_link_once_and_everything_is_signed_out() {
    for (provider, mut server) in mailing().await {
        let (mut signed_in, tokens) = provider.sign_in("openid offline_access").await;
        let mut browser = Browser::default();
        let login = browser.get(&provider, "/identity/login").await;
        assert!(login.body.contains("/identity/reset"), "{login:?}");
        assert_eq!(browser.ask_for_reset(&provider, ADMIN).await.status, StatusCode::OK);
        deliver(&provider).await;
        let link = server.link().await;
        // A mail server that looks at the link uses nothing up.
        assert_eq!(browser.get(&provider, &link).await.status, StatusCode::OK);
        let short = browser.choose(&provider, &link, "short").await;
        assert_eq!(short.status, StatusCode::UNPROCESSABLE_ENTITY);
        let done = browser.choose(&provider, &link, NEW_PASSWORD).await;
        assert_eq!(done.status, StatusCode::OK, "{done:?}");
        assert_eq!(
            browser.choose(&provider, &link, "another sentence, later").await.status,
            StatusCode::GONE
        );
        let told = "SELECT count(*) AS n FROM identity_logout_deliveries";
        assert_eq!(provider.count(told).await, 1, "the client hears of it");
        deliver(&provider).await;
        let (to, notice) = server.taken().await;
        assert!(to == ADMIN && notice.contains("Your password was changed"), "{notice}");

        let silent = signed_in.authorize(&provider, &[("prompt", "none")]).await;
        assert_eq!(silent.sent_back("error").as_deref(), Some("login_required"));
        assert_eq!(
            provider.refresh(tokens["refresh_token"].as_str().unwrap()).await.error(),
            "invalid_grant"
        );
        assert_eq!(Browser::default().sign_in(&provider, &[]).await.status, StatusCode::UNPROCESSABLE_ENTITY);
        let mut back = Browser::default();
        let page = back.login_page(&provider, &[]).await;
        let answer = back.submit(&provider, &page, ADMIN, NEW_PASSWORD).await;
        assert!(answer.sent_back("code").is_some(), "{answer:?}");
        let verified = "SELECT count(*) AS n FROM identity_users WHERE email_verified";
        assert_eq!(provider.count(verified).await, 1, "the link came by mail");
    }
}

#[tokio::test]
async fn asking_for_an_unknown_account_looks_and_works_the_same_and_sends_nothing() {
    for (provider, _server) in mailing().await {
        let mut answers = Vec::new();
        for (asked, email) in [(1, ADMIN), (2, "nobody@example.com")] {
            let answer = Browser::default().ask_for_reset(&provider, email).await;
            answers.push((answer.status, answer.body.replace(email, "EMAIL").len()));
            assert_eq!((provider.count(LETTERS).await, provider.count(TOKENS).await), (asked, asked));
            let noted = "SELECT count(*) AS n FROM identity_audit WHERE kind = 'password_reset.asked'";
            assert_eq!(provider.count(noted).await, asked);
        }
        assert_eq!(answers[0], answers[1]);
        deliver(&provider).await;
        assert_eq!(provider.count(LETTERS).await, 0, "the one to nobody is gone too");
        let nobody = "SELECT count(*) AS n FROM identity_mail_tokens WHERE user_id IS NULL";
        assert_eq!(provider.count(nobody).await, 1);
    }
}

#[tokio::test]
async fn a_link_ends_with_its_time_and_with_the_password_it_was_asked_for_about() {
    for (provider, mut server) in mailing().await {
        let mut browser = Browser::default();
        let mut links = Vec::new();
        for _ in 0..2 {
            browser.ask_for_reset(&provider, ADMIN).await;
            deliver(&provider).await;
            links.push(server.link().await);
        }
        browser.choose(&provider, &links[0], NEW_PASSWORD).await;
        let second = browser.get(&provider, &links[1]).await;
        assert_eq!(second.status, StatusCode::GONE, "asked for before the password changed");
        provider.clock.advance(Duration::from_mins(20));
        deliver(&provider).await;
        server.taken().await;
        browser.ask_for_reset(&provider, ADMIN).await;
        deliver(&provider).await;
        let late = server.link().await;
        provider.clock.advance(Duration::from_mins(31));
        assert_eq!(browser.get(&provider, &late).await.status, StatusCode::GONE);
        for forged in ["", "?token=", "?token=AAAA", &format!("?token={}", "A".repeat(43))] {
            let page = browser.get(&provider, &format!("/identity/reset/new{forged}")).await;
            assert_eq!(page.status, StatusCode::GONE, "{forged}");
        }
    }
}

#[tokio::test]
async fn of_many_uses_of_one_link_at_once_one_wins() {
    for (provider, mut server) in mailing().await {
        let mut browser = Browser::default();
        browser.ask_for_reset(&provider, ADMIN).await;
        deliver(&provider).await;
        let link = server.link().await;
        let page = browser.get(&provider, &link).await;
        let (csrf, token) = (page.field("csrf"), page.field("token"));
        let tries = (0..3).map(|_| {
            let (mut browser, provider, csrf, token) = (browser.clone(), &provider, &csrf, &token);
            async move {
                let pairs = [("csrf", csrf.as_str()), ("token", token), ("password", NEW_PASSWORD)];
                browser.post(provider, "/identity/reset/new", &pairs).await.status
            }
        });
        let statuses = futures_util::future::join_all(tries).await;
        let won = statuses.iter().filter(|status| **status == StatusCode::OK).count();
        assert_eq!(won, 1, "{statuses:?}");
    }
}

#[tokio::test]
async fn neither_form_is_taken_from_another_site() {
    for (provider, mut server) in mailing().await {
        let mut browser = Browser::default();
        browser.ask_for_reset(&provider, ADMIN).await;
        deliver(&provider).await;
        let link = server.link().await;
        let page = browser.get(&provider, &link).await;
        let (csrf, token) = (page.field("csrf"), page.field("token"));
        let cookie = format!("__Host-quintet_login={}", browser.cookies["__Host-quintet_login"]);
        for (origin, csrf) in [("https://evil.example", csrf.as_str()), (ORIGIN, "forged")] {
            let headers = [("cookie", cookie.as_str()), ("origin", origin)];
            for path in ["/identity/reset", "/identity/reset/new"] {
                let pairs = [("csrf", csrf), ("email", ADMIN), ("token", &token), ("password", NEW_PASSWORD)];
                let answer = provider.post(path, &headers, &pairs).await;
                assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} {origin}");
            }
        }
        assert_eq!(provider.count(TOKENS).await, 1);
        assert_eq!(browser.choose(&provider, &link, NEW_PASSWORD).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn one_place_is_told_to_wait_and_many_places_fill_no_mailbox() {
    for (provider, _server) in mailing().await {
        for (place, expected) in [("192.0.2.1", 3), ("198.51.100.1", 3), ("203.0.113.1", 3)] {
            let mut browser = Browser { address: Some(place), ..Browser::default() };
            for _ in 0..3 {
                assert_eq!(browser.ask_for_reset(&provider, ADMIN).await.status, StatusCode::OK);
            }
            let slowed = browser.ask_for_reset(&provider, ADMIN).await;
            assert_eq!(slowed.status, StatusCode::TOO_MANY_REQUESTS, "{place}");
            let real = "SELECT count(*) AS n FROM identity_mail_tokens WHERE user_id IS NOT NULL";
            assert_eq!(provider.count(real).await, expected, "{place}");
        }
    }
}

#[tokio::test]
async fn a_busy_server_is_asked_again_and_a_refusal_or_an_old_letter_is_given_up() {
    for (provider, mut server) in mailing().await {
        let password = Zeroizing::new("another good password".to_owned());
        let caller = crate::caller::Caller::default();
        for email in ["busy@example.com", "gone@example.com"] {
            crate::admin::create(&provider.app, "test", email, "Bea", &password, Role::Member, &caller)
                .await
                .unwrap();
            Browser::default().ask_for_reset(&provider, email).await;
        }
        Browser::default().ask_for_reset(&provider, ADMIN).await;
        deliver(&provider).await;
        assert_eq!(server.taken().await.0, ADMIN);
        assert_eq!(provider.count(LETTERS).await, 1, "the refused one is gone, the busy one waits");
        deliver(&provider).await;
        let attempts = "SELECT attempts AS n FROM identity_outbox";
        assert_eq!(provider.count(attempts).await, 1, "not before its time");
        for (seconds, expected) in [(5, 2), (5, 2), (5, 3)] {
            provider.clock.advance(Duration::from_secs(seconds));
            deliver(&provider).await;
            assert_eq!(provider.count(attempts).await, expected);
        }
        provider.clock.advance(Duration::from_mins(31));
        deliver(&provider).await;
        assert_eq!(provider.count(LETTERS).await, 0, "its link would not work any more");
    }
}

#[tokio::test]
async fn an_address_is_verified_by_the_letter_alone_and_not_after_it_changed() {
    for (provider, mut server) in mailing().await {
        let verified = "SELECT count(*) AS n FROM identity_users WHERE email_verified";
        let (mut browser, tokens) = provider.sign_in("openid email").await;
        assert_eq!(claims(&tokens["id_token"])["email_verified"], false);
        let mut links = Vec::new();
        for _ in 0..2 {
            let csrf = browser.get(&provider, "/identity/").await.field("csrf");
            let pairs = [("csrf", csrf.as_str()), ("email_verified", "true")];
            let asked = browser.post(&provider, "/identity/account/verify", &pairs).await;
            assert_eq!(asked.status, StatusCode::OK, "{asked:?}");
            deliver(&provider).await;
            links.push(server.link().await);
        }
        assert_eq!(provider.count(verified).await, 0);
        let mut elsewhere = Browser::default();
        let token = elsewhere.get(&provider, &links[0]).await.field("token");
        let thanks = elsewhere.post(&provider, "/identity/verify", &[("token", &token)]).await;
        assert_eq!((thanks.status, provider.count(verified).await), (StatusCode::OK, 1));
        let again = elsewhere.post(&provider, "/identity/verify", &[("token", &token)]).await;
        assert_eq!(again.status, StatusCode::GONE);
        let mut tx = provider.database.store.begin().await.unwrap();
        let change = "UPDATE identity_users SET email = 'new@example.com', email_key = 'new@example.com', \
                      email_verified = FALSE";
        tx.execute(change, Vec::new()).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(elsewhere.get(&provider, &links[1]).await.status, StatusCode::GONE);
        // A link for one thing is none for another.
        let reset = links[1].replace("/verify", "/reset/new");
        assert_eq!(elsewhere.get(&provider, &reset).await.status, StatusCode::GONE);
    }
}

#[tokio::test]
async fn no_link_is_stored_in_clear_and_without_a_mail_server_there_is_none() {
    for (provider, mut server) in mailing().await {
        Browser::default().ask_for_reset(&provider, ADMIN).await;
        let mut stored = String::new();
        for sql in [
            "SELECT sealed_letter || id AS t FROM identity_outbox",
            "SELECT token_hash || bound_to AS t FROM identity_mail_tokens",
            "SELECT detail || subject AS t FROM identity_audit",
        ] {
            for row in provider.database.store.fetch_all(sql, Vec::new()).await.unwrap() {
                stored.push_str(&row.get::<String>("t").unwrap());
            }
        }
        deliver(&provider).await;
        let link = server.link().await;
        let token = link.split("token=").nth(1).unwrap();
        assert!(token.len() == 43 && !stored.contains(token) && !stored.contains(ADMIN));
    }
    for provider in providers().await {
        let mut browser = Browser::default();
        assert_eq!(browser.get(&provider, "/identity/reset").await.status, StatusCode::NOT_FOUND);
        let posted = browser.post(&provider, "/identity/reset", &[("email", ADMIN)]).await;
        assert_eq!(posted.status, StatusCode::NOT_FOUND);
        assert!(!browser.get(&provider, "/identity/login").await.body.contains("/identity/reset"));
    }
}
