//! Running a batch on a shard: one synchronous call with nothing in between.
//!
//! ```text
//! one command ──────────────► run ─► reply
//! EXEC: guard whole? ─► *n ─► run, run, run …          else nil
//! ```
//!
//! A command that panics answers an error; the shard mends its tables from its entries and serves
//! on. Nothing here knows connections, locks or the clock.

use super::OUTPUT_LEN_MAX;
use crate::command::{Cx, Invocation, Pace, Queue, Refusal, Run};
use crate::keyspace::{Guard, Keyspace, Millis, PackLimits};
use crate::resp::Sink;
use crate::session::Watched;
use crate::slot::Slot;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What holds for a whole batch.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The time, in milliseconds since the epoch: read once per batch.
    pub now: Millis,
    /// Longest string that a command may make, in bytes.
    pub string_len_max: u64,
    /// Up to where hashes stay packed.
    pub pack: PackLimits,
    /// Keys that are used keep their access times (`CLIENT NO-TOUCH`).
    pub no_touch: bool,
}

/// A shard's state, for whoever holds it.
#[derive(Debug)]
pub struct Engine {
    /// The shard's keys.
    pub keyspace: Keyspace,
}

impl Engine {
    /// An engine over `keyspace`.
    #[must_use]
    pub fn new(keyspace: Keyspace) -> Self {
        Self { keyspace }
    }

    /// Begins a batch.
    #[inline]
    pub fn begin(&mut self, terms: &Terms) {
        self.keyspace.begin(terms.now);
        self.keyspace.pack = terms.pack;
        self.keyspace.no_touch = terms.no_touch;
    }

    /// Runs one command.
    pub fn run(
        &mut self,
        invocation: &Invocation<'_>,
        terms: &Terms,
        pace: &mut dyn Pace,
        out: &mut Sink<'_>,
    ) {
        let &Invocation { spec, args, .. } = invocation;
        let Run::Shard(function) = spec.run else {
            debug_assert!(false, "{} does not run on a shard", spec.name);
            return out.error(Refusal::NOT_IN_MULTI);
        };
        let before = out.len();
        let keyspace = &mut self.keyspace;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let (slot, known) = (invocation.slot(), invocation.known());
            let mut cx = Cx { keyspace, slot, known, string_len_max: terms.string_len_max, pace };
            function(&mut cx, args, out)
        }));
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(refusal)) => {
                debug_assert_eq!(out.len(), before, "{} wrote before it refused", spec.name);
                out.error(refusal);
            }
            Err(_panic) => {
                tracing::error!(command = %spec.full_name(), "a command panicked; mending its shard");
                out.truncate(before);
                out.error(Refusal::SHARD_PANIC);
                self.keyspace.mend();
            }
        }
    }

    /// Runs commands that each stand alone, until there is much to reply; gives how many were run.
    pub fn run_each(
        &mut self,
        queue: &Queue,
        terms: &Terms,
        pace: &mut dyn Pace,
        out: &mut Sink<'_>,
    ) -> usize {
        for (before, invocation) in queue.iter().enumerate() {
            if out.len() > OUTPUT_LEN_MAX {
                return before;
            }
            self.run(&invocation, terms, pace, out);
        }
        queue.len()
    }

    /// Runs a transaction whose commands all run on a shard.
    pub fn exec(
        &mut self,
        queue: &Queue,
        watched: Option<&Watched>,
        terms: &Terms,
        pace: &mut dyn Pace,
        out: &mut Sink<'_>,
    ) {
        if self.is_lost(watched) {
            return out.null_array();
        }
        out.array(queue.len());
        for invocation in queue.iter() {
            pace.step(1);
            self.run(&invocation, terms, pace, out);
        }
    }

    /// Ends the watch and says whether the transaction that it guards is lost.
    pub fn is_lost(&mut self, watched: Option<&Watched>) -> bool {
        watched.is_some_and(|w| self.keyspace.unwatch(w.keys.iter().map(|key| &**key), &w.guard))
    }

    /// Files `guard` under the keys of a WATCH.
    pub fn watch(&mut self, watch: &Invocation<'_>, slot: Slot, guard: &Guard, out: &mut Sink<'_>) {
        watch.spec.each_key(watch.args, |bytes| {
            let key = self.keyspace.key(slot, bytes);
            self.keyspace.watch(key, guard);
        });
        out.ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Args, Arity, Outcome, Spec};
    use crate::keyspace::KeyHasher;
    use crate::resp::{Proto, Span};
    use crate::shard::tests::Later;
    use crate::slot::Footprint;

    fn bad(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
        out.int(1);
        let key = cx.key(b"half");
        cx.keyspace.set(key, crate::keyspace::Value::Int(1), crate::keyspace::Ttl::Clear);
        panic!("as a bug would");
    }

    /// A panic is answered; what follows on the same shard runs.
    #[test]
    fn a_panic_stays_with_its_command() {
        static BAD: Spec =
            Spec { name: "bad", arity: Arity::Exactly(1), run: Run::Shard(bad), ..Spec::BASE };
        let mut engine = Engine::new(Keyspace::new(Slot::all(), KeyHasher::new(1), 1));
        let pack = PackLimits::default();
        let terms = Terms { now: 1, string_len_max: 1 << 20, pack, no_touch: false };
        engine.begin(&terms);
        let (buf, span) = (b"bad".to_vec(), [Span::new(0, 3)]);
        let mut queue = Queue::default();
        let footprint = Footprint::Anywhere;
        assert!(queue.push(&Invocation {
            spec: &BAD,
            args: Args::new(&buf, &span),
            footprint,
            only_key: None,
            seen: None
        }));
        let get = b"get half";
        let spans = [Span::new(0, 3), Span::new(4, 4)];
        let invocation = crate::command::resolve(Args::new(get, &spans)).expect("GET is a command");
        assert!(queue.push(&invocation));
        let mut out = Vec::new();
        engine.exec(
            &queue,
            None,
            &terms,
            &mut Later::default(),
            &mut Sink::new(&mut out, Proto::Resp2),
        );
        let error = String::from_utf8_lossy(Refusal::SHARD_PANIC.text()).into_owned();
        assert_eq!(String::from_utf8_lossy(&out), format!("*2\r\n-{error}\r\n$1\r\n1\r\n"));
    }
}
