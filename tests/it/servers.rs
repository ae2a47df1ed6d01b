//! The server programs that tests run: where each is, what it needs, and one as a child process.
//!
//! | product | named by | otherwise |
//! |---|---|---|
//! | Redis 7.0 | | `redis-server` on the path |
//! | Redis 8.2 | `SLOTWAY_REDIS8` | `servers/redis8/redis-server` below the target folder |
//! | Redis 8.10 | `SLOTWAY_REDIS810` | `servers/redis810/redis-server` there |
//! | Redis Stack 7.4 | `SLOTWAY_STACK` | `servers/stack/bin/redis-server` there |
//! | Valkey 9.1 | `SLOTWAY_VALKEY` | `valkey/valkey-server` there, or the one on the path |
//!
//! `tests/run` installs them all. Beside a program are its modules, in `../lib` or in its own folder.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::env::{poll, setting};
use crate::janitor;
use crate::program::free_port;
use crate::wire::{Answer, Client, Reply};

/// A server program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Product {
    Redis7,
    Redis8,
    Redis810,
    /// With modules for JSON, search, time series, probabilistic types, and functions in JavaScript.
    Stack,
    Valkey9,
}

/// The program of a server that is not installed.
#[derive(Debug)]
pub(crate) struct Missing(pub(crate) String);

impl Product {
    /// The path of the program, or its name if it is to be on the path.
    pub(crate) fn program(self) -> PathBuf {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (variable, below, otherwise) = match self {
            Self::Redis7 => return PathBuf::from("redis-server"),
            Self::Redis8 => ("SLOTWAY_REDIS8", "servers/redis8/redis-server", "redis-server 8.2"),
            Self::Redis810 => {
                ("SLOTWAY_REDIS810", "servers/redis810/redis-server", "redis-server 8.10")
            }
            Self::Stack => {
                ("SLOTWAY_STACK", "servers/stack/bin/redis-server", "redis-stack-server")
            }
            Self::Valkey9 => ("SLOTWAY_VALKEY", "valkey/valkey-server", "valkey-server"),
        };
        if let Some(named) = setting(variable) {
            return PathBuf::from(named);
        }
        let installed = target.with_file_name(below);
        if installed.exists() { installed } else { PathBuf::from(otherwise) }
    }

    /// The program, without arguments. Under the name of its tool that checks RDB files, it is that tool.
    pub(crate) fn command(self, name: Option<&str>) -> Command {
        let program = self.program();
        let mut command = Command::new(&program);
        if let Some(name) = name {
            command.arg0(name);
        }
        // The wheel of the Stack wants an OpenSSL that distributions no longer have.
        let libraries = program.parent().map(|bin| bin.join("../openssl"));
        if let Some(libraries) = libraries.filter(|folder| self == Self::Stack && folder.exists()) {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command
    }

    /// The tool that checks RDB files, on this file.
    pub(crate) fn rdb_check(self, file: &str) -> Command {
        let name = if self == Self::Valkey9 { "valkey-check-rdb" } else { "redis-check-rdb" };
        let mut command = self.command(Some(name));
        command.arg(file);
        command
    }

    /// The options that load all modules that came with the program.
    pub(crate) fn modules(self) -> Vec<String> {
        let program = self.program();
        let bin = program.parent().unwrap_or(Path::new(""));
        let (folder, names): (_, &[&str]) = match self {
            Self::Redis7 | Self::Redis810 | Self::Valkey9 => return Vec::new(),
            Self::Redis8 => (bin.to_owned(), &["falkordb"]),
            Self::Stack => (
                bin.join("../lib"),
                &[
                    "rediscompat",
                    "redisearch",
                    "redistimeseries",
                    "rejson",
                    "redisbloom",
                    "redisgears",
                ],
            ),
        };
        let path =
            |name: &str| folder.join(name).with_extension("so").to_string_lossy().into_owned();
        let mut options = Vec::new();
        for name in names {
            options.extend(["--loadmodule".to_owned(), path(name)]);
            if *name == "redisgears" {
                options.extend(["v8-plugin-path".to_owned(), path("libredisgears_v8_plugin")]);
            }
        }
        options
    }
}

/// A server of its own for one test, with all its modules; it ends when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    process: Process,
}

impl Server {
    /// Starts one with these options beside the usual ones: without cluster, without saving by itself.
    pub(crate) fn start(product: Product, options: &[&str]) -> Result<Self, Missing> {
        const LOG: &str = "log";
        let mut all = product.modules();
        let usual = ["--cluster-enabled", "no", "--logfile", LOG];
        all.extend(usual.iter().chain(options).map(|&option| option.to_owned()));
        let mut log = String::new();
        // Another process may take a free port before the server does: then it exits, and we try again.
        for _ in 0..20 {
            let port = free_port();
            let mut process = Process::spawn(product.command(None), port, &all)?;
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            let is_up = poll(|| {
                if process.has_ended() {
                    return Some(false);
                }
                let pong = Client::connect(address).ok()?.call(&["PING"]);
                (pong == Answer::Reply(Reply::Simple(b"PONG".to_vec()))).then_some(true)
            });
            if is_up == Some(true) {
                return Ok(Self { address, process });
            }
            log = std::fs::read_to_string(process.folder().join(LOG)).unwrap_or_default();
        }
        panic!("{product:?} is installed but does not come up with the options {all:?}:\n{log}");
    }

    /// A connection.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address).expect("the server accepts connections")
    }

    /// Its working folder, where it saves its files; removed when it ends.
    pub(crate) fn folder(&self) -> &Path {
        self.process.folder()
    }
}

/// A server as a child process with a folder of its own.
pub(crate) struct Process {
    child: Child,
    folder: PathBuf,
}

impl Process {
    /// Runs the command of a server with the usual options and these, of which the last one counts.
    pub(crate) fn spawn(
        mut command: Command,
        port: u16,
        options: &[impl AsRef<OsStr>],
    ) -> Result<Self, Missing> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = janitor::folder().join(count.to_string());
        std::fs::create_dir_all(&folder).expect("the temporary directory is writable");
        let child = command
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "no", "--cluster-enabled", "yes"])
            .args(["--enable-debug-command", "yes", "--dir"])
            .arg(&folder)
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let program = command.get_program().to_string_lossy();
        match child {
            Ok(child) => {
                janitor::started(child.id());
                Ok(Self { child, folder })
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Missing(program.into_owned())),
            Err(error) => panic!("{program} cannot be started: {error}"),
        }
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Where it writes its files.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Each fails only when its work is already done.
        let _ = self.child.kill();
        let _ = self.child.wait();
        janitor::ended(self.child.id());
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Every product comes up with its modules, and is what it is taken for.
#[test]
fn each_server_is_of_its_version() {
    for (product, name, version, modules) in [
        (Product::Redis7, "redis_version", "7.0.", 0),
        (Product::Redis8, "redis_version", "8.2.", 1),
        (Product::Redis810, "redis_version", "8.10.", 0),
        (Product::Stack, "redis_version", "7.4.", 6),
        (Product::Valkey9, "valkey_version", "9.1.", 0),
    ] {
        let server = match Server::start(product, &[]) {
            Ok(server) => server,
            Err(missing) => {
                crate::references::report_missing(&missing);
                continue;
            }
        };
        let mut client = server.client();
        let Reply::Bulk(info) = client.ask(&["INFO", "everything"]) else {
            panic!("INFO answers a text")
        };
        let info = String::from_utf8_lossy(&info);
        assert!(info.contains(&format!("{name}:{version}")), "{product:?}: {info}");
        let loaded = info.lines().filter(|line| line.starts_with("module:")).count();
        // RediSearch and RedisGears each come with a module inside them or beside them.
        assert!(loaded >= modules, "{product:?}: {info}");
    }
}
