//! `lock`: the lock that many write by hand, and what it must give.
//!
//! ```text
//! SET lock token NX PX ttl      nil: somebody has it                       aborted
//! GET work                      as its holder, without WATCH:
//! SET work w+1, WATCH lock, GET lock
//! MULTI, DEL lock, EXEC         if it still holds our token
//! ```
//!
//! Two things are checked. Here: between hearing that the lock is ours and asking for its release
//! nobody else may hear the same, unless the lease ran out meanwhile. There: `work` is counted up
//! without any other protection, so it must end at the number of times the lock was held.

use super::{Ground, Workload};
use crate::load::chance::Chance;
use crate::load::failure::Failure;
use crate::load::keys::{Keys, shown};
use crate::load::plan::Plan;
use crate::load::script::{Ask, Exec, Moment, Nanos, Next, Outcome, Script};
use crate::load::setup_client::Courier;
use crate::load::verifier::{Facts, Names, Note};
use crate::resp::Reply;
use crate::slot::Slot;
use crate::text::number::write_i64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

const LOCK: &str = "lock";
const WORK: &str = "work";
const HOLDERS: usize = 0;
const WORKED: usize = 1;

pub(super) struct Locks {
    ground: Ground,
    ttl_ms: u64,
    /// By lock: who believes to hold it (its user plus one), or 0.
    holder: Box<[AtomicU64]>,
    /// By lock: until when its holder may believe so, in nanoseconds since the run began.
    until: Box<[AtomicU64]>,
    /// By lock: work known to be done.
    done: Box<[AtomicU64]>,
    /// By lock: work of which it is not known, or whose lease may have run out.
    unknown: Box<[AtomicU32]>,
}

struct LockNames(Keys, u64);

impl Names for LockNames {
    fn key(&self, group: u64, key: u32) -> String {
        let (key, locks) = (u64::from(key), self.1);
        let (kind, index) = if key < locks { (LOCK, key) } else { (WORK, key - locks) };
        shown(&self.0.name(group, kind, index))
    }

    fn kind(&self, _kind: usize) -> String {
        "lock".to_owned()
    }
}

pub(super) fn make(plan: &Plan) -> (Arc<dyn Workload>, Ground) {
    let invariants =
        ["a lock never has two holders", "what its holders count up ends at how often it was held"];
    let names = LockNames(Keys::new(&plan.workload.prefix), plan.shape.keys_per_group as u64);
    let ground = Ground::new(plan, &invariants, Box::new(names));
    let locks = ground.groups * ground.keys_per_group;
    let zeros = || (0..locks).map(|_| AtomicU64::new(0)).collect();
    let workload = Locks {
        ground: ground.clone(),
        ttl_ms: plan.workload.lock_ttl_ms,
        holder: zeros(),
        until: zeros(),
        done: zeros(),
        unknown: (0..locks).map(|_| AtomicU32::new(0)).collect(),
    };
    (Arc::new(workload), ground)
}

impl Workload for Locks {
    fn prepare(&self, courier: &mut Courier) -> Result<(), Failure> {
        self.ground.remove_all(courier, &[LOCK])?;
        self.ground.set_all(courier, WORK, |_, _, text| text.push(b'0'))
    }

    fn script(self: Arc<Self>, user: u32) -> Box<dyn Script> {
        let ttl = self.ttl_ms.to_string().into_bytes();
        Box::new(Holder {
            locks: self,
            user,
            ttl,
            group: 0,
            key: 0,
            names: Default::default(),
            token: Vec::new(),
            step: Step::Taking,
            asked_at: 0,
            granted: false,
            holds: false,
            work: None,
            still_ours: false,
            exec: Exec::Strange,
            text: Vec::new(),
        })
    }

    fn auditor(self: Arc<Self>) -> Option<Box<dyn Script>> {
        // The holders look for each other.
        None
    }

    fn check(&self, courier: &mut Courier) -> Result<(), Failure> {
        let ground = &self.ground;
        let mut checked = 0;
        ground.read_all(courier, WORK, &mut |group, key, value| {
            checked += 1;
            let place = (group * ground.keys_per_group + key) as usize;
            let (done, unknown) =
                (self.done[place].load(Relaxed), self.unknown[place].load(Relaxed));
            // Work of an unknown outcome may have run beside that of later holders and undone it.
            let least = if unknown == 0 { done } else { 0 };
            let most = done + u64::from(unknown);
            let seen = value.integer().and_then(|value| u64::try_from(value).ok());
            if seen.is_some_and(|seen| (least..=most).contains(&seen)) {
                return;
            }
            let seen = seen.map_or_else(|| "nil".to_owned(), |seen| seen.to_string());
            let work = (ground.keys_per_group + key) as u32;
            let what = || {
                let name = shown(&ground.keys.name(group, WORK, key));
                format!(
                    "{name} is {seen}, but its lock was held {done} times (and {unknown} uncertain)"
                )
            };
            ground.referee.break_in(WORKED, None, what, group, &[(work, seen.clone())]);
        })?;
        ground.referee.checked_after(WORKED, checked);
        Ok(())
    }

    fn clean(&self, courier: &mut Courier) -> Result<(), Failure> {
        self.ground.remove_all(courier, &[LOCK, WORK])
    }

    fn kinds(&self) -> Vec<String> {
        vec!["lock".to_owned()]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Taking,
    Working,
    Storing,
    Releasing,
    Leaving,
}

struct Holder {
    locks: Arc<Locks>,
    user: u32,
    ttl: Vec<u8>,
    group: u64,
    key: u64,
    /// The lock and the work.
    names: [Vec<u8>; 2],
    token: Vec<u8>,
    step: Step,
    /// When the lock was asked for: the lease cannot have begun before.
    asked_at: Nanos,
    granted: bool,
    /// Whether we are entered as the holder.
    holds: bool,
    work: Option<i64>,
    still_ours: bool,
    exec: Exec,
    text: Vec<u8>,
}

impl Holder {
    fn place(&self) -> usize {
        (self.group * self.locks.ground.keys_per_group + self.key) as usize
    }

    fn lease_end(&self) -> Nanos {
        self.asked_at.saturating_add(self.locks.ttl_ms.saturating_mul(1_000_000))
    }

    /// Enters us as the holder and sees whether somebody is there already.
    fn enter(&mut self, moment: &Moment) {
        let place = self.place();
        let me = u64::from(self.user) + 1;
        let until = self.locks.until[place].load(Relaxed);
        let other = self.locks.holder[place].swap(me, Relaxed);
        self.locks.until[place].store(self.lease_end(), Relaxed);
        self.holds = true;
        let referee = &self.locks.ground.referee;
        referee.checked_during(HOLDERS, 1);
        if other != 0 && other != me && moment.at < until {
            let name = shown(&self.names[0]);
            let what = || {
                format!("{name} was given to user {} while user {} held it", self.user, other - 1)
            };
            let token = shown(&self.token);
            referee.break_in(
                HOLDERS,
                Some(moment.at),
                what,
                self.group,
                &[(self.key as u32, token)],
            );
        }
    }

    fn leave(&mut self) {
        if std::mem::take(&mut self.holds) {
            let me = u64::from(self.user) + 1;
            // Somebody else stands there if the lease ran out.
            let _theirs = self.locks.holder[self.place()].compare_exchange(me, 0, Relaxed, Relaxed);
        }
    }

    fn note(&self, moment: &Moment, unknown: bool) {
        let place = self.place();
        if unknown {
            self.locks.unknown[place].fetch_add(1, Relaxed);
        } else {
            self.locks.done[place].fetch_add(1, Relaxed);
        }
        let key = (self.locks.ground.keys_per_group + self.key) as u32;
        let work = self.work.unwrap_or_default();
        self.locks.ground.referee.note(Note {
            moment: *moment,
            group: self.group,
            kind: 0,
            read: Facts::of(&[(key, work), (self.key as u32, 0)]),
            wrote: Facts::of(&[(key, work.wrapping_add(1))]),
            unknown,
        });
    }
}

impl Script for Holder {
    fn choose(&mut self, chance: &mut Chance) {
        let ground = &self.locks.ground;
        (self.group, self.key) = ground.pick(chance);
        for (name, kind) in self.names.iter_mut().zip([LOCK, WORK]) {
            ground.keys.write(self.group, kind, self.key, name);
        }
        self.token.clear();
        write_i64(&mut self.token, i64::from(self.user));
        self.token.push(b'-');
        write_i64(&mut self.token, (chance.u64(..) >> 1) as i64);
    }

    fn slot(&self) -> Slot {
        Slot::of(&self.names[0])
    }

    fn rewind(&mut self) {
        self.step = Step::Taking;
        (self.granted, self.work, self.still_ours, self.exec) = (false, None, false, Exec::Strange);
    }

    fn ask(&mut self, ask: &mut Ask<'_>, moment: &Moment) {
        let [lock, work] = self.names.each_ref().map(|name| &name[..]);
        match self.step {
            Step::Taking => {
                self.asked_at = moment.at;
                ask.change(&[b"SET", lock, &self.token, b"NX", b"PX", &self.ttl]);
            }
            Step::Working => ask.read(&[b"GET", work]),
            Step::Storing => {
                self.text.clear();
                write_i64(&mut self.text, self.work.unwrap_or_default().wrapping_add(1));
                ask.change(&[b"SET", work, &self.text]);
                ask.watch(&[lock]);
                ask.read(&[b"GET", lock]);
            }
            Step::Releasing => {
                ask.multi();
                ask.change(&[b"DEL", lock]);
                ask.exec();
                self.leave();
            }
            Step::Leaving => ask.unwatch(),
        }
    }

    fn hear(&mut self, at: usize, reply: Reply<'_>) {
        match (self.step, at) {
            (Step::Taking, 0) => self.granted = reply.is_ok(),
            (Step::Working, 0) => self.work = reply.integer(),
            (Step::Storing, 2) => self.still_ours = reply == Reply::Bulk(&self.token),
            (Step::Releasing, 2) => self.exec = Exec::of(reply, 1, |_, _| {}),
            _ => {}
        }
    }

    fn conclude(&mut self, moment: &Moment) -> Next {
        let is_over = moment.at >= self.lease_end();
        match self.step {
            Step::Taking if !self.granted => return Next::Done(Outcome::Aborted),
            Step::Taking => {
                self.enter(moment);
                self.step = Step::Working;
            }
            Step::Working if self.work.is_none() => {
                self.leave();
                return Next::Done(Outcome::Malformed("work that is no number".to_owned()));
            }
            // Who is too late must not write: the next holder may be at work.
            Step::Working if is_over => {
                self.leave();
                return Next::Done(Outcome::Aborted);
            }
            Step::Working => self.step = Step::Storing,
            Step::Storing => {
                self.note(moment, is_over || !self.still_ours);
                if !self.still_ours && !is_over {
                    let name = shown(&self.names[0]);
                    let what =
                        || format!("{name} was taken from user {} before its time", self.user);
                    let key = (self.key as u32, "not our token".to_owned());
                    let at = Some(moment.at);
                    self.locks.ground.referee.break_in(HOLDERS, at, what, self.group, &[key]);
                }
                if !self.still_ours {
                    self.leave();
                }
                self.step = if self.still_ours { Step::Releasing } else { Step::Leaving };
            }
            Step::Leaving => return Next::Done(Outcome::Committed),
            // Whether the lock was still there to be removed is no matter: the work is done.
            Step::Releasing => {
                return Next::Done(match self.exec.outcome() {
                    Outcome::Malformed(strange) => Outcome::Malformed(strange),
                    _ => Outcome::Committed,
                });
            }
        }
        Next::Again
    }

    fn failed(&mut self, unknown: bool, moment: &Moment) {
        if self.step == Step::Storing {
            // The SET goes before what may have been refused.
            self.note(moment, true);
        }
        if unknown || self.step != Step::Taking {
            self.leave();
        }
    }
}
