//! Scripts that run for long: they make the clients of their shard wait and no others, and no script
//! keeps a process from ending.
//!
//! Nothing here measures time. A script runs until the test ends it, and what must not wait for it is
//! answered meanwhile.

use crate::env::poll;
use crate::program::{Folder, Run, slotway};
use crate::server_process::ServerProcess;
use crate::wire::{Answer, Client, Reply, text};
use rustix::process::Signal;
use slotway::TestCluster;
use std::net::SocketAddr;

/// A key of each of the four shards; the script runs at the third one's.
const KEYS: [&str; 4] = ["hello", "bar", "foo", "x"];
const SLOW: &str = KEYS[2];
const ENDLESS: &str = "while true do end";
const ENDLESS_AND_WRITTEN: &str = "redis.call('set', KEYS[1], '1') while true do end";
const BUSY: &str =
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";

fn ok() -> Reply {
    Reply::Simple(b"OK".to_vec())
}

fn error(text: &str) -> Reply {
    Reply::Error(text.as_bytes().to_vec())
}

/// A server of several threads, with this threshold.
fn server(threshold: &str) -> (ServerProcess, Client) {
    let server = ServerProcess::start(&["--threads".to_owned(), "3".to_owned()]);
    let mut client = server.client();
    assert_eq!(client.ask(&["CONFIG", "SET", "busy-reply-threshold", threshold]), ok());
    (server, client)
}

fn send(client: &mut Client, words: &[&str]) {
    client.send(&crate::wire::command(words));
}

/// Begins a script at [`SLOW`], and waits until other clients are refused.
fn begin(server: &ServerProcess, script: &str) -> Client {
    let (mut client, mut other) = (server.client(), server.client());
    send(&mut client, &["EVAL", script, "1", SLOW]);
    let busy = poll(|| (other.ask(&["GET", SLOW]) == error(BUSY)).then_some(()));
    assert!(busy.is_some(), "the script runs");
    client
}

/// Uses every shard but the script's, in all ways: commands, transactions, scripts.
fn use_other_shards(client: &mut Client) {
    for n in 0..100 {
        for key in KEYS.iter().filter(|key| **key != SLOW) {
            let value = n.to_string();
            assert_eq!(client.ask(&["SET", key, &value]), ok());
            assert_eq!(client.ask(&["GET", key]), Reply::Bulk(value.into_bytes()));
            let incr = "return redis.call('incr', KEYS[1])";
            assert_eq!(client.ask(&["EVAL", incr, "1", key]), Reply::Int(n + 1));
            assert_eq!(client.ask(&["WATCH", key]), ok());
            assert_eq!(client.ask(&["MULTI"]), ok());
            assert_eq!(client.ask(&["INCR", key]), Reply::Simple(b"QUEUED".to_vec()));
            assert_eq!(client.ask(&["EXEC"]), Reply::Array(vec![Reply::Int(n + 2)]));
        }
    }
}

#[test]
fn a_slow_script_makes_the_clients_of_its_shard_wait_and_no_others() {
    let (server, mut client) = server("50");
    let mut slow = begin(&server, ENDLESS);
    use_other_shards(&mut client);
    // What the process answers without a shard is answered.
    assert_eq!(client.ask(&["CONFIG", "SET", "slowlog-max-len", "7"]), ok());
    assert!(matches!(client.ask(&["CLIENT", "LIST"]), Reply::Bulk(_)));
    assert!(matches!(client.ask(&["SUBSCRIBE", "news"]), Reply::Array(_)));
    assert!(matches!(client.ask(&["UNSUBSCRIBE", "news"]), Reply::Array(_)));
    // What needs its shard, alone or with others, is not.
    for words in [
        &["SET", SLOW, "1"][..],
        &["DBSIZE"],
        &["KEYS", "*"],
        &["FLUSHALL"],
        &["RANDOMKEY"],
        &["EVAL", "return 1", "1", SLOW],
    ] {
        assert_eq!(client.ask(words), error(BUSY), "{words:?}");
    }
    assert!(!slow.has_input(), "the script still runs");
    assert_eq!(client.ask(&["SCRIPT", "KILL"]), ok());
    let Answer::Reply(Reply::Error(ended)) = slow.read() else { panic!("it was killed") };
    assert!(text(&ended).starts_with("ERR Script killed by user"), "{}", text(&ended));
    assert_eq!(client.ask(&["DBSIZE"]), Reply::Int(3));
}

/// Without a threshold a command over all shards waits for the script, and holds no shard meanwhile.
#[test]
fn what_waits_for_all_shards_holds_none_of_them() {
    let (server, mut client) = server("0");
    let (mut slow, mut other) = (server.client(), server.client());
    send(&mut slow, &["EVAL", ENDLESS, "1", SLOW]);
    // None that writes: one that came before the script would run among what follows.
    let waits: [&[&str]; 4] = [&["DBSIZE"], &["KEYS", "*"], &["SCAN", "0"], &["RANDOMKEY"]];
    let mut waiting: Vec<Client> = waits
        .iter()
        .map(|words| {
            let mut client = server.client();
            send(&mut client, words);
            client
        })
        .collect();
    use_other_shards(&mut client);
    use_other_shards(&mut other);
    // Each waits, unless it came before the script.
    assert!(waiting.iter_mut().any(|client| !client.has_input()));
    assert!(!slow.has_input(), "the script still runs");
}

/// A command over all shards that was sent before the threshold is refused after it.
#[test]
fn what_waits_for_all_shards_is_refused_once_the_script_makes_others_wait() {
    let (server, mut client) = server("300");
    let mut slow = server.client();
    let waits: [&[&str]; 4] = [&["DBSIZE"], &["KEYS", "*"], &["SCAN", "0"], &["RANDOMKEY"]];
    let mut waiting: Vec<Client> = waits.iter().map(|_| server.client()).collect();
    send(&mut slow, &["EVAL", ENDLESS, "1", SLOW]);
    // Its shard is held now, or will be: of several commands one at least comes later.
    let mut refused = 0;
    for (waits, words) in waiting.iter_mut().zip(&waits) {
        send(waits, words);
    }
    for waits in &mut waiting {
        match waits.read() {
            Answer::Reply(Reply::Error(text)) => {
                assert_eq!(Reply::Error(text), error(BUSY));
                refused += 1;
            }
            Answer::Reply(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(refused > 0, "the script runs when they are sent");
    assert_eq!(client.ask(&["SCRIPT", "KILL"]), ok());
    assert!(matches!(slow.read(), Answer::Reply(Reply::Error(_))));
    assert_eq!(client.ask(&["DBSIZE"]), Reply::Int(0));
}

#[test]
fn nothing_that_catches_errors_keeps_a_killed_script_alive() {
    let (server, mut client) = server("50");
    for script in [
        "local function spin() while true do end end while true do pcall(coroutine.wrap(spin)) end",
        "local function spin() while true do pcall(function() while true do end end) end end \
         local c = coroutine.wrap(spin) while true do pcall(c) end",
        "local function spin() while true do end end while true do xpcall(spin, spin) end",
        "local t = setmetatable({}, {__index = function() while true do end end}) \
         while true do pcall(function() return t.x end) end",
        "while true do pcall(string.gsub, 'x', 'x', function() while true do end end) end",
        "while true do pcall(table.sort, {3, 2, 1}, function() while true do end end) end",
        "while true do load(function() while true do end end) end",
        "while true do redis.pcall('nosuch') end",
    ] {
        let mut slow = begin(&server, script);
        assert_eq!(client.ask(&["SCRIPT", "KILL"]), ok(), "{script}");
        let Answer::Reply(Reply::Error(ended)) = slow.read() else { panic!("{script}") };
        assert!(text(&ended).starts_with("ERR Script killed by user"), "{script}");
    }
}

#[test]
fn shutdown_nosave_ends_a_script_that_has_written() {
    let (mut server, mut client) = server("50");
    let _slow = begin(&server, ENDLESS_AND_WRITTEN);
    for words in [&["SHUTDOWN"][..], &["SHUTDOWN", "SAVE"], &["SHUTDOWN", "FORCE"]] {
        assert_eq!(client.ask(words), error(BUSY), "{words:?}");
    }
    let unkillable = client.ask(&["SCRIPT", "KILL"]);
    assert!(matches!(&unkillable, Reply::Error(text) if text.starts_with(b"UNKILLABLE")));
    assert_eq!(client.call(&["SHUTDOWN", "NOSAVE"]), Answer::Closed);
    assert_eq!(server.exit_code(), Some(0));
}

/// Waits until a process works: it has used processor time since the last look.
#[cfg(target_os = "linux")]
fn wait_until_it_works(process: u32) {
    let used = || {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let of_user = fields.split(' ').nth(11).expect("its user time");
        of_user.parse::<u64>().expect("a number of ticks")
    };
    let before = used();
    assert!(poll(|| (used() > before + 10).then_some(())).is_some(), "it does not work");
}

/// With one thread the runtime notices no signal while a script runs.
#[cfg(target_os = "linux")]
#[test]
fn signals_end_a_process_of_one_thread_whose_script_has_written() {
    for (threads, signals) in
        [(1, &[Signal::TERM, Signal::INT][..]), (1, &[Signal::INT]), (2, &[Signal::TERM])]
    {
        let line = format!("serve --port 0 --node-ports off --output json --threads {threads}");
        let mut run = Run::of(&mut slotway(&line));
        let address = run.ready_json()["router"].as_str().expect("an address").to_owned();
        let address: SocketAddr = address.parse().expect("an address");
        let mut client = Client::connect(address).expect("it listens");
        send(&mut client, &["EVAL", ENDLESS_AND_WRITTEN, "1", SLOW]);
        wait_until_it_works(run.id());
        assert!(!client.has_input() && !run.has_ended());
        signals.iter().for_each(|signal| run.signal(*signal));
        assert_eq!(run.end().code, Some(0), "{threads} {signals:?}");
    }
}

/// A script that its client has left behind does not keep `slotway run` from its report.
#[test]
fn a_script_that_is_left_behind_ends_with_the_command_of_a_run() {
    let folder = Folder::new("run-endless-script");
    let script = folder.written(
        "endless.py",
        &format!(
            "
import os, socket
line = socket.create_connection((os.environ['REDIS_HOST'], int(os.environ['REDIS_PORT'])))
line.sendall(b'''EVAL \"{ENDLESS_AND_WRITTEN}\" 1 k\\r\\n''')
"
        ),
    );
    let mut command = slotway("run --");
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
    let end = Run::of(command.args(["python3", &script])).end();
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    assert!(end.stderr.contains("would run what was seen"), "{}", end.stderr);
}

#[test]
fn a_test_cluster_ends_with_a_script_that_has_written() {
    for threads in [1, 2] {
        let cluster = TestCluster::builder().threads(threads).start().expect("a cluster");
        let mut client = Client::connect(cluster.router()).expect("it listens");
        send(&mut client, &["EVAL", ENDLESS_AND_WRITTEN, "1", SLOW]);
        drop(cluster);
        assert!(matches!(client.read(), Answer::Reply(Reply::Error(_)) | Answer::Closed));
    }
}
