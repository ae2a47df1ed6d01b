//! The whole path of a request (decode, session, router, shards, replies) as a function, without
//! sockets. The property test beside this file and the fuzz target share it.

use slotway::command::{DeferredWork, Pace};
use slotway::resp::{Decoder, Sink};
use slotway::router::{Progress, Router, Scratch};
use slotway::session::Dialect;
use slotway::state::{ServerConfig, ServerState};
use slotway::topology::{Port, Topology};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The time of every conversation.
const NOW: i64 = 1_700_000_000_000;

/// Nothing takes long here.
struct NoPace;

impl Pace for NoPace {
    fn step(&mut self, _: usize) {}
    fn now(&self) -> i64 {
        NOW
    }
    fn sleep(&mut self, _: Duration) {}
    fn outside(&mut self, work: &mut dyn FnMut()) {
        work();
    }
    fn dispose(&mut self, dead: Box<dyn Send>) {
        drop(dead);
    }
    fn later(&mut self, work: DeferredWork) {
        work(self);
    }
}

/// The replies to `pieces`, which arrive one after the other on one connection.
pub(crate) fn converse(pieces: &[&[u8]]) -> Vec<u8> {
    let config = ServerConfig { topology: Topology::even(4), ..ServerConfig::default() };
    let router = Router::new(ServerState::new(config), &Dialect::REDIS7, 7);
    // The smallest limit there is, so that no bytes make strings of half a gigabyte.
    router.server.settings.set(&[(b"proto-max-bulk-len", b"1048576")]).expect("a setting");
    play(&router, pieces)
}

/// The replies of `router` to `pieces`, which arrive one after the other on one connection.
pub(crate) fn play(router: &Router, pieces: &[&[u8]]) -> Vec<u8> {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let seat =
        router.server.clients.register(address, address, Port::Router, 3, 0, 1).expect("a seat");
    let mut session = router.session(Arc::clone(&seat), Port::Router);
    let (mut decoder, mut scratch) = (Decoder::default(), Scratch::default());
    let (mut input, mut output) = (Vec::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            let (taken, progress) = router.process(
                &mut session,
                &mut decoder,
                &mut input,
                &mut scratch,
                &mut output,
                NOW,
                &mut NoPace,
            );
            input.drain(..taken);
            match progress {
                Progress::Drained { missing } => {
                    assert!(missing > 0);
                    break;
                }
                Progress::Full => {}
                Progress::Wait { .. } | Progress::Rest(..) => panic!("nobody else holds a shard"),
                // Nobody else is there to push: the time runs out, or the wait has no end.
                Progress::Block { blocked, muted } => {
                    if blocked.wait.until.is_none() {
                        return output;
                    }
                    if !muted {
                        Sink::new(&mut output, session.proto()).null_array();
                    }
                }
                // And nobody is there to end a pause, or to bring replicas on.
                Progress::Paused { .. } | Progress::ReplicaWait { .. } | Progress::Hang(_) => {
                    return output;
                }
                Progress::Close | Progress::Sever => return output,
            }
        }
    }
    output
}
