//! The whole path of a request (decode, session, router, shards, replies) as a function, without
//! sockets. The property test beside this file and the fuzz target share it.

use slotway::command::{Errand, Pace};
use slotway::host::{Host, HostConfig};
use slotway::resp::{Decoder, Sink};
use slotway::router::{Progress, Router, Scratch};
use slotway::session::Dialect;
use slotway::topology::{Port, Topology};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The time of every conversation.
const NOW: i64 = 1_700_000_000_000;

/// Time stands still, and no work is deferred.
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
    fn later(&mut self, work: Errand) {
        work(self);
    }
}

/// The replies to `pieces`, which arrive one after the other on one connection.
pub(crate) fn converse(pieces: &[&[u8]]) -> Vec<u8> {
    let config = HostConfig { topology: Topology::even(4), ..HostConfig::default() };
    let router = Router::new(Host::new(config), &Dialect::REDIS7, 7);
    // The lowest limit, so that no input makes strings of half a gigabyte.
    router.host.settings.set(&[(b"proto-max-bulk-len", b"1048576")]).expect("a setting");
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let seat =
        router.host.clients.register(address, address, Port::Router, 3, 0, 1).expect("a seat");
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
                Progress::Wait { .. } | Progress::Rest(..) => {
                    panic!("no other connection holds a shard")
                }
                // No other client pushes: the wait times out, or is endless.
                Progress::Block { blocked, muted } => {
                    if blocked.wait.until.is_none() {
                        return output;
                    }
                    if !muted {
                        Sink::new(&mut output, session.proto()).null_array();
                    }
                }
                // Nothing ends a pause, and no replica catches up.
                Progress::Paused { .. } | Progress::Vigil { .. } | Progress::Hang(_) => {
                    return output;
                }
                Progress::Close | Progress::Sever => return output,
            }
        }
    }
    output
}
