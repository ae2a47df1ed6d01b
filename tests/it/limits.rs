//! Limits: what happens to a client at each of them, and that no other client is affected.

use crate::env::poll;
use crate::server_process::{ServerProcess, clients, info};
use crate::wire::{Answer, Client, Reply, command};

const MEGABYTE: usize = 1 << 20;

fn ok() -> Reply {
    Reply::Simple(b"OK".to_vec())
}

fn pong() -> Reply {
    Reply::Simple(b"PONG".to_vec())
}

// ── clients ───────────────────────────────────────────────────────────────────────────────────────

#[test]
fn one_client_too_many_gets_an_error_and_is_closed() {
    let server = ServerProcess::start(&["--maxclients".into(), "3".into()]);
    let mut connected: Vec<Client> = (0..3).map(|_| server.client()).collect();
    let all_answer = |connected: &mut Vec<Client>| {
        connected.iter_mut().all(|client| client.ask(&["PING"]) == pong())
    };
    assert!(all_answer(&mut connected));
    for _ in 0..10 {
        let mut one_more = server.client();
        let full = Reply::Error(b"ERR max number of clients reached".to_vec());
        assert_eq!(one_more.read(), Answer::Reply(full));
        assert_eq!(one_more.read(), Answer::Closed);
    }
    assert!(all_answer(&mut connected));
    assert_eq!(info(&mut connected[0], "rejected_connections"), 10);
    // A closed connection makes room for another, and a higher limit applies at once.
    connected.pop();
    poll(|| (clients(&mut connected[0]) == 2).then_some(())).expect("it is closed");
    connected.push(server.client());
    assert!(all_answer(&mut connected));
    assert_eq!(connected[0].ask(&["CONFIG", "SET", "maxclients", "4"]), ok());
    connected.push(server.client());
    assert!(all_answer(&mut connected));
}

#[cfg(target_os = "linux")]
#[test]
fn without_descriptors_the_server_serves_its_clients_and_accepts_again_later() {
    const FILES: usize = 64;
    let server = ServerProcess::start(&[]);
    let mut observer = server.client();
    server.limit_files(FILES as u64);
    let mut clients_waiting: Vec<Client> = (0..100).map(|_| server.client()).collect();
    clients_waiting.iter_mut().for_each(|client| client.send(&command(&["PING"])));
    // The kernel has connected all of them; the server accepts as many as it has descriptors for.
    let full = poll(|| Some(clients(&mut observer)).filter(|&count| count >= FILES / 2));
    assert!(full.is_some_and(|count| count < FILES), "{full:?}");
    // The others are accepted in the order of their arrival as connections close.
    for (i, mut client) in clients_waiting.into_iter().enumerate() {
        assert_eq!(client.read(), Answer::Reply(pong()), "client {i}'s turn comes");
        assert_eq!(observer.ask(&["PING"]), pong());
    }
}

#[test]
fn thousands_of_idle_connections_are_all_answered() {
    let files_max = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    // The other tests of this process need files too.
    let count = files_max.map_or(3000, |max| (max / 3).min(3000)) as usize;
    let server = ServerProcess::start(&[]);
    let mut observer = server.client();
    let mut idle: Vec<Client> = (0..count).map(|_| server.client()).collect();
    poll(|| (clients(&mut observer) == count + 1).then_some(())).expect("all are accepted");
    for round in 0..2 {
        for (i, client) in idle.iter_mut().enumerate() {
            assert_eq!(client.ask(&["PING"]), pong(), "client {i} in round {round}");
        }
    }
    drop(idle);
    poll(|| (clients(&mut observer) == 1).then_some(())).expect("all are closed");
}

#[test]
fn idle_clients_are_closed_and_others_are_not() {
    let server = ServerProcess::start(&[]);
    let mut idle = server.client();
    assert_eq!(idle.ask(&["PING"]), pong());
    let mut sender = server.client();
    assert_eq!(server.client().ask(&["CONFIG", "SET", "timeout", "3"]), ok());
    // A slow sender of one long argument is not idle.
    let request = command(&[&b"SET"[..], b"long", &vec![b'v'; MEGABYTE]]);
    let mut pieces = request.chunks(100);
    for round in 0..2 {
        if round > 0 {
            idle = server.client();
            assert_eq!(idle.ask(&["PING"]), pong());
        }
        poll(|| {
            sender.send(pieces.next().unwrap_or_default());
            // The new connection, the sender, and the idle one; earlier connections may still be listed.
            (clients(&mut server.client()) < 3).then_some(())
        })
        .expect("the idle are closed");
        assert_eq!(idle.read(), Answer::Closed);
    }
    pieces.for_each(|piece| sender.send(piece));
    assert_eq!(sender.read(), Answer::Reply(ok()));
}

// ── requests ──────────────────────────────────────────────────────────────────────────────────────

#[test]
fn input_beyond_the_limit_closes_without_a_reply() {
    let server = ServerProcess::start(&[]);
    let mut observer = server.client();
    let value = vec![b'x'; 2 * MEGABYTE];
    assert_eq!(observer.ask(&[&b"SET"[..], b"before", &value]), ok());
    assert_eq!(observer.ask(&["CONFIG", "SET", "client-query-buffer-limit", "1mb"]), ok());
    let mut greedy = server.client();
    greedy.send(&command(&[&b"SET"[..], b"after", &value]));
    assert_eq!(greedy.read(), Answer::Closed);
    let refused = command(&["CONFIG", "SET", "client-query-buffer-limit", "1000"]);
    observer.send(&refused);
    assert!(
        matches!(observer.read(), Answer::Reply(Reply::Error(_))),
        "below the least that can be set"
    );
    assert_eq!(
        observer.ask(&["EXISTS", "before", "{}after"]),
        Reply::Error(b"CROSSSLOT Keys in request don't hash to the same slot".to_vec())
    );
    assert_eq!(observer.ask(&["EXISTS", "after"]), Reply::Int(0));
    // Much input in small requests is within the limit: they are executed as they arrive.
    let mut busy = server.client();
    busy.send(&command(&["PING"]).repeat(200_000));
    for _ in 0..200_000 {
        assert_eq!(busy.read(), Answer::Reply(pong()));
    }
    // The queue of MULTI has the same limit.
    let mut hoarder = server.client();
    assert_eq!(hoarder.ask(&["MULTI"]), ok());
    let half = &value[..MEGABYTE / 2];
    let queued = Reply::Simple(b"QUEUED".to_vec());
    let last =
        poll(|| Some(hoarder.ask(&[&b"SET"[..], b"k", half])).filter(|reply| *reply != queued));
    let refusal = b"ERR transaction exceeds client-query-buffer-limit";
    assert_eq!(last, Some(Reply::Error(refusal.to_vec())));
    let aborted = b"EXECABORT Transaction discarded because of previous errors.";
    assert_eq!(hoarder.ask(&["EXEC"]), Reply::Error(aborted.to_vec()));
    assert_eq!(observer.ask(&["EXISTS", "k"]), Reply::Int(0));
}

#[test]
fn a_huge_value_comes_back_byte_for_byte() {
    let server = ServerProcess::start(&[]);
    let mut client = server.client();
    let mut chance = fastrand::Rng::with_seed(64);
    let mut value = vec![0; 64 * MEGABYTE];
    chance.fill(&mut value);
    assert_eq!(client.ask(&[&b"SET"[..], b"{t}huge", &value]), ok());
    assert_eq!(client.ask(&["STRLEN", "{t}huge"]), Reply::Int(value.len() as i64));
    let is_whole = |reply: Reply| reply == Reply::Bulk(value.clone());
    assert!(is_whole(client.ask(&["GET", "{t}huge"])));
    // In a transaction, as a hash field, and as a DUMP payload.
    assert_eq!(client.ask(&["MULTI"]), ok());
    assert_eq!(
        client.ask(&[&b"HSET"[..], b"{t}h", b"f", &value]),
        Reply::Simple(b"QUEUED".to_vec())
    );
    assert_eq!(client.ask(&["HGET", "{t}h", "f"]), Reply::Simple(b"QUEUED".to_vec()));
    let Reply::Array(mut replies) = client.ask(&["EXEC"]) else { panic!("EXEC answers an array") };
    assert_eq!(replies[0], Reply::Int(1));
    assert!(is_whole(replies.swap_remove(1)));
    let Reply::Bulk(payload) = client.ask(&["DUMP", "{t}huge"]) else {
        panic!("DUMP answers a bulk")
    };
    assert_eq!(client.ask(&[&b"RESTORE"[..], b"{t}copy", b"0", &payload]), ok());
    assert!(is_whole(client.ask(&["GET", "{t}copy"])));
}

#[test]
fn queueing_a_long_transaction_delays_no_other_client() {
    const COMMANDS: usize = 100_000;
    const AT_ONCE: usize = 1000;
    let server = ServerProcess::start(&[]);
    let (mut long, mut other) = (server.client(), server.client());
    assert_eq!(long.ask(&["MULTI"]), ok());
    let requests = command(&["INCR", "{t}n"]).repeat(AT_ONCE);
    for round in 1..=COMMANDS / AT_ONCE {
        long.send(&requests);
        // The same shard and key: answered while the queue grows, and nothing has run.
        assert_eq!(other.ask(&["GET", "{t}n"]), Reply::NullBulk);
        assert_eq!(other.ask(&["INCR", "{t}other"]), Reply::Int(round as i64));
        for _ in 0..AT_ONCE {
            assert_eq!(long.read(), Answer::Reply(Reply::Simple(b"QUEUED".to_vec())));
        }
    }
    let Reply::Array(replies) = long.ask(&["EXEC"]) else { panic!("EXEC answers an array") };
    assert!(replies.into_iter().eq((1..=COMMANDS as i64).map(Reply::Int)));
    assert_eq!(other.ask(&["GET", "{t}n"]), Reply::Bulk(COMMANDS.to_string().into_bytes()));
}

// ── replies ───────────────────────────────────────────────────────────────────────────────────────

#[test]
fn output_beyond_the_limit_closes_if_there_is_one() {
    let server = ServerProcess::start(&[]);
    let mut observer = server.client();
    // More than the socket buffers of both sides hold while nothing is read.
    let value = vec![b'x'; 48 * MEGABYTE];
    assert_eq!(observer.ask(&[&b"SET"[..], b"k", &value]), ok());
    let mut unlimited = server.client();
    unlimited.send(&command(&["GET", "k"]));
    assert_eq!(unlimited.ask(&["PING"]), Reply::Bulk(value), "no limit is the default");
    assert_eq!(unlimited.read(), Answer::Reply(pong()));
    let limit = "normal 1mb 0 0";
    assert_eq!(observer.ask(&["CONFIG", "SET", "client-output-buffer-limit", limit]), ok());
    for requests in [
        command(&["GET", "k"]),
        [command(&["MULTI"]), command(&["GET", "k"]), command(&["EXEC"])].concat(),
    ] {
        let mut deaf = server.client();
        assert_eq!(deaf.ask(&["PING"]), pong());
        deaf.send(&requests);
        poll(|| (clients(&mut observer) == 2).then_some(())).expect("it is cut off");
        assert_eq!(unlimited.ask(&["PING"]), pong());
        let whole = poll(|| Some(deaf.read()).filter(|a| matches!(a, Answer::Closed)));
        assert_eq!(whole, Some(Answer::Closed));
    }
}
