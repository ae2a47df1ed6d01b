//! Blocked clients, many at once: no element is lost or given twice when they time out, are unblocked,
//! or close their connections.
//!
//! Producers push numbered elements; consumers take them with blocking commands, some with so short a
//! timeout that timing out and being served race, some of them unblocked by another client. In the end
//! every element was given to exactly one consumer, and one producer's elements reached one queue's
//! only consumer in their order.

use crate::env::{poll, say};
use crate::server_process::{ServerProcess, info};
use crate::wire::{Answer, Client, Reply, text};
use std::collections::HashMap;
use std::net::Shutdown;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

const PRODUCERS: usize = 3;
const EACH: usize = 400;

fn element(reply: &Reply) -> Option<String> {
    match reply {
        Reply::Bulk(bytes) => Some(text(bytes)),
        Reply::Array(parts) => parts.last().and_then(element),
        Reply::NullArray | Reply::NullBulk => None,
        Reply::Error(error) if error.starts_with(b"UNBLOCKED") => None,
        other => panic!("a consumer was answered {other:?}"),
    }
}

/// Producers push; consumers take with the commands of `takes`, one each, until all is taken. Returns
/// what each consumer got.
fn run(server: &ServerProcess, queues: &[&str], takes: &[&[&str]]) -> Vec<Vec<String>> {
    let taken = AtomicUsize::new(0);
    let all = PRODUCERS * EACH;
    thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            scope.spawn(move || {
                let mut client = server.client();
                for n in 0..EACH {
                    let (queue, name) = (queues[n % queues.len()], format!("{producer}/{n:04}"));
                    // Sometimes in a transaction, which serves blocked clients at its end.
                    if n % 7 == 0 {
                        client.ask(&["MULTI"]);
                        client.ask(&["RPUSH", queue, &name]);
                        client.ask(&["EXEC"]);
                    } else {
                        client.ask(&["RPUSH", queue, &name]);
                    }
                }
            });
        }
        let taken = &taken;
        let consumers: Vec<_> = takes
            .iter()
            .map(|take| {
                scope.spawn(move || {
                    let (mut client, mut got) = (server.client(), Vec::new());
                    while taken.load(Ordering::SeqCst) < all {
                        if let Some(name) = element(&client.ask(take)) {
                            taken.fetch_add(1, Ordering::SeqCst);
                            got.push(name);
                        }
                    }
                    got
                })
            })
            .collect();
        // Another client unblocks the consumers all the time.
        scope.spawn(move || {
            let mut client = server.client();
            let first = match client.ask(&["CLIENT", "ID"]) {
                Reply::Int(id) => id,
                other => panic!("CLIENT ID answers {other:?}"),
            };
            let mut n = 0;
            while taken.load(Ordering::SeqCst) < all {
                n += 1;
                let id = (first - n % 12).to_string();
                client.ask(&[
                    "CLIENT",
                    "UNBLOCK",
                    &id,
                    if n % 2 == 0 { "ERROR" } else { "TIMEOUT" },
                ]);
            }
        });
        consumers.into_iter().map(|consumer| consumer.join().expect("a consumer")).collect()
    })
}

fn assert_each_once(got: &[Vec<String>]) {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    got.iter().flatten().for_each(|name| *counts.entry(name).or_default() += 1);
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "given twice: {twice:?}");
    assert_eq!(counts.len(), PRODUCERS * EACH, "some were given to no consumer");
}

#[test]
fn every_element_is_given_once() {
    let server = ServerProcess::start(&["--threads".into(), "3".into()]);
    let takes: [&[&str]; 6] = [
        &["BLPOP", "{q}1", "{q}2", "0.01"],
        &["BLPOP", "{q}2", "{q}1", "0.001"],
        &["BRPOP", "{q}1", "{q}2", "0.001"],
        &["BLMPOP", "0.002", "2", "{q}1", "{q}2", "LEFT"],
        &["BLMOVE", "{q}1", "{q}done", "LEFT", "RIGHT", "0.001"],
        &["BRPOPLPUSH", "{q}2", "{q}done", "0.003"],
    ];
    let got = run(&server, &["{q}1", "{q}2"], &takes);
    // BLMPOP replies a list of one, which `element` unwraps.
    assert_each_once(&got);
    let mut client = server.client();
    let Reply::Array(done) = client.ask(&["LRANGE", "{q}done", "0", "-1"]) else {
        panic!("LRANGE answers an array")
    };
    let moved = got[4].len() + got[5].len();
    assert_eq!(done.len(), moved, "what was moved is at its destination");
    assert_eq!(client.ask(&["EXISTS", "{q}1", "{q}2"]), Reply::Int(0));
    let shares: Vec<_> = got.iter().map(Vec::len).collect();
    say(&format!("elements per consumer: {shares:?}"));
}

#[test]
fn a_queue_keeps_its_order_for_its_only_consumer() {
    let server = ServerProcess::start(&["--threads".into(), "3".into()]);
    let got = run(&server, &["queue"], &[&["BLPOP", "queue", "0.002"]]);
    assert_each_once(&got);
    for producer in 0..PRODUCERS {
        let prefix = format!("{producer}/");
        let its: Vec<_> = got[0].iter().filter(|name| name.starts_with(&prefix)).collect();
        assert!(its.is_sorted(), "out of order");
    }
}

/// A closed connection gets no element, whatever closed it.
#[test]
fn closed_clients_get_nothing() {
    let server = ServerProcess::start(&[]);
    let mut observer = server.client();
    let blocked = |observer: &mut Client, count| {
        let seen = poll(|| (info(observer, "blocked_clients") == count).then_some(()));
        assert_eq!(seen, Some(()), "{count} clients are blocked");
    };
    for how in ["close", "half-close", "kill", "reset"] {
        let mut victim = server.client();
        let Reply::Int(id) = victim.ask(&["CLIENT", "ID"]) else { panic!("an id") };
        victim.send(b"BLPOP jobs 0\r\n");
        blocked(&mut observer, 1);
        let mut next = server.client();
        next.send(b"BLPOP jobs 0\r\n");
        blocked(&mut observer, 2);
        match how {
            "close" => drop(victim),
            "half-close" => victim.socket().shutdown(Shutdown::Write).expect("connected"),
            "kill" => {
                assert_eq!(observer.ask(&["CLIENT", "KILL", "ID", &id.to_string()]), Reply::Int(1));
            }
            _ => {
                let socket = socket2::SockRef::from(victim.socket());
                socket.set_linger(Some(std::time::Duration::ZERO)).expect("linger");
                drop(victim);
            }
        }
        if how != "kill" {
            blocked(&mut observer, 1);
        }
        observer.ask(&["RPUSH", "jobs", how]);
        let expected =
            Reply::Array(vec![Reply::Bulk(b"jobs".to_vec()), Reply::Bulk(how.as_bytes().to_vec())]);
        assert_eq!(next.read(), Answer::Reply(expected), "after {how}");
        blocked(&mut observer, 0);
        // With no blocked client left, an element stays.
        observer.ask(&["RPUSH", "jobs", "kept"]);
        assert_eq!(observer.ask(&["LPOP", "jobs"]), Reply::Bulk(b"kept".to_vec()));
    }
}

/// Waits that time out leave nothing behind, in the shard or in the registry.
#[test]
fn waits_that_time_out_leave_nothing() {
    const ROUNDS: usize = 1500;
    let server = ServerProcess::start_with_small_pages(&[]);
    let mut client = server.client();
    let keys: Vec<String> = (0..20).map(|n| format!("{{k}}{n:0>200}")).collect();
    let mut argv = vec!["BLPOP"];
    argv.extend(keys.iter().map(String::as_str));
    argv.push("0.0001");
    let round = |client: &mut Client| {
        for _ in 0..ROUNDS {
            assert_eq!(client.ask(&argv), Reply::NullArray);
        }
    };
    round(&mut client);
    let before = server.resident();
    round(&mut client);
    let grown = server.resident().saturating_sub(before);
    assert!(grown < 1 << 20, "{ROUNDS} waits of 20 keys left {grown} bytes");
    assert_eq!(info(&mut client, "blocked_clients"), 0);
}
