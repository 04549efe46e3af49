//! `telemetry-sink backup list` and `telemetry-sink backup restore`.

use std::io::Write;

use clap::{ArgMatches, FromArgMatches as _, Subcommand};
use quintet_s3::Bucket;
use quintet_service::{Code, OrExit as _};
use quintet_types::{Clock as _, SystemClock, time::micros};

use super::manifest::Manifest;
use super::restore::restore;
use crate::config::Config;

#[derive(Debug, Subcommand)]
enum Command {
    /// Look at the telemetry in the bucket of `[storage.s3]`, or bring it back
    Backup {
        #[command(subcommand)]
        verb: Verb,
    },
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Verb {
    /// List the parts in the bucket
    List,
    /// Fill an empty `storage.directory` from the bucket; the sink must not be running on it
    Restore,
}

pub(crate) fn add(command: clap::Command) -> clap::Command {
    Command::augment_subcommands(command)
}

/// Runs the command: 69 where the bucket is out of reach, 78 where the configuration names none.
pub(crate) fn run(config: &Config, matches: &ArgMatches, output: &mut dyn Write) -> anyhow::Result<Code> {
    let Command::Backup { verb } = Command::from_arg_matches(matches)?;
    let Some(settings) = &config.storage.s3 else {
        writeln!(output, "the configuration has no [storage.s3], so that there is no backup")?;
        return Ok(Code::Config);
    };
    let bucket = Bucket::open(settings, "storage.s3").or_exit(Code::Config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match verb {
        Verb::List => {
            let manifest = runtime.block_on(Manifest::fetch(&bucket)).or_exit(Code::Unavailable)?;
            list(manifest, output)
        }
        Verb::Restore => {
            let now = micros(SystemClock.now());
            let (directory, settings) = (&config.storage.directory, &config.storage.offload);
            let restored = runtime.block_on(restore(&bucket, directory, settings, now));
            let restored = restored.or_exit(Code::Unavailable)?;
            writeln!(
                output,
                "{}: {} parts restored ({} bytes), {} left in the bucket and read from there, {} were here already",
                directory.display(),
                restored.whole,
                restored.bytes,
                restored.pointed_at,
                restored.known
            )?;
            Ok(Code::Ok)
        }
    }
}

fn list(manifest: Option<Manifest>, output: &mut dyn Write) -> anyhow::Result<Code> {
    let Some(manifest) = manifest else {
        writeln!(output, "the bucket holds no telemetry")?;
        return Ok(Code::Ok);
    };
    for part in &manifest.parts {
        writeln!(output, "{:>14}  {}", part.bytes, part.key)?;
    }
    let bytes: u64 = manifest.parts.iter().map(|part| part.bytes).sum();
    writeln!(
        output,
        "store {}, generation {}: {} parts, {bytes} bytes",
        manifest.store,
        manifest.generation,
        manifest.parts.len()
    )?;
    Ok(Code::Ok)
}
