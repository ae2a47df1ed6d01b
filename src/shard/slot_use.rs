//! Counts what the commands of each slot take, for CLUSTER SLOT-STATS. All of it runs only while a port of
//! the client counts ([`Instrumentation::counts_slots`](crate::state::Instrumentation)).
//!
//! ```text
//! a command          time, request, reply
//! queued             request, when it is queued (the router); time when it runs, and all of EXEC's reply
//!                    so far
//! EXEC               MULTI and EXEC as requests, and its reply, once more
//! called by a script its reply; a script that has called a command counts nothing itself
//! ```
//!
//! So measured with Valkey 9.1.2 and Redis 8.2.3, which have the same counts.

use crate::command::Invocation;
use crate::slot::Slot;
use crate::state::{Observer, SlotUse};

/// The bytes of MULTI and of EXEC as requests.
const MULTI_AND_EXEC_LEN: u64 = 29;

/// What a shard remembers while the commands of slots are counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SlotUseState {
    /// Where the reply of the EXEC that runs begins in the output.
    exec_head: Option<usize>,
    /// The slot of its commands.
    exec_slot: Option<Slot>,
    /// The script that runs has called a command.
    script_has_called: bool,
}

impl SlotUseState {
    /// Counts a command that has run, with the part of the output that is its reply.
    #[cold]
    pub(super) fn count_command(
        &mut self,
        observer: &Observer,
        invocation: &Invocation<'_>,
        in_script: bool,
        ticks: u64,
        (before, after): (usize, usize),
    ) {
        let nanos = observer.nanos(ticks);
        let (bytes_in, bytes_out) = (invocation.args.wire_len() as u64, (after - before) as u64);
        let slot = invocation.slot();
        let used = if in_script {
            self.script_has_called = true;
            SlotUse { nanos: 0, bytes_in: 0, bytes_out }
        } else if let Some(head) = self.exec_head {
            self.exec_slot = self.exec_slot.or(slot);
            SlotUse { nanos, bytes_in: 0, bytes_out: after.saturating_sub(head) as u64 }
        } else {
            SlotUse { nanos, bytes_in, bytes_out }
        };
        if let Some(slot) = slot.or(self.exec_slot) {
            observer.count_slot(slot, used);
        }
    }

    /// Counts a command that ran a script.
    #[cold]
    pub(super) fn count_script(
        &mut self,
        observer: &Observer,
        invocation: &Invocation<'_>,
        ticks: u64,
        reply_len: usize,
    ) {
        if std::mem::take(&mut self.script_has_called) {
            self.exec_head = None;
            return;
        }
        let (bytes_in, bytes_out) = (invocation.args.wire_len() as u64, reply_len as u64);
        if let Some(slot) = invocation.slot() {
            let nanos = observer.nanos(ticks);
            observer.count_slot(slot, SlotUse { nanos, bytes_in, bytes_out });
        }
    }

    /// Begins an EXEC in this slot whose reply begins at `head`.
    #[cold]
    pub(super) fn begin_exec(&mut self, head: usize, slot: Option<Slot>) {
        (self.exec_head, self.exec_slot) = (Some(head), slot);
    }

    /// Ends an EXEC whose reply ends at `end`.
    #[cold]
    pub(super) fn end_exec(&mut self, observer: &Observer, end: usize) {
        let Self { exec_head, exec_slot, .. } = std::mem::take(self);
        if let Some((head, slot)) = exec_head.zip(exec_slot) {
            let bytes_out = end.saturating_sub(head) as u64;
            let used = SlotUse { nanos: 0, bytes_in: MULTI_AND_EXEC_LEN, bytes_out };
            observer.count_slot(slot, used);
        }
    }
}

/// Counts a request of a slot that ran as no command of a shard.
#[cold]
pub(crate) fn count_request(
    observer: &Observer,
    invocation: &Invocation<'_>,
    ticks: u64,
    reply_len: usize,
) {
    if let Some(slot) = invocation.slot() {
        let (nanos, bytes_in) = (observer.nanos(ticks), invocation.args.wire_len() as u64);
        observer.count_slot(slot, SlotUse { nanos, bytes_in, bytes_out: reply_len as u64 });
    }
}
