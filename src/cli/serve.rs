//! `slotway serve`: from options to a running router.

use super::Failure;
use super::options::{NodePorts, Options, Output, SHARDS_DEFAULT, Speech};
use super::ready::Ready;
use crate::host::{Host, HostConfig, Identity, Usage};
use crate::router::Router;
use crate::server::{self, Bound};
use crate::settings::{Settings, Start};
use crate::topology::{Port, Topology};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, IsTerminal};
use std::net::{IpAddr, SocketAddr};
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
    let shards = options.shards.unwrap_or(SHARDS_DEFAULT);
    let threads = options.threads.unwrap_or_else(processors);
    let clients_max = allow_clients(options.maxclients)?;
    let binds = options.bind.clone().unwrap_or_else(|| vec![IpAddr::from([127, 0, 0, 1])]);
    let mut bound = bind_all(&binds, options.port.unwrap_or(PORT_DEFAULT), Port::Router)?;
    let address = bound[0].address;
    let seed = options.seed.unwrap_or_else(|| RandomState::new().hash_one(std::process::id()));
    let topology = Topology::new(options.plan(seed));
    bind_nodes(&options, &binds, &topology, &mut bound)?;

    let bind = binds.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let settings =
        Settings::new(Start { bind, port: address.port(), cluster_enabled: false, make_room });
    let explain = if options.explain.unwrap_or(false) { "yes" } else { "no" };
    let password = options.requirepass.as_deref().unwrap_or_default();
    for (name, value) in [
        ("maxclients", clients_max.to_string().as_str()),
        ("explain", explain),
        ("requirepass", password),
    ] {
        settings.set(&[(name.as_bytes(), value.as_bytes())]).map_err(|error| {
            Failure::usage(format!("--{name}: {}", String::from_utf8_lossy(&error.text())))
        })?;
    }
    let host = Host::new(HostConfig {
        identity: Identity {
            pid: std::process::id(),
            port: address.port(),
            executable: std::env::current_exe()
                .map(|p| p.display().to_string())
                .unwrap_or_default(),
            config_file: options
                .config
                .as_ref()
                .map(|p| p.display().to_string())
                .unwrap_or_default(),
            os: os(),
            started_at: server::now(),
            shards,
            threads,
        },
        settings,
        topology,
        announce: options.announce(),
        seed: seed.rotate_left(32),
        usage: Usage::of_process,
        tick_ns: server::tick_ns(),
    });
    let dialect = options.dialect.unwrap_or(Speech::Redis7).dialect();
    let router = Arc::new(Router::new(host, dialect, seed));

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("slotway")
        .enable_all()
        .build()
        .map_err(|error| Failure::machine(format!("cannot start {threads} threads: {error}")))?;
    let ready =
        Ready::new(address, shards, options.requirepass.is_some(), &router.host.topology, &bound);
    let output = options.output.unwrap_or(Output::Text);
    let outcome = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        ready.print(output);
        let host = &router.host;
        let told_to_stop = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = host.stop.wished() => {}
            }
            tracing::info!("told to stop: finishing what runs");
        };
        server::serve(Arc::clone(&router), bound, told_to_stop).await;
        io::Result::Ok(())
    });
    // Who was to finish has had the time for it.
    runtime.shutdown_background();
    outcome.map_err(|error| Failure::machine(format!("cannot handle signals: {error}")))
}

fn start_log(filter: &str) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| Failure::usage(format!("--log {filter}: {error}; try --log debug")))?;
    // A library user may have set a subscriber of their own; then theirs stays.
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

/// Listens for clients of each node, if there are to be node ports.
fn bind_nodes(
    options: &Options,
    binds: &[IpAddr],
    topology: &Topology,
    bound: &mut Vec<Bound>,
) -> Result<(), Failure> {
    let after_router = bound[0].address.port().checked_add(1).unwrap_or(0);
    let first = match (options.node_ports, options.port) {
        (Some(NodePorts::Off), _) => return Ok(()),
        (Some(NodePorts::From(first)), _) => first,
        (None, Some(0)) => 0,
        (None, _) => after_router,
    };
    let nodes = topology.nodes();
    if first != 0 && usize::from(first) + nodes - 1 > usize::from(u16::MAX) {
        return Err(Failure::usage(format!(
            "--node-ports {first}: {nodes} ports from there on end above {}",
            u16::MAX
        )));
    }
    for node in 0..nodes {
        let port = if first == 0 { 0 } else { first + node as u16 };
        let one = bind_all(binds, port, Port::Node(node))?;
        topology.set_port(node, one[0].address.port());
        bound.extend(one);
    }
    Ok(())
}

fn bind_all(binds: &[IpAddr], mut port: u16, whose: Port) -> Result<Vec<Bound>, Failure> {
    let mut bound = Vec::with_capacity(binds.len());
    let (option, any) = match whose {
        Port::Router => ("--port", "--port 0 takes any free one"),
        Port::Node(_) => ("--node-ports", "--node-ports 0 takes any free ones, off none"),
    };
    for &ip in binds {
        let address = SocketAddr::new(ip, port);
        let one = server::bind(address, whose).map_err(|error| {
            Failure::machine(match error.kind() {
                io::ErrorKind::AddrInUse => format!(
                    "port {port} of {ip} is taken: stop what listens there, or choose another with {option} \
                     ({any})"
                ),
                io::ErrorKind::PermissionDenied => {
                    format!("not allowed to listen on port {port} of {ip}: ports below 1024 need privileges")
                }
                _ => format!("cannot listen on {address}: {error}"),
            })
        })?;
        // Further addresses get the port that the first one was given.
        port = one.address.port();
        bound.push(one);
    }
    Ok(bound)
}

/// Makes sure that there are file descriptors for the clients; gives how many clients there may be.
fn allow_clients(asked: Option<usize>) -> Result<usize, Failure> {
    let wanted = asked.unwrap_or(CLIENTS_DEFAULT);
    let Err(possible) = make_room(wanted) else { return Ok(wanted) };
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

/// Raises the limit of file descriptors, if need be, for so many clients; on failure tells for how
/// many there are.
fn make_room(clients: usize) -> Result<(), usize> {
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

fn os() -> String {
    let uname = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    format!("{} {} {}", text(uname.sysname()), text(uname.release()), text(uname.machine()))
}
