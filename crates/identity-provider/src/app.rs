//! What every endpoint works with, put together once.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quintet_store::Store;
use quintet_types::{Entropy, SharedClock};

use crate::clients::Clients;
use crate::config::{Issuer, Lifetimes};
use crate::cookies;
use crate::factors::Policy;
use crate::fault::Fault;
use crate::keys::KeyRing;
use crate::mail::Mail;
use crate::pages::Pages;
use crate::passwords::Passwords;
use crate::sessions::{self, Session};
use crate::throttle::{AccountKey, Place, Throttle};
use crate::users;
use crate::vault::{Purpose, Vault};

/// Bytes of a device cookie that identify the browser.
const DEVICE_ID_BYTES: usize = 16;

/// The provider.
pub(crate) struct App {
    pub(crate) issuer: Issuer,
    pub(crate) clients: Clients,
    pub(crate) lifetimes: Lifetimes,
    pub(crate) store: Store,
    pub(crate) vault: Arc<Vault>,
    pub(crate) keys: KeyRing,
    pub(crate) passwords: Passwords,
    pub(crate) throttle: Throttle,
    pub(crate) factors: Policy,
    pub(crate) mail: Option<Mail>,
    pub(crate) pages: Pages,
    pub(crate) clock: SharedClock,
    pub(crate) entropy: Arc<dyn Entropy>,
}

/// The provider as handlers receive it.
pub(crate) type Shared = Arc<App>;

impl App {
    /// The current time in microseconds since the Unix epoch.
    pub(crate) fn now(&self) -> i64 {
        self.clock.now_micros()
    }

    /// The live session of the browser that sent `headers`.
    pub(crate) async fn session(&self, headers: &HeaderMap) -> Result<Option<Session>, Fault> {
        let Some(cookie) = cookies::read(headers, cookies::SESSION) else { return Ok(None) };
        Ok(sessions::find(&self.store, &self.vault, cookie, self.lifetimes.session, self.now()).await?)
    }

    /// An account's name as the throttle and the audit log hold it.
    pub(crate) fn account_key(&self, email: &str) -> AccountKey {
        AccountKey(self.vault.mac(Purpose::Account, &[users::email_key(email).as_bytes()]))
    }

    /// From where somebody tries to sign in to `account`.
    pub(crate) fn place(&self, headers: &HeaderMap, account: AccountKey, address: Option<IpAddr>) -> Place {
        cookies::read(headers, cookies::DEVICE)
            .and_then(|cookie| self.known_device(cookie, account))
            .map_or_else(|| self.throttle.place_of(address), Place::Device)
    }

    /// The cookie by which this browser is known to `account` from now on.
    pub(crate) fn device_cookie(&self, account: AccountKey) -> String {
        let mut id = [0u8; DEVICE_ID_BYTES];
        self.entropy.fill(&mut id);
        let tag = self.vault.mac(Purpose::Device, &[&account.0, &id]);
        format!("{}.{}", URL_SAFE_NO_PAD.encode(id), URL_SAFE_NO_PAD.encode(tag))
    }

    fn known_device(&self, cookie: &str, account: AccountKey) -> Option<[u8; DEVICE_ID_BYTES]> {
        let (id, tag) = cookie.split_once('.')?;
        let id: [u8; DEVICE_ID_BYTES] = URL_SAFE_NO_PAD.decode(id).ok()?.try_into().ok()?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        let expected = self.vault.mac(Purpose::Device, &[&account.0, &id]);
        bool::from(subtle::ConstantTimeEq::ct_eq(tag.as_slice(), &expected)).then_some(id)
    }
}
