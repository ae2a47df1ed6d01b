//! The command line from outside: exit codes, messages, the ready line, signals.

use crate::env::poll;
use crate::program::{End, Folder, PROGRAM, Run, slotway};
use crate::wire::{Answer, Client, Reply, command};
use rustix::process::Signal;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;

/// The program with these arguments in a process with this limit of open files.
fn with_files(files_max: u32, line: &str) -> Command {
    let mut shell = Command::new("sh");
    let script = format!("ulimit -n {files_max} && exec \"$0\" \"$@\"");
    shell.env_clear().args(["-c", &script, PROGRAM]).args(line.split_whitespace());
    shell
}

/// The address in `redis://…`: what follows the scheme, or the login.
fn address_in(url: &str) -> SocketAddr {
    let rest = url.strip_prefix("redis://").unwrap_or_else(|| panic!("no URL: {url:?}"));
    let address = rest.rsplit('@').next().unwrap_or_default();
    address.parse().unwrap_or_else(|error| panic!("{error}: {address:?}"))
}

fn client(address: SocketAddr) -> Client {
    Client::connect(address).expect("the server accepts connections")
}

fn pong() -> Reply {
    Reply::Simple(b"PONG".to_vec())
}

// ── what is refused ───────────────────────────────────────────────────────────────────────────────

#[test]
fn a_wrong_command_line_exits_2_and_says_what_is_wrong() {
    let password = format!("serve --port 0 --requirepass {}", "x".repeat(16_385));
    let cases: &[(&str, &[&str])] = &[
        ("", &["Usage:", "serve"]),
        ("nosuch", &["nosuch"]),
        ("serve --nosuch", &["--nosuch"]),
        ("serve --prot 0", &["--prot", "--port"]),
        ("serve --port 70000", &["70000", "--port"]),
        ("serve --port x", &["'x'", "--port"]),
        ("serve --bind nowhere", &["nowhere", "--bind"]),
        ("serve --shards 0", &["--shards 0", "from 1 to"]),
        ("serve --shards 16385", &["--shards 16385", "from 1 to"]),
        ("serve --threads 0", &["--threads 0", "from 1 to"]),
        ("serve --maxclients 0", &["--maxclients 0", "from 1 to"]),
        ("serve --node-ports 65534", &["--node-ports 65534", "3 ports", "65535"]),
        ("serve --node-ports on", &["'on'", "off"]),
        ("serve --shards 1000 --replicas 4", &["--replicas 4", "at most 4000 nodes"]),
        ("serve --dialect redis6", &["redis6", "redis7", "valkey9"]),
        ("serve --announce me", &["'me'", "nodes", "router"]),
        ("serve --announce-map 7001", &["7001", "LISTENED:ANNOUNCED"]),
        ("serve --announce-host bad/host", &["--announce-host", "name or address"]),
        ("serve --announce dialled", &["dialled is gone", "--announce-host localhost"]),
        ("serve --output xml", &["xml", "text", "json"]),
        ("serve --explain perhaps", &["perhaps", "--explain"]),
        ("serve --seed -1", &["-1"]),
        ("serve --log slotway=loud", &["--log slotway=loud", "try --log"]),
        ("serve --config /nonexistent/slotway.toml", &["/nonexistent/slotway.toml"]),
        (&password, &["--requirepass", "16384"]),
    ];
    for (line, words) in cases {
        let End { code, stdout, stderr } = Run::of(&mut slotway(line)).end();
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{line}: {stderr}");
        for word in *words {
            assert!(stderr.contains(word), "{line}: no {word:?} in {stderr:?}");
        }
        assert!(!stderr.contains("panicked"), "{line}: {stderr}");
    }
}

#[test]
fn a_wrong_environment_exits_2_and_names_the_option() {
    for (name, value, option) in [
        ("SLOTWAY_PORT", "x", "--port"),
        ("SLOTWAY_BIND", "nowhere", "--bind"),
        ("SLOTWAY_NODE_PORTS", "on", "--node-ports"),
        ("SLOTWAY_SHARDS", "0", "--shards"),
        ("SLOTWAY_OUTPUT", "xml", "--output"),
    ] {
        let mut command = slotway("serve");
        let End { code, stderr, .. } =
            Run::of(command.env("SLOTWAY_PORT", "0").env(name, value)).end();
        assert_eq!(code, Some(2), "{name}={value}: {stderr}");
        assert!(stderr.contains(option), "{name}={value}: {stderr}");
    }
}

#[test]
fn a_wrong_file_exits_2_and_names_file_and_key() {
    for (name, contents, words) in [
        ("unknown", "sharts = 8\n", &["sharts", "shards"][..]),
        ("type", "shards = \"8\"\n", &["shards"]),
        ("range", "port = 70000\n", &["port"]),
        ("bind", "bind = [\"nowhere\"]\n", &["bind"]),
        ("nobind", "bind = []\n", &["--bind"]),
        ("ports", "node-ports = 71000\n", &["node-ports", "off"]),
        ("nested", "config = \"other.toml\"\n", &["config"]),
        ("form", "shards: 8\n", &["shards"]),
        ("check", "shards = 0\n", &["shards", "from 1 to"]),
    ] {
        let folder = Folder::new("cli-wrong");
        let line = format!("serve --config {}", folder.written(name, contents));
        let End { code, stdout, stderr } = Run::of(&mut slotway(&line)).end();
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{contents}: {stderr}");
        for word in words {
            assert!(stderr.contains(word), "{contents}: no {word:?} in {stderr:?}");
        }
    }
}

#[test]
fn a_taken_port_exits_1_and_says_how_to_choose_another() {
    let other = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = other.local_addr().expect("it is bound").port();
    let End { code, stdout, stderr } = Run::of(&mut slotway(&format!("serve --port {port}"))).end();
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    assert!(stderr.contains(&port.to_string()) && stderr.contains("--port"), "{stderr}");
}

#[test]
fn an_address_of_another_machine_exits_1_and_is_named() {
    // 192.0.2.0/24 is set aside for documentation.
    let End { code, stderr, .. } = Run::of(&mut slotway("serve --port 0 --bind 192.0.2.1")).end();
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("192.0.2.1"), "{stderr}");
}

#[test]
fn help_and_version_exit_0() {
    let version = Run::of(&mut slotway("--version")).end();
    assert_eq!(version.code, Some(0));
    assert_eq!(version.stdout, concat!("slotway ", env!("CARGO_PKG_VERSION"), "\n"));
    let help = Run::of(&mut slotway("--help")).end();
    assert_eq!(help.code, Some(0));
    assert!(
        help.stdout.contains("serve") && help.stdout.contains("redis-cli -p 7000"),
        "{}",
        help.stdout
    );
    let mut serve = slotway("serve --help");
    let serve = Run::of(serve.env("SLOTWAY_REQUIREPASS", "sesame")).end();
    assert_eq!(serve.code, Some(0));
    for word in [
        "--port",
        "--bind",
        "--shards",
        "--threads",
        "--requirepass",
        "--maxclients",
        "--node-ports",
        "--explain",
        "--log",
        "--output",
        "--seed",
        "--config",
        "SLOTWAY_PORT",
        "SLOTWAY_CONFIG",
        "[default: 7000]",
    ] {
        assert!(serve.stdout.contains(word), "no {word} in {}", serve.stdout);
    }
    assert!(!serve.stdout.contains("sesame"), "the help shows the password of the environment");
}

// ── precedence of settings ────────────────────────────────────────────────────────────────────────

#[test]
fn flag_goes_before_environment_before_file_before_default() {
    let folder = Folder::new("cli-precedence");
    let file = folder.written("file", "shards = 5\nport = 0\noutput = \"json\"\n");
    let config = format!("--config {file}");
    let shards = |command: &mut Command| Run::of(command).ready_json()["shards"].as_u64();
    assert_eq!(shards(&mut slotway("serve --port 0 --output json")), Some(3), "default");
    assert_eq!(shards(&mut slotway(&format!("serve {config}"))), Some(5), "file");
    let mut environment = slotway(&format!("serve {config}"));
    assert_eq!(shards(environment.env("SLOTWAY_SHARDS", "6")), Some(6), "environment");
    let mut flag = slotway(&format!("serve {config} --shards 7"));
    assert_eq!(shards(flag.env("SLOTWAY_SHARDS", "6")), Some(7), "flag");
    let mut only_environment = slotway("serve");
    only_environment.env("SLOTWAY_CONFIG", file).env("SLOTWAY_THREADS", "1");
    assert_eq!(shards(&mut only_environment), Some(5), "the file may be named by the environment");
}

#[test]
fn every_option_may_be_in_the_environment_or_the_file() {
    let folder = Folder::new("cli-all");
    let file = folder.written(
        "file",
        "port = 0\nbind = [\"127.0.0.1\", \"127.0.0.2\"]\nshards = 2\nthreads = 1\nrequirepass = \"sesame\"\n\
         maxclients = 77\nnode-ports = \"off\"\nexplain = true\nlog = \"warn\"\noutput = \"json\"\nseed = 7\n",
    );
    let mut by_file = slotway(&format!("serve --config {file}"));
    let mut by_environment = slotway("serve");
    by_environment.envs([
        ("SLOTWAY_PORT", "0"),
        ("SLOTWAY_BIND", "127.0.0.1,127.0.0.2"),
        ("SLOTWAY_SHARDS", "2"),
        ("SLOTWAY_THREADS", "1"),
        ("SLOTWAY_REQUIREPASS", "sesame"),
        ("SLOTWAY_MAXCLIENTS", "77"),
        ("SLOTWAY_NODE_PORTS", "off"),
        ("SLOTWAY_EXPLAIN", "true"),
        ("SLOTWAY_LOG", "warn"),
        ("SLOTWAY_OUTPUT", "json"),
        ("SLOTWAY_SEED", "7"),
    ]);
    for (source, command) in [("file", &mut by_file), ("environment", &mut by_environment)] {
        let mut run = Run::of(command);
        let ready = run.ready_json();
        assert_eq!(ready["shards"], 2, "{source}");
        let mut address = address_in(ready["url"].as_str().expect("a URL"));
        address.set_ip([127, 0, 0, 2].into());
        let mut client = client(address);
        assert_eq!(client.ask(&["AUTH", "sesame"]), Reply::Simple(b"OK".to_vec()), "{source}");
        for (name, value) in
            [("maxclients", "77"), ("explain", "yes"), ("bind", "127.0.0.1 127.0.0.2")]
        {
            let listed = client.ask(&["CONFIG", "GET", name]);
            let expected = [name, value].map(|text| Reply::Bulk(text.as_bytes().to_vec()));
            assert_eq!(listed, Reply::Array(expected.to_vec()), "{source}");
        }
    }
}

// ── the ready line ────────────────────────────────────────────────────────────────────────────────

#[test]
fn the_json_line_has_the_addresses() {
    let mut run = Run::of(&mut slotway("serve --port 0 --output json"));
    let ready = run.ready_json();
    assert_eq!(ready["ready"], true);
    assert_eq!(ready["pid"].as_u64(), Some(run.id().into()));
    assert_eq!(ready["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(ready["nodes"].as_array().map(Vec::len), Some(3), "a node port for each shard");
    let address = address_in(ready["url"].as_str().expect("a URL"));
    assert_eq!(ready["router"], address.to_string());
    assert_ne!(address.port(), 0);
    assert_eq!(client(address).ask(&["PING"]), pong());
    run.signal(Signal::TERM);
    assert_eq!(run.end().stdout, "", "stdout has one line");
}

#[test]
fn the_text_line_ends_with_a_url_that_works() {
    let mut run = Run::of(&mut slotway("serve --port 0"));
    let line = run.ready();
    assert!(line.contains("ready") && line.contains(&run.id().to_string()), "{line:?}");
    let (hint, url) = line.trim_end().rsplit_once(' ').expect("several words");
    assert!(hint.ends_with("redis-cli -u"), "{line:?}");
    assert_eq!(client(address_in(url)).ask(&["PING"]), pong());
    run.signal(Signal::TERM);
    assert_eq!(run.end().stdout, "", "stdout has one line");
}

#[test]
fn the_password_is_not_printed() {
    for output in ["text", "json"] {
        let mut run = Run::of(&mut slotway(&format!(
            "serve --port 0 --log trace --requirepass sesame --output {output}"
        )));
        let line = run.ready();
        let url = line.split(['"', ' ']).find(|word| word.starts_with("redis://")).expect("a URL");
        let mut client = client(address_in(url.trim_end()));
        assert!(matches!(client.ask(&["PING"]), Reply::Error(_)));
        assert_eq!(client.ask(&["AUTH", "sesame"]), Reply::Simple(b"OK".to_vec()));
        assert_eq!(client.ask(&["PING"]), pong());
        run.signal(Signal::TERM);
        let End { stdout, stderr, .. } = run.end();
        assert!(!format!("{line}{stdout}{stderr}").contains("sesame"), "{line}{stdout}{stderr}");
    }
}

#[test]
fn the_server_listens_on_every_address_at_one_port() {
    let bind = |binds: &str| {
        let mut run = Run::of(&mut slotway(&format!("serve --port 0 --output json {binds}")));
        let address = address_in(run.ready_json()["url"].as_str().expect("a URL"));
        (run, address)
    };
    for binds in ["--bind 127.0.0.1 --bind 127.0.0.2", "--bind 127.0.0.1,127.0.0.2"] {
        let (_run, mut address) = bind(binds);
        for ip in [[127, 0, 0, 1], [127, 0, 0, 2]] {
            address.set_ip(ip.into());
            assert_eq!(client(address).ask(&["PING"]), pong(), "{binds}: {address}");
        }
        address.set_ip([127, 0, 0, 3].into());
        assert!(TcpStream::connect(address).is_err(), "{binds}: {address} was not requested");
    }
    let (_run, anywhere) = bind("--bind 0.0.0.0");
    assert!(anywhere.ip().is_loopback(), "{anywhere} is an address to connect to");
    assert_eq!(client(anywhere).ask(&["PING"]), pong());
    if TcpListener::bind("[::1]:0").is_err() {
        return crate::env::say("this machine has no IPv6");
    }
    let (_run, six) = bind("--bind ::1");
    assert!(six.is_ipv6());
    assert_eq!(client(six).ask(&["PING"]), pong());
    let (_run, mut both) = bind("--bind 127.0.0.1 --bind ::1");
    assert_eq!(client(both).ask(&["PING"]), pong());
    both.set_ip(six.ip());
    assert_eq!(client(both).ask(&["PING"]), pong());
}

#[test]
fn the_log_goes_to_stderr_and_is_filtered() {
    let stderr = |log: &str| {
        let mut run = Run::of(&mut slotway(&format!("serve --port 0 --log {log}")));
        assert!(run.ready().contains("ready"));
        run.signal(Signal::TERM);
        run.end().stderr
    };
    assert!(stderr("info").contains("shutting down"));
    assert!(stderr("slotway=debug").contains("shutting down"));
    assert_eq!(stderr("error"), "");
}

// ── clients and descriptors ───────────────────────────────────────────────────────────────────────

#[test]
fn an_explicit_maxclients_beyond_the_descriptors_is_an_error() {
    let End { code, stdout, stderr } =
        Run::of(&mut with_files(64, "serve --port 0 --maxclients 100")).end();
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    for word in ["100", "ulimit -n", "--maxclients 32"] {
        assert!(stderr.contains(word), "no {word:?} in {stderr:?}");
    }
    let End { code, stderr, .. } = Run::of(&mut with_files(20, "serve --port 0")).end();
    assert_eq!(code, Some(1), "not one client is possible: {stderr}");
    assert!(stderr.contains("ulimit -n"), "{stderr}");
}

#[test]
fn the_default_maxclients_is_lowered_to_the_descriptors() {
    let mut run = Run::of(&mut with_files(64, "serve --port 0 --output json"));
    let address = address_in(run.ready_json()["url"].as_str().expect("a URL"));
    let warning = run.stderr.line();
    assert!(warning.contains("WARN") && warning.contains("maxclients is 32"), "{warning:?}");
    // There is room for these 32.
    let mut clients: Vec<Client> = (0..32).map(|_| client(address)).collect();
    for client in &mut clients {
        assert_eq!(client.ask(&["PING"]), pong());
    }
    let mut one_more = client(address);
    assert_eq!(
        one_more.read(),
        Answer::Reply(Reply::Error(b"ERR max number of clients reached".to_vec()))
    );
    assert_eq!(one_more.read(), Answer::Closed);
}

// ── signals ───────────────────────────────────────────────────────────────────────────────────────

#[test]
fn sigterm_and_sigint_end_the_program_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut run = Run::of(&mut slotway("serve --port 0 --output json"));
        let address = address_in(run.ready_json()["url"].as_str().expect("a URL"));
        let mut idle = client(address);
        assert_eq!(idle.ask(&["PING"]), pong());
        run.signal(signal);
        assert_eq!(idle.read(), Answer::Closed);
        let End { code, stderr, .. } = run.end();
        assert_eq!(code, Some(0), "{signal:?}: {stderr}");
        assert!(TcpStream::connect(address).is_err(), "{signal:?}: still listens");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_running_batch_is_answered_before_the_program_ends() {
    // A second or two of work in a slow build: within the shutdown timeout on a busy machine too.
    const COMMANDS: usize = 10;
    let mut run = Run::of(&mut slotway("serve --port 0 --output json"));
    let address = address_in(run.ready_json()["url"].as_str().expect("a URL"));
    let mut busy = client(address);
    for key in ["{t}a", "{t}b"] {
        assert_eq!(busy.ask(&["SETRANGE", key, "1999", "x"]), Reply::Int(2000));
    }
    let mut batch = command(&["MULTI"]);
    for _ in 0..COMMANDS {
        batch.extend(command(&["LCS", "{t}a", "{t}b", "LEN"]));
    }
    assert_eq!(busy.ask(&["PING"]), pong());
    busy.send(&batch);
    for _ in 0..=COMMANDS {
        assert!(matches!(busy.read(), Answer::Reply(Reply::Simple(_))));
    }
    let before = cpu_ticks(&run);
    busy.send(&command(&["EXEC"]));
    // After some 20 ms of work the transaction runs and is far from its end.
    poll(|| (cpu_ticks(&run) >= before + 2).then_some(())).expect("the transaction runs");
    run.signal(Signal::TERM);
    poll(|| TcpStream::connect(address).is_err().then_some(()))
        .expect("new connections are refused");
    match busy.read() {
        Answer::Reply(Reply::Array(replies)) => {
            assert_eq!(replies, vec![Reply::Int(2000); COMMANDS]);
        }
        other => panic!("the running transaction was answered {other:?}"),
    }
    assert_eq!(busy.read(), Answer::Closed);
    let End { code, stderr, .. } = run.end();
    assert_eq!(code, Some(0), "{stderr}");
}

/// The CPU time that the program has used, in hundredths of a second.
#[cfg(target_os = "linux")]
fn cpu_ticks(run: &Run) -> u64 {
    let stat =
        std::fs::read_to_string(format!("/proc/{}/stat", run.id())).expect("the program runs");
    // The name in parentheses may hold anything; behind it, user and system time are the 12th and 13th.
    let (_, rest) = stat.rsplit_once(')').expect("a name in parentheses");
    rest.split_whitespace()
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<u64>().expect("a number"))
        .sum()
}
