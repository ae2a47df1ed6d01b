//! The command line: the only folder that uses clap.
//!
//! Errors go to stderr for the user: what is wrong and what to do. The exit code is 2 for a wrong
//! command line, 1 for anything else.

mod reports;
mod baseline;
mod bench;
mod options;
mod ready;
mod serve;
mod ctl;
mod check;
mod run;
mod explain;

use crate::faults::Scenario;
use clap::{Parser, Subcommand};
use std::path::Path;
use std::process::ExitCode;

/// A cluster-aware hash-slot transaction router: any Redis client, many in-process shards.
#[derive(Parser)]
#[command(name = "slotway", version, about, arg_required_else_help = true)]
#[command(after_help = "Start here:  slotway serve        then:  redis-cli -p 7000")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a router over in-process shards.
    #[command(after_help = options::PRECEDENCE)]
    Serve(Box<options::Options>),
    /// Load-test a server with transactions and check their invariants.
    #[command(after_help = bench::workloads())]
    Bench(Box<bench::Options>),
    /// Change a running server's cluster and inject faults, for tests.
    #[command(after_help = ctl::help())]
    Ctl(ctl::Options),
    /// Check offline whether keys, commands and transactions would run in a cluster.
    #[command(after_help = check::EXAMPLES)]
    Check(Box<check::Options>),
    /// Run a command with a cluster of its own and report what a cluster would refuse.
    #[command(after_help = run::EXAMPLES)]
    Run(Box<run::Options>),
    /// Explain a rule that a check reports.
    Explain(explain::Options),
    /// Become a command that does not outlive this program: for `run`
    #[cfg(target_os = "linux")]
    #[command(name = "__guard", hide = true)]
    Guard(run::guard::Options),
}

/// An error that stops the program, with its exit code.
#[derive(Debug)]
struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// Makes an error of the command line or the configuration.
    fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 2 }
    }

    /// Makes an error of the machine.
    fn machine(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1 }
    }
}

impl From<crate::load::Failure> for Failure {
    fn from(failure: crate::load::Failure) -> Self {
        Self { code: failure.cause.exit_code(), message: failure.message }
    }
}

/// Runs the program with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Serve(options) => serve::run(*options).map(|()| ExitCode::SUCCESS),
        Command::Bench(options) => bench::run(&options),
        Command::Ctl(options) => ctl::run(&options).map(|()| ExitCode::SUCCESS),
        Command::Check(options) => check::run(&options),
        Command::Run(options) => run::run(&options),
        Command::Explain(options) => explain::run(&options),
        #[cfg(target_os = "linux")]
        Command::Guard(options) => Err(run::guard::run(&options)),
    };
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            if !failure.message.is_empty() {
                print_error(&failure.message);
            }
            ExitCode::from(failure.code)
        }
    }
}

/// Parses a scenario's file; carries nothing out.
fn read_scenario(path: &Path) -> Result<Scenario, Failure> {
    let at = |why: &dyn std::fmt::Display| Failure::usage(format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| at(&error))?;
    Scenario::read(&text).map_err(|mistake| at(&mistake))
}

#[expect(clippy::print_stderr, reason = "the one place where the program prints its error")]
fn print_error(message: &str) {
    eprintln!("slotway: {message}");
}
