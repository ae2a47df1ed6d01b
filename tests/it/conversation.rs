//! The whole path of a request (decode, session, router, shards, replies) as a function, without
//! sockets. The property test beside this file and the fuzz target share it.

use slotway::internals::command::Immediate;
use slotway::internals::resp::{Decoder, Sink};
use slotway::internals::router::{Input, Router, Scratch, TurnIo};
use slotway::internals::session::Dialect;
use slotway::internals::shard::{Outcome, WaitFor};
use slotway::internals::state::{ServerConfig, ServerState};
use slotway::internals::topology::{Port, Topology};
use std::net::SocketAddr;
use std::sync::Arc;

/// The time of every conversation.
const NOW: i64 = 1_700_000_000_000;

/// The replies to `pieces`, which arrive one after the other on one connection.
pub(crate) fn converse(pieces: &[&[u8]]) -> Vec<u8> {
    let dialect = Dialect::REDIS7.with_json();
    let config = ServerConfig {
        topology: Topology::even(4),
        product: dialect.product,
        ..ServerConfig::default()
    };
    let router = Router::new(ServerState::new(config), dialect, 7);
    // The smallest limit there is, so that no bytes make strings of half a gigabyte.
    router.server.router().settings.set(&[(b"proto-max-bulk-len", b"1048576")]).expect("a setting");
    play(&router, pieces)
}

/// The replies of `router` to `pieces`, which arrive one after the other on one connection.
pub(crate) fn play(router: &Router, pieces: &[&[u8]]) -> Vec<u8> {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let seat = router
        .server
        .router()
        .clients
        .register(address, address, Port::Router, 3, 0, 1)
        .expect("a seat");
    let mut session = router.session(Arc::clone(&seat), Port::Router);
    let (mut decoder, mut scratch) = (Decoder::default(), Scratch::default());
    let (mut input, mut output) = (Vec::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            let io = TurnIo {
                decoder: &mut decoder,
                input: Input::Own(&mut input),
                scratch: &mut scratch,
                out: &mut output,
            };
            let (taken, outcome) = router.process(&mut session, io, NOW, &Immediate(NOW));
            input.drain(..taken);
            match outcome {
                Outcome::Drained { missing } => {
                    assert!(missing > 0);
                    break;
                }
                Outcome::Flush => {}
                // Nothing else is there to push: the timeout passes, or the wait has no end.
                Outcome::Wait { wait: WaitFor::Key(blocked), muted } => {
                    if blocked.wait.until.is_none() {
                        return output;
                    }
                    if !muted {
                        Sink::new(&mut output, session.proto()).null_array();
                    }
                }
                Outcome::Wait { wait: WaitFor::Shard(_) | WaitFor::Resume(_), .. } => {
                    panic!("no other client holds a shard")
                }
                // Nor is there anything to end a pause, or to let replicas catch up.
                Outcome::Wait { .. } | Outcome::Close | Outcome::Sever => return output,
                Outcome::Replied => panic!("a turn ends for a reason"),
            }
        }
    }
    output
}
