//! What commands read, for clients that track keys (CLIENT TRACKING).

use crate::command::{Invocation, Pace, flag};
use crate::keyspace::Millis;
use crate::state::Nodes;
use crate::topology::Port;

/// A client whose reads are remembered.
pub(super) struct Reader<'a> {
    pub(super) nodes: &'a Nodes,
    /// The port whose table its reads go to.
    pub(super) port: Port,
    pub(super) client: u64,
    pub(super) now: Millis,
}

impl Reader<'_> {
    /// Returns the reader at the port that it has connected to.
    pub(super) fn at_own_port(self) -> Self {
        let client = self.nodes.at(Port::Router).client(self.client);
        let port = client.map_or(self.port, |client| client.port);
        Self { port, ..self }
    }

    /// Remembers the keys of a command, if it is one that only reads.
    pub(super) fn remember_keys_of(&self, invocation: &Invocation<'_>, pace: &dyn Pace) {
        let spec = invocation.spec;
        if spec.has(flag::READ) {
            let mut keys = Vec::new();
            spec.each_key(invocation.args, |key| keys.push(key));
            self.remember(keys.into_iter(), pace);
        }
    }

    /// Remembers these keys.
    pub(super) fn remember<'k>(&self, keys: impl Iterator<Item = &'k [u8]>, pace: &dyn Pace) {
        let node = self.nodes.at(self.port);
        let (keys_max, delivered) =
            (node.settings.tracked_keys_max(), &mut |it| pace.delivered(it));
        node.tracking.remember(keys, self.client, keys_max, self.now, delivered);
    }
}
