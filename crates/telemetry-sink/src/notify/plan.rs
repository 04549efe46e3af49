//! The routing tree and the rest of `[notify]`, checked.

mod description;

use std::collections::HashSet;

use quintet_service::Invalid;

use super::inhibit::Inhibition;
use super::intervals::Interval;
use super::parse_matcher;
use super::send::{Channel, Mailer};
use super::settings::{Receiver, Route as RouteSection, Settings};
use crate::model::matcher::all_accept;
use crate::model::{Labels, Matcher};

/// What is configured, ready for use.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The first is the root.
    routes: Vec<Route>,
    /// The first is the one of alerts that nobody is told of.
    pub(crate) receivers: Vec<Told>,
    pub(super) inhibitions: Vec<Inhibition>,
    intervals: Vec<Interval>,
    /// Milliseconds.
    pub(crate) resolve_timeout: i64,
    pub(super) mailer: Option<Mailer>,
}

/// A receiver and its ways.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) name: String,
    pub(super) channels: Vec<Channel>,
}

/// A branch of the tree. Times are milliseconds.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    /// What group keys begin with.
    pub(super) id: String,
    children: Vec<usize>,
    matchers: Vec<Matcher>,
    pub(super) receiver: usize,
    group_by: Vec<String>,
    pub(super) wait: i64,
    pub(super) interval: i64,
    pub(super) repeat: i64,
    goes_on: bool,
    mute: Vec<String>,
    active: Vec<String>,
}

impl Route {
    /// The labels by which an alert is grouped.
    pub(super) fn group_labels(&self, labels: &Labels) -> Labels {
        if self.group_by.iter().any(|name| name == "...") {
            return labels.clone();
        }
        labels.filtered(|name| self.group_by.iter().any(|wanted| wanted == name))
    }
}

fn millis(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX / 1000).saturating_mul(1000)
}

impl Plan {
    pub(crate) fn new(settings: &Settings) -> Result<Self, Invalid> {
        let mailer = settings.smtp.as_ref().map(Mailer::new).transpose()?;
        let mut plan = Self {
            routes: Vec::new(),
            receivers: vec![Told { name: "nobody".to_owned(), channels: Vec::new() }],
            inhibitions: Vec::new(),
            intervals: Vec::new(),
            resolve_timeout: millis(settings.resolve_timeout_seconds.max(1)),
            mailer,
        };
        for interval in &settings.time_interval {
            let interval = Interval::new(interval)
                .map_err(|error| Invalid::new(format!("notify.time_interval.{}", interval.name), error))?;
            plan.intervals.push(interval);
        }
        for receiver in &settings.receiver {
            plan.add_receiver(receiver)?;
        }
        for inhibit in &settings.inhibit {
            let read = |texts: &[String]| matchers(texts, "notify.inhibit");
            let (source, target) = (read(&inhibit.source)?, read(&inhibit.target)?);
            if source.is_empty() || target.is_empty() {
                let message =
                    "needs at least one matcher in `source` and in `target`, or everything keeps quiet";
                return Err(Invalid::new("notify.inhibit", message));
            }
            plan.inhibitions.push(Inhibition { source, target, equal: inhibit.equal.clone() });
        }
        plan.add_root(settings)?;
        let mut names = HashSet::new();
        for route in &settings.route {
            if !names.insert(route.name.as_str()) {
                let message = format!("the route {:?} stands twice; give one another name", route.name);
                return Err(Invalid::new("notify.route", message));
            }
            plan.add_route(route)?;
        }
        Ok(plan)
    }

    fn add_receiver(&mut self, receiver: &Receiver) -> Result<(), Invalid> {
        if receiver.name.is_empty() || self.receivers.iter().any(|known| known.name == receiver.name) {
            let message = format!("the receiver {:?} needs a name of its own", receiver.name);
            return Err(Invalid::new("notify.receiver", message));
        }
        let key = format!("notify.receiver.{}", receiver.name);
        if !receiver.email.is_empty() && self.mailer.is_none() {
            return Err(Invalid::new(key, "has `email`; add [notify.smtp]"));
        }
        let channels = Channel::all(receiver, &key)?;
        self.receivers.push(Told { name: receiver.name.clone(), channels });
        Ok(())
    }

    fn receiver(&self, name: &str, key: &str) -> Result<usize, Invalid> {
        self.receivers.iter().position(|known| known.name == name).ok_or_else(|| {
            Invalid::new(
                key,
                format!("there is no receiver {name:?}; add [[notify.receiver]] with that name"),
            )
        })
    }

    fn add_root(&mut self, settings: &Settings) -> Result<(), Invalid> {
        let receiver = match &settings.default_receiver {
            Some(name) => self.receiver(name, "notify.default_receiver")?,
            None => 0,
        };
        let root = Route {
            id: "{}".to_owned(),
            children: Vec::new(),
            matchers: Vec::new(),
            receiver,
            group_by: settings.group_by.clone(),
            wait: millis(settings.group_wait_seconds),
            interval: millis(settings.group_interval_seconds),
            repeat: millis(settings.repeat_interval_seconds),
            goes_on: false,
            mute: Vec::new(),
            active: Vec::new(),
        };
        checked(&root, "notify")?;
        self.routes.push(root);
        Ok(())
    }

    fn add_route(&mut self, section: &RouteSection) -> Result<(), Invalid> {
        let key = format!("notify.route.{}", section.name);
        let parent = match &section.parent {
            None => 0,
            Some(name) => self.routes.iter().position(|known| known.id == *name).ok_or_else(|| {
                Invalid::new(format!("{key}.parent"), format!("no route {name:?} stands before this one"))
            })?,
        };
        let Some(above) = self.routes.get(parent).cloned() else { return Ok(()) };
        for name in section.mute_time_intervals.iter().chain(&section.active_time_intervals) {
            if !self.intervals.iter().any(|known| known.name == *name) {
                let message = format!(
                    "there is no time interval {name:?}; add [[notify.time_interval]] with that name"
                );
                return Err(Invalid::new(key, message));
            }
        }
        let receiver = match &section.receiver {
            Some(name) => self.receiver(name, &format!("{key}.receiver"))?,
            None => above.receiver,
        };
        let route = Route {
            id: section.name.clone(),
            children: Vec::new(),
            matchers: matchers(&section.matchers, &format!("{key}.matchers"))?,
            receiver,
            group_by: section.group_by.clone().unwrap_or(above.group_by),
            wait: section.group_wait_seconds.map_or(above.wait, millis),
            interval: section.group_interval_seconds.map_or(above.interval, millis),
            repeat: section.repeat_interval_seconds.map_or(above.repeat, millis),
            goes_on: section.goes_on,
            mute: section.mute_time_intervals.clone(),
            active: section.active_time_intervals.clone(),
        };
        checked(&route, &key)?;
        let index = self.routes.len();
        self.routes.push(route);
        if let Some(above) = self.routes.get_mut(parent) {
            above.children.push(index);
        }
        Ok(())
    }

    pub(super) fn route(&self, index: usize) -> Option<&Route> {
        self.routes.get(index)
    }

    /// The routes that take an alert.
    pub(crate) fn routes_of(&self, labels: &Labels) -> Vec<usize> {
        let mut found = Vec::new();
        self.descend(0, labels, &mut found);
        found
    }

    fn descend(&self, index: usize, labels: &Labels, found: &mut Vec<usize>) -> bool {
        let Some(route) = self.routes.get(index).filter(|route| all_accept(&route.matchers, labels)) else {
            return false;
        };
        let before = found.len();
        for child in &route.children {
            let taken = self.descend(*child, labels, found);
            if taken && self.routes.get(*child).is_some_and(|child| !child.goes_on) {
                break;
            }
        }
        if found.len() == before {
            found.push(index);
        }
        true
    }

    /// The time intervals that keep a route quiet now; none where it may speak.
    pub(crate) fn muted_by(&self, route: &Route, now: i64) -> Option<Vec<String>> {
        let within =
            |name: &&String| self.intervals.iter().any(|one| one.name == **name && one.contains(now));
        let muting: Vec<String> = route.mute.iter().filter(within).cloned().collect();
        if !muting.is_empty() {
            return Some(muting);
        }
        let quiet = !route.active.is_empty() && !route.active.iter().any(|name| within(&name));
        quiet.then(|| route.active.clone())
    }
}

fn checked(route: &Route, key: &str) -> Result<(), Invalid> {
    if route.interval < 1000 || route.repeat < 1000 {
        let message = "`group_interval_seconds` and `repeat_interval_seconds` must be at least 1";
        return Err(Invalid::new(key, message));
    }
    Ok(())
}

fn matchers(texts: &[String], key: &str) -> Result<Vec<Matcher>, Invalid> {
    texts.iter().map(|text| parse_matcher(text).map_err(|error| Invalid::new(key, error))).collect()
}
