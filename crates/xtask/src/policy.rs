//! Rules about the workspace itself, read from `cargo metadata`: which crate may import which, where versions are
//! written, and what may come from outside.

mod graph;
mod licence;
mod tables;

use std::path::Path;

use anyhow::{Context as _, bail};
use cargo_metadata::{CargoOpt, Metadata, MetadataCommand};
use serde::Deserialize;

use crate::workspace;

/// The part of `deny.toml` that is checked here; `cargo deny` reads the same file.
#[derive(Debug, Deserialize)]
struct Rules {
    licenses: Licenses,
    bans: Bans,
}

#[derive(Debug, Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Debug, Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

/// Applies every rule and reports all that is broken, not only the first.
pub(crate) fn check() -> anyhow::Result<()> {
    let root = workspace::root();
    let mut command = MetadataCommand::new();
    command.manifest_path(root.join("Cargo.toml")).features(CargoOpt::AllFeatures);
    command.other_options(["--locked".to_owned(), "--filter-platform".to_owned(), host_triple()]);
    let metadata = command.exec().context("read the workspace's metadata")?;
    let rules = std::fs::read_to_string(root.join("deny.toml")).context("read deny.toml")?;
    let rules: Rules = toml::from_str(&rules).context("deny.toml")?;
    let mut broken = graph::broken(&metadata);
    broken.extend(manifests(&metadata)?);
    broken.extend(tables::broken(&root)?);
    broken.extend(licence::broken(&metadata, &rules.licenses.allow));
    broken.extend(banned(&metadata, &rules.bans.deny));
    broken.extend(foreign_sources(&metadata));
    if broken.is_empty() {
        println!("{} packages keep the rules", metadata.packages.len());
        return Ok(());
    }
    for rule in &broken {
        eprintln!("{rule}");
    }
    bail!("{} rules of the workspace are broken", broken.len());
}

fn host_triple() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// Crates that may say where they need `unsafe`; why is in each.
const UNSAFE: [&str; 1] = ["quintet-memory"];

/// The workspace's lints for such a crate: what is forbidden cannot be allowed in one place, what is denied can.
fn lints_with_unsafe(workspace: &toml::Table) -> anyhow::Result<toml::Table> {
    let lints = workspace.get("workspace").and_then(|workspace| workspace.get("lints"));
    let mut lints = lints.and_then(toml::Value::as_table).context("the workspace has no lints")?.clone();
    let rust = lints.get_mut("rust").and_then(toml::Value::as_table_mut).context("it has none for rust")?;
    rust.insert("unsafe_code".to_owned(), "deny".into());
    Ok(lints)
}

/// Every member takes the workspace's lints and the workspace's versions.
fn manifests(metadata: &Metadata) -> anyhow::Result<Vec<String>> {
    let mut broken = Vec::new();
    let workspace: toml::Table = read_toml(metadata.workspace_root.join("Cargo.toml").as_std_path())?;
    for package in metadata.workspace_packages() {
        let manifest: toml::Table = read_toml(package.manifest_path.as_std_path())?;
        let inherits = |table: Option<&toml::Value>| {
            table.and_then(|table| table.get("workspace")).and_then(toml::Value::as_bool) == Some(true)
        };
        let lints = manifest.get("lints");
        if UNSAFE.contains(&package.name.as_str()) {
            if lints != Some(&toml::Value::Table(lints_with_unsafe(&workspace)?)) {
                let rule = "`[lints]` must be the workspace's, but for `unsafe_code = \"deny\"`";
                broken.push(format!("{}: {rule}", package.name));
            }
        } else if !inherits(lints) {
            broken.push(format!("{}: `[lints] workspace = true` is missing", package.name));
        }
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let dependencies = manifest.get(section).and_then(toml::Value::as_table).into_iter().flatten();
            for (name, wanted) in dependencies {
                if !inherits(Some(wanted)) {
                    broken.push(format!(
                        "{}: `{name}` in [{section}] must be `{name}.workspace = true`",
                        package.name
                    ));
                }
            }
        }
    }
    Ok(broken)
}

fn read_toml(path: &Path) -> anyhow::Result<toml::Table> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    text.parse().with_context(|| path.display().to_string())
}

fn banned(metadata: &Metadata, bans: &[Ban]) -> Vec<String> {
    let hit = |ban: &Ban| metadata.packages.iter().any(|package| *package.name == ban.name);
    bans.iter()
        .filter(|ban| hit(ban))
        .map(|ban| format!("`{}` is banned: {}", ban.name, ban.reason))
        .collect()
}

fn foreign_sources(metadata: &Metadata) -> Vec<String> {
    let foreign = metadata
        .packages
        .iter()
        .filter(|package| package.source.as_ref().is_some_and(|source| !source.is_crates_io()));
    foreign.map(|package| format!("{}: comes from elsewhere than crates.io", package.name)).collect()
}
