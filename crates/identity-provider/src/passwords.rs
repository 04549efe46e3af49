//! Password hashes: Argon2id on blocking threads, behind a bounded queue.
//!
//! One hash costs 19 MiB and some 20 ms of a core, which makes the login page the cheapest place
//! to exhaust a server. So at most `max_concurrent` hashes run, at most `queue` wait, none waits
//! longer than [`MAX_WAIT`], and everything beyond is told to come back later.
//!
//! The arenas are reused while logins keep coming (the page faults of a fresh 19 MiB cost a fifth
//! of a hash) and given back by [`release_idle`](Passwords::release_idle).
//!
//! An unknown account costs the same work in the same queue ([`verify_nobody`](Passwords::verify_nobody)).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use quintet_types::Entropy;
use subtle::ConstantTimeEq as _;
use thiserror::Error;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// The longest password in bytes. NIST SP 800-63B asks for at least 64 characters; a cap keeps a
/// request from buying hash input by the megabyte.
pub(crate) const MAX_PASSWORD_BYTES: usize = 512;

/// The shortest password accepted for a new account, in characters.
pub(crate) const MIN_PASSWORD_CHARS: usize = 12;

/// How long a login waits for its turn; a person gives up at about this point.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// What a caller turned away should wait.
const RETRY_AFTER: Duration = Duration::from_secs(2);

const SALT_BYTES: usize = 16;
const OUTPUT_BYTES: usize = 32;

/// The most memory that a stored hash may ask for, whatever wrote it there.
const MAX_STORED_MEMORY_KIB: u32 = 256 * 1024;
const MAX_STORED_ITERATIONS: u32 = 64;

/// The `[argon2]` section.
#[derive(Debug, Clone, Copy, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Memory of one hash in KiB.
    pub(crate) memory_kib: u32,
    /// Passes over the memory.
    pub(crate) iterations: u32,
    /// Lanes of the algorithm; not threads.
    pub(crate) parallelism: u32,
    /// Hashes that run at the same time; the number of cores when absent.
    pub(crate) max_concurrent: Option<usize>,
    /// Logins that may wait for a free core.
    pub(crate) queue: usize,
}

impl Default for Settings {
    /// OWASP Password Storage Cheat Sheet, first choice of Argon2id.
    fn default() -> Self {
        Self { memory_kib: 19_456, iterations: 2, parallelism: 1, max_concurrent: None, queue: 64 }
    }
}

/// Why a password was not hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum PasswordError {
    /// The queue is full or did not move in time.
    #[error("too many logins at once")]
    Overloaded {
        /// When to come back.
        retry_after: Duration,
    },
    /// The stored hash is not one that this code writes.
    #[error("a stored password hash is unreadable")]
    Stored,
    /// The algorithm refused its parameters or the thread died.
    #[error("a password could not be hashed")]
    Failed,
}

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The password fits.
    Fits {
        /// Whether the stored hash is weaker than today's settings.
        outdated: bool,
    },
    /// It does not.
    Wrong,
}

/// The hashing queue.
#[derive(Clone)]
pub(crate) struct Passwords(Arc<Inner>);

struct Inner {
    params: Params,
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    queue: usize,
    arenas: Mutex<Vec<Vec<Block>>>,
    used: AtomicBool,
    #[cfg(test)]
    hashed: AtomicUsize,
    entropy: Arc<dyn Entropy>,
}

impl Passwords {
    /// A queue with these settings; they were checked by [`check`].
    pub(crate) fn new(settings: &Settings, entropy: Arc<dyn Entropy>) -> Result<Self, argon2::Error> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self(Arc::new(Inner {
            params: params(settings)?,
            slots: Arc::new(Semaphore::new(settings.max_concurrent.unwrap_or(cores).max(1))),
            waiting: AtomicUsize::new(0),
            queue: settings.queue,
            arenas: Mutex::new(Vec::new()),
            used: AtomicBool::new(false),
            #[cfg(test)]
            hashed: AtomicUsize::new(0),
            entropy,
        })))
    }

    /// The hash of a new password in PHC string format.
    pub(crate) async fn hash(&self, password: &Zeroizing<String>) -> Result<String, PasswordError> {
        let mut salt = [0u8; SALT_BYTES];
        self.0.entropy.fill(&mut salt);
        let params = self.0.params.clone();
        let output = self.derive(password, salt.to_vec(), params.clone()).await?;
        Ok(Stored { params, salt: salt.to_vec(), output: output.to_vec() }.to_string())
    }

    /// Compares a password with a stored hash.
    pub(crate) async fn verify(
        &self,
        password: &Zeroizing<String>,
        stored: &str,
    ) -> Result<Verdict, PasswordError> {
        let stored = Stored::parse(stored).ok_or(PasswordError::Stored)?;
        let output = self.derive(password, stored.salt.clone(), stored.params.clone()).await?;
        if !bool::from(output.ct_eq(&stored.output)) {
            return Ok(Verdict::Wrong);
        }
        let today = &self.0.params;
        let outdated = (stored.params.m_cost(), stored.params.t_cost(), stored.params.p_cost())
            != (today.m_cost(), today.t_cost(), today.p_cost());
        Ok(Verdict::Fits { outdated })
    }

    /// The work of [`verify`](Self::verify) for an account that does not exist.
    pub(crate) async fn verify_nobody(&self, password: &Zeroizing<String>) -> Result<(), PasswordError> {
        let output = self.derive(password, vec![0; SALT_BYTES], self.0.params.clone()).await?;
        // Compared like a real one, so that the compiler keeps the work.
        std::hint::black_box(output.ct_eq(&[0u8; OUTPUT_BYTES][..]));
        Ok(())
    }

    /// Gives memory back when no login happened since the last call.
    pub(crate) fn release_idle(&self) {
        if !self.0.used.swap(false, Ordering::Relaxed) {
            self.release();
        }
    }

    /// Gives memory back now; the next hash takes it anew.
    pub(crate) fn release(&self) {
        self.0.arenas.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// How many hashes were computed, to compare the work of two requests.
    #[cfg(test)]
    pub(crate) fn hashed(&self) -> usize {
        self.0.hashed.load(Ordering::Relaxed)
    }

    async fn derive(
        &self,
        password: &Zeroizing<String>,
        salt: Vec<u8>,
        params: Params,
    ) -> Result<Zeroizing<[u8; OUTPUT_BYTES]>, PasswordError> {
        let permit = self.turn().await?;
        let inner = Arc::clone(&self.0);
        // The cap is applied here and not by refusing, so that a long guess costs what others cost.
        let end = password.floor_char_boundary(MAX_PASSWORD_BYTES + 1);
        let password = Zeroizing::new(password.get(..end).unwrap_or_default().to_owned());
        let work = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let started = Instant::now();
            let output = inner.run(&password, &salt, params);
            metrics::histogram!("quintet_identity_password_hash_seconds")
                .record(started.elapsed().as_secs_f64());
            output
        });
        work.await.map_err(|_| PasswordError::Failed)?
    }

    async fn turn(&self) -> Result<tokio::sync::OwnedSemaphorePermit, PasswordError> {
        let overloaded = PasswordError::Overloaded { retry_after: RETRY_AFTER };
        if let Ok(permit) = Arc::clone(&self.0.slots).try_acquire_owned() {
            return Ok(permit);
        }
        let place = Place::take(&self.0).ok_or_else(|| refused(overloaded))?;
        let acquired = tokio::time::timeout(MAX_WAIT, Arc::clone(&self.0.slots).acquire_owned()).await;
        drop(place);
        acquired.ok().and_then(Result::ok).ok_or_else(|| refused(overloaded))
    }
}

fn refused(error: PasswordError) -> PasswordError {
    metrics::counter!("quintet_identity_password_queue_refusals_total").increment(1);
    error
}

/// One of the places in the queue, given back when dropped, also when the caller went away.
struct Place<'a>(&'a Inner);

impl<'a> Place<'a> {
    fn take(inner: &'a Inner) -> Option<Self> {
        let place = Self(inner);
        (inner.waiting.fetch_add(1, Ordering::Relaxed) < inner.queue).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Inner {
    fn run(
        &self,
        password: &str,
        salt: &[u8],
        params: Params,
    ) -> Result<Zeroizing<[u8; OUTPUT_BYTES]>, PasswordError> {
        let mut arena = self.arenas.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        arena.resize(params.block_count(), Block::new());
        let mut output = Zeroizing::new([0u8; OUTPUT_BYTES]);
        let result = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(password.as_bytes(), salt, output.as_mut_slice(), &mut arena)
            .map_err(|_| PasswordError::Failed);
        self.used.store(true, Ordering::Relaxed);
        #[cfg(test)]
        self.hashed.fetch_add(1, Ordering::Relaxed);
        self.arenas.lock().unwrap_or_else(PoisonError::into_inner).push(arena);
        result.map(|()| output)
    }
}

/// Whether Argon2 takes these settings; the text says what is wrong.
pub(crate) fn check(settings: &Settings) -> Result<(), String> {
    if settings.memory_kib > MAX_STORED_MEMORY_KIB || settings.iterations > MAX_STORED_ITERATIONS {
        return Err(format!(
            "at most {MAX_STORED_MEMORY_KIB} KiB and {MAX_STORED_ITERATIONS} iterations are supported"
        ));
    }
    params(settings).map(drop).map_err(|error| error.to_string())
}

fn params(settings: &Settings) -> Result<Params, argon2::Error> {
    Params::new(settings.memory_kib, settings.iterations, settings.parallelism, Some(OUTPUT_BYTES))
}

/// A hash in PHC string format, the subset that this code writes.
struct Stored {
    params: Params,
    salt: Vec<u8>,
    output: Vec<u8>,
}

impl Stored {
    fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("$argon2id$v=19$")?;
        let mut parts = rest.split('$');
        let (params, salt, output) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let mut numbers = ["m=", "t=", "p="]
            .into_iter()
            .zip(params.split(','))
            .map(|(name, part)| part.strip_prefix(name).and_then(|number| number.parse::<u32>().ok()));
        let (memory, iterations, lanes) = (numbers.next()??, numbers.next()??, numbers.next()??);
        if memory > MAX_STORED_MEMORY_KIB || iterations > MAX_STORED_ITERATIONS {
            return None;
        }
        let stored = Self {
            params: Params::new(memory, iterations, lanes, Some(OUTPUT_BYTES)).ok()?,
            salt: STANDARD_NO_PAD.decode(salt).ok()?,
            output: STANDARD_NO_PAD.decode(output).ok()?,
        };
        (stored.output.len() == OUTPUT_BYTES).then_some(stored)
    }
}

impl std::fmt::Display for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "$argon2id$v=19$m={},t={},p={}${}${}",
            self.params.m_cost(),
            self.params.t_cost(),
            self.params.p_cost(),
            STANDARD_NO_PAD.encode(&self.salt),
            STANDARD_NO_PAD.encode(&self.output)
        )
    }
}

#[cfg(test)]
mod tests {
    use quintet_types::SystemEntropy;

    use super::*;

    fn cheap() -> Settings {
        Settings { memory_kib: 64, iterations: 1, parallelism: 1, max_concurrent: Some(1), queue: 1 }
    }

    fn passwords(settings: &Settings) -> Passwords {
        Passwords::new(settings, Arc::new(SystemEntropy)).unwrap()
    }

    fn secret(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    #[tokio::test]
    async fn the_right_password_fits_and_another_does_not() {
        let passwords = passwords(&cheap());
        let hash = passwords.hash(&secret("correct horse")).await.unwrap();
        let fits = passwords.verify(&secret("correct horse"), &hash).await;
        assert_eq!(fits, Ok(Verdict::Fits { outdated: false }));
        assert_eq!(passwords.verify(&secret("wrong horse"), &hash).await, Ok(Verdict::Wrong));
    }

    /// A hash made by the reference implementation:
    /// `echo -n password | argon2 somesalt -id -t 2 -k 256 -p 1` (its test vector).
    #[tokio::test]
    async fn a_hash_of_the_reference_implementation_is_accepted_and_called_outdated() {
        let stored = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        let verdict = passwords(&cheap()).verify(&secret("password"), stored).await;
        assert_eq!(verdict, Ok(Verdict::Fits { outdated: true }));
    }

    #[tokio::test]
    async fn a_stored_hash_that_asks_for_a_gigabyte_is_refused() {
        let stored =
            "$argon2id$v=19$m=1048576,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        assert_eq!(passwords(&cheap()).verify(&secret("password"), stored).await, Err(PasswordError::Stored));
    }

    #[tokio::test]
    async fn a_full_queue_turns_the_next_login_away_and_a_caller_that_leaves_gives_its_place_back() {
        let passwords = passwords(&cheap());
        let running = Arc::clone(&passwords.0.slots).acquire_owned().await.unwrap();
        let mut waiting = Box::pin(passwords.turn());
        assert!(futures_poll(waiting.as_mut()).await.is_none());
        assert!(matches!(passwords.turn().await, Err(PasswordError::Overloaded { .. })));
        drop(waiting);
        assert_eq!(passwords.0.waiting.load(Ordering::Relaxed), 0);
        drop(running);
        assert!(passwords.turn().await.is_ok());
    }

    async fn futures_poll<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
        std::future::poll_fn(|cx| match std::pin::Pin::new(&mut future).poll(cx) {
            std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
            std::task::Poll::Pending => std::task::Poll::Ready(None),
        })
        .await
    }

    #[tokio::test]
    async fn memory_is_given_back_after_an_idle_period() {
        let passwords = passwords(&cheap());
        passwords.verify_nobody(&secret("x")).await.unwrap();
        passwords.release_idle();
        assert_eq!(passwords.0.arenas.lock().unwrap().len(), 1);
        passwords.release_idle();
        assert_eq!(passwords.0.arenas.lock().unwrap().len(), 0);
        passwords.verify_nobody(&secret("x")).await.unwrap();
        passwords.release();
        assert_eq!(passwords.0.arenas.lock().unwrap().len(), 0);
    }

    #[test]
    fn settings_below_what_argon2_allows_are_refused() {
        assert!(check(&Settings { memory_kib: 1, ..cheap() }).is_err());
        assert!(check(&Settings { iterations: 0, ..cheap() }).is_err());
        assert_eq!(check(&Settings::default()), Ok(()));
    }
}
