//! A share of transactions that take keys of two slots on purpose, to test that they are refused.
//!
//! ```text
//! MULTI, INCR {g}:cross:0, INCR {h}:cross:0, EXEC
//! ```
//!
//! A cluster refuses them as a whole: with CROSSSLOT at once or at EXEC, or with MOVED if the
//! second slot belongs to another node. A single Redis runs them. Both are valid; half a
//! transaction is not.

use super::{Context, Workload, number_or_nil};
use crate::load::failure::Failure;
use crate::load::keys::shown;
use crate::load::plan::Plan;
use crate::load::random::Rng;
use crate::load::script::{Exec, Moment, Next, RoundWriter, Script};
use crate::load::setup_client::{SetupClient, expect_no_error};
use crate::load::verifier::{KeyValues, Record};
use crate::resp::Reply;
use crate::slot::Slot;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The invariant.
pub(super) const INVARIANT: &str = "a cross-slot transaction changes both slots or neither";
const NAME: &str = "cross";
/// Most groups tried to find one in another slot.
const TRIES: usize = 16;

pub(super) struct Crossing {
    inner: Arc<dyn Workload>,
    context: Context,
    share: f64,
    /// The invariant's index: it is the last.
    invariant: usize,
    /// By group: increments known to be done, and those that may have been.
    done: Box<[AtomicU64]>,
    unknown: Box<[AtomicU64]>,
}

pub(super) fn make(plan: &Plan, inner: Arc<dyn Workload>, context: Context) -> Arc<dyn Workload> {
    let zeros = || (0..context.groups).map(|_| AtomicU64::new(0)).collect();
    Arc::new(Crossing {
        inner,
        share: plan.workload.cross,
        invariant: context.verifier.invariant_count() - 1,
        done: zeros(),
        unknown: zeros(),
        context,
    })
}

impl Workload for Crossing {
    fn prepare(&self, client: &mut SetupClient) -> Result<(), Failure> {
        self.inner.prepare(client)?;
        self.context.set_one_per_group(client, NAME, b"0")
    }

    fn script(self: Arc<Self>, user: u32) -> Box<dyn Script> {
        let inner = Arc::clone(&self.inner).script(user);
        let cross_kind = self.kinds().len() - 1;
        Box::new(Mixed {
            crossing: self,
            inner,
            cross_kind,
            is_crossing: false,
            groups: [0; 2],
            names: Default::default(),
            exec: Exec::NoReply,
        })
    }

    fn auditor(self: Arc<Self>) -> Option<Box<dyn Script>> {
        Arc::clone(&self.inner).auditor()
    }

    fn check(&self, client: &mut SetupClient) -> Result<(), Failure> {
        self.inner.check(client)?;
        let Self { context, done, unknown, invariant, .. } = self;
        client.pipeline(
            context.groups,
            &mut |group, request| {
                let key = context.keys.name(group, NAME, 0);
                request.command(&[b"GET", &key]);
                Slot::of(&key)
            },
            &mut |group, reply| {
                expect_no_error(reply)?;
                let least = done[group as usize].load(Relaxed);
                let most = least + unknown[group as usize].load(Relaxed);
                let seen = reply.integer().and_then(|seen| u64::try_from(seen).ok());
                if seen.is_none_or(|seen| !(least..=most).contains(&seen)) {
                    let key = shown(&context.keys.name(group, NAME, 0));
                    let seen = number_or_nil(seen);
                    let what = || {
                        format!(
                            "{key} is {seen}, but {least} cross-slot transactions with it committed"
                        )
                    };
                    let values = vec![(key.clone(), seen.clone())];
                    context.verifier.record_violation_in(*invariant, None, what, &[group], values);
                }
                Ok(())
            },
        )?;
        context.verifier.checked_after(*invariant, context.groups);
        Ok(())
    }

    fn clean(&self, client: &mut SetupClient) -> Result<u64, Failure> {
        let removed = self.inner.clean(client);
        let own = self.context.remove_one_per_group(client, NAME);
        Ok(removed? + own?)
    }

    fn kinds(&self) -> Vec<String> {
        let mut kinds = self.inner.kinds();
        kinds.push("cross-slot".to_owned());
        kinds
    }
}

struct Mixed {
    crossing: Arc<Crossing>,
    inner: Box<dyn Script>,
    /// The kind of cross-slot transactions.
    cross_kind: usize,
    is_crossing: bool,
    groups: [u64; 2],
    names: [Vec<u8>; 2],
    exec: Exec,
}

impl Script for Mixed {
    fn choose(&mut self, rng: &mut Rng) {
        let context = &self.crossing.context;
        self.is_crossing = rng.f64() < self.crossing.share;
        if !self.is_crossing {
            return self.inner.choose(rng);
        }
        self.groups[0] = context.group.pick(rng);
        let slot = context.keys.slot(self.groups[0]);
        for _ in 0..TRIES {
            self.groups[1] = context.group.pick_other(self.groups[0], rng);
            if context.keys.slot(self.groups[1]) != slot {
                break;
            }
        }
        for (group, name) in self.groups.into_iter().zip(&mut self.names) {
            context.keys.write(group, NAME, 0, name);
        }
    }

    fn slot(&self) -> Slot {
        if self.is_crossing { Slot::of(&self.names[0]) } else { self.inner.slot() }
    }

    fn kind(&self) -> usize {
        if self.is_crossing { self.cross_kind } else { self.inner.kind() }
    }

    fn crosses(&self) -> bool {
        self.is_crossing
    }

    fn begin_attempt(&mut self) {
        if self.is_crossing { self.exec = Exec::NoReply } else { self.inner.begin_attempt() }
    }

    fn write_round(&mut self, out: &mut RoundWriter<'_>, moment: &Moment) {
        if !self.is_crossing {
            return self.inner.write_round(out, moment);
        }
        out.multi();
        self.names.iter().for_each(|name| out.change(&[b"INCR", name]));
        out.exec();
    }

    fn read_reply(&mut self, at: usize, reply: Reply<'_>) {
        if !self.is_crossing {
            return self.inner.read_reply(at, reply);
        }
        if at == 3 {
            self.exec = Exec::read(reply, 2, |_, _| {});
        }
    }

    fn finish_round(&mut self, moment: &Moment) -> Next {
        if !self.is_crossing {
            return self.inner.finish_round(moment);
        }
        Next::Done(self.exec.outcome())
    }

    fn fail_round(&mut self, is_unknown: bool, moment: &Moment) {
        if !self.is_crossing {
            self.inner.fail_round(is_unknown, moment);
        } else if is_unknown {
            self.record(true, moment);
        }
    }

    fn record(&mut self, is_unknown: bool, moment: &Moment) {
        if !self.is_crossing {
            return self.inner.record(is_unknown, moment);
        }
        let counts = if is_unknown { &self.crossing.unknown } else { &self.crossing.done };
        for group in self.groups {
            counts[group as usize].fetch_add(1, Relaxed);
            self.crossing.context.verifier.record(Record {
                moment: *moment,
                group,
                kind: self.cross_kind,
                read: KeyValues::default(),
                wrote: KeyValues::default(),
                is_unknown,
            });
        }
    }
}
