//! `lock`: the common lock by SET NX PX with a token, and mutual exclusion under it.
//!
//! ```text
//! SET lock token NX PX ttl      nil: another client has it                 aborted
//! GET work                      while it is held, without WATCH
//! SET work w+1, WATCH lock, GET lock
//! MULTI, DEL lock, EXEC         if it still has our token
//! ```
//!
//! Two things are checked. In the client: between the reply that grants the lock and the request
//! that releases it, no other user may get such a reply, unless the lease has expired. On the
//! target: `work` is incremented without any other protection, so its final value must be the
//! number of times the lock was held.

use super::{Context, Workload, number_or_nil};
use crate::load::failure::Failure;
use crate::load::keys::{Keys, shown};
use crate::load::plan::Plan;
use crate::load::random::Rng;
use crate::load::script::{Exec, Moment, Nanos, Next, Outcome, RoundWriter, Script};
use crate::load::setup_client::SetupClient;
use crate::load::verifier::{KeyNames, KeyValues, Record};
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
    context: Context,
    ttl_ms: u64,
    /// By lock: the user that holds it, plus one; 0 if none does.
    holder: Box<[AtomicU64]>,
    /// By lock: the end of its lease, in nanoseconds since the run began.
    until: Box<[AtomicU64]>,
    /// By lock: increments of `work` known to be done.
    done: Box<[AtomicU64]>,
    /// By lock: increments of unknown outcome, or whose lease may have expired.
    unknown: Box<[AtomicU32]>,
}

struct LockNames(Keys, u64);

impl KeyNames for LockNames {
    fn key(&self, group: u64, key: u32) -> String {
        let (key, locks) = (u64::from(key), self.1);
        let (kind, index) = if key < locks { (LOCK, key) } else { (WORK, key - locks) };
        shown(&self.0.name(group, kind, index))
    }

    fn kind(&self, _kind: usize) -> String {
        "lock".to_owned()
    }
}

pub(super) fn make(plan: &Plan) -> (Arc<dyn Workload>, Context) {
    let invariants = [
        "a lock never has two holders",
        "the final value of work is the number of times the lock was held",
    ];
    let names = LockNames(Keys::new(&plan.workload.prefix), plan.shape.keys_per_group as u64);
    let context = Context::new(plan, &invariants, Box::new(names));
    let locks = context.groups * context.keys_per_group;
    let zeros = || (0..locks).map(|_| AtomicU64::new(0)).collect();
    let workload = Locks {
        context: context.clone(),
        ttl_ms: plan.workload.lock_ttl_ms,
        holder: zeros(),
        until: zeros(),
        done: zeros(),
        unknown: (0..locks).map(|_| AtomicU32::new(0)).collect(),
    };
    (Arc::new(workload), context)
}

impl Workload for Locks {
    fn prepare(&self, client: &mut SetupClient) -> Result<(), Failure> {
        self.context.set_all(client, WORK, |_, _, text| text.push(b'0'))
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
            round: Round::Acquire,
            asked_at: 0,
            granted: false,
            holds: false,
            work: None,
            still_ours: false,
            exec: Exec::NoReply,
            text: Vec::new(),
        })
    }

    fn auditor(self: Arc<Self>) -> Option<Box<dyn Script>> {
        // Every user checks at each grant that no other one holds the lock.
        None
    }

    fn check(&self, client: &mut SetupClient) -> Result<(), Failure> {
        let context = &self.context;
        let mut checked = 0;
        context.read_all(client, WORK, &mut |group, key, value| {
            checked += 1;
            let place = (group * context.keys_per_group + key) as usize;
            let (done, unknown) =
                (self.done[place].load(Relaxed), self.unknown[place].load(Relaxed));
            // A write of unknown outcome may come late and overwrite those of later holders.
            let least = if unknown == 0 { done } else { 0 };
            let most = done + u64::from(unknown);
            let seen = value.integer().and_then(|value| u64::try_from(value).ok());
            if seen.is_some_and(|seen| (least..=most).contains(&seen)) {
                return;
            }
            let seen = number_or_nil(seen);
            let work = (context.keys_per_group + key) as u32;
            let what = || {
                let name = shown(&context.keys.name(group, WORK, key));
                format!(
                    "{name} is {seen}, but its lock was held {done} times (and {unknown} times with unknown outcome)"
                )
            };
            context.verifier.record_violation(WORKED, None, what, group, &[(work, seen.clone())]);
        })?;
        context.verifier.checked_after(WORKED, checked);
        Ok(())
    }

    fn clean(&self, client: &mut SetupClient) -> Result<u64, Failure> {
        self.context.remove_all(client, &[LOCK, WORK])
    }

    fn kinds(&self) -> Vec<String> {
        vec!["lock".to_owned()]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    Acquire,
    ReadWork,
    WriteWork,
    Release,
    Unwatch,
}

struct Holder {
    locks: Arc<Locks>,
    user: u32,
    ttl: Vec<u8>,
    group: u64,
    key: u64,
    /// The names of the lock and of its work.
    names: [Vec<u8>; 2],
    token: Vec<u8>,
    round: Round,
    /// When the lock was requested: the lease cannot have begun before.
    asked_at: Nanos,
    granted: bool,
    /// Whether this user is entered as the holder.
    holds: bool,
    work: Option<i64>,
    still_ours: bool,
    exec: Exec,
    text: Vec<u8>,
}

impl Holder {
    fn place(&self) -> usize {
        (self.group * self.locks.context.keys_per_group + self.key) as usize
    }

    fn lease_end(&self) -> Nanos {
        self.asked_at.saturating_add(self.locks.ttl_ms.saturating_mul(1_000_000))
    }

    /// Enters this user as the holder and checks that no other one is.
    fn acquire(&mut self, moment: &Moment) {
        let place = self.place();
        let me = u64::from(self.user) + 1;
        let until = self.locks.until[place].load(Relaxed);
        let other = self.locks.holder[place].swap(me, Relaxed);
        self.locks.until[place].store(self.lease_end(), Relaxed);
        self.holds = true;
        let verifier = &self.locks.context.verifier;
        verifier.checked_during(HOLDERS, 1);
        if other != 0 && other != me && moment.at < until {
            let name = shown(&self.names[0]);
            let what = || {
                format!("{name} was given to user {} while user {} held it", self.user, other - 1)
            };
            let token = shown(&self.token);
            verifier.record_violation(
                HOLDERS,
                Some(moment.at),
                what,
                self.group,
                &[(self.key as u32, token)],
            );
        }
    }

    fn release(&mut self) {
        if std::mem::take(&mut self.holds) {
            let me = u64::from(self.user) + 1;
            // Another user is entered if the lease has expired.
            let _other = self.locks.holder[self.place()].compare_exchange(me, 0, Relaxed, Relaxed);
        }
    }

    fn record_work(&self, moment: &Moment, is_unknown: bool) {
        let place = self.place();
        if is_unknown {
            self.locks.unknown[place].fetch_add(1, Relaxed);
        } else {
            self.locks.done[place].fetch_add(1, Relaxed);
        }
        let key = (self.locks.context.keys_per_group + self.key) as u32;
        let work = self.work.unwrap_or_default();
        self.locks.context.verifier.record(Record {
            moment: *moment,
            group: self.group,
            kind: 0,
            read: KeyValues::of(&[(key, work), (self.key as u32, 0)]),
            wrote: KeyValues::of(&[(key, work.wrapping_add(1))]),
            is_unknown,
        });
    }
}

impl Script for Holder {
    fn choose(&mut self, rng: &mut Rng) {
        let context = &self.locks.context;
        (self.group, self.key) = context.pick_key(rng);
        for (name, kind) in self.names.iter_mut().zip([LOCK, WORK]) {
            context.keys.write(self.group, kind, self.key, name);
        }
        self.token.clear();
        write_i64(&mut self.token, i64::from(self.user));
        self.token.push(b'-');
        write_i64(&mut self.token, (rng.u64(..) >> 1) as i64);
    }

    fn slot(&self) -> Slot {
        Slot::of(&self.names[0])
    }

    fn begin_attempt(&mut self) {
        self.round = Round::Acquire;
        (self.granted, self.work, self.still_ours, self.exec) = (false, None, false, Exec::NoReply);
    }

    fn write_round(&mut self, out: &mut RoundWriter<'_>, moment: &Moment) {
        let [lock, work] = self.names.each_ref().map(|name| &name[..]);
        match self.round {
            Round::Acquire => {
                self.asked_at = moment.at;
                out.change(&[b"SET", lock, &self.token, b"NX", b"PX", &self.ttl]);
            }
            Round::ReadWork => out.read(&[b"GET", work]),
            Round::WriteWork => {
                self.text.clear();
                write_i64(&mut self.text, self.work.unwrap_or_default().wrapping_add(1));
                out.change(&[b"SET", work, &self.text]);
                out.watch(&[lock]);
                out.read(&[b"GET", lock]);
            }
            Round::Release => {
                out.multi();
                out.change(&[b"DEL", lock]);
                out.exec();
                self.release();
            }
            Round::Unwatch => out.unwatch(),
        }
    }

    fn read_reply(&mut self, at: usize, reply: Reply<'_>) {
        match (self.round, at) {
            (Round::Acquire, 0) => self.granted = reply.is_ok(),
            (Round::ReadWork, 0) => self.work = reply.integer(),
            (Round::WriteWork, 2) => self.still_ours = reply == Reply::Bulk(&self.token),
            (Round::Release, 2) => self.exec = Exec::read(reply, 1, |_, _| {}),
            _ => {}
        }
    }

    fn finish_round(&mut self, moment: &Moment) -> Next {
        let is_over = moment.at >= self.lease_end();
        match self.round {
            Round::Acquire if !self.granted => return Next::Done(Outcome::Aborted),
            Round::Acquire => {
                self.acquire(moment);
                self.round = Round::ReadWork;
            }
            Round::ReadWork if self.work.is_none() => {
                self.release();
                return Next::Done(Outcome::Malformed("work is not a number".to_owned()));
            }
            // After the lease there may be another holder, so nothing may be written.
            Round::ReadWork if is_over => {
                self.release();
                return Next::Done(Outcome::Aborted);
            }
            Round::ReadWork => self.round = Round::WriteWork,
            Round::WriteWork => {
                self.record_work(moment, is_over || !self.still_ours);
                if !self.still_ours && !is_over {
                    let name = shown(&self.names[0]);
                    let what = || {
                        format!("{name} was lost by user {} before its lease expired", self.user)
                    };
                    let key = (self.key as u32, "another token".to_owned());
                    let at = Some(moment.at);
                    self.locks.context.verifier.record_violation(
                        HOLDERS,
                        at,
                        what,
                        self.group,
                        &[key],
                    );
                }
                if !self.still_ours {
                    self.release();
                }
                self.round = if self.still_ours { Round::Release } else { Round::Unwatch };
            }
            Round::Unwatch => return Next::Done(Outcome::Committed),
            // The work is done, whether or not the lock was still there to be removed.
            Round::Release => {
                return Next::Done(match self.exec.outcome() {
                    Outcome::Malformed(why) => Outcome::Malformed(why),
                    _ => Outcome::Committed,
                });
            }
        }
        Next::Round
    }

    fn fail_round(&mut self, is_unknown: bool, moment: &Moment) {
        if self.round == Round::WriteWork {
            // The SET is sent before the request that may have been refused.
            self.record_work(moment, true);
        }
        if is_unknown || self.round != Round::Acquire {
            self.release();
        }
    }
}
