//! Many clients at once, and a history of the replies of each: not only the totals must be right.
//!
//! - Compare-and-swap loops (WATCH, GET, MULTI, SET, EXEC): every committed write names the write
//!   that it read. The writes of a key must form one chain: two commits that read the same write
//!   are a lost update. Scripts and functions write among them: alone, in MULTI under a WATCH, and without
//!   having read before.
//! - Appends in MULTI: each transaction takes a number and appends its name to a log, in one slot.
//!   The i-th entry of the log belongs to the client that got number i. A client that reads number and
//!   log in one MULTI, or in one script, gets as many entries as the number says, and a prefix of the final log. The
//!   entries of each client are in the order in which it wrote them.
//! - Locks: a counter is read and written in two commands by the client that holds a lock, which a script
//!   releases if the token is right. No increment is lost.
//! - Kills: once CLIENT KILL has returned, nothing that the killed client sends takes effect.
//!
//! The clients' choices come from a seed, which is printed (SLOTWAY_SEED repeats it). The order in
//! which the requests reach the server varies from run to run.

use crate::env::{say, setting};
use crate::server_process::ServerProcess;
use crate::wire::{Answer, Client, Reply, text};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::thread;

const CLIENTS: usize = 8;

fn seed() -> u64 {
    let seed = setting("SLOTWAY_SEED").and_then(|s| s.parse().ok()).unwrap_or_else(|| {
        std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), std::process::id())
    });
    say(&format!("SLOTWAY_SEED={seed}"));
    seed
}

fn call(client: &mut Client, argv: &[&str]) -> Reply {
    match client.call(argv) {
        Answer::Reply(reply) => reply,
        other => panic!("{argv:?} was answered {other:?}"),
    }
}

fn bulk(reply: &Reply) -> Option<String> {
    match reply {
        Reply::Bulk(bytes) => Some(text(bytes)),
        _ => None,
    }
}

/// Runs `each` on a thread for each client; returns their results.
fn at_once<T: Send>(address: SocketAddr, each: impl Fn(usize, Client) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let each = &each;
        let clients: Vec<_> = (0..CLIENTS)
            .map(|id| {
                let client = Client::connect(address).expect("the server accepts");
                scope.spawn(move || each(id, client))
            })
            .collect();
        clients.into_iter().map(|c| c.join().expect("a client finished")).collect()
    })
}

/// Writes a value over another one; returns 1, or 0 if the key has another value by now.
const SWAP: &str = "if (redis.call('get', KEYS[1]) or '') ~= ARGV[1] then return 0 end \
                    redis.call('set', KEYS[1], ARGV[2]) return 1";
/// Writes a value and returns the one before.
const REPLACE: &str = "#!lua name=cells\nredis.register_function('replace', function(keys, args) \
                       local old = redis.call('get', keys[1]) or '' \
                       redis.call('set', keys[1], args[1]) return old end)";

/// Tries to write `written` to a key in one of several ways. Returns what was read before it, or `None`
/// if another client was faster.
fn commit(client: &mut Client, way: usize, key: &str, written: &str) -> Option<String> {
    if way == 0 {
        return bulk(&call(client, &["FCALL", "replace", "1", key, written]));
    }
    let is_guarded = way > 1;
    if is_guarded {
        call(client, &["WATCH", key]);
    }
    let read = bulk(&call(client, &["GET", key])).unwrap_or_default();
    let swap = ["EVAL", SWAP, "1", key, &read, written];
    if !is_guarded {
        return (call(client, &swap) == Reply::Int(1)).then_some(read);
    }
    call(client, &["MULTI"]);
    let (request, reply) = match way {
        2 => (&["SET", key, written][..], Reply::Simple(b"OK".to_vec())),
        // Its guard holds, so nothing has changed since.
        3 => (&swap[..], Reply::Int(1)),
        _ => (&["FCALL", "replace", "1", key, written][..], Reply::Bulk(read.clone().into())),
    };
    call(client, request);
    match call(client, &["EXEC"]) {
        Reply::NullArray => None,
        Reply::Array(replies) => {
            assert_eq!(replies, [reply], "{request:?}");
            Some(read)
        }
        other => panic!("EXEC answered {other:?}"),
    }
}

#[test]
fn no_update_is_lost() {
    const COMMITS: usize = 150;
    const KEYS: usize = 6;
    const WAYS: usize = 5;
    let seed = seed();
    let server = ServerProcess::start(&["--threads".into(), "3".into()]);
    call(&mut server.client(), &["FUNCTION", "LOAD", REPLACE]);
    /// A committed write: the key, what was read, what was written.
    type Commit = (String, String, String);
    let histories: Vec<(Vec<Commit>, usize)> = at_once(server.address, |id, mut client| {
        let mut chance = fastrand::Rng::with_seed(seed ^ id as u64);
        let (mut commits, mut lost) = (Vec::new(), 0);
        while commits.len() < COMMITS {
            let key = format!("counter:{{{}}}", chance.usize(..KEYS));
            let written = format!("{id}/{}", commits.len());
            match commit(&mut client, chance.usize(..WAYS), &key, &written) {
                None => lost += 1,
                Some(read) => commits.push((key, read, written)),
            }
        }
        (commits, lost)
    });
    let lost: usize = histories.iter().map(|(_, lost)| lost).sum();
    let mut next: HashMap<(String, String), String> = HashMap::new();
    for (key, read, written) in histories.into_iter().flat_map(|(commits, _)| commits) {
        if let Some(other) = next.insert((key.clone(), read.clone()), written.clone()) {
            panic!("{key}: both {other} and {written} were committed over {read:?}");
        }
    }
    let commits = next.len();
    assert_eq!(commits, CLIENTS * COMMITS);
    let mut client = Client::connect(server.address).expect("the server accepts");
    let mut reached = 0;
    for key in (0..KEYS).map(|k| format!("counter:{{{k}}}")) {
        let mut at = String::new();
        while let Some(written) = next.remove(&(key.clone(), at.clone())) {
            (at, reached) = (written, reached + 1);
        }
        assert_eq!(
            bulk(&call(&mut client, &["GET", &key])).unwrap_or_default(),
            at,
            "the end of {key}'s chain"
        );
    }
    assert_eq!(reached, commits, "every commit lies on its key's chain");
    assert!(lost > 0, "the clients were in each other's way");
    say(&format!(
        "histories checked: {commits} commits in {KEYS} chains, {lost} attempts were too late"
    ));
}

/// A client whose lock is released by another, or held by two, loses increments.
#[test]
fn a_lock_that_a_script_releases_excludes_others() {
    const ROUNDS: i64 = 40;
    const LOCKS: usize = 2;
    const RELEASE: &str = "if redis.call('get', KEYS[1]) == ARGV[1] then \
                           return redis.call('del', KEYS[1]) end return 0";
    let seed = seed();
    let server = ServerProcess::start(&["--threads".into(), "3".into()]);
    let rounds: Vec<[i64; LOCKS]> = at_once(server.address, |id, mut client| {
        let mut chance = fastrand::Rng::with_seed(seed ^ id as u64);
        let (mut done, mut number) = ([0; LOCKS], 0);
        while done.iter().sum::<i64>() < ROUNDS {
            number += 1;
            let (at, token) = (chance.usize(..LOCKS), format!("{id}/{number}"));
            // The counter is in another slot, and may be at another shard.
            let (lock, counter) = (format!("{{{at}}}lock"), format!("{{counter {at}}}"));
            if chance.u8(..4) == 0 {
                // The token of no lock that is held: nothing is released.
                let release = call(&mut client, &["EVAL", RELEASE, "1", &lock, &token]);
                assert_eq!(release, Reply::Int(0));
            }
            if call(&mut client, &["SET", &lock, &token, "NX"]) == Reply::NullBulk {
                continue;
            }
            let count = bulk(&call(&mut client, &["GET", &counter]));
            let count = count.map_or(0, |count| count.parse::<i64>().expect("a number"));
            call(&mut client, &["SET", &counter, &(count + 1).to_string()]);
            done[at] += 1;
            let release = call(&mut client, &["EVAL", RELEASE, "1", &lock, &token]);
            assert_eq!(release, Reply::Int(1), "the lock is its own until then");
        }
        done
    });
    let mut client = server.client();
    for at in 0..LOCKS {
        let count = bulk(&call(&mut client, &["GET", &format!("{{counter {at}}}")]));
        let all: i64 = rounds.iter().map(|done| done[at]).sum();
        assert_eq!(count, Some(all.to_string()), "counter {at}");
    }
}

#[test]
fn a_transaction_is_seen_whole_or_not_at_all() {
    const APPENDS: usize = 120;
    const APPEND: &str =
        "return {redis.call('incr', KEYS[1]), redis.call('append', KEYS[2], ARGV[1])}";
    const READ: &str = "return {redis.call('get', KEYS[1]), redis.call('get', KEYS[2])}";
    const LOGS: usize = 3;
    let seed = seed();
    let server = ServerProcess::start(&["--threads".into(), "3".into()]);
    #[derive(Default)]
    struct Seen {
        /// Log, number given, entry.
        written: Vec<(usize, i64, String)>,
        /// Log, number, the log's text at that moment.
        read: Vec<(usize, i64, String)>,
    }
    let seen: Vec<Seen> = at_once(server.address, |id, mut client| {
        let mut chance = fastrand::Rng::with_seed(seed ^ id as u64);
        let mut seen = Seen::default();
        while seen.written.len() < APPENDS {
            let log = chance.usize(..LOGS);
            let (number_key, log_key) = (format!("{{{log}}}number"), format!("{{{log}}}log"));
            let writes = chance.bool();
            let entry = format!("{id}/{} ", seen.written.len());
            let script = match writes {
                true => APPEND,
                false => READ,
            };
            let steps: Vec<Vec<&str>> = if chance.u8(..3) == 0 {
                vec![vec!["EVAL", script, "2", &number_key, &log_key, &entry]]
            } else if writes {
                vec![
                    vec!["MULTI"],
                    vec!["INCR", &number_key],
                    vec!["APPEND", &log_key, &entry],
                    vec!["EXEC"],
                ]
            } else {
                vec![vec!["MULTI"], vec!["GET", &number_key], vec!["GET", &log_key], vec!["EXEC"]]
            };
            // Half of the time in one write, so that pipelines and single commands interleave.
            let answers: Vec<Reply> = if chance.bool() {
                client.send(
                    &steps.iter().flat_map(|step| crate::wire::command(step)).collect::<Vec<u8>>(),
                );
                steps
                    .iter()
                    .map(|_| client.read())
                    .map(|a| if let Answer::Reply(r) = a { r } else { panic!("{a:?}") })
                    .collect()
            } else {
                steps.iter().map(|step| call(&mut client, step)).collect()
            };
            let Some(Reply::Array(replies)) = answers.last() else {
                panic!("EXEC, or EVAL, answered {answers:?}")
            };
            match &replies[..] {
                [Reply::Int(number), Reply::Int(_)] if writes => {
                    seen.written.push((log, *number, entry));
                }
                [number, content] if !writes => {
                    let number = bulk(number).map_or(0, |n| n.parse().expect("a number"));
                    seen.read.push((log, number, bulk(content).unwrap_or_default()));
                }
                other => panic!("EXEC, or EVAL, answered {other:?}"),
            }
        }
        seen
    });
    let mut client = Client::connect(server.address).expect("the server accepts");
    let logs: Vec<String> = (0..LOGS)
        .map(|log| bulk(&call(&mut client, &["GET", &format!("{{{log}}}log")])).expect("a log"))
        .collect();
    let entries: Vec<Vec<&str>> =
        logs.iter().map(|log| log.split_inclusive(' ').collect()).collect();
    let mut places = HashSet::new();
    for one in &seen {
        let mut last = [0; LOGS];
        for (log, number, entry) in &one.written {
            assert_eq!(entries[*log][*number as usize - 1], entry, "entry {number} of log {log}");
            assert!(*number > last[*log], "a client's own entries are in the order of its writing");
            assert!(places.insert((*log, *number)), "a number is given once");
            last[*log] = *number;
        }
        for (log, number, content) in &one.read {
            assert_eq!(
                content.matches(' ').count() as i64,
                *number,
                "as many entries as the number says"
            );
            assert!(logs[*log].starts_with(content.as_str()), "a front of log {log}");
        }
    }
    assert_eq!(places.len(), entries.iter().map(Vec::len).sum::<usize>());
    let reads: usize = seen.iter().map(|s| s.read.len()).sum();
    say(&format!("histories checked: {} appends, {reads} reads", places.len()));
}

/// EXEC is sent after the reply to CLIENT KILL. It must not run, alone or in one write with other
/// commands, on a shard that is idle or busy.
#[test]
fn nothing_runs_that_a_killed_client_sends() {
    const KILLS: usize = 60;
    let server = ServerProcess::start(&["--threads".into(), "3".into()]);
    at_once(server.address, |id, mut killer| {
        for kill in 0..KILLS {
            let mut victim = Client::connect(server.address).expect("the server accepts");
            let Reply::Int(number) = call(&mut victim, &["CLIENT", "ID"]) else { panic!("no id") };
            let key = format!("{id}:{kill}");
            call(&mut victim, &["MULTI"]);
            call(&mut victim, &["SET", &key, "ran"]);
            let killed = call(&mut killer, &["CLIENT", "KILL", "ID", &number.to_string()]);
            assert_eq!(killed, Reply::Int(1));
            let exec = crate::wire::command(&["EXEC"]);
            let more = crate::wire::command(&["SET", &key, "ran too"]);
            victim.send(&if kill % 2 == 0 { exec } else { [exec, more].concat() });
            assert!(matches!(victim.read(), Answer::Closed), "a killed client is answered");
            assert_eq!(
                bulk(&call(&mut killer, &["GET", &key])),
                None,
                "what was sent after the kill ran"
            );
        }
    });
    let mut client = Client::connect(server.address).expect("the server accepts");
    assert_eq!(call(&mut client, &["DBSIZE"]), Reply::Int(0));
}
