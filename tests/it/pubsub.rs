//! Channels with many clients at once: one order for all subscribers, no client affected by one that
//! does not read, and nothing left of closed connections.

use crate::env::poll;
use crate::server_process::{ServerProcess, clients};
use crate::wire::{Answer, Client, Reply, command, text};
use socket2::SockRef;
use std::thread;
use std::time::Duration;

fn bulk(word: impl AsRef<[u8]>) -> Reply {
    Reply::Bulk(word.as_ref().to_vec())
}

/// The next message of a client, in either protocol and of any kind of subscription.
fn message(client: &mut Client) -> Vec<u8> {
    match client.read() {
        Answer::Reply(Reply::Array(parts) | Reply::Push(parts)) => match parts.last() {
            Some(Reply::Bulk(message)) => message.clone(),
            other => panic!("a message, not {other:?}"),
        },
        other => panic!("a message, not {other:?}"),
    }
}

fn subscribe(client: &mut Client, how: &str, name: &str) {
    let (Reply::Array(parts) | Reply::Push(parts)) = client.ask(&[how, name]) else {
        panic!("{how} is confirmed")
    };
    assert_eq!(parts[..2], [bulk(how.to_ascii_lowercase()), bulk(name)]);
}

/// How many are subscribed to channel `name`, to shard channel `name`, and to patterns.
fn audience(observer: &mut Client, name: &str) -> [i64; 3] {
    let mut count = |argv: &[&str]| match observer.ask(argv) {
        Reply::Array(pair) => pair[1].clone(),
        number => number,
    };
    let counts = [
        count(&["PUBSUB", "NUMSUB", name]),
        count(&["PUBSUB", "SHARDNUMSUB", name]),
        count(&["PUBSUB", "NUMPAT"]),
    ];
    counts.map(|count| match count {
        Reply::Int(count) => count,
        other => panic!("a number, not {other:?}"),
    })
}

// ── order ─────────────────────────────────────────────────────────────────────────────────────────

/// Publishers on their own threads, and a history of what each subscriber received: the histories are
/// equal and complete, and the messages of each publisher are in the order in which it sent them.
#[test]
fn all_subscribers_get_one_order() {
    const PUBLISHERS: usize = 4;
    const MESSAGES: usize = 2000;
    const BATCH: usize = 16;
    let server = ServerProcess::start(&[]);
    let listeners: Vec<Client> = (0..6)
        .map(|i| {
            let mut listener = server.client();
            if i % 2 == 0 {
                assert!(matches!(listener.ask(&["HELLO", "3"]), Reply::Map(_)));
            }
            // By name or by pattern: the order is the channel's.
            let (how, name) = if i < 3 { ("SUBSCRIBE", "ticks") } else { ("PSUBSCRIBE", "t*s") };
            subscribe(&mut listener, how, name);
            listener
        })
        .collect();
    let audience = listeners.len();
    let histories: Vec<Vec<String>> = thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            let mut client = server.client();
            scope.spawn(move || {
                for batch in 0..MESSAGES / BATCH {
                    let mut requests = Vec::new();
                    for i in 0..BATCH {
                        let name = format!("{publisher}:{}", batch * BATCH + i);
                        requests.extend(command(&["PUBLISH", "ticks", &name]));
                    }
                    client.send(&requests);
                    for _ in 0..BATCH {
                        assert_eq!(client.read(), Answer::Reply(Reply::Int(audience as i64)));
                    }
                }
            });
        }
        let hear = |mut listener: Client| {
            move || {
                (0..PUBLISHERS * MESSAGES)
                    .map(|_| text(&message(&mut listener)))
                    .collect::<Vec<_>>()
            }
        };
        let listeners: Vec<_> =
            listeners.into_iter().map(|listener| scope.spawn(hear(listener))).collect();
        listeners.into_iter().map(|listener| listener.join().expect("it got all")).collect()
    });
    for history in &histories {
        assert!(*history == histories[0], "two subscribers got different orders");
    }
    for publisher in 0..PUBLISHERS {
        let mine = |name: &&String| name.split(':').next() == Some(&publisher.to_string());
        let heard: Vec<_> = histories[0].iter().filter(mine).collect();
        assert_eq!(heard.len(), MESSAGES);
        let is_next = |(i, name): (usize, &&String)| **name == format!("{publisher}:{i}");
        assert!(heard.iter().enumerate().all(is_next), "publisher {publisher} was reordered");
    }
}

#[test]
fn a_thousand_subscribers_get_everything_in_order() {
    const SUBSCRIBERS: usize = 1000;
    const BATCHES: usize = 8;
    const BATCH: usize = 16;
    let server = ServerProcess::start(&[]);
    let mut listeners: Vec<Client> = (0..SUBSCRIBERS).map(|_| server.client()).collect();
    for listener in &mut listeners {
        subscribe(listener, "SUBSCRIBE", "all");
    }
    let mut publisher = server.client();
    for batch in 0..BATCHES {
        let mut requests = Vec::new();
        for i in 0..BATCH {
            requests.extend(command(&["PUBLISH", "all", &(batch * BATCH + i).to_string()]));
        }
        publisher.send(&requests);
        for _ in 0..BATCH {
            assert_eq!(publisher.read(), Answer::Reply(Reply::Int(SUBSCRIBERS as i64)));
        }
    }
    for (at, listener) in listeners.iter_mut().enumerate() {
        for i in 0..BATCHES * BATCH {
            assert_eq!(message(listener), i.to_string().into_bytes(), "subscriber {at}");
        }
        assert!(listener.unread().is_empty());
    }
}

/// A client subscribes and unsubscribes while others publish: between the two confirmations it gets an
/// unbroken run of messages, and none outside.
#[test]
fn confirmations_enclose_the_messages() {
    const ROUNDS: usize = 300;
    let server = ServerProcess::start(&[]);
    let mut mover = server.client();
    let heard: Vec<Vec<u64>> = thread::scope(|scope| {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let mut publisher = server.client();
        scope.spawn(move || {
            let mut next = 0u64;
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                let mut requests = Vec::new();
                for _ in 0..16 {
                    requests.extend(command(&["PUBLISH", "c", &next.to_string()]));
                    next += 1;
                }
                publisher.send(&requests);
                for _ in 0..16 {
                    assert!(matches!(publisher.read(), Answer::Reply(Reply::Int(0 | 1))));
                }
            }
        });
        let heard = (0..ROUNDS)
            .map(|_| {
                mover.send(&command(&["SUBSCRIBE", "c"]));
                let mut heard = Vec::new();
                let mut confirmed = false;
                loop {
                    let Answer::Reply(Reply::Array(parts)) = mover.read() else {
                        panic!("a message or a confirmation")
                    };
                    if parts[0] == bulk("subscribe") {
                        assert!(heard.is_empty(), "a message came before the confirmation");
                        confirmed = true;
                    } else if parts[0] == bulk("message") {
                        assert!(confirmed, "a message came after the end");
                        let Reply::Bulk(number) = &parts[2] else { panic!("a message") };
                        heard.push(text(number).parse().expect("a number"));
                        if heard.len() == 1 {
                            mover.send(&command(&["UNSUBSCRIBE", "c"]));
                        }
                    } else {
                        assert_eq!(parts[0], bulk("unsubscribe"));
                        break heard;
                    }
                }
            })
            .collect();
        drop(stop);
        heard
    });
    for run in heard {
        assert!(run.windows(2).all(|pair| pair[1] == pair[0] + 1), "{run:?} has gaps");
    }
    assert!(mover.unread().is_empty());
}

// ── slow subscribers ──────────────────────────────────────────────────────────────────────────────

#[test]
fn a_subscriber_that_does_not_read_is_closed_and_no_other_is_affected() {
    const UNREAD: usize = 10;
    const MESSAGE: usize = 64 * 1024;
    const LIMIT: usize = 1 << 20;
    let server = ServerProcess::start_with_small_pages(&[]);
    let mut publisher = server.client();
    let limits = format!("pubsub {LIMIT} 0 0");
    let set = publisher.ask(&["CONFIG", "SET", "client-output-buffer-limit", &limits]);
    assert_eq!(set, Reply::Simple(b"OK".to_vec()));
    let mut unread: Vec<Client> = (0..UNREAD).map(|_| server.client()).collect();
    for client in &mut unread {
        subscribe(client, "SUBSCRIBE", "c");
    }
    let mut reader = server.client();
    subscribe(&mut reader, "SUBSCRIBE", "c");
    let base = server.resident();
    let payload = |i: usize| {
        let mut payload = format!("{i}:").into_bytes();
        payload.resize(MESSAGE, b'x');
        payload
    };
    let (mut sent, mut peak, mut last) = (0, 0, 0);
    poll(|| {
        let Reply::Int(reached) = publisher.ask(&[b"PUBLISH", &b"c"[..], &payload(sent)]) else {
            panic!("PUBLISH returns a number")
        };
        last = reached;
        // The one that reads misses nothing.
        assert!(message(&mut reader) == payload(sent), "message {sent}");
        sent += 1;
        peak = peak.max(server.resident());
        (reached == 1).then_some(())
    })
    .unwrap_or_else(|| panic!("{last} still subscribed after {sent} messages"));
    let grown = peak.saturating_sub(base);
    // A buffer grows by doubling, and for a moment its old self exists too.
    assert!(grown < UNREAD * 4 * LIMIT, "{grown} bytes for {UNREAD} that do not read");
    poll(|| (clients(&mut publisher) == 2).then_some(())).expect("they are closed");
    assert_eq!(audience(&mut publisher, "c"), [1, 0, 0]);
    // Each got whole messages, from the first on, and then the end of the connection.
    for client in &mut unread {
        let mut i = 0;
        while let Answer::Reply(Reply::Array(parts)) = client.read() {
            assert!(parts[2] == bulk(payload(i)), "message {i}");
            i += 1;
        }
    }
}

// ── closed connections ────────────────────────────────────────────────────────────────────────────

#[test]
fn subscriptions_end_with_their_connection() {
    let server = ServerProcess::start(&[]);
    let mut observer = server.client();
    for way in ["close", "reset", "kill", "protocol error", "in a transaction"] {
        let mut client = server.client();
        assert!(matches!(client.ask(&["HELLO", "3"]), Reply::Map(_)));
        for (how, name) in [("SUBSCRIBE", "n"), ("SSUBSCRIBE", "n"), ("PSUBSCRIBE", "n*")] {
            subscribe(&mut client, how, name);
        }
        assert_eq!(audience(&mut observer, "n"), [1, 1, 1]);
        match way {
            "close" => drop(client),
            "reset" => {
                let linger = Some(Duration::ZERO);
                SockRef::from(client.socket()).set_linger(linger).expect("a TCP option");
                drop(client);
            }
            "kill" => {
                let killed = observer.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
                assert_eq!(killed, Reply::Int(1));
                assert_eq!(client.read(), Answer::Closed);
            }
            "protocol error" => {
                client.send(b"*abc\r\n");
                assert!(matches!(client.read(), Answer::Reply(Reply::Error(_))));
                assert_eq!(client.read(), Answer::Closed);
            }
            _ => {
                assert_eq!(client.ask(&["MULTI"]), Reply::Simple(b"OK".to_vec()));
                assert_eq!(client.ask(&["SUBSCRIBE", "m"]), Reply::Simple(b"QUEUED".to_vec()));
                drop(client);
            }
        }
        poll(|| (audience(&mut observer, "n") == [0; 3]).then_some(()))
            .unwrap_or_else(|| panic!("{way}: {:?}", audience(&mut observer, "n")));
        assert_eq!(observer.ask(&["PUBLISH", "n", "x"]), Reply::Int(0));
        assert_eq!(observer.ask(&["PUBSUB", "CHANNELS"]), Reply::Array(vec![]));
    }
}

// ── waiting ───────────────────────────────────────────────────────────────────────────────────────

#[test]
fn messages_arrive_while_the_client_is_blocked() {
    let server = ServerProcess::start(&[]);
    let (mut waiter, mut other) = (server.client(), server.client());
    assert!(matches!(waiter.ask(&["HELLO", "3"]), Reply::Map(_)));
    subscribe(&mut waiter, "SUBSCRIBE", "c");
    waiter.send(&command(&["BLPOP", "list", "0"]));
    for i in 0..3 {
        let i = i.to_string();
        assert_eq!(other.ask(&["PUBLISH", "c", &i]), Reply::Int(1));
        assert_eq!(message(&mut waiter), i.as_bytes());
    }
    assert_eq!(other.ask(&["RPUSH", "list", "x"]), Reply::Int(1));
    assert_eq!(waiter.read(), Answer::Reply(Reply::Array(vec![bulk("list"), bulk("x")])));
}

#[test]
fn a_silent_subscriber_is_not_idle() {
    let server = ServerProcess::start(&[]);
    let (mut idle, mut listener, mut other) = (server.client(), server.client(), server.client());
    assert_eq!(idle.ask(&["CLIENT", "SETNAME", "idle"]), Reply::Simple(b"OK".to_vec()));
    subscribe(&mut listener, "SSUBSCRIBE", "c");
    let set = other.ask(&["CONFIG", "SET", "timeout", "1"]);
    assert_eq!(set, Reply::Simple(b"OK".to_vec()));
    // Its requests keep `other` from being idle.
    poll(|| (clients(&mut other) == 2).then_some(())).expect("the idle client is closed");
    assert_eq!(idle.read(), Answer::Closed);
    assert_eq!(other.ask(&["SPUBLISH", "c", "x"]), Reply::Int(1));
    assert_eq!(message(&mut listener), b"x");
}
