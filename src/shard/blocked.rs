//! Blocked clients of a shard (BLPOP and its kin): which clients are served when a key gets a
//! value, in which order, and which are unblocked when a slot leaves.

use super::context::BatchContext;
use super::engine::Engine;
use super::outcome::Blocked;
use super::waiters::{Pass, Serve, Waiter};
use crate::command::{Pace, WaitKind, ends_wait_for_stream};
use crate::dialect::{Dialect, Product};
use crate::keyspace::{Keyspace, Value};
use crate::resp::{Proto, Sink};
use crate::slot::{Footprint, Slot};
use crate::state::clients::{Claim, Client, Ending};
use std::sync::Arc;

impl Engine {
    /// Blocks `client` until one of `keys` has a value here.
    pub fn block_client(
        &mut self,
        blocked: &Blocked,
        client: &Arc<Client>,
        proto: Proto,
        keys: &[&[u8]],
        serve: Serve,
    ) {
        let waiter = Waiter {
            client: Arc::clone(client),
            call: Arc::clone(&blocked.call),
            request: Arc::clone(&blocked.request),
            kind: blocked.wait.kind,
            proto,
            serve,
            slots: match blocked.request.iter().next().map(|request| request.footprint) {
                Some(Footprint::Crossing { .. }) => keys.iter().map(|key| Slot::of(key)).collect(),
                _ => Vec::new(),
            },
            keys: 0,
        };
        self.waiters.file(waiter, keys, &mut self.keyspace);
    }

    /// Unblocks the clients whose slot is not served here any more: their requests run again, unless
    /// their node has become a replica and the dialect says otherwise.
    pub fn unblock_moved(&mut self, dialect: &Dialect) {
        let Self { keyspace, waiters, topology, number, .. } = self;
        // A database above number 0 has no slots.
        if *number < topology.shards() {
            let route = |client: &Client, slot| topology.route_waiter(slot, *number, client.port);
            waiters.unblock_moved(keyspace, dialect.keeps_blocked, route);
        }
    }

    /// Serves the clients that are blocked on keys which have got a value since the last call: to
    /// be called at the end of a lone command or of a whole transaction.
    #[inline]
    pub fn serve_blocked(&mut self, batch: &BatchContext, pace: &dyn Pace) {
        if self.keyspace.has_ready() {
            self.serve_ready(batch, pace);
        }
    }

    /// Serves the keys in the order in which they got their values, as Redis 7.0 does, and for each
    /// key its clients in the order in which they blocked. Serving one may make another key ready.
    #[cold]
    fn serve_ready(&mut self, batch: &BatchContext, pace: &dyn Pace) {
        let (no_touch, instrumentation) = (self.keyspace.no_touch, self.instrumentation);
        while self.keyspace.has_ready() {
            for bytes in self.keyspace.take_ready() {
                let mut pass = Pass::default();
                let product = batch.product;
                while let Some((waiter, claim)) = self.next_waiter(&bytes, product, &mut pass) {
                    self.keyspace.no_touch = waiter.client.no_touch();
                    self.set_reader(&waiter.client);
                    waiter.client.hold_invalidations();
                    self.instrumentation.client = waiter.client.id;
                    let mut reply = Vec::new();
                    let mut out = Sink::new(&mut reply, waiter.proto);
                    for request in waiter.request.iter() {
                        let wait = self.call(&request, None, Some(&bytes), batch, pace, &mut out);
                        if let Some(wait) = wait {
                            debug_assert!(false, "{} found nothing at its key", request.spec.name);
                            wait.null_reply.write(&mut out);
                        }
                    }
                    // The client may read from a replica next.
                    self.propagate();
                    // A client that disconnects at this moment was served before that, as in Redis.
                    let _disconnected = claim.end(Ending::Served(reply));
                }
            }
        }
        self.keyspace.no_touch = no_touch;
        self.instrumentation = instrumentation;
    }

    /// Returns the first client blocked on `bytes` that can use the key's value, or its absence.
    fn next_waiter(
        &mut self,
        bytes: &[u8],
        product: &'static Product,
        pass: &mut Pass,
    ) -> Option<(Waiter, Claim)> {
        let Self { keyspace, waiters, .. } = self;
        let key = keyspace.key(Slot::of(bytes), bytes);
        // An expired key is removed here.
        keyspace.peek(key);
        let fits =
            |waiter: &Waiter, keyspace: &Keyspace| {
                let value = keyspace.get(key);
                match waiter.kind {
                    WaitKind::Stream => waiter.request.iter().next().is_some_and(|request| {
                        ends_wait_for_stream(&request, product, bytes, value)
                    }),
                    kind => value.is_some_and(|value| kind.fits(value)),
                }
            };
        pass.see(matches!(keyspace.get(key), Some(Value::Stream(_))));
        waiters.claim(bytes, fits, (keyspace, pass))
    }

    /// Forgets the clients that no longer wait.
    pub fn sweep_waiters(&mut self) {
        self.waiters.sweep_if_worthwhile(&mut self.keyspace);
    }
}
