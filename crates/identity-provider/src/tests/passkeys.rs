//! Passkeys: adding them, signing in with them alone and after a password, and every answer that lies.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::harness::*;

const PASSKEY: &str = "urn:quintet:acr:passkey";
const USER_PRESENT: u8 = 1;
const USER_VERIFIED: u8 = 4;
const ATTESTED: u8 = 0x40;

/// A lie by its name.
type Change = (&'static str, fn(&mut Authenticator));

enum Key {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

/// An authenticator in software, with what it can get wrong.
struct Authenticator {
    key: Key,
    id: Vec<u8>,
    user_handle: String,
    count: u32,
    flags: u8,
    origin: &'static str,
    host: &'static str,
    kind: Option<&'static str>,
}

impl Authenticator {
    fn new(key: Key, name: &str) -> Self {
        Self {
            key,
            id: name.as_bytes().to_vec(),
            user_handle: String::new(),
            count: 0,
            flags: USER_PRESENT | USER_VERIFIED,
            origin: ORIGIN,
            host: "localhost",
            kind: None,
        }
    }

    fn p256(name: &str) -> Self {
        Self::new(Key::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap()), name)
    }

    /// The public key in CBOR, canonical.
    fn cose(&self) -> Vec<u8> {
        match &self.key {
            Key::P256(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                let mut key = vec![0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 32];
                key.extend(x);
                key.extend([0x22, 0x58, 32]);
                key.extend(y);
                key
            }
            Key::Ed25519(pair) => {
                let mut key = vec![0xa4, 0x01, 0x01, 0x03, 0x27, 0x20, 0x06, 0x21, 0x58, 32];
                key.extend(pair.public_key().as_ref());
                key
            }
            Key::Rsa(pair) => {
                let n = pair.public_key().modulus().big_endian_without_leading_zero().to_vec();
                let mut key = vec![0xa4, 0x01, 0x03, 0x03, 0x39, 0x01, 0x00, 0x20, 0x59, 0x01, 0x00];
                assert_eq!(n.len(), 256);
                key.extend(n);
                key.extend([0x21, 0x43, 0x01, 0x00, 0x01]);
                key
            }
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            Key::P256(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Key::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Key::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
        }
    }

    fn data(&self, more: u8, attested: &[u8]) -> Vec<u8> {
        let hash = digest(&SHA256, self.host.as_bytes());
        [hash.as_ref(), &[self.flags | more], &self.count.to_be_bytes(), attested].concat()
    }

    fn client(&self, kind: &str, challenge: &str) -> Vec<u8> {
        let kind = self.kind.unwrap_or(kind);
        json!({ "type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": false })
            .to_string()
            .into_bytes()
    }

    /// The answer to `navigator.credentials.create`.
    fn create(&mut self, page: &Answer) -> Value {
        let handle = URL_SAFE_NO_PAD.decode(attribute(page, "user")).unwrap();
        self.user_handle = String::from_utf8(handle).unwrap();
        let length = u16::try_from(self.id.len()).unwrap().to_be_bytes();
        let attested = [[0; 16].as_slice(), &length, &self.id, &self.cose()].concat();
        json!({
            "id": URL_SAFE_NO_PAD.encode(&self.id),
            "clientDataJSON": URL_SAFE_NO_PAD.encode(self.client("webauthn.create", &attribute(page, "challenge"))),
            "authenticatorData": URL_SAFE_NO_PAD.encode(self.data(ATTESTED, &attested)),
        })
    }

    /// The answer to `navigator.credentials.get`.
    fn get(&self, page: &Answer) -> Value {
        let (data, client) = (self.data(0, &[]), self.client("webauthn.get", &attribute(page, "challenge")));
        let signed = [data.as_slice(), digest(&SHA256, &client).as_ref()].concat();
        json!({
            "id": URL_SAFE_NO_PAD.encode(&self.id),
            "clientDataJSON": URL_SAFE_NO_PAD.encode(client),
            "authenticatorData": URL_SAFE_NO_PAD.encode(data),
            "signature": URL_SAFE_NO_PAD.encode(self.sign(&signed)),
            "userHandle": URL_SAFE_NO_PAD.encode(&self.user_handle),
        })
    }
}

fn passkey_form(page: &Answer) -> Answer {
    let form = page.body.split("<form class=\"passkey\"").nth(1).unwrap_or_else(|| panic!("{page:?}"));
    Answer {
        status: page.status,
        headers: page.headers.clone(),
        body: form.split("</form>").next().unwrap().to_owned(),
    }
}

fn attribute(page: &Answer, name: &str) -> String {
    let form = passkey_form(page).body;
    form.split(&format!("data-{name}=\"")).nth(1).unwrap().split('"').next().unwrap().to_owned()
}

impl Browser {
    async fn send_answer(
        &mut self,
        provider: &Provider,
        path: &str,
        page: &Answer,
        answer: &Value,
    ) -> Answer {
        let form = passkey_form(page);
        let (csrf, answer) = (form.field("csrf"), answer.to_string());
        let mut pairs = vec![("csrf", csrf), ("answer", answer), ("name", "Ada's <phone>".to_owned())];
        for name in ["request", "to", "step"] {
            if form.body.contains(&format!("name=\"{name}\"")) {
                pairs.push((name, form.field(name)));
            }
        }
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.post(provider, path, &pairs).await
    }

    async fn add_passkey(&mut self, provider: &Provider, authenticator: &mut Authenticator) -> Answer {
        let page = self.get(provider, "/identity/account/passkey").await;
        assert_eq!(page.status, StatusCode::OK, "{page:?}");
        let answer = authenticator.create(&page);
        self.send_answer(provider, "/identity/account/passkey", &page, &answer).await
    }

    async fn use_passkey(
        &mut self,
        provider: &Provider,
        page: &Answer,
        authenticator: &Authenticator,
    ) -> Answer {
        let answer = authenticator.get(page);
        self.send_answer(provider, "/identity/login/passkey", page, &answer).await
    }
}

/// A provider's administrator with a passkey, and the browser it was added in.
async fn with_passkey(provider: &Provider) -> (Browser, Authenticator) {
    let mut authenticator = Authenticator::p256("key of the administrator");
    let mut owner = Browser::default();
    owner.sign_in(provider, &[]).await;
    let added = owner.add_passkey(provider, &mut authenticator).await;
    assert_eq!(added.status, StatusCode::OK, "{added:?}");
    assert!(added.body.contains("<ul class=\"codes\">"), "the first factor comes with recovery codes");
    (owner, authenticator)
}

async fn id_token(provider: &Provider, answer: &Answer) -> Value {
    let code = answer.sent_back("code").unwrap_or_else(|| panic!("{answer:?}"));
    claims(&provider.redeem(&code).await.json()["id_token"])
}

#[tokio::test]
async fn a_passkey_of_each_algorithm_signs_in_without_name_or_password() {
    for provider in providers().await {
        for (name, key) in [
            ("ES256", Key::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())),
            ("EdDSA", Key::Ed25519(Ed25519KeyPair::generate().unwrap())),
            ("RS256", Key::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())),
        ] {
            let mut authenticator = Authenticator::new(key, name);
            let mut owner = Browser::default();
            let first = owner.sign_in(&provider, &[]).await;
            if first.sent_back("code").is_none() {
                // The passkeys before are asked for; the session comes from one of them.
                continue;
            }
            owner.add_passkey(&provider, &mut authenticator).await;
            let mut browser = Browser::default();
            let page = browser.login_page(&provider, &[]).await;
            assert_eq!(attribute(&page, "credentials"), "", "no account is named before it is proved");
            let answer = browser.use_passkey(&provider, &page, &authenticator).await;
            let claims = id_token(&provider, &answer).await;
            assert_eq!((&claims["amr"], &claims["acr"]), (&json!(["pop", "mfa"]), &json!(PASSKEY)), "{name}");
            let csrf = owner.get(&provider, "/identity/account/security").await;
            let (csrf, id) = (csrf.field("csrf"), csrf.field("id"));
            owner.post(&provider, "/identity/account/passkey/remove", &[("csrf", &csrf), ("id", &id)]).await;
            assert_eq!(provider.count("SELECT count(*) AS n FROM identity_passkeys").await, 0);
            assert_eq!(provider.count("SELECT count(*) AS n FROM identity_recovery_codes").await, 0);
        }
    }
}

#[tokio::test]
async fn after_a_password_a_touch_is_enough_and_before_it_is_not() {
    for provider in providers().await {
        let (_, mut authenticator) = with_passkey(&provider).await;
        authenticator.flags = USER_PRESENT;
        let mut browser = Browser::default();
        let page = browser.login_page(&provider, &[]).await;
        let alone = browser.use_passkey(&provider, &page, &authenticator).await;
        assert_eq!(alone.status, StatusCode::UNPROCESSABLE_ENTITY);
        let half = browser.submit(&provider, &page, ADMIN, ADMIN_PASSWORD).await;
        assert_eq!(half.location().path(), "/identity/login/second");
        let page = browser.get(&provider, half.header("location")).await;
        assert_eq!(attribute(&page, "credentials"), URL_SAFE_NO_PAD.encode(&authenticator.id));
        let answer = browser.use_passkey(&provider, &page, &authenticator).await;
        let claims = id_token(&provider, &answer).await;
        assert_eq!((&claims["amr"], &claims["acr"]), (&json!(["pwd", "pop", "mfa"]), &json!(PASSKEY)));
    }
}

#[tokio::test]
async fn an_answer_that_lies_in_any_member_signs_nobody_in() {
    for provider in providers().await {
        let (_, authenticator) = with_passkey(&provider).await;
        let mut browser = Browser::default();
        let page = browser.login_page(&provider, &[]).await;
        let elsewhere = Browser::default().login_page(&provider, &[]).await;
        let honest = authenticator.get(&page);
        let lying = |change: fn(&mut Authenticator)| {
            let key = Authenticator { id: authenticator.id.clone(), ..Authenticator::p256("") };
            let mut liar = Authenticator { user_handle: authenticator.user_handle.clone(), ..key };
            change(&mut liar);
            liar.get(&page)
        };
        let mut answers = vec![
            ("another key", lying(|_| ())),
            ("a challenge of another browser", authenticator.get(&elsewhere)),
            ("no JSON", json!("x")),
            (
                "an unknown credential",
                json!({ "id": "AAAA", "clientDataJSON": "", "authenticatorData": "", "signature": "" }),
            ),
        ];
        let mut changed = Authenticator { key: authenticator.key, ..Authenticator::p256("") };
        changed.id.clone_from(&authenticator.id);
        changed.user_handle.clone_from(&authenticator.user_handle);
        let changes: [Change; 7] = [
            ("another site", |a| a.origin = "https://evil.example"),
            ("a site whose name ends like ours", |a| a.origin = "https://localhost:84430"),
            ("a passkey of another host", |a| a.host = "localhost.evil.example"),
            ("a registration", |a| a.kind = Some("webauthn.create")),
            ("nobody present", |a| a.flags = USER_VERIFIED),
            ("backed up without being able to", |a| a.flags |= 0x10),
            ("another account", |a| a.user_handle = "usr_another".to_owned()),
        ];
        for (what, change) in changes {
            let before =
                (changed.origin, changed.host, changed.kind, changed.flags, changed.user_handle.clone());
            change(&mut changed);
            answers.push((what, changed.get(&page)));
            (changed.origin, changed.host, changed.kind, changed.flags, changed.user_handle) = before;
        }
        for member in ["clientDataJSON", "authenticatorData", "signature"] {
            let mut broken = honest.clone();
            let mut bytes = URL_SAFE_NO_PAD.decode(broken[member].as_str().unwrap()).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            broken[member] = json!(URL_SAFE_NO_PAD.encode(bytes));
            answers.push((member, broken));
        }
        for (what, answer) in answers {
            let refused = browser.send_answer(&provider, "/identity/login/passkey", &page, &answer).await;
            assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{what}: {refused:?}");
            assert!(!browser.cookies.contains_key("__Host-quintet_sso"), "{what}");
        }
        let mut later = browser.clone();
        let answer = browser.send_answer(&provider, "/identity/login/passkey", &page, &honest).await;
        assert!(answer.sent_back("code").is_some(), "the honest one: {answer:?}");
        let replayed = later.send_answer(&provider, "/identity/login/passkey", &page, &honest).await;
        // The cookie of the form is gone with the sign-in in an honest browser; a thief's is still there.
        assert_eq!(replayed.status, StatusCode::UNPROCESSABLE_ENTITY, "used twice");
        assert!(
            provider.count("SELECT count(*) AS n FROM identity_audit WHERE kind = 'passkey.refused'").await
                > 8
        );
    }
}

#[tokio::test]
async fn a_challenge_ends_with_the_time_for_signing_in() {
    for provider in providers().await {
        let (_, authenticator) = with_passkey(&provider).await;
        let mut browser = Browser::default();
        let page = browser.get(&provider, "/identity/login").await;
        provider.clock.advance(Duration::from_mins(61));
        let late = browser.use_passkey(&provider, &page, &authenticator).await;
        assert_eq!(late.status, StatusCode::UNPROCESSABLE_ENTITY);
        let page = browser.get(&provider, "/identity/login").await;
        let answer = browser.use_passkey(&provider, &page, &authenticator).await;
        assert_eq!(answer.location().path(), "/identity/", "{answer:?}");
    }
}

#[tokio::test]
async fn a_signature_counter_that_goes_back_is_refused_and_written_down() {
    for provider in providers().await {
        let (_, mut authenticator) = with_passkey(&provider).await;
        for (count, accepted) in [(5, true), (5, false), (4, false), (0, false), (6, true)] {
            authenticator.count = count;
            let mut browser = Browser::default();
            let page = browser.login_page(&provider, &[]).await;
            let answer = browser.use_passkey(&provider, &page, &authenticator).await;
            assert_eq!(answer.status == StatusCode::SEE_OTHER, accepted, "{count}: {answer:?}");
        }
        let noted = "SELECT count(*) AS n FROM identity_audit WHERE detail LIKE '%counter went back%'";
        assert_eq!(provider.count(noted).await, 3);
    }
}

#[tokio::test]
async fn a_passkey_is_registered_once_in_a_recent_session_of_its_own_challenge() {
    for provider in providers().await {
        let (mut owner, mut authenticator) = with_passkey(&provider).await;
        let again = owner.add_passkey(&provider, &mut authenticator).await;
        assert_eq!(again.status, StatusCode::CONFLICT, "{again:?}");
        let path = "/identity/account/passkey";
        let page = owner.get(&provider, path).await;
        assert_eq!(attribute(&page, "credentials"), URL_SAFE_NO_PAD.encode(&authenticator.id));
        let mut second = Authenticator::p256("second");
        let answer = second.create(&page);
        let mut lies = Vec::new();
        for (what, change) in [
            ("an assertion", (|a| a.kind = Some("webauthn.get")) as fn(&mut Authenticator)),
            ("another site", |a| a.origin = "https://evil.example"),
            ("another host", |a| a.host = "evil.example"),
            ("nobody there", |a| a.flags = 0),
        ] {
            let mut liar = Authenticator::p256("liar");
            change(&mut liar);
            lies.push((what, liar.create(&page)));
        }
        let login = Browser::default().login_page(&provider, &[]).await;
        let mut borrowed = Authenticator::p256("borrowed");
        borrowed.create(&page);
        let client = borrowed.client("webauthn.create", &attribute(&login, "challenge"));
        let mut of_login = borrowed.create(&page);
        of_login["clientDataJSON"] = json!(URL_SAFE_NO_PAD.encode(client));
        lies.push(("a challenge for signing in", of_login));
        for (what, lie) in lies {
            let refused = owner.send_answer(&provider, path, &page, &lie).await;
            assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{what}");
        }
        provider.clock.advance(Duration::from_mins(16));
        let stale = owner.send_answer(&provider, path, &page, &answer).await;
        assert_eq!(stale.location().path(), "/identity/login");
        assert_eq!(provider.count("SELECT count(*) AS n FROM identity_passkeys").await, 1);
    }
}

#[tokio::test]
async fn a_client_that_asks_for_a_passkey_gets_one_set_up_and_nothing_less_will_do() {
    for provider in providers().await {
        let mut browser = Browser::default();
        browser.sign_in(&provider, &[]).await;
        let answer = browser.authorize(&provider, &[("acr_values", PASSKEY)]).await;
        assert_eq!(answer.location().path(), "/identity/account/passkey");
        let page = browser.get(&provider, answer.header("location")).await;
        let mut authenticator = Authenticator::p256("phone");
        let registration = authenticator.create(&page);
        let codes = browser.send_answer(&provider, "/identity/account/passkey", &page, &registration).await;
        let onward = codes.body.split("class=\"button\" href=\"").nth(1).unwrap().split('"').next().unwrap();
        let answer = browser.get(&provider, &onward.replace("&#x2f;", "/")).await;
        assert_eq!(id_token(&provider, &answer).await["acr"], PASSKEY);
        // Another browser, by password and recovery code: worth two factors and not what is asked for.
        let code = codes.body.split("<li><code>").nth(1).unwrap().split('<').next().unwrap().to_owned();
        let mut other = Browser::default();
        let half = other.sign_in(&provider, &[("acr_values", PASSKEY)]).await;
        let second = other.get(&provider, &half.header("location").replace('?', "?use=recovery&")).await;
        let (csrf, request) = (second.field("csrf"), second.field("request"));
        let pairs = [("csrf", csrf.as_str()), ("request", &request), ("use", "recovery"), ("code", &code)];
        let answer = other.post(&provider, "/identity/login/second", &pairs).await;
        assert_eq!(answer.location().path(), "/identity/login/second", "{answer:?}");
        let page = other.get(&provider, answer.header("location")).await;
        assert!(!page.body.contains("recovery code"), "nothing less is offered: {page:?}");
        let answer = other.use_passkey(&provider, &page, &authenticator).await;
        assert_eq!(id_token(&provider, &answer).await["acr"], PASSKEY);
    }
}

#[tokio::test]
async fn passkeys_are_named_and_removed_by_their_owner_alone() {
    for provider in providers().await {
        let (mut owner, authenticator) = with_passkey(&provider).await;
        let security = owner.get(&provider, "/identity/account/security").await;
        assert!(security.body.contains("Ada&#x27;s &lt;phone&gt;"), "{security:?}");
        let (csrf, id) = (security.field("csrf"), security.field("id"));
        let renamed = [("csrf", csrf.as_str()), ("id", &id), ("name", " Work\u{7} ")];
        owner.post(&provider, "/identity/account/passkey/rename", &renamed).await;
        let named = "SELECT count(*) AS n FROM identity_passkeys WHERE name = 'Work'";
        assert_eq!(provider.count(named).await, 1);
        // Another person, who knows the id.
        let password = zeroize::Zeroizing::new("another good password".to_owned());
        let (email, caller) = ("eve@example.com", crate::caller::Caller::default());
        let member = crate::scopes::Role::Member;
        crate::admin::create(&provider.app, "test", email, "Eve", &password, member, &caller).await.unwrap();
        let mut eve = Browser::default();
        let page = eve.login_page(&provider, &[]).await;
        eve.submit(&provider, &page, email, &password).await;
        let csrf = eve.get(&provider, "/identity/account/security").await;
        assert!(!csrf.body.contains(&id), "{csrf:?}");
        let mut eves = Authenticator::p256("of eve");
        eve.add_passkey(&provider, &mut eves).await;
        let csrf = eve.get(&provider, "/identity/account/security").await.field("csrf");
        for path in ["rename", "remove"] {
            let pairs = [("csrf", csrf.as_str()), ("id", &id), ("name", "Eve")];
            eve.post(&provider, &format!("/identity/account/passkey/{path}"), &pairs).await;
        }
        assert_eq!(provider.count(named).await, 1);
        // Nor does her passkey serve as somebody else's second step.
        let mut thief = Browser::default();
        let half = thief.sign_in(&provider, &[]).await;
        let page = thief.get(&provider, half.header("location")).await;
        let refused = thief.use_passkey(&provider, &page, &eves).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        let answer = thief.use_passkey(&provider, &page, &authenticator).await;
        assert!(answer.sent_back("code").is_some(), "{answer:?}");
        // A disabled account is nobody, also by passkey.
        let mut tx = provider.database.store.begin().await.unwrap();
        tx.execute("UPDATE identity_users SET disabled = TRUE", Vec::new()).await.unwrap();
        tx.commit().await.unwrap();
        let mut browser = Browser::default();
        let page = browser.login_page(&provider, &[]).await;
        let refused = browser.use_passkey(&provider, &page, &authenticator).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
}
