//! `cargo xtask new-module NAME`: a business module that compiles, passes its tests and shows in the API.
//!
//! It writes two crates, what others may know of the module and the module itself, and the lines elsewhere that a module
//! needs: in the workspace, the table of imports, ARCHITECTURE.md, the core API and the lists of scopes. Each line goes
//! behind one that is there; where that one is missing nothing is written at all.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use crate::workspace;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The module's name, such as `returns`: of its crates, tables, routes and scopes. Lower-case letters.
    name: String,
    /// What its ids start with, such as `ret`; the name's first three letters unless given.
    #[arg(long)]
    prefix: Option<String>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let root = workspace::root();
    let prefix = options.prefix.clone().unwrap_or_else(|| options.name.chars().take(3).collect());
    let plan = Plan::new(&root, &options.name, &prefix)?;
    for (path, text) in &plan.files {
        let directory = path.parent().context("a file has a directory")?;
        std::fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
        println!("wrote {}", path.display());
    }
    format(&root)?;
    crate::docs::write()?;
    let name = &options.name;
    println!(
        "\nNow:\n  cargo nextest run -p quintet-{name}\n  \
         INSTA_UPDATE=always cargo nextest run -p core-api   # and review the change of the OpenAPI document\n  \
         cargo xtask test --only format,policy\n\
         docs/design/modules.md says what to write next."
    );
    Ok(())
}

/// The order of imports depends on the module's name.
fn format(root: &Path) -> anyhow::Result<()> {
    let done = Command::new("cargo").args(["fmt", "--all"]).current_dir(root).status();
    ensure!(done.context("run cargo fmt")?.success(), "cargo fmt failed");
    Ok(())
}

/// Everything that will be written, by path.
struct Plan {
    files: Vec<(PathBuf, String)>,
}

/// The two crates: where a file goes within `crates/`, and what it is made of.
const CRATES: [(&str, &str); 8] = [
    ("{name}-api/Cargo.toml", include_str!("new_module/api_manifest.in")),
    ("{name}-api/src/lib.rs", include_str!("new_module/api.in")),
    ("{name}/Cargo.toml", include_str!("new_module/manifest.in")),
    ("{name}/src/lib.rs", include_str!("new_module/lib.in")),
    ("{name}/src/schema.rs", include_str!("new_module/schema.in")),
    ("{name}/src/entries.rs", include_str!("new_module/entries.in")),
    ("{name}/src/entries/table.rs", include_str!("new_module/table.in")),
    ("{name}/src/routes.rs", include_str!("new_module/routes.in")),
];

/// A line elsewhere: the file, the line it goes behind, and itself.
const LINES: [(&str, &str, &str); 13] = [
    (
        "Cargo.toml",
        "quintet-orders = { path = \"crates/orders\" }\n",
        "quintet-{name}-api = { path = \"crates/{name}-api\" }\nquintet-{name} = { path = \"crates/{name}\" }\n",
    ),
    (
        "crates/xtask/src/policy/graph.rs",
        "    \"quintet-orders\",\n",
        "    \"quintet-{name}\",\n    \"quintet-{name}-api\",\n",
    ),
    (
        "crates/xtask/src/policy/graph.rs",
        "    // Modules made by `cargo xtask new-module`.\n",
        "    (\"quintet-{name}-api\", NOTHING, &[\"quintet-store\", \"quintet-types\"]),\n    \
         (\"quintet-{name}\", MODULE_GROUND, &[\"quintet-{name}-api\"]),\n",
    ),
    ("ARCHITECTURE.md", "`inventory-api`", ", `{name}` and `{name}-api`"),
    ("crates/core-api/Cargo.toml", "quintet-orders.workspace = true\n", "quintet-{name}.workspace = true\n"),
    ("crates/core-api/src/app.rs", "    &quintet_orders::SCHEMA,\n", "    &quintet_{name}::SCHEMA,\n"),
    (
        "crates/core-api/src/app.rs",
        "        quintet_orders::module(orders),\n",
        "        quintet_{name}::module(quintet_{name}::Entries::new(store.clone(), Arc::clone(clock))),\n",
    ),
    ("crates/core-api/src/app.rs", "\"inventory\", \"billing\", \"orders\"", ", \"{name}\""),
    (
        "crates/core-api/src/tests.rs",
        "    \"orders:write\",\n",
        "    \"{name}:read\",\n    \"{name}:write\",\n",
    ),
    (
        "crates/identity-provider/src/scopes.rs",
        "    (\"orders:write\", \"Place and change orders\"),\n",
        "    (\"{name}:read\", \"Read {name}\"),\n    (\"{name}:write\", \"Change {name}\"),\n",
    ),
    (
        "crates/edge-gateway/src/config/identity.rs",
        "        \"orders:write\",\n",
        "        \"{name}:read\",\n        \"{name}:write\",\n",
    ),
    ("crates/xtask/src/gateway.rs", "orders:read orders:write ", "{name}:read {name}:write "),
    ("CHANGELOG.md", CHANGELOG_END, "- `core-api`: the module `{name}`.\n"),
];

/// Stands for the end of the file.
const CHANGELOG_END: &str = "";

/// Words that would make a crate, a table or a type something else than it is.
const TAKEN: [&str; 8] = ["api", "core", "module", "quintet", "idempotency", "mail", "webhook", "self"];

impl Plan {
    fn new(root: &Path, name: &str, prefix: &str) -> anyhow::Result<Self> {
        ensure!(
            (3..=20).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_lowercase()),
            "a module's name has 3 to 20 lower-case letters, such as `returns`"
        );
        ensure!(
            !TAKEN.contains(&name) && !root.join("crates").join(name).exists(),
            "there is something called {name} already; choose another name"
        );
        ensure!(
            prefix.len() == 3 && prefix.bytes().all(|byte| byte.is_ascii_lowercase()),
            "a prefix of ids has three lower-case letters, such as `ret`"
        );
        if let Some(path) = uses_prefix(&root.join("crates"), prefix)? {
            bail!("{} has ids that start with {prefix}_; choose others with --prefix", path.display());
        }
        let fill = |text: &str| {
            let capital: String = name.chars().take(1).map(|first| first.to_ascii_uppercase()).collect();
            let title = format!("{capital}{}", name.get(1..).unwrap_or_default());
            text.replace("{name}", name).replace("{Name}", &title).replace("{prefix}", prefix)
        };
        let crates = CRATES.iter().map(|(path, text)| (root.join("crates").join(fill(path)), fill(text)));
        let mut files: Vec<(PathBuf, String)> = crates.collect();
        for (file, after, line) in LINES {
            let path = root.join(file);
            let known = files.iter().position(|(known, _)| *known == path);
            let text = match known {
                Some(known) => files.swap_remove(known).1,
                None => std::fs::read_to_string(&path).with_context(|| format!("read {file}"))?,
            };
            files.push((path, inserted(&text, after, &fill(line)).with_context(|| file.to_owned())?));
        }
        Ok(Self { files })
    }
}

/// The text with a line behind the first place where `after` stands; at its end where that is empty.
fn inserted(text: &str, after: &str, line: &str) -> anyhow::Result<String> {
    if after.is_empty() {
        return Ok(format!("{text}{line}"));
    }
    let (before, behind) =
        text.split_once(after).with_context(|| format!("there is no `{}` to go behind", after.trim()))?;
    Ok(format!("{before}{after}{line}{behind}"))
}

/// A file that defines ids of this prefix.
fn uses_prefix(directory: &Path, prefix: &str) -> anyhow::Result<Option<PathBuf>> {
    for entry in std::fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name == "node_modules" || name == "target") {
                continue;
            }
            if let Some(found) = uses_prefix(&path, prefix)? {
                return Ok(Some(found));
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let defines = text.split("define_id!(").skip(1).any(|rest| {
                rest.split_once(");").is_some_and(|(body, _)| body.contains(&format!("\"{prefix}\"")))
            });
            if defines {
                return Ok(Some(path));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(name: &str, prefix: &str) -> anyhow::Result<Plan> {
        Plan::new(&workspace::root(), name, prefix)
    }

    #[test]
    fn every_place_that_a_module_needs_gets_its_line() {
        let plan = plan("demo", "dem").unwrap();
        for (file, ..) in LINES {
            let path = workspace::root().join(file);
            let (_, text) = plan.files.iter().find(|(known, _)| *known == path).unwrap();
            assert!(text.contains("demo"), "{file}");
        }
        let (_, app) = plan.files.iter().find(|(path, _)| path.ends_with("core-api/src/app.rs")).unwrap();
        assert!(app.contains("&quintet_demo::SCHEMA") && app.contains("quintet_demo::module("));
    }

    #[test]
    fn what_is_written_is_rust_without_a_placeholder() {
        for (path, text) in plan("demo", "dem").unwrap().files {
            let is_new =
                path.components().any(|part| matches!(part.as_os_str().to_str(), Some("demo" | "demo-api")));
            let is_filled = !["{name}", "{Name}", "{prefix}"].iter().any(|left| text.contains(left));
            assert!(is_filled || !is_new, "{}", path.display());
            if path.extension().is_some_and(|extension| extension == "rs") {
                syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            }
        }
    }

    #[test]
    fn a_name_or_prefix_that_is_taken_or_no_word_is_refused() {
        for (name, prefix) in [
            ("orders", "abc"),
            ("my-module", "abc"),
            ("Demo", "abc"),
            ("demo", "usr"),
            ("demo", "d"),
            ("api", "abc"),
        ] {
            assert!(plan(name, prefix).is_err(), "{name} {prefix}");
        }
    }

    #[test]
    fn a_line_goes_behind_the_one_that_is_there_and_nowhere_else() {
        assert_eq!(inserted("a\nb\n", "a\n", "x\n").unwrap(), "a\nx\nb\n");
        assert!(inserted("b\n", "a\n", "x\n").is_err());
    }
}
