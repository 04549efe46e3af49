//! A target: where it is, how often it is asked, the labels that its series get, and how it was when it was last asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quintet_http::Origin;

use crate::config::Scrape;
use crate::promql::parse_duration;
use crate::relabel::{LabelMap, Steps};

const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const PATH: &str = "__metrics_path__";
const INTERVAL: &str = "__scrape_interval__";
const PARAMETER: &str = "__param_";
/// Shorter intervals would be a load and no measurement.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// What the last scrape of a target saw, for the fleet overview.
#[derive(Debug, Clone, Default)]
pub(crate) struct Health {
    pub(crate) up: bool,
    pub(crate) ready: bool,
    /// Why it is not ready.
    pub(crate) reason: String,
}

/// One target and its health.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) settings: Arc<Scrape>,
    pub(crate) origin: Origin,
    /// With the parameters after a question mark.
    pub(crate) path: String,
    pub(crate) interval: Duration,
    /// What its series get: `job`, `instance` and the configured ones, as relabelling left them.
    pub(crate) labels: LabelMap,
    /// All labels before relabelling.
    pub(crate) discovered: LabelMap,
    health: Mutex<Health>,
}

impl Target {
    /// The target that a job names itself; none where it has files or where relabelling drops it.
    pub(crate) fn fixed(settings: Scrape) -> Result<Option<Self>, String> {
        let steps = Steps::new(&settings.relabel)?;
        let settings = Arc::new(settings);
        let Some(origin) = &settings.target else { return Ok(None) };
        let (scheme, address) = match origin {
            Origin::Http { .. } => ("http", origin.authority()),
            Origin::Https { .. } => ("https", origin.authority()),
            Origin::Unix(_) => ("http", origin.to_string()),
        };
        let instance = settings.instance.as_deref().unwrap_or(&settings.name);
        let labels = [(SCHEME, scheme), ("instance", instance)];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Self::found(&settings, &steps, &address, labels)
    }

    /// What a job's settings and relabelling make of an address that was found with these labels; none if it is dropped.
    pub(super) fn found(
        settings: &Arc<Scrape>,
        steps: &Steps,
        address: &str,
        found: LabelMap,
    ) -> Result<Option<Self>, String> {
        let mut labels = LabelMap::new();
        labels.extend(settings.labels.clone());
        for (name, value) in [
            ("job", settings.name.as_str()),
            (SCHEME, settings.scheme.as_str()),
            (PATH, settings.path.as_str()),
            (INTERVAL, &format!("{}ms", settings.interval_ms)),
        ] {
            labels.insert(name.to_owned(), value.to_owned());
        }
        let parameters = settings.params.iter();
        let parameters = parameters.filter_map(|(name, values)| Some((name, values.first()?)));
        labels.extend(parameters.map(|(name, value)| (format!("{PARAMETER}{name}"), value.clone())));
        labels.extend(found);
        labels.insert(ADDRESS.to_owned(), address.to_owned());
        let discovered = labels.clone();
        if !steps.apply(&mut labels) {
            return Ok(None);
        }
        let own = |name: &str| labels.get(name).map(String::as_str).unwrap_or_default();
        let (address, interval) = (own(ADDRESS).to_owned(), parse_duration(own(INTERVAL)));
        let unix = address.starts_with("unix:");
        let origin = if unix { address.clone() } else { format!("{}://{address}", own(SCHEME)) };
        let origin: Origin = origin.parse().map_err(|error| format!("{error}"))?;
        let interval = interval.and_then(|millis| u64::try_from(millis).ok()).map(Duration::from_millis);
        let interval = interval.filter(|interval| *interval >= MIN_INTERVAL).ok_or_else(|| {
            format!("{INTERVAL} must be a duration of at least 1s, not {:?}", own(INTERVAL))
        })?;
        let path = path(settings, &labels)?;
        labels.retain(|name, _| !name.starts_with("__"));
        labels.entry("instance".to_owned()).or_insert(address);
        let health = Health { reason: "not scraped yet".to_owned(), ..Health::default() };
        let (settings, health) = (Arc::clone(settings), Mutex::new(health));
        Ok(Some(Self { settings, origin, path, interval, labels, discovered, health }))
    }

    /// Everything that makes it another target when it changes.
    pub(super) fn identity(&self) -> LabelMap {
        let mut all = self.labels.clone();
        all.insert(ADDRESS.to_owned(), self.url());
        all.insert(INTERVAL.to_owned(), self.interval.as_millis().to_string());
        all
    }

    pub(crate) fn url(&self) -> String {
        format!("{}{}", self.origin, self.path)
    }

    pub(crate) fn health(&self) -> Health {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_health(&self, health: Health) {
        let mut known = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        if known.up != health.up {
            tracing::info!(
                target_name = self.settings.name,
                url = self.url(),
                up = health.up,
                reason = health.reason,
                "scrape target changed"
            );
        }
        *known = health;
    }
}

/// The path with the parameters: those of the settings, the first of each as relabelling left it.
fn path(settings: &Scrape, labels: &LabelMap) -> Result<String, String> {
    let path = labels.get(PATH).map(String::as_str).unwrap_or_default();
    if !path.starts_with('/') {
        return Err(format!("{PATH} must start with a slash, not be {path:?}"));
    }
    let mut parameters: Vec<(&str, &str)> = Vec::new();
    for (name, value) in labels {
        if let Some(name) = name.strip_prefix(PARAMETER) {
            parameters.push((name, value));
            let more = settings.params.get(name).map(Vec::as_slice).unwrap_or_default();
            parameters.extend(more.iter().skip(1).map(|value| (name, value.as_str())));
        }
    }
    if parameters.is_empty() {
        return Ok(path.to_owned());
    }
    let query = serde_urlencoded::to_string(parameters).map_err(|error| error.to_string())?;
    let sign = if path.contains('?') { '&' } else { '?' };
    Ok(format!("{path}{sign}{query}"))
}

/// All targets, by job.
#[derive(Debug, Default)]
pub(crate) struct Targets(Mutex<BTreeMap<String, Vec<Arc<Target>>>>, Vec<Arc<Target>>);

impl Targets {
    /// With those that jobs name themselves, which stay.
    pub(crate) fn new(fixed: Vec<Arc<Target>>) -> Self {
        Self(Mutex::default(), fixed)
    }

    /// Those that do not change, in the order of the configuration.
    pub(crate) fn fixed(&self) -> &[Arc<Target>] {
        &self.1
    }

    pub(crate) fn all(&self) -> Vec<Arc<Target>> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.1.iter().chain(found.values().flatten()).cloned().collect()
    }

    pub(super) fn set(&self, job: &str, targets: Vec<Arc<Target>>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(job.to_owned(), targets);
    }
}
