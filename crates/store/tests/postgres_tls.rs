//! Connections to a PostgreSQL server whose certificate is its own authority.

#![expect(clippy::unwrap_used, reason = "a helper shared by the tests below")]

use quintet_store::{Error, Settings, Store, args};
use quintet_testkit::databases;

/// The test database's URL and the file with its server's certificate; `None` where there is no such server.
async fn server() -> Option<(String, String)> {
    let database = databases().await.into_iter().find(|database| database.name == "postgres")?;
    let shown = async |name: &'static str| -> String {
        let sql = "SELECT current_setting($1) AS value";
        database.store.fetch_one(sql, args![name]).await.unwrap().get("value").unwrap()
    };
    if shown("ssl").await == "off" {
        // The server that the test command starts has it on; one of the developer's own may not.
        return None;
    }
    Some((database.url.clone(), shown("ssl_cert_file").await))
}

async fn encrypted(url: &str) -> Result<bool, Error> {
    let store = Store::connect(&Settings::for_url(url)).await?;
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    store.fetch_one(sql, args![]).await?.get("ssl")
}

#[tokio::test]
async fn a_certificate_is_checked_as_far_as_the_url_asks() {
    let Some((url, certificate)) = server().await else { return };
    let by_name = url.replace("127.0.0.1", "localhost");
    for (url, query, expected) in [
        (&url, "sslmode=disable".to_owned(), Some(false)),
        (&url, String::new(), Some(true)),
        (&url, "sslmode=require".to_owned(), Some(true)),
        (&url, format!("sslmode=verify-full&sslrootcert={certificate}"), Some(true)),
        // Nobody we trust signed it.
        (&url, "sslmode=verify-full".to_owned(), None),
        (&url, "sslmode=verify-ca".to_owned(), None),
        // The certificate names the address and not the name.
        (&by_name, format!("sslmode=verify-full&sslrootcert={certificate}"), None),
        (&by_name, format!("sslmode=verify-ca&sslrootcert={certificate}"), Some(true)),
    ] {
        let found = encrypted(&format!("{url}?{query}")).await;
        match (&found, expected) {
            (Ok(found), Some(expected)) => assert_eq!(*found, expected, "{query}"),
            (Err(Error::Unavailable(_)), None) => {}
            _ => panic!("{query}: {found:?}"),
        }
    }
}

#[tokio::test]
async fn an_authority_that_cannot_be_read_and_an_unknown_mode_are_errors_of_the_settings() {
    for (query, said) in [
        ("sslmode=verify-full&sslrootcert=/nowhere/ca.pem", "sslrootcert=/nowhere/ca.pem cannot be read"),
        ("sslmode=always", "sslmode=always; use disable, prefer, require, verify-ca or verify-full"),
    ] {
        let url = format!("postgres://user:secret@127.0.0.1:1/database?{query}");
        let error = Store::connect(&Settings::for_url(url)).await.unwrap_err();
        assert!(matches!(error, Error::Settings(_)), "{error:?}");
        assert!(error.to_string().contains(said), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
