//! The five configuration files, built as values and written as TOML at each start.
//!
//! Everything that differs from a production installation is here: unix sockets in the data directory, a local
//! certificate, mail into a directory. Secrets stand in files of their own; no configuration holds one.

use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};
use xtask::gateway::SCOPES;

use super::layout::Layout;
use super::{Options, secrets};

/// Who the printed password belongs to.
pub(crate) const ADMINISTRATOR: &str = "admin@localhost.test";
pub(crate) const ADMINISTRATOR_PASSWORD: &str = "administrator-password";
/// The service client of the curl examples and of `--demo-load`.
pub(crate) const DEMO_CLIENT: &str = "demo";
pub(crate) const DEMO_CLIENT_SECRET: &str = "demo-client-secret";

const CONSOLE_CLIENT: &str = "console";
const CONSOLE_CLIENT_SECRET: &str = "console-client-secret";
const SESSION_KEY: &str = "session-key";
const IDENTITY_KEY: &str = "identity-encryption-key";
const WEBHOOK_KEY: &str = "webhook-sealing-key";
const DATABASE_URL: &str = "database-url";

/// What only people get, besides [`SCOPES`].
const PEOPLE_SCOPES: [&str; 5] = ["openid", "profile", "email", "offline_access", "identity:admin"];

/// What `docs/operator/jobs/worker.py` works on, so that it can be tried on this fleet.
const REMOTE_KIND: &str = "python.add";

const SENDER: &str = "Quintet <quintet@localhost.test>";
const AUDIENCE: &str = "quintet";
const DRAIN_TIMEOUT_MS: u64 = 10_000;
/// As large as the inventory takes a picture.
const LARGEST_UPLOAD_BYTES: u64 = 10 * 1024 * 1024;

/// Writes all five, making the secrets they name.
pub(crate) fn write(options: &Options, layout: &Layout) -> anyhow::Result<()> {
    for secret in [CONSOLE_CLIENT_SECRET, DEMO_CLIENT_SECRET, IDENTITY_KEY, SESSION_KEY, WEBHOOK_KEY] {
        secrets::ensure(layout, secret)?;
    }
    secrets::ensure_readable(layout, ADMINISTRATOR_PASSWORD)?;
    if let Some(url) = &options.database {
        keep_database_url(layout, url)?;
    }
    let fleet = FleetConfig { options, layout, origin: format!("https://localhost:{}", options.https_port) };
    for (binary, config) in [
        ("edge-gateway", fleet.edge_gateway()),
        ("core-api", fleet.core_api()),
        ("async-worker", fleet.async_worker()),
        ("identity-provider", fleet.identity_provider()),
        ("telemetry-sink", fleet.telemetry_sink()),
    ] {
        let path = layout.config(binary);
        let table = toml::Table::try_from(config).with_context(|| format!("build {}", path.display()))?;
        let text = format!("# Written by `cargo xtask up` at each start: changes here are lost.\n\n{table}");
        secrets::write_private(&path, text.as_bytes())?;
    }
    Ok(())
}

/// Keeps the URL in a file, because it may hold a password and an argument is public on this machine.
/// Returns the argument that names the file.
pub(crate) fn keep_database_url(layout: &Layout, argument: &str) -> anyhow::Result<String> {
    let kept = layout.secret(DATABASE_URL);
    let url = match argument.strip_prefix("file:") {
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("--database: read {path}"))?,
        None => argument.to_owned(),
    };
    secrets::write_private(&kept, url.trim().as_bytes())?;
    Ok(format!("file:{}", kept.display()))
}

struct FleetConfig<'a> {
    options: &'a Options,
    layout: &'a Layout,
    /// What browsers and clients see.
    origin: String,
}

impl FleetConfig<'_> {
    fn issuer(&self) -> String {
        format!("{}/identity", self.origin)
    }

    fn socket(&self, name: &str) -> String {
        unix(&self.layout.socket(name))
    }

    fn service(&self, binary: &str) -> Value {
        json!({ "admin": self.socket(&format!("{binary}.admin")), "drain_timeout_ms": DRAIN_TIMEOUT_MS })
    }

    fn telemetry(&self) -> Value {
        json!({ "otlp": self.socket("telemetry-sink.otlp") })
    }

    fn auth(&self) -> Value {
        json!({ "issuer": self.issuer(), "audience": AUDIENCE, "jwks": self.socket("identity-provider") })
    }

    /// An embedded database of that name, or the server the fleet was given.
    fn database(&self, name: &str) -> Value {
        if self.options.database.is_some() {
            json!({ "url_file": self.layout.secret(DATABASE_URL) })
        } else {
            json!({ "url": format!("sqlite:{}", self.layout.root.join(format!("{name}.db")).display()) })
        }
    }

    fn edge_gateway(&self) -> Value {
        let listen = |port: u16| json!([format!("127.0.0.1:{port}"), format!("[::1]:{port}")]);
        let upstream = |name: &str, socket: &str| json!({ "name": name, "addresses": [self.socket(socket)] });
        json!({
            "service": self.service("edge-gateway"),
            "telemetry": self.telemetry(),
            "listen": { "https": listen(self.options.https_port), "http": listen(self.options.http_port) },
            "certificates": [{ "cert": self.layout.tls("cert.pem"), "key": self.layout.tls("key.pem") }],
            "identity": {
                "issuer": self.issuer(),
                "audience": AUDIENCE,
                "jwks": self.socket("identity-provider"),
                "client_id": CONSOLE_CLIENT,
                "client_secret_file": self.layout.secret(CONSOLE_CLIENT_SECRET),
                "cookie_key_file": self.layout.secret(SESSION_KEY),
            },
            "upstreams": [
                upstream("async-worker", "async-worker"),
                upstream("core-api", "core-api"),
                upstream("identity-provider", "identity-provider"),
                upstream("telemetry-sink", "telemetry-sink"),
            ],
            "routes": [
                { "path_prefix": "/", "upstream": "telemetry-sink", "auth": "browser" },
                { "path_prefix": "/telemetry/", "upstream": "telemetry-sink", "auth": "browser",
                  "scopes": ["telemetry:read"] },
                { "path_prefix": "/api/", "upstream": "core-api", "auth": "browser",
                  "max_body": LARGEST_UPLOAD_BYTES },
                { "path_prefix": "/api/openapi.json", "upstream": "core-api", "auth": "none" },
                { "path_prefix": "/jobs/v1/", "upstream": "async-worker", "auth": "browser" },
                { "path_prefix": "/jobs/v1/openapi.json", "upstream": "async-worker", "auth": "none" },
                { "path_prefix": "/identity/", "upstream": "identity-provider", "auth": "none" },
            ],
        })
    }

    fn core_api(&self) -> Value {
        json!({
            "service": self.service("core-api"),
            "telemetry": self.telemetry(),
            "listen": { "http": self.socket("core-api") },
            "database": self.database("core"),
            "auth": self.auth(),
            "storage": { "blobs": self.layout.root.join("blobs") },
        })
    }

    fn async_worker(&self) -> Value {
        let mail = match &self.options.smtp {
            Some(server) => json!({
                "from": SENDER,
                "smtp": { "host": server.host, "port": server.port, "tls": "none" },
            }),
            None => json!({ "from": SENDER, "maildir": { "dir": self.layout.root.join("mail") } }),
        };
        json!({
            "service": self.service("async-worker"),
            "telemetry": self.telemetry(),
            "listen": { "http": self.socket("async-worker") },
            "database": self.database("core"),
            "auth": self.auth(),
            "storage": { "blobs": self.layout.root.join("blobs") },
            "mail": mail,
            "webhooks": { "key_file": self.layout.secret(WEBHOOK_KEY) },
            "remote": { "enqueue_kinds": [REMOTE_KIND], "work_kinds": [REMOTE_KIND] },
            "schedules": [{
                "name": "weekly-sum",
                "cron": "30 6 * * mon",
                "kind": REMOTE_KIND,
                "args": { "numbers": [2, 3] },
                "missed": "once",
            }],
        })
    }

    fn identity_provider(&self) -> Value {
        let service_scopes: Vec<&str> = SCOPES.split_whitespace().collect();
        let people_scopes: Vec<&str> = PEOPLE_SCOPES.iter().chain(&service_scopes).copied().collect();
        let mut config = json!({
            "service": self.service("identity-provider"),
            "telemetry": self.telemetry(),
            "listen": { "http": self.socket("identity-provider") },
            "database": self.database("identity"),
            "issuer": { "url": self.issuer() },
            "keys": { "file": self.layout.secret(IDENTITY_KEY) },
            "bootstrap": {
                "admin_email": ADMINISTRATOR,
                "admin_name": "Administrator",
                "admin_password_file": self.layout.secret(ADMINISTRATOR_PASSWORD),
            },
            "clients": [
                {
                    "id": CONSOLE_CLIENT,
                    "name": "Quintet console",
                    "secret_file": self.layout.secret(CONSOLE_CLIENT_SECRET),
                    "redirect_uris": [format!("{}/.auth/callback", self.origin)],
                    "post_logout_redirect_uris": [format!("{}/", self.origin)],
                    "scopes": people_scopes,
                    "consent": false,
                },
                {
                    "id": DEMO_CLIENT,
                    "name": "Demo client",
                    "secret_file": self.layout.secret(DEMO_CLIENT_SECRET),
                    "grant_types": ["client_credentials"],
                    "scopes": service_scopes,
                },
            ],
        });
        // Letters to people need a mail server; without one, nobody can reset a password.
        if let (Some(server), Some(config)) = (&self.options.smtp, config.as_object_mut()) {
            let smtp = json!({ "host": server.host, "port": server.port, "tls": "none" });
            config.insert("mail".to_owned(), json!({ "from": SENDER, "smtp": smtp }));
        }
        config
    }

    fn telemetry_sink(&self) -> Value {
        json!({
            "service": self.service("telemetry-sink"),
            "telemetry": self.telemetry(),
            "listen": { "http": self.socket("telemetry-sink"), "otlp": self.socket("telemetry-sink.otlp") },
            "storage": { "directory": self.layout.root.join("telemetry") },
            "auth": self.auth(),
        })
    }
}

fn unix(path: &Path) -> String {
    format!("unix:{}", path.display())
}
