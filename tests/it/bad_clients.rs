//! Clients that behave badly: what they get, what it costs the server, and that no other client is
//! affected.

use crate::env::poll;
use crate::server_process::{ServerProcess, clients, info};
use crate::wire::{Answer, Client, Reply, command, text};
use socket2::SockRef;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

const MEGABYTE: usize = 1 << 20;

fn ok() -> Reply {
    Reply::Simple(b"OK".to_vec())
}

fn pong() -> Reply {
    Reply::Simple(b"PONG".to_vec())
}

fn error(text: &str) -> Answer {
    Answer::Reply(Reply::Error(text.as_bytes().to_vec()))
}

/// Waits until the server has read so many bytes since `before`, apart from the INFO requests.
fn wait_for_input(observer: &mut Client, before: u64, count: usize) {
    let asking = command(&["INFO"]).len() as u64;
    let mut asked = 0;
    let arrived = poll(|| {
        asked += asking;
        (info(observer, "total_net_input_bytes") >= before + asked + count as u64).then_some(())
    });
    arrived.unwrap_or_else(|| panic!("the server has not read {count} bytes"));
}

/// A megabyte without repetitions.
fn megabyte(seed: u8) -> Vec<u8> {
    (0..MEGABYTE as u32).map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8 ^ seed).collect()
}

// ── claims ────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn memory_follows_bytes_sent_and_not_bytes_claimed() {
    const CLIENTS: usize = 50;
    let server = ServerProcess::start_with_small_pages(&[]);
    let mut observer = server.client();
    let mut huge_argument = b"*2\r\n$4\r\nECHO\r\n$536870912\r\n".to_vec();
    huge_argument.resize(10 * 1024, b'x');
    for claim in
        [b"*2147483647\r\n".to_vec(), b"*1048576\r\n$536870912\r\n".to_vec(), huge_argument]
    {
        let (before, base) = (info(&mut observer, "total_net_input_bytes"), server.resident());
        let mut peers: Vec<Client> = (0..CLIENTS).map(|_| server.client()).collect();
        peers.iter_mut().for_each(|peer| peer.send(&claim));
        wait_for_input(&mut observer, before, CLIENTS * claim.len());
        let grown = server.resident().saturating_sub(base);
        assert!(
            grown < 5 * MEGABYTE,
            "{grown} bytes for {CLIENTS} times {:?}",
            text(&claim[..30.min(claim.len())])
        );
        // No reply yet: the server waits for the rest of the request.
        assert!(peers.iter_mut().all(|peer| peer.unread().is_empty()));
        assert_eq!(clients(&mut observer), CLIENTS + 1);
        drop(peers);
        poll(|| (clients(&mut observer) == 1).then_some(()))
            .expect("the server closes their connections");
    }
}

#[test]
fn half_requests_held_open_cost_what_they_sent() {
    let server = ServerProcess::start_with_small_pages(&[]);
    let mut observer = server.client();
    let (before, base) = (info(&mut observer, "total_net_input_bytes"), server.resident());
    let value = megabyte(0);
    let request = |i: usize| command(&[b"SET", format!("k{i}").as_bytes(), &value[..]]);
    let mut halves: Vec<Client> = (0..120).map(|_| server.client()).collect();
    let mut sent = 0;
    for (i, peer) in halves.iter_mut().enumerate() {
        // A hundred clients stop within their first line, twenty in the middle of a megabyte.
        let half = if i < 100 { 3 } else { MEGABYTE / 2 };
        peer.send(&request(i)[..half]);
        sent += half;
    }
    wait_for_input(&mut observer, before, sent);
    // Buffers grow by doubling.
    let mut grown = 0;
    poll(|| {
        grown = server.resident().saturating_sub(base);
        (grown < 2 * sent + 5 * MEGABYTE).then_some(())
    })
    .unwrap_or_else(|| panic!("{grown} bytes for {sent}"));
    assert_eq!(observer.ask(&["SET", "k", "v"]), ok());
    for (i, peer) in halves.iter_mut().enumerate() {
        let half = if i < 100 { 3 } else { MEGABYTE / 2 };
        peer.send(&request(i)[half..]);
        assert_eq!(peer.read(), Answer::Reply(ok()), "peer {i} completes its request");
    }
    assert_eq!(observer.ask(&["GET", "k119"]), Reply::Bulk(value));
}

// ── pieces ────────────────────────────────────────────────────────────────────────────────────────

/// All that the server sends in reply to these pieces until it closes the connection.
fn replies(address: SocketAddr, pieces: &[&[u8]], mut between: impl FnMut()) -> Vec<u8> {
    let client = Client::connect(address).expect("the server accepts connections");
    let mut socket = client.socket();
    for piece in pieces {
        socket.write_all(piece).expect("the server reads");
        between();
    }
    let mut replies = Vec::new();
    socket.read_to_end(&mut replies).expect("the server answers and closes");
    replies
}

#[test]
fn one_byte_at_a_time_is_answered_as_one_write() {
    let server = ServerProcess::start(&[]);
    let mut conversation = b"set {t}a \"in\\x20line\"\r\nGET {t}a\n\r\n".to_vec();
    for request in [
        &[&b"SET"[..], b"{t}k", "h\u{e9}llo \u{1f600}".as_bytes()][..],
        &[b"GET", b"{t}k"],
        &[b"SET", b"{t}\r\n\0\xff", b"\r\n$3\r\n*1\r\n"],
        &[b"MULTI"],
        &[b"GET", b"{t}\r\n\0\xff"],
        &[b"INCR", b"{t}k"],
        &[b"GET", b"{other}"],
        &[b"EXEC"],
        &[b"WATCH", b"{t}n"],
        &[b"MULTI"],
        &[b"INCR", b"{t}n"],
        &[b"EXEC"],
        &[b"HELLO", b"3"],
        &[b"HSET", b"h", b"f", b""],
        &[b"HGETALL", b"h"],
        &[b"FLUSHALL"],
        &[b"QUIT"],
    ] {
        conversation.extend(command(request));
    }
    let mut observer = server.client();
    // HELLO returns the id of the connection, which differs.
    let without_id = |replies: Vec<u8>| {
        let (before, after) = text(&replies)
            .split_once("id\\r\\n:")
            .map(|(b, a)| (b.to_owned(), a.to_owned()))
            .expect("HELLO");
        format!("{before}{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
    };
    let whole = without_id(replies(server.address, &[&conversation], || {}));
    assert!(whole.ends_with("+OK\\r\\n") && whole.contains("\\xf0\\x9f\\x98\\x80"), "{whole}");
    let singly: Vec<&[u8]> = conversation.chunks(1).collect();
    // A request of another client in between makes the server read each byte on its own.
    let between = || assert_eq!(observer.ask(&["PING"]), pong());
    assert_eq!(without_id(replies(server.address, &singly, between)), whole);
}

#[test]
fn empty_requests_get_no_reply_and_delay_no_other_client() {
    const COUNT: usize = 10_000;
    let server = ServerProcess::start(&["--threads".into(), "1".into()]);
    let mut observer = server.client();
    for nothing in [&b"\r\n"[..], b"\n", b"   \r\n", b"*0\r\n", b"*-1\r\n"] {
        let mut peer = server.client();
        for _ in 0..10 {
            peer.send(&nothing.repeat(COUNT / 10));
            assert_eq!(observer.ask(&["PING"]), pong());
        }
        peer.send(&command(&["PING"]));
        assert_eq!(peer.read(), Answer::Reply(pong()));
        assert_eq!(
            peer.ask(&["ECHO", "x"]),
            Reply::Bulk(b"x".to_vec()),
            "one PONG, and nothing else"
        );
    }
}

// ── unauthenticated clients ───────────────────────────────────────────────────────────────────────

#[test]
fn unauthenticated_requests_are_bounded() {
    let server = ServerProcess::start(&["--requirepass".into(), "sesame".into()]);
    let no_auth = error("NOAUTH Authentication required.");
    let name = "x".repeat(16_384);
    for (request, answer, closes) in [
        ("*11\r\n".to_owned(), error("ERR Protocol error: unauthenticated multibulk length"), true),
        (
            "*1\r\n$16385\r\n".to_owned(),
            error("ERR Protocol error: unauthenticated bulk length"),
            true,
        ),
        (text_of(&["MGET", "1", "2", "3", "4", "5", "6", "7", "8", "9"]), no_auth.clone(), false),
        (text_of(&["ECHO", &name]), no_auth, false),
    ] {
        let mut peer = server.client();
        peer.send(request.as_bytes());
        assert_eq!(peer.read(), answer, "{}", &request[..20.min(request.len())]);
        if closes {
            assert_eq!(peer.read(), Answer::Closed);
        } else {
            assert_eq!(peer.ask(&["AUTH", "sesame"]), ok(), "the connection is still good");
        }
    }
    // An authenticated client may send more, in the same write as its AUTH.
    let mut client = server.client();
    let mut requests = command(&["AUTH", "sesame"]);
    requests.extend(command(&["ECHO", &"x".repeat(16_385)]));
    client.send(&requests);
    assert_eq!(client.read(), Answer::Reply(ok()));
    assert_eq!(client.read(), Answer::Reply(Reply::Bulk("x".repeat(16_385).into_bytes())));
}

fn text_of(argv: &[&str]) -> String {
    String::from_utf8(command(argv)).expect("text")
}

#[test]
fn an_unauthenticated_client_that_does_not_read_is_closed() {
    let server = ServerProcess::start_with_small_pages(&["--requirepass".into(), "sesame".into()]);
    let mut observer = server.client();
    assert_eq!(observer.ask(&["AUTH", "sesame"]), ok());
    // The commands of other servers are read once, when the first unknown one is looked up.
    observer.ask(&["x"]);
    let base = server.resident();
    // Two bytes each, and about fifty for the reply.
    let requests = b"x\n".repeat(1000);
    let mut unread: Vec<Client> = (0..4).map(|_| server.client()).collect();
    unread.iter_mut().for_each(|client| client.send(&requests));
    poll(|| (clients(&mut observer) == 1).then_some(())).expect("all four are closed");
    let grown = server.resident().saturating_sub(base);
    assert!(grown < 2 * MEGABYTE, "{grown} bytes for {} clients", unread.len());
    // They can still read whole error lines.
    let refused = error("ERR unknown command 'x', with args beginning with: ");
    for mut client in unread {
        assert_eq!(client.read(), refused);
        assert!(
            poll(|| Some(client.read()).filter(|answer| *answer != refused))
                == Some(Answer::Closed)
        );
    }
    assert_eq!(observer.ask(&["PING"]), pong());
}

// ── slow readers ──────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_client_that_does_not_read_costs_little_and_gets_every_reply_later() {
    const READERS: usize = 4;
    const GETS: usize = 300;
    let server = ServerProcess::start_with_small_pages(&[]);
    let mut observer = server.client();
    let values: Vec<Vec<u8>> = (0..3).map(megabyte).collect();
    // One slot, so that the readers share a shard.
    let keys = ["{t}0", "{t}1", "{t}2"];
    for (key, value) in keys.iter().zip(&values) {
        assert_eq!(observer.ask(&[b"SET", key.as_bytes(), value]), ok());
    }
    let (before, base) = (info(&mut observer, "total_net_input_bytes"), server.resident());
    let mut requests = Vec::new();
    for i in 0..GETS {
        requests.extend(command(&["GET", keys[i % keys.len()]]));
    }
    requests.extend(command(&["ECHO", "the end"]));
    let mut readers: Vec<Client> = (0..READERS).map(|_| server.client()).collect();
    readers.iter_mut().for_each(|reader| reader.send(&requests));
    wait_for_input(&mut observer, before, READERS * requests.len());
    // Other clients of the same shard are served while 1.2 GB of replies are requested.
    let mut peak = 0;
    for _ in 0..200 {
        assert!(matches!(observer.ask(&["STRLEN", keys[0]]), Reply::Int(_)));
        peak = peak.max(server.resident());
    }
    let grown = peak.saturating_sub(base);
    assert!(grown < 64 * MEGABYTE, "{grown} bytes for what {READERS} clients have not read");
    for (at, reader) in readers.iter_mut().enumerate() {
        for i in 0..GETS {
            let whole = reader.read() == Answer::Reply(Reply::Bulk(values[i % keys.len()].clone()));
            assert!(whole, "reply {i} of reader {at}");
        }
        assert_eq!(reader.read(), Answer::Reply(Reply::Bulk(b"the end".to_vec())));
    }
    let grown = server.resident().saturating_sub(base);
    assert!(grown < 64 * MEGABYTE, "{grown} bytes after all is read");
}

// ── departures ────────────────────────────────────────────────────────────────────────────────────

/// How a client closes its connection.
#[derive(Clone, Copy, Debug)]
enum Leave {
    /// With a FIN.
    Close,
    /// With a RST.
    Reset,
}

fn leave(client: Client, how: Leave) {
    if let Leave::Reset = how {
        SockRef::from(client.socket()).set_linger(Some(Duration::ZERO)).expect("a TCP option");
    }
    drop(client);
}

#[test]
fn closing_in_the_middle_of_anything_leaves_nothing_behind() {
    let server = ServerProcess::start(&[]);
    let mut observer = server.client();
    let value = megabyte(7);
    assert_eq!(observer.ask(&[&b"SET"[..], b"big", &value]), ok());
    let set = command(&[&b"SET"[..], b"never", &value]);
    let transaction =
        [command(&["WATCH", "w"]), command(&["MULTI"]), command(&["SET", "w", "1"])].concat();
    for how in [Leave::Close, Leave::Reset] {
        for (what, bytes, replies) in [
            ("before the first byte", &b""[..], 0),
            ("mid-header", b"*3\r\n$3", 0),
            ("mid-command", &set[..20], 0),
            ("mid-bulk", &set[..MEGABYTE / 2], 0),
            ("between CR and LF", &set[..set.len() - 1], 0),
            ("mid-transaction", &transaction, 3),
            ("mid-reply", &command(&["GET", "big"]).repeat(50), 1),
        ] {
            for _ in 0..5 {
                let mut peer = server.client();
                peer.send(bytes);
                for _ in 0..replies {
                    assert!(matches!(peer.read(), Answer::Reply(_)), "{what}");
                }
                leave(peer, how);
            }
            let gone = poll(|| (clients(&mut observer) == 1).then_some(()));
            gone.unwrap_or_else(|| panic!("{what}, {how:?}: still listed"));
        }
    }
    assert_eq!(observer.ask(&["EXISTS", "never"]), Reply::Int(0));
    assert_eq!(observer.ask(&["EXISTS", "w"]), Reply::Int(0));
}

#[test]
fn a_client_killed_in_a_transaction_runs_nothing_of_it() {
    let server = ServerProcess::start(&[]);
    let mut observer = server.client();
    let mut victim = server.client();
    let Reply::Int(id) = victim.ask(&["CLIENT", "ID"]) else { panic!("an id") };
    assert_eq!(victim.ask(&["WATCH", "k"]), ok());
    assert_eq!(victim.ask(&["MULTI"]), ok());
    assert_eq!(victim.ask(&["SET", "k", "v"]), Reply::Simple(b"QUEUED".to_vec()));
    assert_eq!(observer.ask(&["CLIENT", "KILL", "ID", &id.to_string()]), Reply::Int(1));
    victim.send(&command(&["EXEC"]));
    assert_eq!(victim.read(), Answer::Closed);
    assert_eq!(observer.ask(&["EXISTS", "k"]), Reply::Int(0));
    poll(|| (clients(&mut observer) == 1).then_some(())).expect("it is not listed any more");
}

#[test]
fn a_half_closed_client_still_gets_every_reply() {
    const GETS: usize = 1000;
    let server = ServerProcess::start(&[]);
    let mut client = server.client();
    let value = megabyte(3)[..10_000].to_vec();
    assert_eq!(client.ask(&[&b"SET"[..], b"k", &value]), ok());
    // 10 MB of replies: the server still has to write long after it has read the end of input.
    client.send(&command(&["GET", "k"]).repeat(GETS));
    client.socket().shutdown(Shutdown::Write).expect("it is connected");
    for i in 0..GETS {
        assert!(client.read() == Answer::Reply(Reply::Bulk(value.clone())), "reply {i}");
    }
    assert_eq!(client.read(), Answer::Closed);
    // A request that is cut off does not run.
    let mut half = server.client();
    half.send(b"*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$1\r\nv");
    half.socket().shutdown(Shutdown::Write).expect("it is connected");
    assert_eq!(half.read(), Answer::Closed);
    assert_eq!(server.client().ask(&["EXISTS", "half"]), Reply::Int(0));
}

#[test]
fn other_protocols_run_nothing() {
    let server = ServerProcess::start(&[]);
    let mut observer = server.client();
    for hello in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"GET / HTTP/1.1\r\nHost: here\r\n\r\n",
        b"POST / HTTP/1.1\r\n\r\nFLUSHALL\r\n",
        b"\0\0\0\0\0\0\0\0\r\n",
    ] {
        let mut peer = Client::connect(server.address).expect("the server accepts connections");
        peer.send(hello);
        assert_eq!(observer.ask(&["PING"]), pong(), "{}", text(hello));
        // An error, a closed connection, or no reply; never the reply of a command that ran.
        let _ = peer.socket().shutdown(Shutdown::Write);
        while let Answer::Reply(reply) = peer.read() {
            assert!(matches!(reply, Reply::Error(_)), "{}: {reply:?}", text(hello));
        }
    }
    assert_eq!(TcpStream::connect(server.address).map(drop).ok(), Some(()));
}
