//! A shard's engine as scripts use it: counting and showing the commands that run scripts, and running
//! commands of the process for them.

use super::context::BatchContext;
use super::engine::Engine;
use crate::command::{Invocation, Pace, Refusal, Run, ServerCx, ServerFn};
use crate::resp::Sink;
use crate::state::clients::Client;
use crate::state::{Instrumentation, ObservedCommand};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

impl Engine {
    /// Begins a command that runs a script: monitors see it before the commands that it calls.
    /// Returns when it began.
    pub fn begin_script(&mut self, invocation: &Invocation<'_>, pace: &dyn Pace) -> u64 {
        if self.lap == 0 {
            self.lap = pace.ticks();
        }
        let Instrumentation { client, monitored, .. } = self.instrumentation;
        if monitored {
            let (args, now) = (invocation.args.from(0), self.keyspace.now());
            let (request_len, reply_len) = (0, 0);
            let seen =
                ObservedCommand { args, client, now, in_script: false, request_len, reply_len };
            self.observer().feed_monitors(seen);
        }
        self.lap
    }

    /// Ends a command that ran a script, and counts it.
    pub fn end_script(
        &mut self,
        invocation: &Invocation<'_>,
        began: u64,
        error: Option<&Refusal>,
        reply_len: usize,
        pace: &dyn Pace,
    ) {
        let spec = invocation.spec;
        if let Some(error) = error {
            self.tally.failed(spec.id, error.text());
        }
        let now = pace.ticks();
        self.lap = now;
        let ticks = now.wrapping_sub(began);
        self.tally.ran(spec.id, ticks, self.instrumentation.tracks);
        if ticks >= self.instrumentation.slow_ticks {
            self.observe(invocation, true, ticks, (invocation.args.wire_len(), reply_len));
        }
        if self.instrumentation.counts_slots {
            let mut slot_use = std::mem::take(&mut self.slot_use);
            slot_use.count_script(self.observer(), invocation, ticks, reply_len);
            self.slot_use = slot_use;
        }
    }

    /// Remembers what a command of a script has read, for a client that tracks what it reads: as the
    /// server that is followed, the keys of the command, or those that the script was given.
    pub fn remember_read_of_script<'k>(
        &mut self,
        invocation: &Invocation<'_>,
        declared: impl Iterator<Item = &'k [u8]>,
        batch: &BatchContext,
        pace: &dyn Pace,
    ) {
        let Some(reader) = self.reader() else { return };
        if batch.product.tracks_reads_of_scripts {
            reader.remember_keys_of(invocation, pace);
        } else {
            reader.remember(|remember| declared.for_each(remember), pace);
        }
    }

    /// Runs a command of the process for a script; it sees the keys of this shard.
    pub fn run_process(
        &mut self,
        function: ServerFn,
        invocation: &Invocation<'_>,
        me: &Arc<Client>,
        batch: &BatchContext,
        pace: &dyn Pace,
        out: &mut Sink<'_>,
    ) {
        let Some(server) = self.server().cloned() else {
            return out.error(Refusal::impossible("a script without a server"));
        };
        let (spec, before) = (invocation.spec, out.len());
        self.set_writer(spec);
        let sees_shards = matches!(spec.run, Run::Cluster(_));
        let (number, now) = (self.number, self.keyspace.now());
        let (keyspace, tally) = (&mut self.keyspace, &mut self.tally);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let (shards, view, tallies) = match sees_shards {
                true => (vec![keyspace], vec![number], vec![tally]),
                false => (Vec::new(), Vec::new(), Vec::new()),
            };
            let (node, port) = (server.node(batch.port), batch.port);
            let (server, product, replica_wait) = (&server, batch.product, None);
            let mut cx = ServerCx {
                server,
                node,
                me,
                port,
                product,
                shards,
                view,
                tallies,
                now,
                pace,
                replica_wait,
            };
            function(&mut cx, invocation.args, out).map(|()| cx.replica_wait)
        }));
        match outcome {
            Ok(Ok(None)) => {}
            // No command waits within a script.
            Ok(Ok(Some(wait))) => wait.reply(now, out),
            Ok(Err(refusal)) => {
                out.truncate(before);
                self.tally.failed(spec.id, refusal.text());
                out.error(refusal);
            }
            Err(_panic) => {
                tracing::error!(command = %spec.full_name(), "a command panicked");
                out.truncate(before);
                out.error(Refusal::SHARD_PANIC);
                self.keyspace.rebuild_index();
            }
        }
        self.clear_writer();
        self.publish_events(pace);
        let now = pace.ticks();
        let ticks = now.wrapping_sub(self.lap);
        self.lap = now;
        self.tally.ran(spec.id, ticks, self.instrumentation.tracks);
        if ticks >= self.instrumentation.slow_ticks || self.instrumentation.monitored {
            self.observe(invocation, false, ticks, (0, out.len() - before));
        }
    }
}
