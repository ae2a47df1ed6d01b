//! What `serve` can be told, and by whom: command line, environment, configuration file, default.

use super::Failure;
use crate::topology::SHARDS_MAX;
use clap::ValueEnum;
use serde::Deserialize;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Said at the end of the help.
pub(super) const PRECEDENCE: &str = "An option on the command line goes before its environment variable, \
that before the configuration file, that before the default.\n\n\
The configuration file is TOML with the options' names:  shards = 8";

/// The options of `serve`. Each may also stand in the configuration file under its name.
#[derive(clap::Args, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Options {
    /// Router port; 0 takes any free one [default: 7000]
    #[arg(long, env = "SLOTWAY_PORT")]
    pub port: Option<u16>,
    /// Address to listen on; may be given several times [default: 127.0.0.1]
    #[arg(long, env = "SLOTWAY_BIND", value_delimiter = ',')]
    pub bind: Option<Vec<IpAddr>>,
    /// Number of shards that share the 16384 slots [default: 3]
    #[arg(long, env = "SLOTWAY_SHARDS")]
    pub shards: Option<usize>,
    /// Threads that run connections and shards [default: one per processor]
    #[arg(long, env = "SLOTWAY_THREADS")]
    pub threads: Option<usize>,
    /// Password that clients must AUTH with [default: none]
    #[arg(long, env = "SLOTWAY_REQUIREPASS", hide_env_values = true)]
    pub requirepass: Option<String>,
    /// Most clients at a time [default: 10000]
    #[arg(long, env = "SLOTWAY_MAXCLIENTS")]
    pub maxclients: Option<usize>,
    /// First node port, one per shard; only `off` exists so far [default: off]
    #[arg(long, env = "SLOTWAY_NODE_PORTS")]
    pub node_ports: Option<NodePorts>,
    /// Name the keys and slots in every CROSSSLOT error
    #[arg(long, env = "SLOTWAY_EXPLAIN", num_args = 0..=1, default_missing_value = "true")]
    pub explain: Option<bool>,
    /// What to log, to stderr: error, warn, info, debug, trace, or filters such as slotway=debug [default: info]
    #[arg(long, env = "SLOTWAY_LOG")]
    pub log: Option<String>,
    /// How to say that the server is ready, on stdout [default: text]
    #[arg(long, env = "SLOTWAY_OUTPUT")]
    pub output: Option<Output>,
    /// Seed of all chance, for runs that can be repeated [default: from the system]
    #[arg(long, env = "SLOTWAY_SEED")]
    pub seed: Option<u64>,
    /// Configuration file
    #[arg(long, env = "SLOTWAY_CONFIG")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
}

/// Where the node ports begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum NodePorts {
    /// There are none.
    Off,
}

/// The form of what is printed to stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Output {
    /// A line to read.
    Text,
    /// A line of JSON.
    Json,
}

impl Options {
    /// These options, completed from the configuration file that they name.
    pub(super) fn with_file(self) -> Result<Self, Failure> {
        let Some(path) = self.config.clone() else { return Ok(self) };
        let file = Self::from_file(&path)?;
        Ok(Self {
            port: self.port.or(file.port),
            bind: self.bind.or(file.bind),
            shards: self.shards.or(file.shards),
            threads: self.threads.or(file.threads),
            requirepass: self.requirepass.or(file.requirepass),
            maxclients: self.maxclients.or(file.maxclients),
            node_ports: self.node_ports.or(file.node_ports),
            explain: self.explain.or(file.explain),
            log: self.log.or(file.log),
            output: self.output.or(file.output),
            seed: self.seed.or(file.seed),
            config: self.config,
        })
    }

    fn from_file(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
        toml::from_str(&text)
            .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
    }

    /// Refuses what cannot be.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let within = |name: &str, value: Option<usize>, max: usize| match value {
            Some(value) if value < 1 || value > max => {
                Err(Failure::usage(format!("--{name} {value}: must be from 1 to {max}")))
            }
            _ => Ok(()),
        };
        within("shards", self.shards, SHARDS_MAX)?;
        within("threads", self.threads, THREADS_MAX)?;
        within("maxclients", self.maxclients, CLIENTS_MAX)?;
        if self.requirepass.as_ref().is_some_and(|p| p.len() > PASSWORD_LEN_MAX) {
            return Err(Failure::usage(format!("--requirepass: at most {PASSWORD_LEN_MAX} bytes")));
        }
        if self.bind.as_ref().is_some_and(Vec::is_empty) {
            return Err(Failure::usage("--bind: name at least one address"));
        }
        Ok(())
    }
}

/// Most threads that may be asked for.
const THREADS_MAX: usize = 1024;
/// Most clients that may be asked for.
const CLIENTS_MAX: usize = 10_000_000;
/// Longest password, in bytes: what an unauthenticated client may send in one argument.
const PASSWORD_LEN_MAX: usize = crate::resp::UNAUTHENTICATED_BULK_LEN_MAX as usize;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_fills_in_what_was_not_given() {
        let dir = std::env::temp_dir().join(format!("slotway-options-{}", std::process::id()));
        std::fs::write(
            &dir,
            "port = 1\nshards = 8\nbind = [\"::1\"]\noutput = \"json\"\nnode-ports = \"off\"\n",
        )
        .expect("a temporary file");
        let given = Options { port: Some(2), config: Some(dir.clone()), ..Options::default() };
        let options = given.with_file().expect("a good file");
        assert_eq!(
            (options.port, options.shards, options.output),
            (Some(2), Some(8), Some(Output::Json))
        );
        std::fs::write(&dir, "sharts = 8\n").expect("a temporary file");
        let given = Options { config: Some(dir.clone()), ..Options::default() };
        let failure = given.with_file().expect_err("an unknown name");
        assert!(failure.message.contains("sharts") && failure.code == 2, "{}", failure.message);
        std::fs::remove_file(dir).expect("removed");
    }
}
