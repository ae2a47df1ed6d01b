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
    /// Its number among those that track keys there.
    pub(super) number: u32,
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
            self.remember(|remember| spec.each_key(invocation.args, remember), pace);
        }
    }

    /// Remembers the keys that `each_key` names.
    pub(super) fn remember(&self, each_key: impl FnOnce(&mut dyn FnMut(&[u8])), pace: &dyn Pace) {
        let delivered = &mut |sleeper| pace.delivered(sleeper);
        self.nodes.remember_read(self.port, each_key, self.number, self.now, delivered);
    }
}
