//! The options of `run`.

use super::super::baseline::BaselineOptions;
use super::super::options::DialectName;
#[cfg(feature = "json")]
use super::super::options::{ModuleName, with_modules};
use super::super::reports::Color;
use crate::dialect::Dialect;
use crate::state::settings::CrossSlot;
use std::ffi::OsString;
use std::path::PathBuf;

/// The end of the help.
pub(in crate::cli) const EXAMPLES: &str = "\
Environment of the command:
  REDIS_URL            redis://127.0.0.1:PORT, all shards at one port, for clients without clusters
  REDIS_HOST           127.0.0.1
  REDIS_PORT           PORT
  REDIS_CLUSTER_NODES  127.0.0.1:P1,127.0.0.1:P2,…, the nodes, for cluster clients
Further variables: --env CELERY_BROKER_URL={url}/0. A template can use {url}, {host}, {port},
{nodes} (host:port,…), {node_urls} (redis://…,…), {node_url} and {node_port} (of the first node).

Try:
  slotway run -- pytest                           exit with 3 on violations
  slotway run --report proof.html --report proof.xml -- pytest
  slotway run --cross-slot reject -- npm test     refuse as a cluster does
  slotway run --dialect redis8 -- pytest          with the commands of Redis 8
  slotway run --allow known.txt --update-baseline -- pytest
                                                  accept the present violations as the baseline
  slotway run --allow known.txt -- pytest         fail on any other violation

Exit code: the command's if it is not 0 (128 + n if signal n ended it); otherwise 3 with
violations, 4 if it is not proven that there are none, 1 for an error of this machine. Before the command runs: 2 for a wrong command line,
126 if the command cannot be started, 127 if it does not exist.";

/// The options of `run`.
#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Options {
    /// Number of masters over which the 16384 slots are distributed
    #[arg(long, default_value_t = 3)]
    pub shards: usize,
    /// Number of replicas of each master
    #[arg(long, default_value_t = 0)]
    pub replicas: usize,
    /// Number of threads; only one serves connections in the order in which they send, as Redis does
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Requests at REDIS_URL that a cluster would refuse: run and report them, or refuse them
    #[arg(long, value_parser = CrossSlot::WORDS, default_value = "audit")]
    pub cross_slot: String,
    /// The server to be like, in its commands and versions
    #[arg(long, value_enum, default_value = "redis7")]
    pub dialect: DialectName,
    /// Modules that the server has loaded: json (RedisJSON 2.8) [default: none]
    #[cfg(feature = "json")]
    #[arg(long, value_delimiter = ',')]
    pub modules: Vec<ModuleName>,
    /// Write a report in the format of the extension: .json, .md, .html, .xml (JUnit), .sarif; can
    /// be repeated
    #[arg(long, value_name = "FILE")]
    pub report: Vec<PathBuf>,
    #[command(flatten)]
    pub baseline: BaselineOptions,
    /// Set an environment variable of the command from a template; can be repeated
    #[arg(long = "env", value_name = "NAME=TEMPLATE")]
    pub variables: Vec<String>,
    /// Also fail on warnings
    #[arg(long)]
    pub strict: bool,
    /// When to use colours
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
    /// No colours if set and not empty
    #[arg(long, env = "NO_COLOR", hide = true)]
    pub no_color: Option<String>,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<OsString>,
}

impl Options {
    /// The rules of the dialect, with the modules.
    pub(super) fn rules(&self) -> &'static Dialect {
        let dialect = self.dialect.dialect();
        #[cfg(feature = "json")]
        return with_modules(dialect, &self.modules);
        #[cfg(not(feature = "json"))]
        dialect
    }
}
