//! What the machines are given: a certificate of the tests' own authority, passwords, and one more client.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use xtask::gateway::SCOPES;

use crate::up::{certificates, layout::Layout, secrets};
use crate::workspace;

pub(super) const DEMO: &str = "demo";
pub(super) const OPERATOR: &str = "operator";

#[derive(Debug)]
pub(super) struct Credentials {
    /// As `xtask up` lays its data out, so that the story finds authority and secrets.
    pub(super) layout: Layout,
    directory: PathBuf,
}

impl Credentials {
    pub(super) fn make(directory: &Path) -> anyhow::Result<Self> {
        let layout = Layout::new(&directory.join("data"))?;
        layout.create()?;
        certificates::ensure(&layout)?;
        for name in ["demo-client-secret", "operator-client-secret"] {
            secrets::ensure(&layout, name)?;
        }
        secrets::ensure_readable(&layout, "administrator-password")?;
        let given = directory.join("credentials");
        std::fs::create_dir_all(&given).with_context(|| format!("create {}", given.display()))?;
        for (name, from) in [
            ("edge-gateway.certificate", layout.tls("cert.pem")),
            ("edge-gateway.certificate-key", layout.tls("key.pem")),
            ("identity-provider.admin-password", layout.secret("administrator-password")),
            ("identity-provider.client-demo", layout.secret("demo-client-secret")),
            ("identity-provider.client-operator", layout.secret("operator-client-secret")),
        ] {
            std::fs::copy(&from, given.join(name)).with_context(|| format!("copy {}", from.display()))?;
        }
        Ok(Self { layout, directory: given })
    }

    pub(super) fn secret(&self, client: &str) -> anyhow::Result<String> {
        secrets::ensure(&self.layout, &format!("{client}-client-secret"))
    }

    /// The files to give a machine that is reached as `origin`.
    pub(super) fn files(&self, origin: &str) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
        let shipped = workspace::root().join("packaging/config/identity-provider.toml");
        let more = workspace::root().join("images/debian/config/identity-provider.toml");
        let scopes: Vec<String> = SCOPES.split_whitespace().map(|scope| format!("{scope:?}")).collect();
        let demo = format!(
            "\n[[clients]]\nid = \"{DEMO}\"\nsecret_file = \"credential:identity-provider.client-demo\"\n\
             grant_types = [\"client_credentials\"]\nscopes = [{}]\n",
            scopes.join(", ")
        );
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
        };
        let text = format!("{}{}{demo}", read(&shipped)?, read(&more)?).replace("https://localhost", origin);
        std::fs::write(self.directory.join("identity-provider.toml"), text)?;
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let entry = entry?;
            files.push((entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path())?));
        }
        files.sort();
        Ok(files)
    }
}
