//! The dependency directions of ARCHITECTURE.md: arrows point down, binaries never import each other, and a module
//! knows of another only its api.
//!
//! The table names every crate of the workspace. A crate that is missing from it, or an arrow that is, breaks the
//! rule; so adding one is a decision somebody reviews.

use std::collections::BTreeSet;

use cargo_metadata::{DependencyKind, Metadata, Package};

/// A crate, the ground it stands on, and what else of this workspace it may import.
type Row = (&'static str, &'static [&'static str], &'static [&'static str]);

const NOTHING: &[&str] = &[];
/// What a business module is written with.
const MODULE_GROUND: &[&str] = &[
    "quintet-auth",
    "quintet-blobs",
    "quintet-http",
    "quintet-jobs",
    "quintet-module",
    "quintet-store",
    "quintet-types",
];
/// What every binary is written with.
const BINARY_GROUND: &[&str] = &[
    "quintet-auth",
    "quintet-http",
    "quintet-memory",
    "quintet-service",
    "quintet-telemetry",
    "quintet-types",
];
/// What a binary that links the modules links besides.
const MODULES: &[&str] = &[
    "quintet-billing",
    "quintet-billing-api",
    "quintet-blobs",
    "quintet-database",
    "quintet-exports",
    "quintet-images",
    "quintet-inventory",
    "quintet-inventory-api",
    "quintet-jobs",
    "quintet-module",
    "quintet-orders",
    "quintet-store",
    "quintet-users",
    "quintet-users-api",
];

const TABLE: &[Row] = &[
    // Layer 0: no input, no output.
    ("quintet-images", NOTHING, NOTHING),
    ("quintet-memory", NOTHING, NOTHING),
    ("quintet-types", NOTHING, NOTHING),
    // Layer 1: the ground.
    ("quintet-http", NOTHING, &["quintet-types"]),
    ("quintet-http2", NOTHING, NOTHING),
    ("quintet-store", NOTHING, &["quintet-types"]),
    ("quintet-telemetry", NOTHING, &["quintet-http", "quintet-types"]),
    ("quintet-service", NOTHING, &["quintet-http", "quintet-telemetry", "quintet-types"]),
    ("quintet-database", NOTHING, &["quintet-service", "quintet-store", "quintet-types"]),
    ("quintet-s3", NOTHING, &["quintet-http", "quintet-service", "quintet-types"]),
    ("quintet-blobs", NOTHING, &["quintet-s3"]),
    ("quintet-auth", NOTHING, &["quintet-http", "quintet-types"]),
    ("quintet-jobs", NOTHING, &["quintet-service", "quintet-store", "quintet-telemetry", "quintet-types"]),
    ("quintet-module", NOTHING, &["quintet-auth", "quintet-http", "quintet-store", "quintet-types"]),
    // Layer 2: the modules; what others may know of one is in its api crate.
    ("quintet-users-api", NOTHING, &["quintet-store", "quintet-types"]),
    ("quintet-inventory-api", NOTHING, &["quintet-store", "quintet-types"]),
    (
        "quintet-billing-api",
        NOTHING,
        &["quintet-inventory-api", "quintet-store", "quintet-types", "quintet-users-api"],
    ),
    ("quintet-users", MODULE_GROUND, &["quintet-users-api"]),
    ("quintet-inventory", MODULE_GROUND, &["quintet-images", "quintet-inventory-api"]),
    (
        "quintet-billing",
        MODULE_GROUND,
        &["quintet-billing-api", "quintet-inventory-api", "quintet-users-api"],
    ),
    ("quintet-orders", MODULE_GROUND, &["quintet-billing-api", "quintet-inventory-api", "quintet-users-api"]),
    ("quintet-exports", MODULE_GROUND, NOTHING),
    // Modules made by `cargo xtask new-module`.
    // Layer 3: the five.
    ("edge-gateway", BINARY_GROUND, &["quintet-http2"]),
    ("identity-provider", BINARY_GROUND, &["quintet-database", "quintet-store"]),
    ("telemetry-sink", BINARY_GROUND, &["quintet-s3"]),
    ("core-api", BINARY_GROUND, MODULES),
    ("async-worker", BINARY_GROUND, MODULES),
    // In sealed system images, beside the five.
    ("node-agent", BINARY_GROUND, NOTHING),
    // Never on a server.
    ("quintet-testkit", MODULE_GROUND, NOTHING),
    ("xtask", NOTHING, &["quintet-http", "quintet-types"]),
    ("e2e", NOTHING, &["quintet-http", "xtask"]),
    (
        "benches",
        NOTHING,
        &[
            "e2e",
            "quintet-http",
            "quintet-jobs",
            "quintet-memory",
            "quintet-store",
            "quintet-telemetry",
            "quintet-types",
            "xtask",
        ],
    ),
];

const BINARIES: [&str; 5] = crate::workspace::BINARIES;

/// A crate of such a name has no boundary, so it grows without one.
const SHAPELESS: [&str; 5] = ["common", "utils", "util", "helpers", "shared"];

pub(super) fn broken(metadata: &Metadata) -> Vec<String> {
    let packages = metadata.workspace_packages();
    let members: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut broken: Vec<String> = packages.iter().flat_map(|package| arrows(package, &members)).collect();
    for name in &members {
        if name.split('-').any(|part| SHAPELESS.contains(&part)) {
            broken.push(format!("{name}: name the crate after what it does"));
        }
    }
    for (name, ..) in TABLE {
        if !members.contains(name) {
            broken.push(format!("{name}: stands in the table of allowed imports but not in the workspace"));
        }
    }
    broken
}

/// The arrows of one crate that the table does not have.
fn arrows(package: &Package, members: &BTreeSet<&str>) -> Vec<String> {
    let name = package.name.as_str();
    let Some((_, ground, more)) = TABLE.iter().find(|(row, ..)| *row == name) else {
        return vec![format!(
            "{name}: is not in the table of allowed imports (crates/xtask/src/policy/graph.rs)"
        )];
    };
    let ours = package.dependencies.iter().filter(|dependency| members.contains(dependency.name.as_str()));
    let forbidden = ours.filter(|dependency| {
        let target = dependency.name.as_str();
        // Tests may reach further down and use the testkit, but nothing may pull in another binary.
        let testing = dependency.kind == DependencyKind::Development && !BINARIES.contains(&target);
        !testing && !ground.contains(&target) && !more.contains(&target)
    });
    forbidden.map(|dependency| format!("{name}: may not import {}", dependency.name)).collect()
}

#[cfg(test)]
mod tests {
    use cargo_metadata::{Dependency, MetadataCommand, PackageName};

    use super::*;

    /// This workspace as it is.
    fn workspace() -> Metadata {
        let manifest = crate::workspace::root().join("Cargo.toml");
        MetadataCommand::new().manifest_path(manifest).no_deps().exec().unwrap()
    }

    fn package<'a>(metadata: &'a mut Metadata, name: &str) -> &'a mut Package {
        metadata.packages.iter_mut().find(|package| package.name.as_str() == name).unwrap()
    }

    /// This workspace with one more arrow.
    fn with_arrow(from: &str, to: &str, kind: DependencyKind) -> Metadata {
        let mut metadata = workspace();
        let mut arrow: Dependency = package(&mut metadata, "core-api").dependencies[0].clone();
        to.clone_into(&mut arrow.name);
        arrow.kind = kind;
        package(&mut metadata, from).dependencies.push(arrow);
        metadata
    }

    #[test]
    fn the_workspace_keeps_the_table() {
        assert_eq!(broken(&workspace()), Vec::<String>::new());
    }

    #[test]
    fn an_arrow_that_the_table_does_not_have_is_reported() {
        let check = |from: &str, to: &str, kind, allowed: bool| {
            let expected = if allowed { vec![] } else { vec![format!("{from}: may not import {to}")] };
            assert_eq!(broken(&with_arrow(from, to, kind)), expected, "{from} → {to} ({kind})");
        };
        let (normal, build, testing) =
            (DependencyKind::Normal, DependencyKind::Build, DependencyKind::Development);
        // Up, and across a module's boundary.
        check("quintet-types", "quintet-store", normal, false);
        check("quintet-http", "quintet-service", normal, false);
        check("quintet-store", "quintet-users", normal, false);
        check("quintet-orders", "quintet-billing", normal, false);
        check("quintet-users", "quintet-billing-api", build, false);
        // Into another binary, not even for a test.
        check("core-api", "async-worker", normal, false);
        check("core-api", "async-worker", testing, false);
        // A binary without the database, the testkit on a server.
        check("edge-gateway", "quintet-store", normal, false);
        check("edge-gateway", "quintet-testkit", normal, false);
        check("edge-gateway", "quintet-testkit", testing, true);
        check("quintet-orders", "quintet-billing", testing, true);
        check("quintet-orders", "quintet-billing-api", normal, true);
        check("quintet-types", "serde", normal, true);
    }

    #[test]
    fn a_crate_that_is_not_in_the_table_and_a_row_without_a_crate_are_reported() {
        let mut metadata = workspace();
        package(&mut metadata, "benches").name = PackageName::new("shop-utils".to_owned());
        assert_eq!(
            broken(&metadata),
            [
                "shop-utils: is not in the table of allowed imports (crates/xtask/src/policy/graph.rs)",
                "shop-utils: name the crate after what it does",
                "benches: stands in the table of allowed imports but not in the workspace",
            ]
        );
    }
}
