//! The queue's usual case: a command of the transaction's slot, which nothing refuses.

use super::Session;
use super::state::{Asking, Caching};
use crate::command::{Invocation, flag};
use crate::dialect::Tie;
use crate::resp::Sink;
use crate::slot::Slot;
use crate::state::ServerState;
use crate::topology::Port;

impl Session {
    /// Returns whether a direct command is queued without more ado, as long as
    /// [`Session::queue_directly`] can: the transaction is whole, and nothing but its slot could have the
    /// command refused.
    #[must_use]
    pub fn queues_directly(&self) -> bool {
        let is_whole = self.transaction.as_ref().is_some_and(|it| !it.poisoned);
        is_whole
            && self.authenticated
            && self.port == Port::Router
            && self.hears_replies_only()
            && !self.monitors
            && self.asking == Asking::No
            && self.caching == Caching::No
            && !self.is_multi_slot()
            && (self.watched.is_none() || self.dialect.tie != Tie::AtQueue)
    }

    /// Queues a direct command of this slot; returns whether it could. Else nothing has changed, and the
    /// command is admitted as any other.
    #[inline]
    pub fn queue_directly(
        &mut self,
        server: &ServerState,
        slot: Slot,
        invocation: &Invocation<'_>,
        out: &mut Sink<'_>,
    ) -> bool {
        let lost = self.watched.as_ref().is_some_and(|watched| watched.guard.is_tripped());
        let Some(transaction) = &mut self.transaction else { return false };
        if transaction.slot.is_some_and(|pinned| pinned != slot)
            || lost
            || invocation.spec.has(flag::NO_MULTI | flag::NODE_LOCAL | flag::OTHER_DATABASE)
            || !server.topology.is_stable(slot)
            || server.running_scripts.any_busy()
            || transaction.queue.bytes_len() > self.node.settings.query_buffer_max()
            || !transaction.queue.push(invocation)
        {
            return false;
        }
        transaction.slot = Some(slot);
        transaction.flags |= invocation.spec.flags;
        out.raw(b"+QUEUED\r\n");
        true
    }
}
