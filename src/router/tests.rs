//! Tests the seams of the router: a shard that runs elsewhere, several commands under one hold, and
//! impossible states.

use super::{Input, Router, Scratch, TurnIo};
use crate::command::{Args, Immediate, resolve};
use crate::dialect::Dialect;
use crate::keyspace::Millis;
use crate::resp::{Decoder, Proto, ReplyDecoder, Sink, Span};
use crate::session::{OwnedUnit, Session, Unit};
use crate::shard::{BatchContext, Executor, Outcome, Pending, RemoteShard, Served, Turn, execute};
use crate::slot::Slot;
use crate::state::clients::{Client, RegisteredClient};
use crate::state::{ServerConfig, ServerState};
use crate::topology::{Port, Topology};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::oneshot;

const NOW: Millis = 1_700_000_000_000;

/// Returns a router of so many shards with a client of its router port.
fn router(shards: usize) -> (Router, RegisteredClient) {
    let config = ServerConfig { topology: Topology::even(shards), ..ServerConfig::default() };
    let router = Router::new(ServerState::new(config), &Dialect::REDIS7, 7);
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let clients = &router.server.router().clients;
    let seat = clients.register(address, address, Port::Router, 3, 0, 1).expect("a seat");
    (router, seat)
}

fn process(router: &Router, session: &mut Session, mut input: Vec<u8>) -> Vec<u8> {
    let (mut decoder, mut scratch) = (Decoder::default(), Scratch::default());
    let mut out = Vec::new();
    loop {
        let io = TurnIo {
            decoder: &mut decoder,
            input: Input::Own(&mut input),
            scratch: &mut scratch,
            out: &mut out,
        };
        let (taken, outcome) = router.process(session, io, NOW, &Immediate(NOW));
        input.drain(..taken);
        match outcome {
            Outcome::Drained { .. } => return out,
            Outcome::Flush => {}
            other => panic!("a turn of plain commands led to {other:?}"),
        }
    }
}

fn requests(lines: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let mut sink = Sink::new(&mut bytes, Proto::Resp2);
        sink.array(words.len());
        words.iter().for_each(|word| sink.bulk(word.as_bytes()));
    }
    bytes
}

/// Another server, which receives the bytes of each unit and returns its replies.
#[derive(Debug)]
struct Elsewhere {
    router: Router,
    session: Mutex<Session>,
    /// The bytes that it received.
    sent: Mutex<Vec<u8>>,
}

impl RemoteShard for Elsewhere {
    fn submit(&self, _: &Arc<Client>, unit: OwnedUnit, _: Proto, _: &BatchContext) -> Pending {
        let (reply, pending) = oneshot::channel();
        let bytes = unit.encode();
        self.sent.lock().extend_from_slice(&bytes);
        let mut replies = process(&self.router, &mut self.session.lock(), bytes);
        if let OwnedUnit::Exec(transaction) = &unit {
            // MULTI's +OK and a +QUEUED for each command.
            for _ in 0..=transaction.queue.len() {
                let len = ReplyDecoder::default().next(&replies).expect("a reply").expect("whole");
                replies.drain(..len);
            }
        }
        reply.send(Served { replies, then: None }).expect("it is awaited");
        pending
    }
}

#[test]
fn units_of_a_remote_shard_go_out_as_bytes_and_replies_come_in() {
    let (inner, inner_seat) = router(1);
    let session = Mutex::new(inner.session(Arc::clone(&inner_seat), Port::Router));
    let remote = Arc::new(Elsewhere { router: inner, session, sent: Mutex::default() });
    let (outer, seat) = router(2);
    let outer = outer.with_remote(1, Arc::clone(&remote) as Arc<dyn RemoteShard>);
    let mut session = outer.session(Arc::clone(&seat), Port::Router);
    // `a` lies in the second half of the slots, `b` in the first.
    assert!(Slot::of(b"a").number() >= 8192 && Slot::of(b"b").number() < 8192);
    let mut ask = |lines: &[&str]| {
        String::from_utf8(process(&outer, &mut session, requests(lines))).expect("text")
    };
    assert_eq!(
        ask(&["SET a 1", "SET b 2", "GET a", "GET b"]),
        "+OK\r\n+OK\r\n$1\r\n1\r\n$1\r\n2\r\n"
    );
    assert_eq!(ask(&["INCR a", "INCR a"]), ":2\r\n:3\r\n");
    assert_eq!(
        ask(&["MULTI", "INCR a", "GET a", "EXEC"]),
        "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:4\r\n$1\r\n4\r\n"
    );
    let refused = "-ERR this command needs a shard of another process together with others\r\n";
    assert_eq!(ask(&["DBSIZE"]), refused, "no shard is left out silently");
    assert_eq!(
        ask(&["MULTI", "GET b", "DBSIZE", "EXEC"]),
        format!("+OK\r\n+QUEUED\r\n+QUEUED\r\n{refused}")
    );
    let sent = [
        requests(&["SET a 1", "GET a", "INCR a", "INCR a"]),
        requests(&["MULTI", "INCR a", "GET a", "EXEC"]),
    ];
    assert_eq!(*remote.sent.lock(), sent.concat(), "only its own slots' units go there");
}

/// The needs of a script: several commands of its choice under one hold, each of which sees the
/// effects of those before it; blocked clients are served at the end.
#[test]
fn several_commands_run_under_one_hold() {
    let (router, seat) = router(1);
    let (batch, pace) = (router.batch_context(Port::Router, NOW), Immediate(NOW));
    let turn = Turn::new(batch, &pace);
    let mut replies = Vec::new();
    let mut out = Sink::new(&mut replies, Proto::Resp2);
    let command = |words: &[&str]| {
        let (mut bytes, mut spans) = (Vec::new(), Vec::new());
        for word in words {
            spans.push(Span::new(bytes.len(), word.len()));
            bytes.extend_from_slice(word.as_bytes());
        }
        (bytes, spans)
    };
    let mut hold = router.shards()[0].try_hold(&turn).expect("free");
    let waits = command(&["BLPOP", "{k}list", "0"]);
    let waits = resolve(Args::new(&waits.0, &waits.1)).expect("BLPOP is a command");
    let client: &Arc<Client> = &seat;
    let outcome = execute(&Unit::Blocking(&waits), &mut hold.running(client), &mut out);
    let Outcome::Wait { wait: crate::shard::WaitFor::Key(mut blocked), .. } = outcome else {
        panic!("BLPOP of a missing key led to {outcome:?}");
    };
    let mut script = hold.running(client);
    for words in [&["SET", "{k}n", "5"][..], &["INCR", "{k}n"], &["RPUSH", "{k}list", "x"]] {
        let (bytes, spans) = command(words);
        let invocation = resolve(Args::new(&bytes, &spans)).expect("a command");
        script.call_queued(&invocation, &mut out);
        assert!(blocked.waiting.try_recv().is_err(), "nothing is served in between");
    }
    script.serve_blocked();
    drop(hold);
    assert_eq!(String::from_utf8_lossy(&replies), "+OK\r\n:6\r\n:1\r\n");
    assert!(blocked.waiting.try_recv().is_ok(), "the blocked client has the element");
}

/// An unwinding turn releases its shard, and jobs that were queued meanwhile are served.
#[test]
fn a_hold_is_released_while_a_panic_unwinds() {
    let (router, seat) = router(1);
    let (batch, pace) = (router.batch_context(Port::Router, NOW), Immediate(NOW));
    let turn = Turn::new(batch, &pace);
    let shard = &router.shards()[0];
    let (bytes, spans) = (b"incrn", [Span::new(0, 4), Span::new(4, 1)]);
    let incr = resolve(Args::new(bytes, &spans)).expect("INCR is a command");
    let mut pending = None;
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _hold = shard.try_hold(&turn).expect("free");
        let unit = Unit::Command(&incr).into_owned();
        pending = Some(shard.submit(&seat, unit, Proto::Resp2, &batch, &pace));
        panic!("as a bug would");
    }));
    assert!(unwound.is_err());
    let served = pending.expect("submitted").try_recv().expect("served while the hold was dropped");
    assert_eq!(served.replies, b":1\r\n");
    assert!(shard.try_hold(&turn).is_some());
}
