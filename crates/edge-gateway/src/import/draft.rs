//! A configuration of the gateway that is being put together, and its text.

use std::fmt::{self, Write as _};

/// Keys with their values as TOML has them, in the order in which they were set.
#[derive(Debug, Default, Clone)]
pub(super) struct Table(Vec<(String, String)>);

impl Table {
    /// Sets a key that is not there yet.
    pub(super) fn set(&mut self, key: &str, value: impl ToString) {
        if !self.has(key) {
            self.0.push((key.to_owned(), value.to_string()));
        }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(known, _)| known == key)
    }

    /// As TOML has it.
    pub(super) fn value(&self, key: &str) -> Option<String> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value.clone())
    }

    /// Sets the keys of another that are not there yet.
    pub(super) fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(key, value)| self.set(key, value));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `{ a = 1 }`
    pub(super) fn inline(&self) -> String {
        if self.is_empty() {
            return "{}".to_owned();
        }
        let pairs: Vec<String> =
            self.0.iter().map(|(key, value)| format!("{} = {value}", bare(key))).collect();
        format!("{{ {} }}", pairs.join(", "))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(key, value)| writeln!(f, "{} = {value}", bare(key)))
    }
}

fn bare(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !key.is_empty() && key.bytes().all(plain) { key.to_owned() } else { text(key) }
}

/// A TOML text.
pub(super) fn text(value: &str) -> String {
    let mut quoted = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                // Writing to a text cannot fail.
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A TOML list of texts.
pub(super) fn list<S: AsRef<str>>(values: &[S]) -> String {
    let texts: Vec<String> = values.iter().map(|value| text(value.as_ref())).collect();
    format!("[{}]", texts.join(", "))
}

/// What a route matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Matched {
    Exact(String),
    Prefix(String),
}

impl Matched {
    pub(super) fn path(&self) -> &str {
        match self {
            Self::Exact(path) | Self::Prefix(path) => path,
        }
    }
}

/// A `[[routes]]` section.
#[derive(Debug, Clone)]
pub(super) struct Route {
    /// Where it comes from.
    pub(super) origin: String,
    /// Empty for any.
    pub(super) hosts: Vec<String>,
    pub(super) matched: Matched,
    pub(super) keys: Table,
}

/// The whole file.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) https: Vec<String>,
    pub(super) http: Vec<String>,
    pub(super) listen: Table,
    /// Those of `https` and `http` whose connections begin with a PROXY header, and networks of proxies.
    pub(super) proxied: Vec<String>,
    pub(super) proxies: Vec<String>,
    /// Files of chain and key.
    pub(super) certificates: Vec<(String, String)>,
    pub(super) limits: Table,
    pub(super) upstreams: Vec<Table>,
    routes: Vec<Route>,
}

impl Draft {
    pub(super) fn has_routes(&self) -> bool {
        !self.routes.is_empty()
    }

    /// Adds a route for those of its hosts that have none with this path yet. False where that leaves none.
    pub(super) fn add_route(&mut self, mut route: Route) -> bool {
        let taken = |host: Option<&str>| {
            self.routes.iter().any(|other| {
                other.matched == route.matched
                    && match host {
                        Some(host) => other.hosts.iter().any(|known| known == host),
                        None => other.hosts.is_empty(),
                    }
            })
        };
        if route.hosts.is_empty() {
            if taken(None) {
                return false;
            }
        } else {
            let free: Vec<String> = route.hosts.iter().filter(|host| !taken(Some(host))).cloned().collect();
            if free.is_empty() {
                return false;
            }
            route.hosts = free;
        }
        self.routes.push(route);
        true
    }
}

impl fmt::Display for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[service]\nadmin = \"unix:/run/quintet/gateway-admin.sock\"\n")?;
        writeln!(f, "[listen]\nhttps = {}", list(&self.https))?;
        if !self.http.is_empty() {
            writeln!(f, "http = {}", list(&self.http))?;
        }
        writeln!(f, "{}", self.listen)?;
        for (cert, key) in &self.certificates {
            writeln!(f, "[[certificates]]\ncert = {}\nkey = {}\n", text(cert), text(key))?;
        }
        if !self.limits.is_empty() {
            writeln!(f, "[limits]\n{}", self.limits)?;
        }
        for upstream in &self.upstreams {
            writeln!(f, "[[upstreams]]\n{upstream}")?;
        }
        for route in &self.routes {
            let origin: String = route.origin.chars().filter(|c| !c.is_control()).collect();
            writeln!(f, "# {origin}\n[[routes]]")?;
            if !route.hosts.is_empty() {
                writeln!(f, "hosts = {}", list(&route.hosts))?;
            }
            match &route.matched {
                Matched::Exact(path) => writeln!(f, "path_exact = {}", text(path))?,
                Matched::Prefix(path) => writeln!(f, "path_prefix = {}", text(path))?,
            }
            writeln!(f, "{}", route.keys)?;
        }
        Ok(())
    }
}
