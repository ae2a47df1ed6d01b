//! `slotway serve`: from options to a running router.

use super::Failure;
use super::options::{NodePorts, Options, Output, Policy, SHARDS_DEFAULT};
use super::ready::Ready;
use crate::command::slotway;
use crate::server::{self, OpenError, Wanted};
use crate::topology::Port;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, IsTerminal};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

const PORT_DEFAULT: u16 = 7000;
const CLIENTS_DEFAULT: usize = 10_000;
/// File descriptors that the process needs besides its clients'.
const FILES_RESERVED: u64 = 32;

/// Runs until SIGTERM or SIGINT.
pub(super) fn run(options: Options) -> Result<(), Failure> {
    let options = options.with_file()?;
    options.check()?;
    start_log(options.log.as_deref().unwrap_or("info"))?;
    let scenario = options.scenario.as_deref().map(super::read_scenario).transpose()?;
    let shards = options.shards.unwrap_or(SHARDS_DEFAULT);
    let threads = options.threads.unwrap_or_else(processors);
    let clients_max = allow_clients(options.maxclients)?;
    let binds = options.bind.clone().unwrap_or_else(|| vec![IpAddr::from([127, 0, 0, 1])]);
    let seed = options.seed.unwrap_or_else(|| RandomState::new().hash_one(std::process::id()));
    let path = |path: std::path::PathBuf| path.display().to_string();
    let wanted = Wanted {
        plan: options.plan(seed),
        binds,
        router: Some(options.port.unwrap_or(PORT_DEFAULT)),
        nodes: first_node_port(&options),
        dialect: options.rules(),
        announce: options.announce(),
        admin_enabled: !options.no_admin.unwrap_or(false),
        databases: options.databases(),
        threads,
        settings: vec![
            ("maxclients", clients_max.to_string()),
            ("explain", if options.explain.unwrap_or(false) { "yes" } else { "no" }.to_owned()),
            ("cross-slot", options.cross_slot.unwrap_or(Policy::Reject).rule().name().to_owned()),
            ("requirepass", options.requirepass.clone().unwrap_or_default()),
        ],
        executable: std::env::current_exe().map(path).unwrap_or_default(),
        config_file: options.config.clone().map(path).unwrap_or_default(),
        os: crate::state::process::os(),
        reserve_files,
    };
    let (router, bound) = wanted.open().map_err(explain)?;
    if let (Some(scenario), Some(path)) = (&scenario, &options.scenario) {
        slotway::check_scenario(&router.server, scenario)
            .map_err(|mistake| Failure::usage(format!("{}: {mistake}", path.display())))?;
    }
    let address = bound[0].address;

    let runtime = server::runtime(threads, "slotway")
        .map_err(|error| Failure::machine(format!("cannot start {threads} threads: {error}")))?;
    let ready =
        Ready::new(address, shards, options.requirepass.is_some(), &router.server.topology, &bound);
    let output = options.output.unwrap_or(Output::Text);
    let kinds = [SignalKind::terminate(), SignalKind::interrupt()];
    if threads == 1 {
        server::end_scripts_at_signals(&router.server, &kinds, true).map_err(no_signals)?;
    }
    let outcome = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        ready.print(output);
        if let Some(scenario) = scenario {
            router.server.faults.start_scenario(scenario, server::now());
        }
        let state = &router.server;
        let stop = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = state.shutdown.requested() => {}
            }
            tracing::info!("shutting down: draining requests");
        };
        server::serve(Arc::clone(&router), bound, stop).await;
        io::Result::Ok(())
    });
    // Connections that were to finish have had the time for it.
    runtime.shutdown_background();
    outcome.map_err(no_signals)
}

fn no_signals(error: io::Error) -> Failure {
    Failure::machine(format!("cannot handle signals: {error}"))
}

fn start_log(filter: &str) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| Failure::usage(format!("--log {filter}: {error}; try --log debug")))?;
    // If the embedding program has set a subscriber, that one stays.
    let _already_set = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .try_init();
    Ok(())
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Returns the first node port, if there are to be any; by default the one after the router's.
fn first_node_port(options: &Options) -> Option<u16> {
    match (options.node_ports, options.port.unwrap_or(PORT_DEFAULT)) {
        (Some(NodePorts::Off), _) => None,
        (Some(NodePorts::From(first)), _) => Some(first),
        (None, 0) => Some(0),
        (None, router) => Some(router.checked_add(1).unwrap_or(0)),
    }
}

/// Explains why a cluster cannot be opened, and what to do.
fn explain(error: OpenError) -> Failure {
    match error {
        OpenError::Listen { port, address, error } => {
            let (ip, number) = (address.ip(), address.port());
            let (option, any) = match port {
                Port::Router => ("--port", "--port 0 takes any free one"),
                Port::Node(_) => ("--node-ports", "--node-ports 0 takes any free ones, off none"),
            };
            Failure::machine(match error.kind() {
                io::ErrorKind::AddrInUse => format!(
                    "port {number} of {ip} is taken: stop what listens there, or choose another with {option} \
                     ({any})"
                ),
                io::ErrorKind::PermissionDenied => {
                    format!(
                        "not allowed to listen on port {number} of {ip}: ports below 1024 need privileges"
                    )
                }
                _ => format!("cannot listen on {address}: {error}"),
            })
        }
        OpenError::TooManyPorts { first, .. } => {
            Failure::usage(format!("--node-ports {first}: {error}"))
        }
        OpenError::Setting { .. } => Failure::usage(format!("--{error}")),
        OpenError::NoPort => Failure::usage(error.to_string()),
    }
}

/// Makes sure that there are file descriptors for the clients; returns how many clients there may
/// be.
fn allow_clients(asked: Option<usize>) -> Result<usize, Failure> {
    let wanted = asked.unwrap_or(CLIENTS_DEFAULT);
    let Err(possible) = reserve_files(wanted) else { return Ok(wanted) };
    let files = wanted as u64 + FILES_RESERVED;
    if asked.is_some() || possible == 0 {
        return Err(Failure::machine(format!(
            "{wanted} clients need {files} file descriptors, and this process may have them for {possible}: \
             raise the limit (ulimit -n {files}) or ask for fewer with --maxclients {}",
            possible.max(1)
        )));
    }
    tracing::warn!(
        "maxclients is {possible} instead of {wanted}: too few file descriptors (ulimit -n {files})"
    );
    Ok(possible)
}

/// Raises the limit of file descriptors for so many clients, if necessary; fails with the number of
/// clients possible.
fn reserve_files(clients: usize) -> Result<(), usize> {
    let files = clients as u64 + FILES_RESERVED;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= files) {
        return Ok(());
    }
    let raised = maximum.map_or(files, |maximum| maximum.min(files));
    let limit = Rlimit { current: Some(raised), maximum };
    let granted =
        if setrlimit(Resource::Nofile, limit).is_ok() { raised } else { current.unwrap_or(raised) };
    if granted >= files { Ok(()) } else { Err(granted.saturating_sub(FILES_RESERVED) as usize) }
}
