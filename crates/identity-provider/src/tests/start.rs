//! Starting: secrets, schema, bootstrap.

use std::time::Duration;

use axum::http::StatusCode;
use quintet_service::exit::code_of;
use quintet_testkit::FakeClock;
use serde_json::json;

use super::harness::*;

#[tokio::test]
async fn a_missing_or_malformed_secret_is_a_configuration_error_that_names_key_and_file() {
    for database in quintet_testkit::databases().await {
        let directory = tempfile::tempdir().unwrap();
        let clock = FakeClock::default();
        for (pointer, key) in [
            ("/keys/file", "keys.file"),
            ("/bootstrap/admin_password_file", "bootstrap.admin_password_file"),
            ("/clients/0/secret_file", "clients.0.secret_file"),
        ] {
            let mut config = config(directory.path(), &database.url);
            *config.pointer_mut(pointer).unwrap() = json!("/nonexistent/secret");
            let error = open(config, &database, &clock).await.err().unwrap();
            assert_eq!(code_of(&error).number(), 78, "{error:#}");
            let text = format!("{error:#}");
            assert!(text.contains(key) && text.contains("/nonexistent/secret"), "{text}");
        }
        let mut config = config(directory.path(), &database.url);
        config["keys"]["file"] = json!(secret_file(directory.path(), "short", "abc"));
        let error = open(config, &database, &clock).await.err().unwrap();
        assert_eq!(code_of(&error).number(), 78, "{error:#}");
        assert!(format!("{error:#}").contains("32 bytes"), "{error:#}");
    }
}

#[tokio::test]
async fn another_sealing_key_does_not_open_the_database() {
    for provider in providers().await {
        let mut config = config(provider.directory.path(), &provider.database.url);
        config["keys"]["file"] = json!(secret_file(provider.directory.path(), "other", &"6b".repeat(32)));
        let error = open(config, &provider.database, &provider.clock).await.err().unwrap();
        assert_eq!(code_of(&error).number(), 78);
        assert!(format!("{error:#}").contains("restore the sealing key"), "{error:#}");
    }
}

#[tokio::test]
async fn a_database_of_a_newer_release_is_refused_untouched() {
    for provider in providers().await {
        let store = &provider.database.store;
        let newer: &'static quintet_store::Module = Box::leak(Box::new(quintet_store::Module {
            name: "identity",
            migrations: Box::leak(
                crate::schema::MODULE
                    .migrations
                    .iter()
                    .map(|known| quintet_store::Migration {
                        version: known.version,
                        name: known.name,
                        sql: known.sql.clone(),
                        oldest_reader: known.oldest_reader,
                    })
                    .chain([quintet_store::Migration {
                        version: 99,
                        name: "from the future",
                        sql: quintet_store::Sql::one("CREATE TABLE identity_future (id TEXT PRIMARY KEY)"),
                        oldest_reader: 99,
                    }])
                    .collect(),
            ),
        }));
        store.migrate(&[newer]).await.unwrap();
        let config = config(provider.directory.path(), &provider.database.url);
        let error = open(config, &provider.database, &provider.clock).await.err().unwrap();
        assert_eq!(code_of(&error).number(), 78);
        assert!(format!("{error:#}").contains("newer release"), "{error:#}");
    }
}

#[tokio::test]
async fn bootstrap_never_overwrites_an_account() {
    for provider in providers().await {
        let mut config = config(provider.directory.path(), &provider.database.url);
        let other = secret_file(provider.directory.path(), "password2", "another password entirely");
        config["bootstrap"]["admin_password_file"] = json!(other);
        config["bootstrap"]["admin_email"] = json!("ADMIN@example.com");
        open(config, &provider.database, &provider.clock).await.unwrap();
        assert_eq!(provider.count("SELECT count(*) AS n FROM identity_users").await, 1);
        let answer = Browser::default().sign_in(&provider, &[]).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "the first password still works");
    }
}

#[tokio::test]
async fn nonsense_in_the_configuration_is_refused_with_its_key() {
    let directory = tempfile::tempdir().unwrap();
    for (pointer, value, key) in [
        ("/issuer/url", json!("http://localhost/identity"), "issuer.url"),
        ("/clients/0/scopes", json!(["openid", "nonsense"]), "clients.0.scopes"),
        ("/clients/0/redirect_uris", json!(["javascript:alert(1)"]), "clients.0.redirect_uris"),
        ("/clients/0/redirect_uris", json!([]), "clients.0.redirect_uris"),
        ("/clients/0/id", json!("partner"), "clients.1.id"),
        ("/clients/2/grant_types", json!(["client_credentials"]), "clients.2.grant_types"),
        ("/argon2/memory_kib", json!(1), "argon2"),
        ("/throttle/account_attempts", json!(0), "throttle"),
        ("/keys/rotate_days", json!(0), "keys.rotate_days"),
        ("/tokens/code_seconds", json!(3600), "tokens.code_seconds"),
    ] {
        let mut config = config(directory.path(), "sqlite::memory:");
        config["tokens"] = json!({ "code_seconds": 60 });
        config["keys"]["rotate_days"] = json!(90);
        *config.pointer_mut(pointer).unwrap() = value;
        let config: crate::config::Config = serde_json::from_value(config).unwrap();
        assert_eq!(config.validate().unwrap_err().key, key, "{pointer}");
    }
}

#[tokio::test]
async fn two_providers_on_one_database_accept_each_others_sessions_and_keys() {
    for provider in providers().await {
        let config = config(provider.directory.path(), &provider.database.url);
        let second = open(config, &provider.database, &provider.clock).await.unwrap();
        let (_, tokens) = provider.sign_in("openid").await;
        let token = tokens["access_token"].as_str().unwrap();
        assert!(crate::bearer::active(&second, token).await.unwrap().is_some());
        provider.clock.advance(Duration::from_hours(89 * 24));
        provider.app.keys.maintain(provider.app.now()).await.unwrap();
        second.keys.maintain(second.now()).await.unwrap();
        assert_eq!(provider.app.keys.jwks(), second.keys.jwks());
    }
}
