//! The only function that runs a command, [`Engine::call`], and what it records of it.
//!
//! A command that panics replies an error; the shard rebuilds its tables from their entries and
//! continues.

use super::context::BatchContext;
use super::engine::Engine;
use crate::command::{Cx, Invocation, KeySlots, Pace, Refusal, Run, Spec, Wait};
use crate::resp::Sink;
use crate::session::note_failed;
use crate::state::Instrumentation;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A call of a command.
struct Call<'c> {
    invocation: &'c Invocation<'c>,
    /// The slots of its keys, if there are several.
    slots: Option<&'c KeySlots<'c>>,
    /// The key that it is served from, if it has waited.
    ready: Option<&'c [u8]>,
    batch: &'c BatchContext,
    pace: &'c dyn Pace,
}

impl Engine {
    /// Runs one command; where it would block, it replies that there is no value.
    pub fn run(
        &mut self,
        invocation: &Invocation<'_>,
        batch: &BatchContext,
        pace: &dyn Pace,
        out: &mut Sink<'_>,
    ) {
        if let Run::Shard(function) = invocation.spec.run {
            let call = Call { invocation, slots: None, ready: None, batch, pace };
            let _done = self.attempt(&call, out, |cx, out| function(cx, invocation.args, out));
        } else if let Some(wait) = self.call(invocation, None, None, batch, pace, out) {
            wait.null_reply.write(out);
        }
    }

    /// Runs one command; returns what it waits for if no key has a value for it yet. `slots` are
    /// those of its keys, if there are several; `ready` is the key that it is served from, if it
    /// has waited.
    pub fn call(
        &mut self,
        invocation: &Invocation<'_>,
        slots: Option<&KeySlots<'_>>,
        ready: Option<&[u8]>,
        batch: &BatchContext,
        pace: &dyn Pace,
        out: &mut Sink<'_>,
    ) -> Option<Wait> {
        let (run, args) = (invocation.spec.run, invocation.args);
        let call = Call { invocation, slots, ready, batch, pace };
        self.attempt(&call, out, |cx, out| match run {
            Run::Shard(function) => function(cx, args, out).map(|()| None),
            Run::Blocks(function) => function(cx, args, out),
            _ => Err(Refusal::NOT_IN_MULTI),
        })?
    }

    /// Calls a command's function and records the call; returns `None` if it has failed.
    #[inline(always)]
    fn attempt<T>(
        &mut self,
        call: &Call<'_>,
        out: &mut Sink<'_>,
        function: impl FnOnce(&mut Cx<'_>, &mut Sink<'_>) -> Result<T, Refusal>,
    ) -> Option<T> {
        let &Call { invocation, slots, ready, batch, pace } = call;
        let (spec, before) = (invocation.spec, out.len());
        if self.lap == 0 {
            self.lap = pace.ticks();
        }
        let is_watched = self.keyspace.is_watched();
        if is_watched {
            self.set_writer(spec);
        }
        let (sees_all, in_script) = (self.sees_all, self.instrumentation.in_script);
        let keyspace = &mut self.keyspace;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let &BatchContext { string_len_max, product, .. } = batch;
            let mut cx = Cx {
                keyspace,
                invocation,
                slots,
                string_len_max,
                pace,
                ready,
                sees_all,
                product,
                in_script,
            };
            function(&mut cx, out)
        }));
        let done = match outcome {
            Ok(Ok(done)) => Some(done),
            Ok(Err(refusal)) => {
                self.fail(invocation, refusal, before, out);
                None
            }
            Err(_panic) => {
                self.recover(spec, before, out);
                None
            }
        };
        self.publish_events(pace);
        if is_watched {
            self.clear_writer();
        }
        let now = pace.ticks();
        let ticks = now.wrapping_sub(self.lap);
        self.lap = now;
        if ready.is_none() {
            self.tally.ran(spec.id, ticks, self.instrumentation.tracks);
        } else {
            self.tally.resumed(spec.id, ticks);
        }
        if ticks >= self.instrumentation.looked_at_from {
            self.look_at(call, ticks, (before, out.len()));
        }
        done
    }

    /// Replies an error of a command that ran.
    #[cold]
    fn fail(
        &mut self,
        invocation: &Invocation<'_>,
        refusal: Refusal,
        before: usize,
        out: &mut Sink<'_>,
    ) {
        let spec = invocation.spec;
        debug_assert_eq!(out.len(), before, "{} wrote before it refused", spec.name);
        self.tally.failed(spec.id, refusal.text());
        note_failed(self.observer(), self.instrumentation.client, invocation, &refusal);
        out.error(refusal);
    }

    /// Replies an error in place of what a command that panicked has written.
    #[cold]
    fn recover(&mut self, spec: &Spec, before: usize, out: &mut Sink<'_>) {
        tracing::error!(command = %spec.full_name(), "a command panicked; rebuilding the index of its shard");
        out.truncate(before);
        self.tally.failed(spec.id, Refusal::SHARD_PANIC.text());
        out.error(Refusal::SHARD_PANIC);
        self.keyspace.rebuild_index();
    }

    /// Records what a command took or read, if it is to be.
    #[cold]
    fn look_at(&mut self, call: &Call<'_>, ticks: u64, (before, after): (usize, usize)) {
        let Instrumentation { slow_ticks, in_script, .. } = self.instrumentation;
        let &Call { invocation, ready, batch, pace, .. } = call;
        let is_new = ticks >= slow_ticks && ready.is_none() && !in_script;
        let lengths = (if is_new { invocation.args.wire_len() } else { 0 }, after - before);
        self.observe(invocation, ready.is_some(), ticks, lengths);
        // A command that waits has written nothing yet.
        if self.instrumentation.counts_slots && after > before {
            self.count_slot_of(invocation, ticks, (before, after));
        }
        self.remember_read(invocation, ready.is_some(), batch, pace);
    }

    /// Remembers what a command has read, for a client that tracks what it reads. A script remembers
    /// what its commands read; one that has waited does so where it runs again as a whole.
    #[cold]
    fn remember_read(
        &self,
        invocation: &Invocation<'_>,
        has_waited: bool,
        batch: &BatchContext,
        pace: &dyn Pace,
    ) {
        let runs_anew = !has_waited || batch.product.has_new_streams;
        if let Some(reader) = self.reader().filter(|_| runs_anew && !self.instrumentation.in_script)
        {
            // Whose command runs again may have connected to another port than the present client.
            let reader = if has_waited { reader.at_own_port() } else { reader };
            reader.remember_keys_of(invocation, pace);
        }
    }
}
