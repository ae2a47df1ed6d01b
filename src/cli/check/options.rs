//! The options of `check`.

use crate::check::Format;
use crate::cli::baseline::BaselineOptions;
use crate::cli::reports::Color;
use clap::Subcommand;
use std::ffi::OsString;
use std::path::PathBuf;

/// The end of the help.
pub(in crate::cli) const EXAMPLES: &str = "\
Try:
  slotway check keys '{u}a' '{u}b'              hashed part, slot and shard of each key
  redis-cli monitor | slotway check -           what a running application does (end it with Ctrl-C)
  slotway check /var/lib/redis/appendonlydir    what was written, and where the keys are
  slotway check dump.rdb --report proof.html    where the keys are, with a map of the slots

Exit code: 0 no violations, 1 an error of this machine, 2 wrong options or unreadable input,
3 violations, 4 not proven: not all could be judged.";

/// The options of `check`.
#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(in crate::cli) struct Options {
    #[command(subcommand)]
    pub what: Option<What>,
    /// Files to read: MONITOR output, AOF, its manifest or folder, RDB, redis-cli history, keys,
    /// transactions, also compressed by gzip or zstd; `-` is stdin
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Format of the files; without it, a file is read only if its first MB has certainly one form
    #[arg(long)]
    pub format: Option<Format>,
    #[command(flatten)]
    pub common: Common,
    /// Also fail on warnings
    #[arg(long)]
    pub strict: bool,
    /// Write a report in the format of the extension: .json, .md, .html, .xml (JUnit), .sarif; can
    /// be repeated
    #[arg(long, value_name = "FILE")]
    pub report: Vec<PathBuf>,
    #[command(flatten)]
    pub baseline: BaselineOptions,
}

/// Subcommands of `check`.
#[derive(Subcommand, Debug)]
pub(in crate::cli) enum What {
    /// Show the slot and shard of each key, and whether the keys can be used together.
    Keys(Keys),
}

/// The options of `check keys`.
#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Keys {
    /// Keys
    #[arg(required = true)]
    pub keys: Vec<OsString>,
    #[command(flatten)]
    pub common: Common,
}

/// The options of both.
#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Common {
    /// Number of shards over which the 16384 slots are distributed
    #[arg(long, default_value_t = 3)]
    pub shards: usize,
    /// Print one line of JSON instead of the page
    #[arg(long)]
    pub json: bool,
    /// When to use colours
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
    /// No colours if set and not empty
    #[arg(long, env = "NO_COLOR", hide = true)]
    pub no_color: Option<String>,
}
