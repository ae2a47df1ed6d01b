//! A share of transactions that take keys of two slots on purpose, to see them refused.
//!
//! ```text
//! MULTI, INCR {g}:cross:0, INCR {h}:cross:0, EXEC
//! ```
//!
//! A cluster refuses them whole: with CROSSSLOT at once or at EXEC, or with MOVED if the second slot
//! is another node's. A single Redis runs them. Either is fine; a half is not.

use super::{Ground, Workload};
use crate::load::chance::Chance;
use crate::load::failure::Failure;
use crate::load::keys::shown;
use crate::load::plan::Plan;
use crate::load::script::{Ask, Exec, Moment, Next, Outcome, Script};
use crate::load::setup_client::{Courier, must_be_ok, must_not_be_error};
use crate::load::verifier::{Facts, Note};
use crate::resp::Reply;
use crate::slot::Slot;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What must hold.
pub(super) const INVARIANT: &str = "a transaction over two slots is done on both or on none";
const NAME: &str = "cross";
/// Groups tried for one in another slot.
const TRIES: usize = 16;

pub(super) struct Crossing {
    inner: Arc<dyn Workload>,
    ground: Ground,
    share: f64,
    /// The invariant's number: the last.
    invariant: usize,
    /// By group: increments known to be done, and those that may have been.
    done: Box<[AtomicU64]>,
    unknown: Box<[AtomicU64]>,
}

pub(super) fn make(plan: &Plan, inner: Arc<dyn Workload>, ground: Ground) -> Arc<dyn Workload> {
    let zeros = || (0..ground.groups).map(|_| AtomicU64::new(0)).collect();
    Arc::new(Crossing {
        inner,
        share: plan.workload.cross,
        invariant: ground.referee.invariants() - 1,
        done: zeros(),
        unknown: zeros(),
        ground,
    })
}

impl Workload for Crossing {
    fn prepare(&self, courier: &mut Courier) -> Result<(), Failure> {
        self.inner.prepare(courier)?;
        courier.all(
            self.ground.groups,
            &mut |group, request| {
                let key = self.ground.keys.name(group, NAME, 0);
                request.command(&[b"SET", &key, b"0"]);
                Slot::of(&key)
            },
            &mut |_, reply| must_be_ok(reply),
        )
    }

    fn script(self: Arc<Self>, user: u32) -> Box<dyn Script> {
        let inner = Arc::clone(&self.inner).script(user);
        let mine = self.kinds().len() - 1;
        Box::new(Mixed {
            crossing: self,
            inner,
            mine,
            is_crossing: false,
            groups: [0; 2],
            names: Default::default(),
            exec: Exec::Strange,
        })
    }

    fn auditor(self: Arc<Self>) -> Option<Box<dyn Script>> {
        Arc::clone(&self.inner).auditor()
    }

    fn check(&self, courier: &mut Courier) -> Result<(), Failure> {
        self.inner.check(courier)?;
        let Self { ground, done, unknown, invariant, .. } = self;
        courier.all(
            ground.groups,
            &mut |group, request| {
                let key = ground.keys.name(group, NAME, 0);
                request.command(&[b"GET", &key]);
                Slot::of(&key)
            },
            &mut |group, reply| {
                must_not_be_error(reply)?;
                let least = done[group as usize].load(Relaxed);
                let most = least + unknown[group as usize].load(Relaxed);
                let seen = reply.integer().and_then(|seen| u64::try_from(seen).ok());
                if seen.is_none_or(|seen| !(least..=most).contains(&seen)) {
                    let key = shown(&ground.keys.name(group, NAME, 0));
                    let seen = seen.map_or_else(|| "nil".to_owned(), |seen| seen.to_string());
                    let what = || {
                        format!("{key} is {seen}, but {least} transactions over two slots with it committed")
                    };
                    let values = vec![(key.clone(), seen.clone())];
                    ground.referee.break_over(*invariant, None, what, &[group], values);
                }
                Ok(())
            },
        )?;
        ground.referee.checked_after(*invariant, ground.groups);
        Ok(())
    }

    fn clean(&self, courier: &mut Courier) -> Result<(), Failure> {
        self.inner.clean(courier)?;
        courier.all(
            self.ground.groups,
            &mut |group, request| {
                let key = self.ground.keys.name(group, NAME, 0);
                request.command(&[b"DEL", &key]);
                Slot::of(&key)
            },
            &mut |_, reply| must_not_be_error(reply),
        )
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
    /// The kind of the transactions that cross.
    mine: usize,
    is_crossing: bool,
    groups: [u64; 2],
    names: [Vec<u8>; 2],
    exec: Exec,
}

impl Mixed {
    fn settle(&self, moment: &Moment, unknown: bool) {
        let counts = if unknown { &self.crossing.unknown } else { &self.crossing.done };
        for group in self.groups {
            counts[group as usize].fetch_add(1, Relaxed);
            self.crossing.ground.referee.note(Note {
                moment: *moment,
                group,
                kind: self.mine,
                read: Facts::default(),
                wrote: Facts::default(),
                unknown,
            });
        }
    }
}

impl Script for Mixed {
    fn choose(&mut self, chance: &mut Chance) {
        let ground = &self.crossing.ground;
        self.is_crossing = chance.f64() < self.crossing.share;
        if !self.is_crossing {
            return self.inner.choose(chance);
        }
        self.groups[0] = ground.group.pick(chance);
        let slot = ground.keys.slot(self.groups[0]);
        for _ in 0..TRIES {
            self.groups[1] = ground.group.pick_other(self.groups[0], chance);
            if ground.keys.slot(self.groups[1]) != slot {
                break;
            }
        }
        for (group, name) in self.groups.into_iter().zip(&mut self.names) {
            ground.keys.write(group, NAME, 0, name);
        }
    }

    fn slot(&self) -> Slot {
        if self.is_crossing { Slot::of(&self.names[0]) } else { self.inner.slot() }
    }

    fn kind(&self) -> usize {
        if self.is_crossing { self.mine } else { self.inner.kind() }
    }

    fn crosses(&self) -> bool {
        self.is_crossing
    }

    fn rewind(&mut self) {
        if self.is_crossing { self.exec = Exec::Strange } else { self.inner.rewind() }
    }

    fn ask(&mut self, ask: &mut Ask<'_>, moment: &Moment) {
        if !self.is_crossing {
            return self.inner.ask(ask, moment);
        }
        ask.multi();
        self.names.iter().for_each(|name| ask.change(&[b"INCR", name]));
        ask.exec();
    }

    fn hear(&mut self, at: usize, reply: Reply<'_>) {
        if !self.is_crossing {
            return self.inner.hear(at, reply);
        }
        if at == 3 {
            self.exec = Exec::of(reply, 2, |_, _| {});
        }
    }

    fn conclude(&mut self, moment: &Moment) -> Next {
        if !self.is_crossing {
            return self.inner.conclude(moment);
        }
        let outcome = self.exec.outcome();
        match outcome {
            Outcome::Committed => self.settle(moment, false),
            Outcome::Malformed(_) => self.settle(moment, true),
            Outcome::Declined | Outcome::Aborted => {}
        }
        Next::Done(outcome)
    }

    fn failed(&mut self, unknown: bool, moment: &Moment) {
        if !self.is_crossing {
            self.inner.failed(unknown, moment);
        } else if unknown {
            self.settle(moment, true);
        }
    }
}
