//! `slotway run`: runs a command with a cluster of its own, and reports what a real cluster would
//! have refused.
//!
//! ```text
//! verify report files and baseline ─► cluster on free ports ─► command, with the addresses in its
//! environment ─► end of the command ─► report, baseline, exit code
//! ```

mod start_failure;
#[cfg(target_os = "linux")]
pub(super) mod guard;
mod child;
mod options;
mod shown_command;

pub(super) use options::{EXAMPLES, Options};

use self::child::Signals;
use super::Failure;
use super::baseline::BaselineFile;
use super::options::THREADS_MAX;
use super::reports::{self, Reports, columns};
use crate::ledger::pattern;
use crate::report::proof::{EXIT_VIOLATIONS, text};
use crate::report::{Ended, Found, Report, Source};
use crate::router::Router;
use crate::server::{self, Bound, Wanted};
use crate::state::settings::{CrossSlot, DATABASES_DEFAULT};
use crate::topology::{Plan, Port};
use shown_command::shown_command;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// How long to wait, when the command has ended, for its remaining connections to be served.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);
/// The interval at which these connections are counted.
const DRAIN_POLL: Duration = Duration::from_millis(2);
/// Characters of the command line in the report.
const NAME_CHARS_MAX: usize = 120;
/// The environment variables of the command.
const VARIABLES: [&str; 4] =
    ["REDIS_URL={url}", "REDIS_HOST={host}", "REDIS_PORT={port}", "REDIS_CLUSTER_NODES={nodes}"];

/// Runs the command.
pub(super) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let reports = Reports::to(&options.report)?;
    let baseline = options.baseline.open()?;
    // With placeholder addresses: a wrong template is found before anything runs.
    variables(options, &Addresses::default())?;
    let (router, bound) = wanted(options)?.open().map_err(|error| {
        Failure::machine(format!("cannot open a cluster on free ports: {error}"))
    })?;
    let addresses = Addresses::of(&bound);
    let variables = variables(options, &addresses)?;
    let threads = options.threads;
    let runtime = server::runtime(threads, "slotway")
        .map_err(|error| Failure::machine(format!("cannot start {threads} threads: {error}")))?;
    let cannot = |error| Failure::machine(format!("cannot handle signals: {error}"));
    if threads == 1 {
        let kinds = child::kinds_of_signals();
        server::end_scripts_at_signals(&router.server, &kinds, false).map_err(cannot)?;
    }
    let outcome: Result<Ended, Failure> = runtime.block_on(async {
        let mut signals = Signals::catch().map_err(cannot)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(server::serve(Arc::clone(&router), bound, async {
            // The sender is dropped, never used.
            let _dropped = stopped.await;
        }));
        let mut command = child::start(&options.command, &variables)?;
        let status = child::wait(&mut command.process, &mut signals, &router.server).await;
        let open_connections = drain(&router, &addresses).await;
        drop(stop);
        // If it panicked, the log has it.
        let _ended = serving.await;
        if let Some(failure) = command.failure() {
            return Err(failure);
        }
        let cannot = |error| Failure::machine(format!("cannot wait for the command: {error}"));
        Ok(Ended { code: child::code(status.map_err(cannot)?), open_connections })
    });
    runtime.shutdown_background();
    let ended = outcome?;
    let code = ended.code;
    let report = report(&router, options, baseline.as_ref(), ended);
    let written = reports.write(&report)?;
    // A failed command did not exercise everything: its baseline is kept.
    let updated = baseline.as_ref().filter(|baseline| baseline.is_updated);
    if let (Some(baseline), 0) = (updated, code) {
        baseline.rewrite(&report)?;
    }
    let is_terminal = io::stderr().is_terminal();
    let paint = reports::paint(options.color, options.no_color.as_deref(), is_terminal);
    say(&text::page(&report, &written, columns(io::stderr()), paint));
    if let (Some(baseline), 1..) = (updated, code) {
        let path = baseline.path().display();
        say(&format!("slotway: {path} is unchanged: the command ended with {code}\n"));
    }
    Ok(ExitCode::from(match report.exit_code {
        // All violations are in the baseline now.
        EXIT_VIOLATIONS if code == 0 && updated.is_some() => 0,
        found => found,
    }))
}

/// The cluster to start.
fn wanted(options: &Options) -> Result<Wanted, Failure> {
    let mut plan = Plan::of_masters(options.shards, 0);
    plan.replicas = options.replicas;
    plan.check().map_err(|why| Failure::usage(format!("--shards, --replicas: {why}")))?;
    if !(1..=THREADS_MAX).contains(&options.threads) {
        return Err(Failure::usage(format!("--threads: must be from 1 to {THREADS_MAX}")));
    }
    let is_audit = options.cross_slot == CrossSlot::Audit.name();
    Ok(Wanted {
        plan,
        router: Some(0),
        databases: if is_audit { DATABASES_DEFAULT } else { 1 },
        threads: options.threads,
        dialect: options.rules(),
        settings: vec![("cross-slot", options.cross_slot.clone())],
        ..Wanted::default()
    })
}

/// The addresses of the cluster.
struct Addresses {
    router: SocketAddr,
    nodes: Vec<SocketAddr>,
}

impl Default for Addresses {
    fn default() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { router: any, nodes: vec![any] }
    }
}

impl Addresses {
    fn of(bound: &[Bound]) -> Self {
        let mut addresses = Self { nodes: Vec::new(), ..Self::default() };
        for listener in bound {
            match listener.port {
                Port::Router => addresses.router = listener.address,
                Port::Node(_) => addresses.nodes.push(listener.address),
            }
        }
        addresses
    }

    /// The value of a name in a template.
    fn named(&self, name: &str) -> Option<String> {
        let joined = |form: &dyn Fn(&SocketAddr) -> String| {
            self.nodes.iter().map(form).collect::<Vec<_>>().join(",")
        };
        Some(match name {
            "url" => format!("redis://{}", self.router),
            "host" => self.router.ip().to_string(),
            "port" => self.router.port().to_string(),
            "nodes" => joined(&ToString::to_string),
            "node_urls" => joined(&|node| format!("redis://{node}")),
            "node_url" => format!("redis://{}", self.nodes.first()?),
            "node_port" => self.nodes.first()?.port().to_string(),
            _ => return None,
        })
    }
}

/// The variables of the command: the fixed ones, then the user's.
fn variables(options: &Options, at: &Addresses) -> Result<Vec<(String, String)>, Failure> {
    let all = VARIABLES.iter().copied().chain(options.variables.iter().map(String::as_str));
    all.map(|line| {
        let wrong = |why: &str| Failure::usage(format!("--env {line}: {why}"));
        let (name, template) =
            line.split_once('=').ok_or_else(|| wrong("must be NAME=TEMPLATE"))?;
        if name.is_empty() || line.contains('\0') {
            return Err(wrong("must be NAME=TEMPLATE"));
        }
        let value = filled(template, at).ok_or_else(|| {
            wrong(
                "a template can use {url}, {host}, {port}, {nodes}, {node_urls}, {node_url} and \
                 {node_port}; {{ and }} are literal braces",
            )
        })?;
        Ok((name.to_owned(), value))
    })
    .collect()
}

/// Fills in a template; `None` if a name is not known.
fn filled(template: &str, at: &Addresses) -> Option<String> {
    let (mut value, mut rest) = (String::new(), template);
    while let Some(brace) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(brace);
        value.push_str(before);
        if let Some(after) = from.strip_prefix("{{").or_else(|| from.strip_prefix("}}")) {
            value.push_str(&from[..1]);
            rest = after;
        } else {
            let (name, after) = from.strip_prefix('{')?.split_once('}')?;
            value.push_str(&at.named(name)?);
            rest = after;
        }
    }
    value.push_str(rest);
    Some(value)
}

/// Waits until requests that the command sent without waiting for replies are served. Returns how many
/// connections are still open then: those of processes that it has left behind.
async fn drain(router: &Router, at: &Addresses) -> usize {
    let all_closed = async {
        // Connections are accepted in order: once one of ours is closed by the server, as it closes
        // any that sends nothing more, those before it have been accepted.
        for address in at.nodes.iter().chain([&at.router]) {
            let Ok(mut probe) = TcpStream::connect(address).await else { continue };
            if probe.shutdown().await.is_ok() {
                let _closed = probe.read_to_end(&mut Vec::new()).await;
            }
        }
        while router.server.router().clients.count() > 0 {
            tokio::time::sleep(DRAIN_POLL).await;
        }
    };
    match tokio::time::timeout(DRAIN_TIMEOUT, all_closed).await {
        Ok(()) => 0,
        Err(_late) => router.server.router().clients.count(),
    }
}

/// Makes the report.
fn report(
    router: &Router,
    options: &Options,
    baseline: Option<&BaselineFile>,
    ended: Ended,
) -> Report {
    let (server, node) = (&router.server, router.server.router());
    let ledger = node.observer.recorder.ledger(&node.clients, crate::server::now());
    let words = options.command.iter().map(|word| word.to_string_lossy());
    let name = pattern::shown(shown_command(words).as_bytes(), NAME_CHARS_MAX);
    let bytes = node.stats.bytes_in.get();
    let sources = [Source { name, format: "run", why: None, bytes, trouble: None, gap: None }];
    let found = Found { ledger: &ledger, topology: &server.topology, title: "slotway run" };
    let mut report = Report::of_ended(&found, &sources, options.strict, Some(ended));
    if let Some(baseline) = baseline {
        baseline.apply(&mut report);
    }
    report
}

/// Writes to stderr: stdout is the command's.
fn say(page: &str) {
    // There is no other place to report that stderr is closed.
    let _ = io::stderr().lock().write_all(page.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let addresses = Addresses { router: at(1), nodes: vec![at(2), at(3)] };
        for (template, value) in [
            ("", Some("")),
            ("plain", Some("plain")),
            ("{url}/0", Some("redis://127.0.0.1:1/0")),
            ("{host} {port}", Some("127.0.0.1 1")),
            ("{nodes}", Some("127.0.0.1:2,127.0.0.1:3")),
            ("{node_urls}", Some("redis://127.0.0.1:2,redis://127.0.0.1:3")),
            ("{node_url}{node_port}", Some("redis://127.0.0.1:22")),
            ("{{\"a\":{port}}}", Some("{\"a\":1}")),
            ("{nosuch}", None),
            ("{url", None),
            ("a}", None),
        ] {
            assert_eq!(filled(template, &addresses).as_deref(), value, "{template}");
        }
    }
}
