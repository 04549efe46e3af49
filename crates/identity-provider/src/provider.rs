//! The binary: configuration in, a serving provider out.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use quintet_database::start_error;
use quintet_service::{Binary, Code, Common, Context, Invalid, OrExit as _, SecretFile, StartError};
use quintet_store::Store;
use quintet_types::{Entropy, SharedClock, SystemEntropy};
use zeroize::Zeroizing;

use crate::app::{App, Shared};
use crate::caller::Caller;
use crate::clients::Clients;
use crate::config::{Bootstrap, Config, Issuer};
use crate::keys::{KeyError, KeyRing};
use crate::mail::{self, Mail};
use crate::pages::Pages;
use crate::passwords::Passwords;
use crate::scopes::Role;
use crate::throttle::Throttle;
use crate::vault::{SEALING_KEY_BYTES, Vault, parse_sealing_key};
use crate::{admin, backchannel, routes, schema, upkeep, users};

/// The identity provider.
pub(crate) struct IdentityProvider;

impl Binary for IdentityProvider {
    const NAME: &'static str = "identity-provider";
    const ABOUT: &'static str = "OpenID Connect and OAuth 2 provider";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Config = Config;

    fn common(config: &Config) -> Common<'_> {
        Common { service: &config.service, telemetry: &config.telemetry }
    }

    fn validate(config: &Config) -> Result<(), Invalid> {
        config.validate()
    }

    async fn start(config: Config, cx: &Context) -> anyhow::Result<()> {
        // First: an address in use should not cost a migration.
        let listener = cx.listener("http", &config.listen.http)?;
        let store = Store::connect(&config.database).await.map_err(start_error)?;
        let app = open(&config, store, cx.clock(), Arc::new(SystemEntropy)).await?;
        quintet_database::watch(cx, app.store.clone());
        cx.spawn("mail", mail::outbox::run(Arc::clone(&app), cx.shutdown()));
        cx.spawn("upkeep", upkeep::run(Arc::clone(&app), cx.shutdown()));
        cx.spawn("backchannel", backchannel::run(Arc::clone(&app), cx.shutdown()));
        cx.serve("http", listener, routes::router(app), config.limits);
        Ok(())
    }
}

/// Puts the provider together on a connected database.
pub(crate) async fn open(
    config: &Config,
    store: Store,
    clock: SharedClock,
    entropy: Arc<dyn Entropy>,
) -> anyhow::Result<Shared> {
    let sealing_key = sealing_key(&config.keys.file)?;
    let clients = clients(config, entropy.as_ref())?;
    let bootstrap = config.bootstrap.as_ref().map(read_bootstrap).transpose()?;
    store.migrate(&[&schema::MODULE]).await.map_err(start_error)?;

    let vault = Arc::new(Vault::new(&sealing_key)?);
    let rotate_after = Duration::from_hours(24) * config.keys.rotate_days;
    let keys = KeyRing::open(store.clone(), Arc::clone(&vault), rotate_after, clock.now_micros())
        .await
        .map_err(key_error)?;
    let issuer = Issuer::new(&config.issuer.url)?;
    let app = Arc::new(App {
        pages: Pages::new(&issuer.prefix).context("cannot parse the pages")?,
        issuer,
        clients,
        lifetimes: config.lifetimes()?,
        store,
        vault,
        keys,
        passwords: Passwords::new(&config.argon2, Arc::clone(&entropy)).context("cannot use [argon2]")?,
        throttle: Throttle::new(config.throttle),
        factors: config.factors,
        mail: config.mail.as_ref().map(Mail::open).transpose().context("cannot use [mail]")?,
        clock,
        entropy,
    });
    if let Some((bootstrap, password)) = bootstrap {
        create_administrator(&app, bootstrap, &password).await?;
        // The next hash may be hours away.
        app.passwords.release();
    }
    Ok(app)
}

fn key_error(error: KeyError) -> StartError {
    match error {
        KeyError::Store(error) => start_error(error),
        KeyError::WrongSealingKey { .. } => StartError::new(Code::Config, error),
        KeyError::Crypto(_) | KeyError::Claims(_) => StartError::new(Code::Internal, error),
    }
}

fn sealing_key(file: &SecretFile) -> anyhow::Result<Zeroizing<[u8; SEALING_KEY_BYTES]>> {
    let bytes = file.read_bytes("keys.file")?;
    // Raw bytes may be white space at either end, so they are looked at before text is.
    if let Ok(raw) = <[u8; SEALING_KEY_BYTES]>::try_from(bytes.as_slice()) {
        return Ok(Zeroizing::new(raw));
    }
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    Ok(parse_sealing_key(text).context("key `keys.file`").or_exit(Code::Config)?)
}

fn clients(config: &Config, entropy: &dyn Entropy) -> anyhow::Result<Clients> {
    let mut clients = Clients::new(entropy);
    for (index, client) in config.clients.iter().enumerate() {
        let secret = match &client.secret_file {
            Some(file) => {
                let secret = file.read(&format!("clients.{index}.secret_file"))?;
                Some(clients.digest(secret.expose().as_bytes()))
            }
            None => None,
        };
        clients.insert(client.build(index, config.tokens.refresh_grace_seconds, secret)?);
    }
    Ok(clients)
}

fn read_bootstrap(bootstrap: &Bootstrap) -> anyhow::Result<(&Bootstrap, Zeroizing<String>)> {
    let password = bootstrap.admin_password_file.read("bootstrap.admin_password_file")?;
    users::check_new(&bootstrap.admin_email, &bootstrap.admin_name, password.expose()).map_err(|error| {
        let key = match error.field() {
            "password" => "bootstrap.admin_password_file".to_owned(),
            field => format!("bootstrap.admin_{field}"),
        };
        Invalid::new(key, error.to_string())
    })?;
    Ok((bootstrap, Zeroizing::new(password.expose().to_owned())))
}

/// Makes the first administrator. An account that exists is left as it is, password included.
async fn create_administrator(
    app: &App,
    wanted: &Bootstrap,
    password: &Zeroizing<String>,
) -> anyhow::Result<()> {
    if users::by_email(&app.store, &wanted.admin_email).await.map_err(start_error)?.is_some() {
        return Ok(());
    }
    let caller = Caller::default();
    let created =
        admin::create(app, "system", &wanted.admin_email, &wanted.admin_name, password, Role::Admin, &caller)
            .await;
    match created {
        Ok(user) => {
            tracing::info!(user = %user.id, "administrator created");
            Ok(())
        }
        // Another node was faster.
        Err(crate::fault::Fault::Store(error)) if error.is_conflict() => Ok(()),
        Err(error) => Err(error).context("cannot create the administrator"),
    }
}
