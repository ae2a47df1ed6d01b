//! Values of many megabytes: what is kept where it was received, what is sent without a copy, and that
//! memory goes back.

use crate::env::poll;
use crate::server_process::ServerProcess;
use crate::wire::{Answer, Client, Reply, command};

const MEGABYTE: usize = 1 << 20;

fn ok() -> Reply {
    Reply::Simple(b"OK".to_vec())
}

fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut value = vec![0; len];
    fastrand::Rng::with_seed(seed).fill(&mut value);
    value
}

fn next(client: &mut Client) -> Reply {
    match client.read() {
        Answer::Reply(reply) => reply,
        other => panic!("a reply was expected, and it is {other:?}"),
    }
}

/// A large request in the middle of others, cut at every kind of place.
#[test]
fn requests_before_and_behind_a_large_one_are_served_in_order() {
    let server = ServerProcess::start(&[]);
    let mut client = server.client();
    let (one, other) = (bytes(MEGABYTE, 1), bytes(3 * MEGABYTE, 2));
    let mut wire = command(&["INCR", "n"]);
    wire.extend(command(&[&b"SET"[..], b"one", &one, b"EX", b"1000"]));
    wire.extend(command(&["INCR", "n"]));
    wire.extend(b"incr n\r\n");
    wire.extend(command(&[&b"MSET"[..], b"{k}1", &other, b"{k}2", &one, b"{k}3", b"v"]));
    wire.extend(command(&["INCR", "n"]));
    wire.extend(command(&[&b"SET"[..], b"{k}4", &one, b"NOSUCH"]));
    wire.extend(command(&[&b"SET"[..], b"{k}4", &other, b"NX", b"GET"]));
    wire.extend(command(&["STRLEN", "one"]));
    for piece in [wire.len(), 100_003, 65_536] {
        assert_eq!(client.ask(&["FLUSHALL"]), ok());
        wire.chunks(piece).for_each(|piece| client.send(piece));
        for expected in [Reply::Int(1), ok(), Reply::Int(2), Reply::Int(3), ok(), Reply::Int(4)] {
            assert_eq!(next(&mut client), expected);
        }
        assert_eq!(next(&mut client), Reply::Error(b"ERR syntax error".to_vec()));
        assert_eq!(next(&mut client), Reply::NullBulk);
        assert_eq!(next(&mut client), Reply::Int(one.len() as i64));
        for (key, value) in [("one", &one), ("{k}1", &other), ("{k}2", &one), ("{k}4", &other)] {
            assert_eq!(client.ask(&["GET", key]), Reply::Bulk(value.clone()), "{key}");
        }
    }
}

#[test]
fn a_large_value_is_changed_copied_and_overwritten_as_any_other() {
    let server = ServerProcess::start(&[]);
    let mut client = server.client();
    let mut value = bytes(2 * MEGABYTE, 3);
    assert_eq!(client.ask(&[&b"SET"[..], b"{k}", &value]), ok());
    assert_eq!(client.ask(&["COPY", "{k}", "{k}copy"]), Reply::Int(1));
    assert_eq!(client.ask(&["OBJECT", "ENCODING", "{k}"]), Reply::Bulk(b"raw".to_vec()));
    assert_eq!(client.ask(&["APPEND", "{k}", "end"]), Reply::Int(value.len() as i64 + 3));
    assert_eq!(client.ask(&["GET", "{k}copy"]), Reply::Bulk(value.clone()));
    value.extend(b"end");
    assert_eq!(client.ask(&["GET", "{k}"]), Reply::Bulk(value.clone()));
    assert_eq!(
        client.ask(&["SETRANGE", "{k}copy", "1", "xyz"]),
        Reply::Int(value.len() as i64 - 3)
    );
    assert_eq!(client.ask(&["GETRANGE", "{k}copy", "1", "3"]), Reply::Bulk(b"xyz".to_vec()));
    assert_eq!(client.ask(&["BITCOUNT", "{k}", "0", "-1"]), {
        Reply::Int(value.iter().map(|byte| i64::from(byte.count_ones())).sum())
    });
    assert_eq!(client.ask(&["INCR", "{k}"]), {
        Reply::Error(b"ERR value is not an integer or out of range".to_vec())
    });
    assert_eq!(client.ask(&["SET", "{k}", "short"]), ok());
    assert_eq!(client.ask(&["GET", "{k}"]), Reply::Bulk(b"short".to_vec()));
}

/// In a debug build as in a release build: the bytes that are held do not depend on it.
#[cfg(target_os = "linux")]
#[test]
fn a_large_value_is_held_once_and_its_memory_goes_back() {
    const LEN: usize = 64 * MEGABYTE;
    let server = ServerProcess::start_with_small_pages(&[]);
    let mut client = server.client();
    assert_eq!(client.ask(&["SET", "k", "v"]), ok());
    let base = server.resident();
    let value = bytes(LEN, 4);
    assert_eq!(client.ask(&[&b"SET"[..], b"k", &value]), ok());
    let grown = server.resident().saturating_sub(base);
    assert!(grown < LEN + 12 * MEGABYTE, "{grown} bytes for one value of {LEN}");
    assert_eq!(client.ask(&["GET", "k"]), Reply::Bulk(value));
    assert_eq!(client.ask(&["DEL", "k"]), Reply::Int(1));
    let back = poll(|| (server.resident() < base + 12 * MEGABYTE).then_some(()));
    assert!(back.is_some(), "{} bytes are still resident of {base} before", server.resident());
}

/// What a client announces and does not send takes no memory.
#[cfg(target_os = "linux")]
#[test]
fn an_announced_value_that_is_not_sent_is_not_resident() {
    let server = ServerProcess::start_with_small_pages(&[]);
    let mut observer = server.client();
    assert_eq!(observer.ask(&["SET", "k", "v"]), ok());
    let base = server.resident();
    let mut slow: Vec<Client> = (0..40).map(|_| server.client()).collect();
    for client in &mut slow {
        client.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$500000000\r\n");
        client.send(&vec![b'x'; 100_000]);
    }
    let read = |observer: &mut Client| {
        crate::server_process::info(observer, "total_net_input_bytes") >= 40 * 100_000
    };
    poll(|| read(&mut observer).then_some(())).expect("all of it is read");
    let grown = server.resident().saturating_sub(base);
    assert!(grown < 24 * MEGABYTE, "{grown} bytes for 40 fronts of 100,000 bytes");
    assert_eq!(observer.ask(&["GET", "k"]), Reply::Bulk(b"v".to_vec()));
}
