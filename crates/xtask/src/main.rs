//! Developer tasks: start a fleet, prove it, ship it.
//!
//! Nothing here runs on a server. Every verb prints what it does as it does it, and fails with one line
//! that says what to change.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a developer tool talks to its terminal")]

mod bench;
mod build;
mod chaos;
mod check;
mod compare;
mod deb;
mod debian;
mod detach;
mod dist;
mod docs;
mod down;
mod fuzz;
mod image;
mod new_module;
mod nix;
mod node;
mod policy;
mod process;
mod promql;
mod test;
mod units;
mod up;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

/// Developer tasks of Quintet.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", version)]
enum Task {
    /// Build what is missing and run the five binaries on this machine.
    Up(Box<up::Options>),
    /// Stop a fleet started with `up --detach`.
    Down(down::Options),
    /// Run everything that CI runs, installing what it needs.
    Test(test::Options),
    /// Check format, lints and documentation.
    Check,
    /// Build the five musl-static binaries that ship.
    Dist(dist::Options),
    /// Build Debian packages of the static binaries.
    Deb(deb::Options),
    /// Build the sealed system image and its update bundle from Debian packages.
    Image(image::Options),
    /// Boot the image in virtual machines and see it update, fall back and refuse.
    VmTest(vm::Options),
    /// Measure what the README claims and write the figures as JSON.
    Bench(bench::Options),
    /// Break things under load and hold the job queue to what it promised.
    Chaos(chaos::Options),
    /// Write the reference of the configuration from the code.
    Docs(docs::Options),
    /// Write a business module that compiles, passes its tests and shows in the API.
    NewModule(new_module::Options),
    /// Parse the Nix files and evaluate the NixOS module against nixpkgs' lib.
    NixCheck(nix::Options),
    /// Run the fuzz targets, from their seeds, for some seconds each.
    Fuzz(fuzz::Options),
    /// Run scripts of Prometheus' own PromQL tests against the telemetry sink.
    Promql(promql::Options),
    /// Ask the telemetry sink and Prometheus the same and compare what they answer.
    PromqlCompare(compare::Options),
    /// Run a program that dies with its parent.
    #[command(hide = true)]
    Child(process::ChildOptions),
}

fn main() -> ExitCode {
    let outcome = match Task::parse() {
        Task::Up(options) => up::run(*options),
        Task::Down(options) => down::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Check => check::run(),
        Task::Dist(options) => dist::run(&options),
        Task::Deb(options) => deb::run(&options),
        Task::Image(options) => image::run(&options),
        Task::VmTest(options) => vm::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Chaos(options) => chaos::run(&options),
        Task::Docs(options) => docs::run(&options),
        Task::NewModule(options) => new_module::run(&options),
        Task::NixCheck(options) => nix::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Promql(options) => promql::run(&options),
        Task::PromqlCompare(options) => compare::run(&options),
        Task::Child(options) => process::become_child(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
