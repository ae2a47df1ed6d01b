//! Commands about the server, with many clients at once: counts add up, a pause loses nothing, a
//! monitor gets the order of execution, the slow log names the right client, the shutdown is orderly.

use crate::env::poll;
use crate::server_process::{ServerProcess, clients, info};
use crate::wire::{Answer, Client, Reply, command, text};
use socket2::SockRef;
use std::collections::HashMap;
use std::thread;

const CLIENTS: usize = 6;

fn ok() -> Reply {
    Reply::Simple(b"OK".to_vec())
}

fn simple(word: &str) -> Reply {
    Reply::Simple(word.as_bytes().to_vec())
}

/// Runs `each` on a thread for each client; returns their results.
fn at_once<T: Send>(server: &ServerProcess, each: impl Fn(usize, Client) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let each = &each;
        let tasks: Vec<_> = (0..CLIENTS)
            .map(|id| {
                let client = server.client();
                scope.spawn(move || each(id, client))
            })
            .collect();
        tasks.into_iter().map(|task| task.join().expect("a client finished")).collect()
    })
}

/// The `name:value` lines of a section of INFO.
fn section(observer: &mut Client, name: &str) -> HashMap<String, String> {
    let Reply::Bulk(section) = observer.ask(&["INFO", name]) else { panic!("INFO is a bulk") };
    let section = String::from_utf8(section).expect("INFO is text");
    let fields = section.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The calls, rejected calls and failed calls of a command in `INFO commandstats`.
fn counted(observer: &mut Client, name: &str) -> [u64; 3] {
    let stats = section(observer, "commandstats");
    let fields = stats.get(&format!("cmdstat_{name}")).cloned().unwrap_or_default();
    ["calls", "rejected_calls", "failed_calls"].map(|wanted| {
        let mut fields = fields.split(',').filter_map(|field| field.split_once('='));
        fields
            .find(|(name, _)| *name == wanted)
            .map_or(0, |(_, count)| count.parse().expect("a count"))
    })
}

fn address_of(client: &Client) -> String {
    client.socket().local_addr().expect("connected").to_string()
}

// ── counts ────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn counts_of_all_shards_and_threads_add_up() {
    const ROUNDS: usize = 200;
    let server = ServerProcess::start(&[]);
    let mut observer = server.client();
    assert_eq!(observer.ask(&["SET", "text", "v"]), ok());
    at_once(&server, |id, mut client| {
        for round in 0..ROUNDS {
            // Alone, in a pipeline, and in a transaction; keys of every shard.
            let key = format!("k{id}:{round}");
            assert_eq!(client.ask(&["INCR", &key]), Reply::Int(1));
            client.send(
                &[
                    command(&["INCR", &key]),
                    command(&["INCR", "text"]),
                    command(&["INCR"]),
                    command(&["MULTI"]),
                    command(&["INCR", &key]),
                    command(&["EXEC"]),
                ]
                .concat(),
            );
            (0..6).for_each(|_| assert!(matches!(client.read(), Answer::Reply(_))));
        }
    });
    let times = (CLIENTS * ROUNDS) as u64;
    assert_eq!(counted(&mut observer, "incr"), [4 * times, times, times]);
    assert_eq!(counted(&mut observer, "multi"), [times, 0, 0]);
    assert_eq!(counted(&mut observer, "exec"), [times, 0, 0]);
    assert_eq!(
        section(&mut observer, "errorstats")["errorstat_ERR"],
        format!("count={}", 2 * times)
    );
    assert_eq!(info(&mut observer, "total_error_replies"), 2 * times);
    let Reply::Array(histogram) = observer.ask(&["LATENCY", "HISTOGRAM", "incr"]) else {
        panic!("LATENCY HISTOGRAM is a map")
    };
    let Reply::Array(fields) = &histogram[1] else { panic!("of maps") };
    assert_eq!(fields[1], Reply::Int(4 * times as i64), "each was timed");
    assert_eq!(observer.ask(&["CONFIG", "RESETSTAT"]), ok());
    assert_eq!(counted(&mut observer, "incr"), [0; 3]);
    assert_eq!(info(&mut observer, "total_error_replies"), 0);
}

#[test]
fn lost_transactions_are_counted() {
    let server = ServerProcess::start(&[]);
    let (mut loser, mut winner) = (server.client(), server.client());
    for (key, expected) in [("k", 1), ("k", 2)] {
        assert_eq!(loser.ask(&["WATCH", key]), ok());
        assert_eq!(winner.ask(&["SET", key, "v"]), ok());
        assert_eq!(loser.ask(&["MULTI"]), ok());
        assert_eq!(loser.ask(&["SET", key, "w"]), simple("QUEUED"));
        assert_eq!(loser.ask(&["EXEC"]), Reply::NullArray);
        assert_eq!(info(&mut winner, "execs_lost"), expected);
    }
    assert_eq!(info(&mut winner, "execs_run"), 0);
}

#[test]
fn rates_follow_traffic() {
    // Far above the rate of the INFO requests.
    const BUSY: u64 = 2000;
    let server = ServerProcess::start(&[]);
    let (mut busy, mut observer) = (server.client(), server.client());
    let rate = poll(|| {
        busy.send(&command(&["PING"]).repeat(1000));
        (0..1000).for_each(|_| assert_eq!(busy.read(), Answer::Reply(simple("PONG"))));
        Some(info(&mut observer, "instantaneous_ops_per_sec")).filter(|&rate| rate > BUSY)
    });
    assert!(rate.is_some());
    poll(|| (info(&mut observer, "instantaneous_ops_per_sec") < BUSY).then_some(()))
        .expect("it falls when the traffic ends");
}

// ── the slow log ──────────────────────────────────────────────────────────────────────────────────

/// A command that waits for a busy shard is run by another client's thread; the log names the sender.
#[test]
fn the_slow_log_names_the_sender() {
    let server = ServerProcess::start(&[]);
    let (mut sleeper, mut waiting) = (server.client(), server.client());
    assert_eq!(waiting.ask(&["CLIENT", "SETNAME", "waiting"]), ok());
    assert_eq!(sleeper.ask(&["CONFIG", "SET", "slowlog-log-slower-than", "0"]), ok());
    sleeper.send(&command(&["DEBUG", "SLEEP", "0.2"]));
    waiting.send(&command(&["SET", "k", "v"]));
    assert_eq!(waiting.read(), Answer::Reply(ok()));
    assert_eq!(sleeper.read(), Answer::Reply(ok()));
    let Reply::Array(entries) = sleeper.ask(&["SLOWLOG", "GET"]) else { panic!("an array") };
    let sent_by = |word: &[u8]| {
        entries.iter().find_map(|entry| match entry {
            Reply::Array(parts) => match &parts[3] {
                Reply::Array(args) if args[0] == Reply::Bulk(word.to_vec()) => {
                    Some((parts[4].clone(), parts[5].clone()))
                }
                _ => None,
            },
            _ => None,
        })
    };
    let bulk = |text: &str| Reply::Bulk(text.as_bytes().to_vec());
    assert_eq!(sent_by(b"SET"), Some((bulk(&address_of(&waiting)), bulk("waiting"))));
    assert_eq!(sent_by(b"DEBUG"), Some((bulk(&address_of(&sleeper)), bulk(""))));
}

// ── pause ─────────────────────────────────────────────────────────────────────────────────────────

/// Clients increment a counter, alone and in transactions, during pauses: while all of them wait, the
/// counter does not change and can be read; afterwards all go on, and no step is lost or done twice.
#[test]
fn a_pause_delays_writers_and_loses_nothing() {
    const STEPS: usize = 300;
    const PAUSES: usize = 5;
    let server = ServerProcess::start(&[]);
    let writer = |id: usize, mut client: Client| {
        let mut seen = Vec::with_capacity(STEPS);
        for step in 0..STEPS {
            seen.push(match (id + step) % 3 {
                0 => client.ask(&["INCR", "{n}n"]),
                1 => {
                    let exec = [["MULTI", ""], ["INCR", "{n}n"], ["EXEC", ""]];
                    exec.iter().for_each(|argv| {
                        let argv: Vec<_> = argv.iter().filter(|arg| !arg.is_empty()).collect();
                        client.send(&command(&argv));
                    });
                    assert_eq!(client.read(), Answer::Reply(ok()));
                    assert_eq!(client.read(), Answer::Reply(simple("QUEUED")));
                    match client.read() {
                        Answer::Reply(Reply::Array(mut replies)) => replies.remove(0),
                        other => panic!("EXEC answered {other:?}"),
                    }
                }
                _ => {
                    // Inline; the command behind it waits too.
                    client.send(b"GET {n}n\r\nINCR '{n}n'\r\nPING\r\n");
                    assert!(matches!(client.read(), Answer::Reply(_)));
                    let Answer::Reply(reply) = client.read() else { panic!("INCR is answered") };
                    assert_eq!(client.read(), Answer::Reply(simple("PONG")));
                    reply
                }
            });
        }
        seen
    };
    let seen = thread::scope(|scope| {
        let writers: Vec<_> = (0..CLIENTS)
            .map(|id| {
                let client = server.client();
                scope.spawn(move || writer(id, client))
            })
            .collect();
        let mut observer = server.client();
        let mut reader = server.client();
        for _ in 0..PAUSES {
            assert_eq!(observer.ask(&["CLIENT", "PAUSE", "1000000", "WRITE"]), ok());
            // All wait, except those that have finished.
            poll(|| {
                let there = clients(&mut observer) as u64 - 2;
                (info(&mut observer, "blocked_clients") == there).then_some(())
            })
            .expect("all writers wait");
            let before = reader.ask(&["GET", "{n}n"]);
            assert_eq!(reader.ask(&["MULTI"]), ok());
            assert_eq!(reader.ask(&["GET", "{n}n"]), simple("QUEUED"));
            assert_eq!(reader.ask(&["EXEC"]), Reply::Array(vec![before]), "it stands still");
            assert_eq!(observer.ask(&["CLIENT", "UNPAUSE"]), ok());
        }
        writers.into_iter().flat_map(|task| task.join().expect("finished")).collect::<Vec<_>>()
    });
    let mut seen: Vec<_> = seen
        .into_iter()
        .map(|reply| match reply {
            Reply::Int(n) => n,
            other => panic!("INCR answered {other:?}"),
        })
        .collect();
    seen.sort_unstable();
    assert!(seen.into_iter().eq(1..=(CLIENTS * STEPS) as i64), "every step once");
}

#[test]
fn a_pause_ends_by_itself_and_a_longer_one_prolongs_it() {
    let server = ServerProcess::start(&[]);
    let (mut writer, mut observer) = (server.client(), server.client());
    assert_eq!(observer.ask(&["CLIENT", "PAUSE", "50", "WRITE"]), ok());
    assert_eq!(observer.ask(&["CLIENT", "PAUSE", "200", "WRITE"]), ok());
    assert_eq!(observer.ask(&["CLIENT", "PAUSE", "1", "WRITE"]), ok());
    assert_eq!(writer.ask(&["SET", "k", "v"]), ok(), "once it is over");
    assert_eq!(info(&mut observer, "blocked_clients"), 0);
    assert_eq!(observer.ask(&["CLIENT", "PAUSE", "200", "ALL"]), ok());
    assert_eq!(writer.ask(&["PING"]), simple("PONG"));
}

#[test]
fn clients_that_close_during_a_pause_leave_nothing_behind() {
    let server = ServerProcess::start(&[]);
    let mut observer = server.client();
    assert_eq!(observer.ask(&["CLIENT", "PAUSE", "1000000", "WRITE"]), ok());
    let crowd: Vec<Client> = (0..20)
        .map(|_| {
            let mut client = server.client();
            client.send(&command(&["INCR", "n"]));
            client
        })
        .collect();
    poll(|| (info(&mut observer, "blocked_clients") == 20).then_some(())).expect("all wait");
    drop(crowd);
    poll(|| (clients(&mut observer) == 1).then_some(())).expect("the server notices");
    assert_eq!(info(&mut observer, "blocked_clients"), 0);
    assert_eq!(observer.ask(&["CLIENT", "UNPAUSE"]), ok());
    assert_eq!(observer.ask(&["GET", "n"]), Reply::NullBulk, "nothing of it ran");
}

// ── monitors ──────────────────────────────────────────────────────────────────────────────────────

/// The next line of a monitor.
fn line(monitor: &mut Client) -> String {
    match monitor.read() {
        Answer::Reply(Reply::Simple(line)) => String::from_utf8(line).expect("escaped"),
        other => panic!("a line, not {other:?}"),
    }
}

/// Clients push to one list from many threads, alone, in pipelines and in transactions. The monitors
/// get all pushes in the order of the list, with the right senders.
#[test]
fn monitors_get_the_order_of_execution() {
    const ROUNDS: usize = 300;
    let server = ServerProcess::start(&[]);
    let mut monitors = [server.client(), server.client()];
    monitors.iter_mut().for_each(|monitor| assert_eq!(monitor.ask(&["MONITOR"]), ok()));
    let senders = at_once(&server, |id, mut client| {
        for round in 0..ROUNDS {
            let [a, b, c] = [0, 1, 2].map(|part| format!("{id}:{round}:{part}"));
            let push = |value: &str| command(&["RPUSH", "list", value]);
            let requests =
                [push(&a), command(&["MULTI"]), push(&b), command(&["EXEC"]), push(&c)].concat();
            client.send(&requests);
            (0..5).for_each(|_| assert!(matches!(client.read(), Answer::Reply(_))));
        }
        address_of(&client)
    });
    let mut observer = server.client();
    let Reply::Array(list) = observer.ask(&["LRANGE", "list", "0", "-1"]) else { panic!("a list") };
    assert_eq!(list.len(), 3 * CLIENTS * ROUNDS);
    for monitor in &mut monitors {
        let mut pushed = list.iter();
        while pushed.len() > 0 {
            let line = line(monitor);
            let Some((head, value)) = line.split_once(" \"RPUSH\" \"list\" \"") else { continue };
            let value = value.strip_suffix('"').expect("quoted");
            assert_eq!(pushed.next(), Some(&Reply::Bulk(value.as_bytes().to_vec())));
            let id: usize = value.split(':').next().and_then(|id| id.parse().ok()).expect("an id");
            assert!(head.ends_with(&format!(" [0 {}]", senders[id])), "{head} is not {id}'s");
        }
    }
}

#[test]
fn a_monitor_that_does_not_read_is_closed_and_no_other_client_is_affected() {
    let server = ServerProcess::start(&[]);
    let mut observer = server.client();
    let limit = "normal 1mb 0 0";
    assert_eq!(observer.ask(&["CONFIG", "SET", "client-output-buffer-limit", limit]), ok());
    let mut deaf = server.client();
    SockRef::from(deaf.socket()).set_recv_buffer_size(4096).expect("a socket's option");
    assert_eq!(deaf.ask(&["MONITOR"]), ok());
    let value = "v".repeat(100_000);
    poll(|| {
        assert_eq!(observer.ask(&["SET", "k", &value]), ok());
        (clients(&mut observer) == 1).then_some(())
    })
    .expect("it is cut off");
    assert_eq!(observer.ask(&["SET", "k", &value]), ok());
}

#[test]
fn monitors_may_stop_reading_for_a_while_and_may_end() {
    let server = ServerProcess::start(&[]);
    let (mut monitor, mut observer) = (server.client(), server.client());
    let mut idle = server.client();
    assert_eq!(monitor.ask(&["MONITOR"]), ok());
    assert_eq!(idle.ask(&["PING"]), simple("PONG"));
    assert!(line(&mut monitor).ends_with("\"PING\""));
    assert_eq!(observer.ask(&["CONFIG", "SET", "timeout", "1"]), ok());
    poll(|| (clients(&mut observer) == 2).then_some(()))
        .expect("the idle one goes, not the monitor");
    assert_eq!(idle.read(), Answer::Closed);
    assert_eq!(observer.ask(&["CONFIG", "SET", "timeout", "0"]), ok());
    assert_eq!(observer.ask(&["ECHO", "last"]), Reply::Bulk(b"last".to_vec()));
    assert!(line(&mut monitor).ends_with("\"ECHO\" \"last\""));
    assert_eq!(monitor.ask(&["RESET"]), simple("RESET"));
    assert_eq!(observer.ask(&["ECHO", "unseen"]), Reply::Bulk(b"unseen".to_vec()));
    assert_eq!(monitor.ask(&["PING"]), simple("PONG"));
}

// ── the end ───────────────────────────────────────────────────────────────────────────────────────

#[test]
fn shutdown_ends_the_process() {
    for argv in [&["SHUTDOWN"][..], &["SHUTDOWN", "NOSAVE"], &["shutdown", "now", "force"]] {
        let mut server = ServerProcess::start(&[]);
        let (mut other, mut client) = (server.client(), server.client());
        assert_eq!(other.ask(&["PING"]), simple("PONG"));
        let refused = Reply::Error(b"ERR Errors trying to SHUTDOWN. Check logs.".to_vec());
        assert_eq!(client.ask(&["SHUTDOWN", "SAVE"]), refused, "there is nowhere to save to");
        assert_eq!(client.call(argv), Answer::Closed, "{argv:?}");
        assert_eq!(other.read(), Answer::Closed);
        assert_eq!(server.exit_code(), Some(0));
    }
}

// ── limits ────────────────────────────────────────────────────────────────────────────────────────

/// A pattern with many stars that nearly matches takes no exponential time.
#[test]
fn hostile_patterns_are_answered() {
    let server = ServerProcess::start(&[]);
    let mut client = server.client();
    let (name, pattern) = ("a".repeat(60), "a*".repeat(25) + "b");
    assert_eq!(client.ask(&["SET", &name, "v"]), ok());
    assert_eq!(client.ask(&["KEYS", &pattern]), Reply::Array(Vec::new()));
    let found = client.ask(&["SCAN", "0", "MATCH", &pattern, "COUNT", "1000"]);
    assert!(matches!(found, Reply::Array(parts) if parts[1] == Reply::Array(Vec::new())));
    assert_eq!(client.ask(&["CONFIG", "GET", &pattern]), Reply::Array(Vec::new()));
}

/// The kernel probes idle connections, as `tcp-keepalive` says: a half-open one ends.
#[cfg(target_os = "linux")]
#[test]
fn idle_connections_are_probed() {
    /// The timer that runs on the server's end of a connection, as the kernel numbers them.
    fn timer(server: &ServerProcess, client: &Client) -> Option<String> {
        let (local, peer) = (server.address.port(), client.socket().local_addr().ok()?.port());
        let sockets = std::fs::read_to_string("/proc/net/tcp").ok()?;
        sockets.lines().find_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let is_meant = fields.get(1)?.ends_with(&format!(":{local:04X}"))
                && fields.get(2)?.ends_with(&format!(":{peer:04X}"));
            is_meant.then(|| fields.get(5).map(|timer| (*timer).to_owned()))?
        })
    }
    const KEEPALIVE: &str = "02";
    let server = ServerProcess::start(&[]);
    let mut observer = server.client();
    assert_eq!(observer.ask(&["PING"]), simple("PONG"));
    let timed =
        |client: &Client| timer(&server, client).is_some_and(|timer| timer.starts_with(KEEPALIVE));
    // Another timer may run while data are in flight.
    poll(|| timed(&observer).then_some(())).expect("five minutes are the default");
    assert_eq!(observer.ask(&["CONFIG", "SET", "tcp-keepalive", "0"]), ok());
    let mut unprobed = server.client();
    assert_eq!(unprobed.ask(&["PING"]), simple("PONG"));
    poll(|| timer(&server, &unprobed).filter(|timer| timer.starts_with("00")))
        .expect("a later connection has no timer");
}

/// An error is counted under its first word; a client can choose it, so the words are bounded.
#[test]
fn kinds_of_errors_are_bounded() {
    let server = ServerProcess::start(&[]);
    let mut client = server.client();
    for kind in 0..300 {
        let error = format!("E{kind} made up");
        assert_eq!(client.ask(&["DEBUG", "ERROR", &error]), Reply::Error(error.into_bytes()));
    }
    let kinds = section(&mut client, "errorstats");
    assert!((100..300).contains(&kinds.len()), "{}", text(format!("{kinds:?}").as_bytes()));
    assert_eq!(info(&mut client, "total_error_replies"), 300);
}

/// With one thread nobody can send SCRIPT KILL: an endless script that has not written ends by itself.
#[test]
fn with_one_thread_an_endless_script_ends_by_itself() {
    let options = ["--threads".to_owned(), "1".to_owned()];
    let server = ServerProcess::start(&options);
    let mut client = server.client();
    assert_eq!(client.ask(&["CONFIG", "SET", "busy-reply-threshold", "20"]), simple("OK"));
    match client.ask(&["EVAL", "while true do end", "0"]) {
        Reply::Error(text) => assert!(
            text.starts_with(b"ERR Error running script") || text.starts_with(b"ERR Script killed"),
            "{}",
            text.escape_ascii()
        ),
        other => panic!("{other:?}"),
    }
    let writes = "redis.call('set', KEYS[1], 1) for i = 1, 5000000 do end return 7";
    assert_eq!(client.ask(&["EVAL", writes, "1", "k"]), Reply::Int(7), "what has written goes on");
    assert_eq!(client.ask(&["GET", "k"]), Reply::Bulk(b"1".to_vec()));
}
