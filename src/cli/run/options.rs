//! What `run` can be told.

use super::super::reports::Color;
use crate::state::settings::CrossSlot;
use std::ffi::OsString;
use std::path::PathBuf;

/// Said at the end of the help.
pub(in crate::cli) const EXAMPLES: &str = "\
The command finds the cluster in its environment:
  REDIS_URL            redis://127.0.0.1:PORT, all shards behind one port, for clients that know no clusters
  REDIS_HOST           127.0.0.1
  REDIS_PORT           PORT
  REDIS_CLUSTER_NODES  127.0.0.1:P1,127.0.0.1:P2,…, the nodes, for cluster clients
Other names, or other forms: --env CELERY_BROKER_URL={url}/0. In a template stand {url}, {host}, {port},
{nodes} (host:port,…), {node_urls} (redis://…,…), {node_url} (the first one's) and {node_port}.

Try:
  slotway run -- pytest                                       its exit code, or 3 if a cluster would refuse something
  slotway run --report proof.html --report proof.xml -- pytest
  slotway run --cross-slot reject -- npm test                 refuse as a cluster would, instead of going on
  slotway run --allow known.txt --update-baseline -- pytest   what is there today may stay; then, without
                                                              --update-baseline, nothing may come

Exit code: the command's if that is not 0 (128 + n if signal n ended it); else 3 with violations, 1 if the
machine does not allow it. Before the command runs: 2 for a wrong command line, 126 if the command cannot be
started, 127 if there is none.";

/// The options of `run`.
#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Options {
    /// Number of masters that share the 16384 slots
    #[arg(long, default_value_t = 3)]
    pub shards: usize,
    /// Number of replicas of each master
    #[arg(long, default_value_t = 0)]
    pub replicas: usize,
    /// What happens, behind REDIS_URL, to what a cluster would refuse
    #[arg(long, value_parser = CrossSlot::WORDS, default_value = "audit")]
    pub cross_slot: String,
    /// Write a report, in the form of its extension: .json, .md, .html, .xml (JUnit), .sarif; may be
    /// given several times
    #[arg(long, value_name = "FILE")]
    pub report: Vec<PathBuf>,
    /// Let the kinds of violations pass that this file has; others fail
    #[arg(long, value_name = "FILE")]
    pub allow: Option<PathBuf>,
    /// Write that file anew: with what has occurred, and nothing else
    #[arg(long, requires = "allow")]
    pub update_baseline: bool,
    /// Set a variable for the command, made from a template; may be given several times
    #[arg(long = "env", value_name = "NAME=TEMPLATE")]
    pub variables: Vec<String>,
    /// Fail on warnings, too
    #[arg(long)]
    pub strict: bool,
    /// When to use colours
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
    /// No colours, if it is not empty
    #[arg(long, env = "NO_COLOR", hide = true)]
    pub no_color: Option<String>,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<OsString>,
}
