//! What `check` can be told.

use crate::check::Format;
use crate::cli::reports::Color;
use clap::Subcommand;
use std::path::PathBuf;

/// Said at the end of the help.
pub(in crate::cli) const EXAMPLES: &str = "\
Try:
  slotway check keys '{u}a' '{u}b'              which part is hashed, which slot, which shard
  redis-cli monitor | slotway check -           what a running application does (end it with Ctrl-C)
  slotway check /var/lib/redis/appendonlydir    what was written, and where the keys lie
  slotway check dump.rdb --report proof.html

Exit code: 0 clean, 1 the machine does not allow it, 2 input that cannot be read to its end, 3 violations.";

/// The options of `check`.
#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(in crate::cli) struct Options {
    #[command(subcommand)]
    pub what: Option<What>,
    /// Files to read: MONITOR output, AOF, its manifest or folder, RDB, redis-cli history, keys,
    /// transactions; `-` is stdin
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Form of the files [default: told by their first bytes]
    #[arg(long)]
    pub format: Option<Format>,
    #[command(flatten)]
    pub common: Common,
    /// Fail on warnings, too
    #[arg(long)]
    pub strict: bool,
    /// Write a report, in the form of its extension: .json, .md, .html, .xml (JUnit), .sarif; may be
    /// given several times
    #[arg(long, value_name = "FILE")]
    pub report: Vec<PathBuf>,
}

/// What else can be checked.
#[derive(Subcommand, Debug)]
pub(in crate::cli) enum What {
    /// Say of each key its slot and shard, and whether they can be used together.
    Keys(Keys),
}

/// The options of `check keys`.
#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Keys {
    /// Keys
    #[arg(required = true)]
    pub keys: Vec<String>,
    #[command(flatten)]
    pub common: Common,
}

/// Options of both.
#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Common {
    /// Number of shards that share the 16384 slots
    #[arg(long, default_value_t = 3)]
    pub shards: usize,
    /// Print one line of JSON instead of the page
    #[arg(long)]
    pub json: bool,
    /// When to use colours
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
    /// No colours, if it is not empty
    #[arg(long, env = "NO_COLOR", hide = true)]
    pub no_color: Option<String>,
}
