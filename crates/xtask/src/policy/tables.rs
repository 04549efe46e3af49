//! Tables belong to modules: each is named after the module that makes it, and no other module's code names it.
//!
//! The compiler holds the boundary between crates, and says nothing of a statement's text. What a module's `schema.rs`
//! creates is its own; the name of such a table anywhere in another module's code, but for comments, breaks the rule. So
//! does a name in the code of a binary; tests may look into a table.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// One file of a crate: whose it is, where, and what it says.
struct File {
    owner: String,
    path: PathBuf,
    text: String,
    /// Whether it is where a module's tables are made; a binary's own tables are its own matter.
    is_schema: bool,
}

/// Crates whose code has no tables of modules, though it links modules.
const BINARIES: [&str; 2] = ["core-api", "async-worker"];

pub(super) fn broken(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut files = Vec::new();
    let crates = root.join("crates");
    for entry in std::fs::read_dir(&crates).with_context(|| format!("read {}", crates.display()))? {
        let directory = entry?.path();
        let owner = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if directory.join("src/schema.rs").exists() || BINARIES.contains(&owner.as_str()) {
            read(&owner, &directory.join("src"), &mut files)?;
        }
    }
    Ok(foreign(&files))
}

fn read(owner: &str, directory: &Path, files: &mut Vec<File>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if name == "tests" {
            continue;
        }
        if path.is_dir() {
            read(owner, &path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let is_schema = path.ends_with("src/schema.rs");
            files.push(File { owner: owner.to_owned(), path, text, is_schema });
        }
    }
    Ok(())
}

/// The words of a file's code: letters, digits and underscores. Comments and what stands under `mod tests` are left out.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let code = text.split_once("\nmod tests {").map_or(text, |(code, _)| code);
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'))
}

/// The tables that a schema creates; what a migration renames to another name is that one.
fn created(text: &str) -> Vec<&str> {
    let words: Vec<&str> = words(text).filter(|word| !word.is_empty()).collect();
    let named = |at: &[&'_ str]| matches!(at, ["CREATE", "TABLE", _] | ["RENAME", "TO", _]);
    words.windows(3).filter(|at| named(at)).filter_map(|at| at.last().copied()).collect()
}

fn foreign(files: &[File]) -> Vec<String> {
    let mut broken = Vec::new();
    let mut tables = BTreeMap::new();
    for file in files.iter().filter(|file| file.is_schema) {
        let prefix = format!("{}_", file.owner.split('-').next().unwrap_or_default());
        for table in created(&file.text) {
            if !table.starts_with(&prefix) {
                let path = file.path.display();
                broken.push(format!("{path}: the table {table} is not named {prefix}…, after its module"));
            }
            tables.insert(table, file.owner.as_str());
        }
    }
    for file in files {
        let mut named: Vec<(&str, &str)> = words(&file.text)
            .filter_map(|word| tables.get_key_value(word).map(|(table, owner)| (*table, *owner)))
            .filter(|(_, owner)| *owner != file.owner)
            .collect();
        named.sort_unstable();
        named.dedup();
        let path = file.path.display();
        broken.extend(named.into_iter().map(|(table, owner)| {
            format!("{path}: names {table}, a table of {owner}; call its api crate instead")
        }));
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(owner: &str, name: &str, text: &str) -> File {
        let is_schema = name == "schema.rs";
        File { owner: owner.to_owned(), path: PathBuf::from(name), text: text.to_owned(), is_schema }
    }

    #[test]
    fn the_workspace_keeps_tables_to_their_modules() {
        assert_eq!(broken(&crate::workspace::root()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_statement_on_another_modules_table_is_reported() {
        let schema = file("stock", "schema.rs", "\"CREATE TABLE stock_items (id TEXT)\"");
        let check = |owner: &str, text: &str, expected: &[&str]| {
            let files = [file("stock", "schema.rs", &schema.text), file(owner, "table.rs", text)];
            assert_eq!(foreign(&files), expected, "{owner}: {text}");
        };
        let report = "table.rs: names stock_items, a table of stock; call its api crate instead";
        check("orders", "\"SELECT id FROM stock_items WHERE id = $1\"", &[report]);
        check("orders", "\"SELECT o.id FROM orders_orders o JOIN stock_items i ON TRUE\"", &[report]);
        check("core-api", "\"DELETE FROM stock_items\"; \"DELETE FROM stock_items\"", &[report]);
        check("stock", "\"SELECT id FROM stock_items\"", &[]);
        check("orders", "// unlike stock_items\nlet stock_items_count = 1;", &[]);
        check("orders", "fn a() {}\n#[cfg(test)]\nmod tests {\n\"SELECT id FROM stock_items\"", &[]);
    }

    #[test]
    fn a_table_that_is_not_named_after_its_module_is_reported() {
        let files = [file("stock", "schema.rs", "\"CREATE TABLE items (id TEXT)\"")];
        assert_eq!(foreign(&files), ["schema.rs: the table items is not named stock_…, after its module"]);
    }
}
