//! Tokens: codes, refresh, client credentials, userinfo, revocation, introspection.

use std::time::Duration;

use axum::http::StatusCode;
use quintet_auth::Verifier;
use serde_json::Value;

use super::harness::*;
use crate::keys::{TokenError, TokenType};

fn verifier(provider: &Provider) -> Verifier {
    Verifier::with_static_keys(ISSUER, "quintet", &provider.app.keys.jwks(), provider.clock.shared()).unwrap()
}

fn text<'a>(tokens: &'a Value, name: &str) -> &'a str {
    tokens[name].as_str().unwrap_or_else(|| panic!("no {name} in {tokens}"))
}

#[tokio::test]
async fn the_services_accept_the_access_token_of_a_person() {
    for provider in providers().await {
        let (_, tokens) = provider.sign_in("openid profile email orders:write identity:admin").await;
        let principal = verifier(&provider).verify(text(&tokens, "access_token")).await.unwrap();
        assert_eq!(principal.claims.client_id, "console");
        assert_eq!(principal.claims.email.as_deref(), Some(ADMIN));
        assert_eq!(principal.claims.name.as_deref(), Some("Ada Admin"));
        assert!(principal.has_role("admin") && principal.has_scope("orders:write"));
        assert!(principal.claims.sid.is_some() && principal.claims.sub.starts_with("usr_"));
        assert_eq!(principal.claims.exp - principal.claims.iat, 300);
        provider.clock.advance(Duration::from_mins(10));
        assert!(verifier(&provider).verify(text(&tokens, "access_token")).await.is_err());
    }
}

#[tokio::test]
async fn the_id_token_says_who_when_and_for_whom_and_is_no_access_token() {
    for provider in providers().await {
        let (_, tokens) = provider.sign_in("openid profile email").await;
        let id = claims(&tokens["id_token"]);
        let access = claims(&tokens["access_token"]);
        assert_eq!(
            (&id["iss"], &id["aud"], &id["azp"]),
            (&ISSUER.into(), &"console".into(), &"console".into())
        );
        assert_eq!((&id["sub"], &id["sid"]), (&access["sub"], &access["sid"]));
        assert_eq!((&id["nonce"], &id["email"]), (&"n-0S6".into(), &ADMIN.into()));
        assert_eq!(id["auth_time"], access["iat"]);
        assert_eq!(id["at_hash"], crate::claims::at_hash(text(&tokens, "access_token")));
        assert_eq!(id["acr"], "urn:quintet:acr:password");
        assert!(verifier(&provider).verify(text(&tokens, "id_token")).await.is_err());
        let kind = provider.app.keys.verify::<Value>(TokenType::Access, text(&tokens, "id_token"));
        assert_eq!(kind, Err(TokenError::Kind));
        let bearer = format!("Bearer {}", text(&tokens, "id_token"));
        let answer = provider.get("/identity/userinfo", &[("authorization", &bearer)]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn token_answers_are_not_cached() {
    for provider in providers().await {
        let answer = provider.token("service", &[("grant_type", "client_credentials")]).await;
        assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"));
        let error = provider.token("service", &[]).await;
        assert_eq!(
            (error.header("cache-control"), error.header("content-type")),
            ("no-store", "application/json")
        );
    }
}

#[tokio::test]
async fn a_code_works_once_and_a_replay_takes_everything_back() {
    for provider in providers().await {
        let code = Browser::default().sign_in(&provider, &[]).await.sent_back("code").unwrap();
        let tokens = provider.redeem(&code).await;
        assert_eq!(tokens.status, StatusCode::OK, "{tokens:?}");
        let tokens = tokens.json();
        let replay = provider.redeem(&code).await;
        assert_eq!((replay.status, replay.error().as_str()), (StatusCode::BAD_REQUEST, "invalid_grant"));
        let refreshed = provider.refresh(text(&tokens, "refresh_token")).await;
        assert_eq!(refreshed.error(), "invalid_grant", "the family is dead");
        let bearer = format!("Bearer {}", text(&tokens, "access_token"));
        let userinfo = provider.get("/identity/userinfo", &[("authorization", &bearer)]).await;
        assert_eq!(userinfo.status, StatusCode::UNAUTHORIZED);
        assert_eq!(
            provider.count("SELECT count(*) AS n FROM identity_audit WHERE kind = 'code.reused'").await,
            1
        );
    }
}

#[tokio::test]
async fn of_many_simultaneous_redemptions_one_wins() {
    for provider in providers().await {
        let code = Browser::default().sign_in(&provider, &[]).await.sent_back("code").unwrap();
        let attempts = (0..8).map(|_| provider.redeem(&code));
        let answers = futures_util::future::join_all(attempts).await;
        let (won, lost): (Vec<_>, Vec<_>) =
            answers.iter().partition(|answer| answer.status == StatusCode::OK);
        assert_eq!(won.len(), 1, "{}: {answers:?}", provider.database.name);
        assert!(lost.iter().all(|answer| answer.error() == "invalid_grant"), "{lost:?}");
        assert_eq!(provider.count("SELECT count(*) AS n FROM identity_grants").await, 1);
        assert_eq!(provider.count("SELECT count(*) AS n FROM identity_refresh_tokens").await, 1);
    }
}

#[tokio::test]
async fn a_code_is_bound_to_client_redirect_and_verifier_and_survives_a_wrong_try() {
    for provider in providers().await {
        let code = Browser::default().sign_in(&provider, &[]).await.sent_back("code").unwrap();
        let good = code_grant(&code);
        let with = |name: &str, value: &'static str| {
            let mut pairs = good.to_vec();
            pairs.retain(|(found, _)| *found != name);
            if !value.is_empty() {
                pairs.push((if name == "code" { "code" } else { name_of(name) }, value));
            }
            pairs
        };
        for (name, value, error) in [
            ("code_verifier", "", "invalid_request"),
            ("code_verifier", "too-short", "invalid_grant"),
            ("code_verifier", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "invalid_grant"),
            ("redirect_uri", "", "invalid_request"),
            ("redirect_uri", "https://localhost:8443/.auth/callback/", "invalid_grant"),
            ("code", "", "invalid_request"),
            ("code", "made-up", "invalid_grant"),
        ] {
            let answer = provider.token("console", &with(name, value)).await;
            assert_eq!(
                (answer.status, answer.error().as_str()),
                (StatusCode::BAD_REQUEST, error),
                "{name}={value}"
            );
        }
        let foreign = provider.token("partner", &good).await;
        assert_eq!(foreign.error(), "invalid_grant");
        assert_eq!(provider.redeem(&code).await.status, StatusCode::OK, "the owner's try still works");
    }
}

/// The parameter's name with the lifetime that a list of parameters needs.
fn name_of(name: &str) -> &'static str {
    match name {
        "code_verifier" => "code_verifier",
        "redirect_uri" => "redirect_uri",
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_expired_code_is_refused() {
    for provider in providers().await {
        let code = Browser::default().sign_in(&provider, &[]).await.sent_back("code").unwrap();
        provider.clock.advance(Duration::from_mins(1));
        assert_eq!(provider.redeem(&code).await.error(), "invalid_grant");
    }
}

#[tokio::test]
async fn refresh_rotates_and_reuse_after_the_grace_period_kills_the_family() {
    for provider in providers().await {
        let (_, tokens) = provider.sign_in("openid orders:read").await;
        let first = text(&tokens, "refresh_token").to_owned();
        let second = provider.refresh(&first).await.json();
        assert_ne!(text(&second, "refresh_token"), first);
        assert_eq!(claims(&second["access_token"])["grant_id"], claims(&tokens["access_token"])["grant_id"]);
        assert_eq!(claims(&second["id_token"]).get("nonce"), None);

        provider.clock.advance(Duration::from_secs(11));
        assert_eq!(provider.refresh(&first).await.error(), "invalid_grant");
        let after = provider.refresh(text(&second, "refresh_token")).await;
        assert_eq!(after.error(), "invalid_grant", "the newest token of the family is dead too");
        let reused = "SELECT count(*) AS n FROM identity_audit WHERE kind = 'refresh_token.reused'";
        assert_eq!(provider.count(reused).await, 1);
    }
}

#[tokio::test]
async fn within_the_grace_period_two_tabs_both_go_on() {
    for provider in providers().await {
        let (_, tokens) = provider.sign_in("openid").await;
        let first = text(&tokens, "refresh_token").to_owned();
        let one = provider.refresh(&first).await.json();
        provider.clock.advance(Duration::from_secs(9));
        let two = provider.refresh(&first).await.json();
        assert_ne!(text(&one, "refresh_token"), text(&two, "refresh_token"));
        provider.clock.advance(Duration::from_mins(5));
        assert_eq!(provider.refresh(text(&one, "refresh_token")).await.status, StatusCode::OK);
        assert_eq!(provider.refresh(text(&two, "refresh_token")).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn the_grace_period_allows_few_repeats() {
    for provider in providers().await {
        let (_, tokens) = provider.sign_in("openid").await;
        let first = text(&tokens, "refresh_token").to_owned();
        for _ in 0..4 {
            assert_eq!(provider.refresh(&first).await.status, StatusCode::OK);
        }
        assert_eq!(provider.refresh(&first).await.error(), "invalid_grant");
        assert_eq!(
            provider.count("SELECT count(*) AS n FROM identity_grants WHERE revoked_at IS NULL").await,
            0
        );
    }
}

#[tokio::test]
async fn a_client_without_grace_is_cut_off_at_the_first_repeat_and_may_be_offline() {
    for provider in providers().await {
        let mut browser = Browser::default();
        let redirect = "http://127.0.0.1:49152/callback";
        let changes =
            [("client_id", "native"), ("redirect_uri", redirect), ("scope", "openid offline_access")];
        let code = browser.sign_in(&provider, &changes).await.sent_back("code").unwrap();
        let call = async |pairs: &[(&str, &str)]| {
            let mut all = vec![("client_id", "native")];
            all.extend_from_slice(pairs);
            provider.post("/identity/token", &[], &all).await
        };
        let pairs = [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", redirect),
            ("code_verifier", VERIFIER),
        ];
        let tokens = call(&pairs).await.json();
        // Offline: it outlives the session.
        provider.clock.advance(Duration::from_hours(24));
        let first = text(&tokens, "refresh_token");
        let second = call(&[("grant_type", "refresh_token"), ("refresh_token", first)]).await;
        assert_eq!(second.status, StatusCode::OK, "{second:?}");
        let repeat = call(&[("grant_type", "refresh_token"), ("refresh_token", first)]).await;
        assert_eq!(repeat.error(), "invalid_grant");
        let second = second.json();
        let newest =
            call(&[("grant_type", "refresh_token"), ("refresh_token", text(&second, "refresh_token"))]).await;
        assert_eq!(newest.error(), "invalid_grant");
    }
}

#[tokio::test]
async fn reuse_is_noticed_by_a_provider_that_was_restarted() {
    for provider in providers().await {
        let (_, tokens) = provider.sign_in("openid").await;
        let first = text(&tokens, "refresh_token").to_owned();
        let second = provider.refresh(&first).await.json();
        provider.clock.advance(Duration::from_mins(1));

        let config = config(provider.directory.path(), &provider.database.url);
        let app = open(config, &provider.database, &provider.clock).await.unwrap();
        let router = crate::routes::router(std::sync::Arc::clone(&app));
        let restarted = Provider { app, router, ..provider };
        assert_eq!(restarted.refresh(&first).await.error(), "invalid_grant");
        assert_eq!(restarted.refresh(text(&second, "refresh_token")).await.error(), "invalid_grant");
        // Tokens signed before are still known: the keys are in the database.
        assert!(verifier(&restarted).verify(text(&second, "access_token")).await.is_ok());
    }
}

#[tokio::test]
async fn a_refresh_token_expires_when_idle_and_with_its_session() {
    for provider in providers().await {
        let (_, tokens) = provider.sign_in("openid").await;
        provider.clock.advance(Duration::from_hours(13));
        let answer = provider.refresh(text(&tokens, "refresh_token")).await;
        assert_eq!(answer.error(), "invalid_grant", "the session is over");

        let (_, tokens) = provider.sign_in("openid offline_access").await;
        provider.clock.advance(Duration::from_hours(15 * 24));
        assert_eq!(provider.refresh(text(&tokens, "refresh_token")).await.error(), "invalid_grant");
    }
}

#[tokio::test]
async fn a_refresh_may_narrow_and_never_widen_the_scope() {
    for provider in providers().await {
        let (_, tokens) = provider.sign_in("openid orders:read").await;
        let refresh = text(&tokens, "refresh_token");
        let wide =
            [("grant_type", "refresh_token"), ("refresh_token", refresh), ("scope", "openid users:write")];
        assert_eq!(provider.token("console", &wide).await.error(), "invalid_scope");
        let narrow = [("grant_type", "refresh_token"), ("refresh_token", refresh), ("scope", "orders:read")];
        let answer = provider.token("console", &narrow).await.json();
        assert_eq!(answer["scope"], "orders:read");
        assert_eq!(answer.get("id_token"), None);
        let back = provider.refresh(text(&answer, "refresh_token")).await.json();
        assert_eq!(back["scope"], "openid orders:read", "the grant itself was not narrowed");
    }
}

#[tokio::test]
async fn a_lost_role_takes_effect_at_the_next_refresh() {
    for provider in providers().await {
        let (_, tokens) = provider.sign_in("openid orders:read identity:admin").await;
        let mut tx = provider.database.store.begin().await.unwrap();
        tx.execute("UPDATE identity_users SET role = 'member'", Vec::new()).await.unwrap();
        tx.commit().await.unwrap();
        let answer = provider.refresh(text(&tokens, "refresh_token")).await.json();
        assert_eq!(answer["scope"], "openid orders:read");
        assert_eq!(claims(&answer["access_token"])["roles"], serde_json::json!(["member"]));
    }
}

#[tokio::test]
async fn a_service_gets_a_token_for_itself_within_its_scopes() {
    for provider in providers().await {
        let tokens = provider.service_token().await;
        assert_eq!(tokens["scope"], "orders:read orders:write", "no scope about a person");
        assert_eq!((&tokens["token_type"], &tokens["expires_in"]), (&"Bearer".into(), &300.into()));
        assert!(tokens.get("refresh_token").is_none() && tokens.get("id_token").is_none());
        let principal = verifier(&provider).verify(text(&tokens, "access_token")).await.unwrap();
        assert_eq!((principal.claims.sub.as_str(), principal.claims.sid.as_deref()), ("service", None));
        assert!(principal.claims.roles.is_empty());
        let wide = [("grant_type", "client_credentials"), ("scope", "identity:admin")];
        assert_eq!(provider.token("service", &wide).await.error(), "invalid_scope");
    }
}

#[tokio::test]
async fn wrong_requests_get_the_errors_of_rfc_6749() {
    for provider in providers().await {
        let service = basic("service", SECRET);
        let wrong = basic("service", "wrong");
        for (headers, pairs, status, error) in [
            (
                vec![("authorization", wrong.as_str())],
                vec![("grant_type", "client_credentials")],
                401,
                "invalid_client",
            ),
            (vec![], vec![("grant_type", "client_credentials")], 401, "invalid_client"),
            (
                vec![],
                vec![("grant_type", "client_credentials"), ("client_id", "service")],
                401,
                "invalid_client",
            ),
            (
                vec![],
                vec![("grant_type", "client_credentials"), ("client_id", "nobody")],
                401,
                "invalid_client",
            ),
            (vec![("authorization", service.as_str())], vec![], 400, "invalid_request"),
            (
                vec![("authorization", service.as_str())],
                vec![("grant_type", "password")],
                400,
                "unsupported_grant_type",
            ),
            (
                vec![("authorization", service.as_str())],
                vec![("grant_type", "authorization_code")],
                400,
                "unauthorized_client",
            ),
            (
                vec![("authorization", service.as_str())],
                vec![("grant_type", "client_credentials"), ("grant_type", "client_credentials")],
                400,
                "invalid_request",
            ),
            (
                vec![("authorization", service.as_str())],
                vec![("grant_type", "client_credentials"), ("client_secret", SECRET)],
                400,
                "invalid_request",
            ),
        ] {
            let answer = provider.post("/identity/token", &headers, &pairs).await;
            assert_eq!((answer.status.as_u16(), answer.error().as_str()), (status, error), "{pairs:?}");
            assert_eq!(answer.header("www-authenticate").starts_with("Basic"), status == 401, "{pairs:?}");
        }
        let json = [("content-type", "application/json")];
        let request = request(axum::http::Method::POST, "/identity/token", &json, "{}".to_owned());
        assert_eq!(provider.send(request).await.error(), "invalid_request");
        let get = provider.get("/identity/token?grant_type=client_credentials", &[]).await;
        assert_eq!(get.status, StatusCode::METHOD_NOT_ALLOWED);
    }
}

#[tokio::test]
async fn userinfo_tells_what_the_scopes_allow() {
    for provider in providers().await {
        let (_, tokens) = provider.sign_in("openid email").await;
        let bearer = format!("Bearer {}", text(&tokens, "access_token"));
        let answer = provider.get("/identity/userinfo", &[("authorization", &bearer)]).await.json();
        assert_eq!((&answer["email"], answer.get("name")), (&ADMIN.into(), None));
        assert_eq!(answer["sub"], claims(&tokens["access_token"])["sub"]);
        let posted = provider
            .post("/identity/userinfo", &[], &[("access_token", text(&tokens, "access_token"))])
            .await
            .json();
        assert_eq!(posted, answer);

        let none = provider.get("/identity/userinfo", &[]).await;
        assert_eq!(
            (none.status, none.header("www-authenticate")),
            (StatusCode::UNAUTHORIZED, "Bearer realm=\"quintet\", DPoP algs=\"ES256 EdDSA PS256\"")
        );
        let forged = format!("{bearer}x");
        let wrong = provider.get("/identity/userinfo", &[("authorization", &forged)]).await;
        assert!(wrong.header("www-authenticate").contains("error=\"invalid_token\""), "{wrong:?}");
        let service = provider.service_token().await;
        let bearer = format!("Bearer {}", text(&service, "access_token"));
        let denied = provider.get("/identity/userinfo", &[("authorization", &bearer)]).await;
        assert_eq!(denied.status, StatusCode::FORBIDDEN);
        provider.clock.advance(Duration::from_secs(301));
        let bearer = format!("Bearer {}", text(&tokens, "access_token"));
        let expired = provider.get("/identity/userinfo", &[("authorization", &bearer)]).await;
        assert_eq!(expired.status, StatusCode::UNAUTHORIZED);
    }
}

async fn introspect(provider: &Provider, client: &str, token: &str) -> Value {
    let headers = [("authorization", basic(client, SECRET))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    provider.post("/identity/introspect", &headers, &[("token", token)]).await.json()
}

#[tokio::test]
async fn introspection_shows_live_tokens_to_those_who_may_see_them() {
    for provider in providers().await {
        let (_, tokens) = provider.sign_in("openid orders:read").await;
        let (access, refresh) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
        let seen = introspect(&provider, "service", access).await;
        assert_eq!((&seen["active"], &seen["username"]), (&true.into(), &ADMIN.into()));
        assert_eq!(introspect(&provider, "console", refresh).await["active"], true);
        let inactive = serde_json::json!({ "active": false });
        assert_eq!(introspect(&provider, "partner", access).await, inactive, "another client's token");
        assert_eq!(introspect(&provider, "service", "made-up").await, inactive);
        let public = [("client_id", "native"), ("token", access)];
        assert_eq!(provider.post("/identity/introspect", &[], &public).await.error(), "invalid_client");
        provider.refresh(refresh).await;
        assert_eq!(introspect(&provider, "console", refresh).await, inactive, "a used refresh token");
    }
}

#[tokio::test]
async fn revocation_ends_an_access_token_alone_and_a_refresh_token_with_its_grant() {
    for provider in providers().await {
        let (_, tokens) = provider.sign_in("openid").await;
        let (access, refresh) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
        let revoke = async |client: &str, token: &str| {
            let authorization = basic(client, SECRET);
            provider
                .post("/identity/revoke", &[("authorization", &authorization)], &[("token", token)])
                .await
                .status
        };
        assert_eq!(revoke("partner", access).await, StatusCode::OK);
        assert_eq!(
            introspect(&provider, "service", access).await["active"],
            true,
            "not the partner's to revoke"
        );
        assert_eq!(revoke("console", access).await, StatusCode::OK);
        assert_eq!(revoke("console", access).await, StatusCode::OK);
        assert_eq!(introspect(&provider, "service", access).await["active"], false);

        let newer = provider.refresh(refresh).await.json();
        assert_eq!(revoke("console", text(&newer, "refresh_token")).await, StatusCode::OK);
        assert_eq!(introspect(&provider, "service", text(&newer, "access_token")).await["active"], false);
        assert_eq!(provider.refresh(text(&newer, "refresh_token")).await.error(), "invalid_grant");
        assert_eq!(revoke("console", "made-up").await, StatusCode::OK);
    }
}

#[tokio::test]
async fn keys_rotate_ahead_of_use_and_old_tokens_stay_valid() {
    for provider in providers().await {
        let jwks = async || {
            provider.get("/identity/jwks.json", &[]).await.json()["keys"].as_array().unwrap().clone()
        };
        let before = jwks().await;
        assert_eq!(before.len(), 1);
        assert!(before[0].get("d").is_none(), "a private key was published");
        provider.clock.advance(Duration::from_hours(89 * 24));
        provider.app.keys.maintain(provider.app.now()).await.unwrap();
        assert_eq!(jwks().await.len(), 2, "the next key is published a day early");
        let signed_by = async || {
            let token = provider.service_token().await;
            let header = text(&token, "access_token").split('.').next().unwrap().to_owned();
            (header, token)
        };
        let (old_header, old_token) = signed_by().await;
        provider.clock.advance(Duration::from_hours(24));
        provider.app.keys.maintain(provider.app.now()).await.unwrap();
        let (new_header, _) = signed_by().await;
        assert_ne!(old_header, new_header, "the new key signs now");
        let seen = provider.app.keys.verify::<Value>(TokenType::Access, text(&old_token, "access_token"));
        assert!(seen.is_ok(), "the old key still verifies");
        provider.clock.advance(Duration::from_hours(8 * 24));
        provider.app.keys.maintain(provider.app.now()).await.unwrap();
        assert_eq!(jwks().await.len(), 1, "the old key is gone");
    }
}

#[tokio::test]
async fn expired_rows_are_deleted_and_live_ones_are_not() {
    for provider in providers().await {
        let (_, tokens) = provider.sign_in("openid offline_access").await;
        crate::grants::prune(&provider.database.store, provider.app.now()).await.unwrap();
        assert_eq!(provider.refresh(text(&tokens, "refresh_token")).await.status, StatusCode::OK);
        provider.clock.advance(Duration::from_hours(91 * 24));
        crate::grants::prune(&provider.database.store, provider.app.now()).await.unwrap();
        for sql in [
            "SELECT count(*) AS n FROM identity_codes",
            "SELECT count(*) AS n FROM identity_sessions",
            "SELECT count(*) AS n FROM identity_grants",
            "SELECT count(*) AS n FROM identity_refresh_tokens",
        ] {
            assert_eq!(provider.count(sql).await, 0, "{sql}");
        }
    }
}
