//! `cargo xtask vm-test`: the sealed image in virtual machines, seen only from outside.
//!
//! Each scenario has machines of its own: a disk over the built image, firmware, and user-mode networking that
//! leads from a loopback port to the gateway. A machine ends with the scenario, and every wait is bounded. KVM is
//! used where a short probe shows that it works; otherwise the processor is emulated, which is slow and proves the same.

mod credentials;
mod machine;
mod publisher;
mod scenarios;
mod signed_in;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use serde_json::json;

use self::credentials::Credentials;
use self::machine::Accelerator;
use crate::image::bundle::UpdateKey;
use crate::image::tools::Tools;
use crate::image::{self, Generation, Recipe};
use crate::{dist, workspace};

const DEFAULT_ROUNDS: u32 = 3;

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// The static binaries, `node-agent` among them.
    #[arg(long, value_name = "DIRECTORY")]
    bin_dir: Option<PathBuf>,
    /// Run the long scenarios too.
    #[arg(long)]
    all: bool,
    /// Run only these scenarios.
    #[arg(long, value_name = "SCENARIO", value_delimiter = ',')]
    only: Vec<String>,
    /// How often the power is cut during an update.
    #[arg(long, default_value_t = DEFAULT_ROUNDS)]
    rounds: u32,
}

impl Options {
    /// What is run on every push.
    pub(crate) fn of(binaries: PathBuf) -> Self {
        Self { bin_dir: Some(binaries), all: false, only: Vec::new(), rounds: DEFAULT_ROUNDS }
    }
}

/// What the scenarios share.
#[derive(Debug)]
pub(crate) struct Lab {
    tools: Tools,
    accelerator: Accelerator,
    credentials: Credentials,
    update_key: UpdateKey,
    binaries: PathBuf,
    rounds: u32,
}

struct Scenario {
    name: &'static str,
    /// Too long for every push.
    long: bool,
    run: fn(&Lab) -> anyhow::Result<()>,
}

const SCENARIOS: &[Scenario] = &[
    Scenario { name: "lifecycle", long: false, run: scenarios::lifecycle },
    Scenario { name: "broken-configuration", long: true, run: scenarios::broken_configuration },
    Scenario { name: "crashing-binary", long: true, run: scenarios::crashing_binary },
    Scenario { name: "never-healthy", long: true, run: scenarios::never_healthy },
    Scenario { name: "flipped-byte", long: true, run: scenarios::flipped_byte },
    Scenario { name: "power-cut", long: true, run: scenarios::power_cut },
];

/// The first generation of each scenario.
const FIRST: &str = "1.0";

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    for name in &options.only {
        let known: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        ensure!(
            known.contains(&name.as_str()),
            "there is no scenario {name:?}; there are {}",
            known.join(", ")
        );
    }
    let tools = Tools::prepare()?;
    let lab = Lab {
        accelerator: Accelerator::probe(&tools)?,
        credentials: Credentials::make(&image::directory().join("vm"))?,
        update_key: UpdateKey::random()?,
        binaries: options.bin_dir.clone().unwrap_or_else(dist::directory),
        rounds: options.rounds,
        tools,
    };
    println!("processor: {}", lab.accelerator);
    let begun = Instant::now();
    let first = lab.generation(FIRST, Vec::new())?;
    let raw = image::disk(&lab.tools, &first, &lab.recipe(FIRST, Vec::new()))?;
    println!("generation {FIRST} in {:.0} s: {}", begun.elapsed().as_secs_f64(), weights(&first)?);
    let outcome = run_scenarios(options, &lab);
    let _ = std::fs::remove_file(raw);
    outcome
}

fn run_scenarios(options: &Options, lab: &Lab) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    for scenario in SCENARIOS {
        let chosen = if options.only.is_empty() {
            options.all || !scenario.long
        } else {
            options.only.iter().any(|name| name == scenario.name)
        };
        if !chosen {
            println!("── {} left out; run it with --all or --only {}", scenario.name, scenario.name);
            continue;
        }
        println!("── {}", scenario.name);
        let begun = Instant::now();
        let outcome = (scenario.run)(lab);
        let seconds = begun.elapsed().as_secs_f64();
        let result = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("{:<22} {result} {seconds:.0} s", scenario.name);
        rows.push(json!({ "name": scenario.name, "result": result, "seconds": seconds }));
        if let Err(error) = outcome {
            eprintln!("error: {}: {error:#}", scenario.name);
            failed.push(scenario.name);
        }
    }
    let report = workspace::target().join("vm-test");
    std::fs::create_dir_all(&report).with_context(|| format!("create {}", report.display()))?;
    let report = report.join("report.json");
    let text = serde_json::to_vec_pretty(&json!({ "scenarios": rows }))?;
    std::fs::write(&report, text).with_context(|| format!("write {}", report.display()))?;
    if !failed.is_empty() {
        bail!("failed: {}; consoles are in {}", failed.join(", "), image::directory().join("vm").display());
    }
    Ok(())
}

fn weights(generation: &Generation) -> anyhow::Result<String> {
    let size = |path: &PathBuf| std::fs::metadata(path).map(|found| image::megabytes(found.len()));
    Ok(format!("store {:.1} MB, kernel image {:.1} MB", size(&generation.store)?, size(&generation.kernel)?))
}

impl Lab {
    fn recipe(&self, version: &str, replaced: Vec<(PathBuf, Vec<u8>)>) -> Recipe {
        Recipe {
            version: version.to_owned(),
            binaries: self.binaries.clone(),
            replaced,
            update_key: self.update_key.clone(),
            secure_boot: None,
        }
    }

    /// Builds a generation, with some files replaced.
    fn generation(&self, version: &str, replaced: Vec<(PathBuf, Vec<u8>)>) -> anyhow::Result<Generation> {
        image::build(&self.tools, &self.recipe(version, replaced))
    }

    /// A directory of this name for a bundle of a new generation.
    fn bundle(&self, version: &str, replaced: Vec<(PathBuf, Vec<u8>)>) -> anyhow::Result<PathBuf> {
        let generation = self.generation(version, replaced)?;
        let directory = image::directory().join("vm").join(format!("bundle-{version}"));
        image::bundle::write(&generation, &self.update_key, &directory)?;
        std::fs::remove_dir_all(image::directory().join(version))?;
        Ok(directory)
    }
}
