//! `cargo xtask nix-check`: what can be said of the Nix files where nixpkgs cannot be had.
//!
//! Every file parses. With `--lib DIR`, a copy of nixpkgs' `lib`, the module is evaluated for a few machines
//! (`nixos/checks/evaluate.nix`), and what it makes of the units and configurations is compared with `packaging/`. The rest is
//! `nix flake check`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::workspace::BINARIES;
use crate::{process, workspace};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// A directory of nixpkgs' library: `lib` in a checkout of nixpkgs, or of nix-community/nixpkgs.lib.
    #[arg(long, value_name = "DIR")]
    lib: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    parse()?;
    let Some(lib) = &options.lib else {
        println!("not evaluated: give a copy of nixpkgs' lib with --lib DIR");
        return Ok(());
    };
    let lib = std::path::absolute(lib)?;
    ensure!(
        lib.join("modules.nix").is_file(),
        "{} is not nixpkgs' lib: it has no modules.nix",
        lib.display()
    );
    compare(&evaluate(&lib)?)
}

/// Parses every Nix file, and asks nixfmt where it is installed.
pub(crate) fn parse() -> anyhow::Result<()> {
    let listed = process::output(
        Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.nix"])
            .current_dir(workspace::root()),
    )?;
    let count = listed.lines().count();
    if process::find("nix-instantiate").is_none() {
        println!("left out: no Nix on this machine ({count} files unparsed)");
        return Ok(());
    }
    for file in listed.lines() {
        instantiate(|command| command.args(["--parse", file]))?;
    }
    println!("{count} Nix files parse");
    if process::find("nixfmt").is_none() {
        println!("their format is not checked: no nixfmt on this machine");
        return Ok(());
    }
    process::run(Command::new("nixfmt").arg("--check").args(listed.lines()).current_dir(workspace::root()))
        .context("run `nix fmt`")
}

fn instantiate(arguments: impl FnOnce(&mut Command) -> &mut Command) -> anyhow::Result<String> {
    // Neither parsing nor evaluating needs a store, but the program insists on having one it can write to.
    let store = tempfile::tempdir().context("make a directory")?;
    let mut command = Command::new("nix-instantiate");
    arguments(&mut command).current_dir(workspace::root());
    for (variable, directory) in
        [("NIX_STORE_DIR", "store"), ("NIX_STATE_DIR", "state"), ("NIX_LOG_DIR", "log")]
    {
        command.env(variable, store.path().join(directory));
    }
    process::output(&mut command)
}

fn evaluate(lib: &Path) -> anyhow::Result<Value> {
    let expression = format!(
        "import ./nixos/checks/evaluate.nix {{ lib = import (/. + {:?}); }}",
        lib.display().to_string()
    );
    let text =
        instantiate(|command| command.args(["--eval", "--strict", "--json", "--expr"]).arg(expression))
            .context("evaluate the module")?;
    serde_json::from_str(&text).context("read what Nix printed")
}

/// Reports all that is wrong, not only the first.
fn compare(machines: &Value) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    let packaging = workspace::root().join("packaging");
    for binary in BINARIES {
        let path = packaging.join("config").join(format!("{binary}.toml"));
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let table: toml::Table = text.parse().with_context(|| path.display().to_string())?;
        if machines.pointer(&format!("/plain/settings/{binary}")) != Some(&serde_json::to_value(table)?) {
            wrong.push(format!("settings of {binary} are not those of {}", path.display()));
        }
    }
    let mut units = machines.pointer("/plain/units").and_then(Value::as_object).cloned().unwrap_or_default();
    let directory = packaging.join("systemd");
    for entry in std::fs::read_dir(&directory).with_context(|| format!("list {}", directory.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(entry.path()).with_context(|| format!("read {name}"))?;
        let made = units.remove(&name);
        match made.as_ref().and_then(Value::as_str).map(|made| outside_of_the_store(&name, made)) {
            Some(made) if made == text => {}
            Some(_) => wrong.push(format!("{name} is not the one of {}", directory.display())),
            None => wrong.push(format!("the module makes no {name}")),
        }
    }
    wrong.extend(units.keys().map(|name| format!("the module makes {name}, which packaging/ has not")));
    for (machine, refused) in [("plain", false), ("nothing", false), ("public", false), ("careless", true)] {
        let messages = machines.pointer(&format!("/{machine}/refused")).and_then(Value::as_array);
        if messages.is_none_or(|messages| messages.is_empty() == refused) {
            wrong.push(format!(
                "the machine {machine:?} of nixos/checks/evaluate.nix: refused is {messages:?}"
            ));
        }
    }
    if machines.pointer("/nothing/units").and_then(Value::as_object).is_none_or(|units| !units.is_empty()) {
        wrong.push("a machine without any of the five has units".to_owned());
    }
    let public = machines.pointer("/public/settings").map(Value::to_string).unwrap_or_default();
    if public.contains("https://localhost") || !public.contains("https://shop.example/identity") {
        wrong.push("services.quintet.origin does not reach every setting".to_owned());
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("; "));
    }
    println!("the module evaluates, and its units and configurations are those of packaging/");
    Ok(())
}

/// A unit's text with the paths of `nixos/checks/evaluate.nix` put back to those of other systems.
fn outside_of_the_store(unit: &str, text: &str) -> String {
    let binary = BINARIES.into_iter().find(|binary| unit == format!("quintet-{binary}.service"));
    let Some(binary) = binary else { return text.to_owned() };
    text.replace(&format!("/nix/store/{}-{binary}/bin", "0".repeat(32)), "/usr/bin").replace(
        &format!("/nix/store/{}-{binary}-checked.toml", "2".repeat(32)),
        &format!("/etc/quintet/{binary}.toml"),
    )
}
