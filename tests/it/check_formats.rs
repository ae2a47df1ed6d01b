//! `slotway check` takes files for what they are, or refuses them: what redis-cli and telnet print,
//! asked of the real ones, compressed files, lines behind the prefix of a log, and text of other kinds.

use crate::program::{Folder, PROGRAM, Run};
use crate::project_files;
use crate::references::{Lease, lease, report_missing};
use crate::servers::Missing;
use crate::wire::Client;
use flate2::Compression;
use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/check");
/// Nothing that is asked of a server takes as long.
const PATIENCE: Duration = Duration::from_secs(20);

/// The document of a check.
struct Checked(Value);

impl Checked {
    fn of(args: &[&str], stdin: &[u8]) -> Self {
        let mut command = Command::new(PROGRAM);
        let end = Run::fed(command.env_clear().arg("check").args(args).arg("--json"), stdin).end();
        let document: Value = serde_json::from_str(&end.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}{}", end.stdout, end.stderr));
        assert_eq!(end.code.map(Value::from).as_ref(), Some(&document["exit_code"]));
        Self(document)
    }

    fn stdin(text: &[u8]) -> Self {
        Self::of(&["-"], text)
    }

    fn total(&self, name: &str) -> u64 {
        self.0["totals"][name].as_u64().expect("a number")
    }

    fn source(&self, name: &str) -> &str {
        self.0["sources"][0][name].as_str().unwrap_or_default()
    }

    /// Why it could not be read.
    fn trouble(&self) -> &str {
        self.0["sources"][0]["trouble"]["why"].as_str().unwrap_or_default()
    }

    fn exit_code(&self) -> u64 {
        self.0["exit_code"].as_u64().expect("a number")
    }

    /// Asserts that nothing was read, because of this.
    fn is_refused(&self, reason: &str, what: &str) {
        assert!(self.trouble().contains(reason), "{what}: {}", self.0["sources"]);
        assert_eq!((self.exit_code(), self.source("format")), (2, "unread"), "{what}");
        let read = ["commands", "stored_keys", "errors"].map(|name| self.total(name));
        assert_eq!(read, [0; 3], "{what}");
    }
}

// ── real programs ─────────────────────────────────────────────────────────────────────────────────

/// A server without cluster mode, if it is installed.
fn server(more: &[&str]) -> Option<Lease> {
    let options = ["--cluster-enabled", "no"].iter().chain(more).map(|&word| word.to_owned());
    lease(&options.collect::<Vec<_>>())
}

/// redis-cli for this server; `None`, which is reported, if it is not installed.
fn redis_cli(server: SocketAddr, args: &[&str]) -> Option<Command> {
    let found = Command::new("redis-cli").arg("--version").stdout(Stdio::null()).status();
    match found {
        Ok(_) => {
            let mut command = Command::new("redis-cli");
            command.args(["-p", &server.port().to_string()]).args(args);
            Some(command)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            report_missing(&Missing("redis-cli".to_owned()));
            None
        }
        Err(error) => panic!("redis-cli cannot be started: {error}"),
    }
}

#[test]
fn what_redis_cli_prints_is_read_for_what_it_is() {
    let Some(server) = server(&[]) else { return };
    let mut client = Client::connect(server.address).expect("it accepts clients");
    for key in ["user:1", "user:2", "user:3", "cart:1", "cart:2", "{u}x", "a \\\"key\\\""] {
        client.call(&["SET", key, "1"]);
    }
    let Some(_) = redis_cli(server.address, &[]) else { return };
    let print = |args: &[&str]| {
        let mut command = redis_cli(server.address, args).expect("it has been found");
        command.output().expect("redis-cli runs").stdout
    };
    for (args, reason) in [
        (&["--no-raw", "keys", "*"][..], "a numbered reply"),
        (&["--no-raw", "scan", "0", "count", "100"], "a numbered reply"),
        (&["-3", "--no-raw", "scan", "0", "count", "100"], "a numbered reply"),
        (&["--no-raw", "--scan"], "each line is one quoted name"),
        (&["--raw", "keys", "*"], "the lines are names"),
        (&["--scan"], "the lines are names"),
    ] {
        let checked = Checked::stdin(&print(args));
        assert!(checked.source("why").contains(reason), "{args:?}: {}", checked.0["sources"]);
        let read = (checked.source("format"), checked.total("stored_keys"), checked.exit_code());
        assert_eq!(read, ("keys", 7, 0), "{args:?}");
        assert_eq!(checked.total("different_keys"), 7, "{args:?}");
    }
    for (args, reason) in [
        (&["--raw", "scan", "0", "count", "100"][..], "cursor of SCAN"),
        (&["--csv", "keys", "*"], "--csv"),
        (&["--json", "keys", "*"], "JSON"),
        (&["info"], "INFO"),
        (&["client", "list"], "several words"),
        (&["--raw", "config", "get", "*"], "blank"),
        (&["--no-raw", "command", "docs", "get"], "several words"),
        (&["--bigkeys"], "comment"),
        (&["--help"], ""),
        (&["nosuch"], ""),
    ] {
        Checked::stdin(&print(args)).is_refused(reason, &format!("{args:?}"));
    }
}

/// Waits for lines of MONITOR up to the one with this word.
fn lines_up_to(from: &mut impl BufRead, word: &str) -> Vec<u8> {
    let mut text = Vec::new();
    loop {
        let begin = text.len();
        let len = from.read_until(b'\n', &mut text).expect("lines come");
        assert!(len > 0, "they ended before {word}: {}", text.escape_ascii());
        if text[begin..].windows(word.len()).any(|part| part == word.as_bytes()) {
            return text;
        }
    }
}

/// A connection that monitors, as telnet shows it.
fn telnet(server: SocketAddr) -> BufReader<TcpStream> {
    let mut socket = TcpStream::connect(server).expect("it accepts clients");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    socket.write_all(b"MONITOR\r\n").expect("it reads");
    let mut lines = BufReader::new(socket);
    assert_eq!(lines_up_to(&mut lines, "OK"), b"+OK\r\n");
    lines
}

/// Sends words of commands over any stream, and waits for the reply to each, a short one.
fn send(to: &mut (impl Read + Write), commands: &[&str]) {
    for command in commands {
        to.write_all(format!("{command}\r\n").as_bytes()).expect("it reads");
        let len = to.read(&mut [0; 4096]).expect("it replies");
        assert!(len > 0, "{command}");
    }
}

#[test]
fn monitor_is_read_from_redis_cli_and_telnet_and_logs() {
    let Some(server) = server(&[]) else { return };
    let Some(mut monitor) = redis_cli(server.address, &["monitor"]) else { return };
    let mut monitor = monitor.stdout(Stdio::piped()).spawn().expect("redis-cli runs");
    let mut shown = BufReader::new(monitor.stdout.take().expect("a pipe"));
    lines_up_to(&mut shown, "OK");
    let mut telnet = telnet(server.address);
    let mut one = TcpStream::connect(server.address).expect("it accepts clients");
    let mut other = TcpStream::connect(server.address).expect("it accepts clients");
    send(&mut one, &["multi", "set x 1"]);
    send(&mut other, &["get q"]);
    send(&mut one, &["set y 1", "exec", "mget x \"a\\x00 b\""]);
    send(&mut other, &["echo the-end"]);
    let by_cli = lines_up_to(&mut shown, "the-end");
    monitor.kill().expect("it runs");
    monitor.wait().expect("it ends");
    let by_telnet = lines_up_to(&mut telnet, "the-end");
    let plain = Checked::stdin(&by_cli);
    let found = |checked: &Checked| {
        let totals = ["commands", "transactions", "errors"].map(|name| checked.total(name));
        (checked.source("format").to_owned(), totals, checked.exit_code())
    };
    assert_eq!(found(&plain), ("monitor".to_owned(), [7, 1, 2], 3), "{}", by_cli.escape_ascii());
    assert_eq!(found(&plain), found(&Checked::stdin(&by_telnet)));
    for prefix in [
        "redis-1  | ",
        "2026-11-30T03:00:00.123456789Z ",
        "[pod/redis-0/redis] 2026-11-30T03:00:00.123456789Z ",
        "Nov 30 03:00:00 host redis-cli[123]: ",
        "2026-11-30T03:00:00+0000 host redis-cli[123]: ",
    ] {
        let text: Vec<u8> = by_cli
            .split_inclusive(|&byte| byte == b'\n')
            .flat_map(|line| [prefix.as_bytes(), line].concat())
            .collect();
        let checked = Checked::stdin(&text);
        assert_eq!(found(&checked), found(&plain), "{prefix}");
        assert!(checked.source("why").contains("behind the prefix of"), "{prefix}");
    }
    // An unknown one is named.
    let text =
        by_cli.split_inclusive(|&byte| byte == b'\n').flat_map(|line| [b"<7> a b ", line].concat());
    Checked::stdin(&text.collect::<Vec<u8>>()).is_refused("prefix that is not known", "<7>");
}

/// Binds a connection to a port of its own choice; dropped, it ends without lingering, so that the port
/// can be used again at once.
fn connect_from(port: u16, server: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("a socket");
    socket.set_linger(Some(Duration::ZERO)).expect("a socket");
    let from = SocketAddr::from(([127, 0, 0, 1], port));
    socket.bind(&SockAddr::from(from)).expect("a free port");
    socket.connect(&SockAddr::from(server)).expect("it accepts clients");
    socket.into()
}

#[test]
fn a_port_that_is_used_again_is_another_client() {
    let Some(server) = server(&[]) else { return };
    let mut monitor = telnet(server.address);
    let mut other = TcpStream::connect(server.address).expect("it accepts clients");
    let port = crate::program::free_port();
    // The first one leaves a MULTI and a WATCH open; the second one has nothing to do with them.
    let mut first = connect_from(port, server.address);
    send(&mut first, &["watch w", "multi", "set lost 1"]);
    drop(first);
    let mut second = connect_from(port, server.address);
    send(&mut second, &["set x 1"]);
    send(&mut other, &["get q"]);
    send(&mut second, &["set y 1", "multi", "set {z}1 1", "set {z}2 1", "exec"]);
    send(&mut other, &["echo the-end"]);
    let text = lines_up_to(&mut monitor, "the-end");
    let checked = Checked::stdin(&text);
    let shown = text.escape_ascii();
    assert_eq!((checked.exit_code(), checked.total("errors")), (0, 0), "{shown}");
    assert_eq!((checked.total("commands"), checked.total("transactions")), (10, 1), "{shown}");
}

#[test]
fn clients_of_a_unix_socket_are_judged_by_command() {
    let folder = Folder::new("check-unix");
    let path = folder.file("redis.sock");
    let Some(server) = server(&["--unixsocket", &path]) else { return };
    let mut monitor = telnet(server.address);
    let connect = || UnixStream::connect(&path).expect("it accepts clients");
    let (mut one, mut other) = (connect(), connect());
    send(&mut one, &["watch x", "multi"]);
    send(&mut other, &["watch y", "multi", "set y 1"]);
    send(&mut one, &["set x 1", "exec"]);
    send(&mut other, &["exec", "mget x y", "echo the-end"]);
    let checked = Checked::stdin(&lines_up_to(&mut monitor, "the-end"));
    // What could not be judged is no proof.
    assert_eq!((checked.exit_code(), checked.total("errors")), (4, 1));
    assert_eq!(checked.0["violations"][0]["command"], "mget");
    assert!(checked.0["gaps"][0].as_str().is_some_and(|gap| gap.contains("Unix sockets")));
}

// ── compressed files ──────────────────────────────────────────────────────────────────────────────

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut to = GzEncoder::new(Vec::new(), Compression::default());
    to.write_all(bytes).expect("memory");
    to.finish().expect("memory")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    compress_to_vec(bytes, CompressionLevel::Fastest)
}

#[test]
fn compressed_files_are_read() {
    let folder = Folder::new("check-compressed");
    let path = folder.file("input");
    for name in ["monitor.txt", "dump.rdb", "mixed.aof", "history.txt"] {
        let plain = fs::read(format!("{DATA}/{name}")).expect("a file");
        let expected = Checked::stdin(&plain);
        let packed = [("gzip", gzip(&plain)), ("zstd", zstd(&plain))];
        for (by, bytes) in &packed {
            fs::write(&path, bytes).expect("written");
            for checked in [Checked::stdin(bytes), Checked::of(&[&path], b"")] {
                assert_eq!(checked.0["totals"], expected.0["totals"], "{name} {by}");
                assert_eq!(checked.source("format"), expected.source("format"));
                assert_eq!(checked.0["sources"][0]["bytes"], plain.len());
                assert!(checked.source("why").starts_with(&format!("decompressed ({by}); ")));
            }
        }
        if name == "monitor.txt" {
            for (by, bytes) in &packed {
                let twice = Checked::stdin(&[&bytes[..], bytes].concat());
                assert_eq!(twice.total("commands"), 2 * expected.total("commands"), "{by}");
                assert_eq!(twice.trouble(), "");
            }
        }
    }
    Checked::stdin(&gzip(b"")).is_refused("it is empty", "an empty member");
}

#[test]
fn what_comes_before_damaged_bytes_is_read() {
    let line = |n: u32| format!("1.{n:06} [0 a:{}] \"mget\" \"x{n}\" \"y{n}\"\n", n * 7919 % 65536);
    let text: String = (0..20_000).map(line).collect();
    for (by, whole) in [("gzip", gzip(text.as_bytes())), ("zstd", zstd(text.as_bytes()))] {
        let whole_read = Checked::stdin(&whole);
        assert_eq!((whole_read.total("errors"), whole_read.exit_code()), (20_000, 3), "{by}");
        let cut = Checked::stdin(&whole[..whole.len() / 2]);
        assert!(cut.trouble().starts_with("cannot be read further: "), "{by}: {}", cut.trouble());
        assert!(
            cut.trouble().contains(by) && cut.trouble().contains("end here"),
            "{}",
            cut.trouble()
        );
        assert_eq!(cut.exit_code(), 2, "{by}");
        assert!((3_000..17_000).contains(&cut.total("errors")), "{by}: {}", cut.total("errors"));
        let mut damaged = whole.clone();
        let at = damaged.len() - 5;
        damaged[at] ^= 0x55;
        assert_eq!(Checked::stdin(&damaged).exit_code(), 2, "{by}");
    }
}

#[test]
fn what_cannot_be_decompressed_is_named() {
    for (bytes, reason) in [
        (&b"\xfd7zXZ\0\0\x04\xe6\xd6"[..], "xz -dc FILE | slotway check -"),
        (b"BZh91AY&SY\x12\x34", "bzip2 -dc FILE | slotway check -"),
        (b"\x04\x22\x4d\x18\x64\x40\xa7", "lz4"),
        (b"PK\x03\x04\x14\0\0\0", "zip archive"),
    ] {
        Checked::stdin(bytes).is_refused(reason, &bytes.escape_ascii().to_string());
        Checked::stdin(&gzip(bytes)).is_refused(reason, "within gzip");
    }
    Checked::stdin(&gzip(&gzip(b"set a 1\n"))).is_refused("gzip", "twice");
}

// ── other text ────────────────────────────────────────────────────────────────────────────────────

#[test]
fn files_of_other_kinds_are_refused() {
    for name in [
        "README.md",
        "CHANGELOG.md",
        "Cargo.toml",
        "Cargo.lock",
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "src/lib.rs",
        "src/check/aof.rs",
        "tests/run",
        "tests/data/check/README.md",
    ] {
        let path = project_files::path(name);
        let checked = Checked::of(&[path.to_str().expect("a plain name")], b"");
        checked.is_refused("", name);
    }
    Checked::of(&[PROGRAM], b"").is_refused("binary", "a program");
    Checked::stdin(b"").is_refused("it is empty", "nothing");
    let named = Checked::of(&["-", "--format", "aof"], b"");
    assert_eq!((named.exit_code(), named.source("why")), (0, "named by --format"));
    // One of several.
    let monitor = format!("{DATA}/monitor.txt");
    let both = Checked::of(&[&monitor, "-"], b"what is this\n");
    assert_eq!((both.exit_code(), both.total("errors")), (2, 4));
}

#[test]
fn the_parts_of_an_aof_have_the_types_of_the_manifest() {
    let folder = Folder::new("check-manifest");
    let manifest = folder
        .written("a.manifest", "file a.1.base.rdb seq 1 type b\nfile a.1.incr.aof seq 1 type i\n");
    let empty = folder.written("a.1.incr.aof", "");
    let base = folder.file("a.1.base.rdb");
    fs::copy(format!("{DATA}/appendonlydir/appendonly.aof.2.base.rdb"), &base).expect("copied");
    let formats = |checked: &Checked| {
        let sources = checked.0["sources"].as_array().expect("a list").iter();
        sources.map(|source| source["format"].as_str().unwrap_or("").to_owned()).collect::<Vec<_>>()
    };
    for args in [&[&*manifest][..], &[&*manifest, "--format", "aof"]] {
        let checked = Checked::of(args, b"");
        assert_eq!((formats(&checked), checked.exit_code()), (vec!["rdb".into(), "aof".into()], 0));
    }
    // Neither RDB nor AOF, whatever it looks like.
    fs::write(&base, "user:1\nuser:2\n").expect("written");
    let checked = Checked::of(&[&manifest], b"");
    assert_eq!((formats(&checked), checked.exit_code()), (vec!["unread".into(), "aof".into()], 2));
    assert_eq!(checked.source("name"), base);
    checked.is_refused("neither as an RDB file nor as an AOF", "names");
    fs::write(&empty, "user:1\n").expect("written");
    let checked = Checked::of(&[&manifest], b"");
    let why = checked.0["sources"][1]["trouble"]["why"].as_str().unwrap_or_default();
    assert!(why.contains("expected * and a number"), "{why}");
    // The manifest itself, under another name.
    let text = fs::read(&manifest).expect("a file");
    Checked::stdin(&text).is_refused("manifest", "a manifest");
}
