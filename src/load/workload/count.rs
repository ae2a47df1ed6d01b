//! `counter`, `incr` and `multi`: counters that must end where the commits say.
//!
//! ```text
//! counter   WATCH k, GET k │ MULTI, SET k v+1, EXEC          a lost update is a missing one
//! incr      INCR k                                           the baseline without a transaction
//! multi     MULTI, INCR k, INCR k+1, …, EXEC                 the baseline without WATCH
//! ```

use super::audit::{Audited, Auditor};
use super::{Ground, Workload};
use crate::load::chance::Chance;
use crate::load::failure::Failure;
use crate::load::keys::{Keys, shown};
use crate::load::plan::{Kind, Plan};
use crate::load::script::{Ask, Exec, Moment, Next, Outcome, Script};
use crate::load::setup_client::Courier;
use crate::load::verifier::{Facts, Names, Note};
use crate::resp::Reply;
use crate::slot::Slot;
use crate::text::number::write_i64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

const NAME: &str = "counter";
const FINAL: usize = 0;
/// Keys of a group that an audit reads at a time.
const AUDITED_MAX: u64 = 64;

/// How often each key was counted up.
pub(super) struct Counts {
    ground: Ground,
    kind: Kind,
    /// Commands in a transaction of `multi`.
    ops: u64,
    /// By key: increments known to be done.
    done: Box<[AtomicU64]>,
    /// By key: increments that may have been done.
    unknown: Box<[AtomicU32]>,
}

struct CountNames(Keys, Kind);

impl Names for CountNames {
    fn key(&self, group: u64, key: u32) -> String {
        shown(&self.0.name(group, NAME, u64::from(key)))
    }

    fn kind(&self, _kind: usize) -> String {
        self.1.name().to_owned()
    }
}

pub(super) fn make(plan: &Plan, kind: Kind) -> (Arc<dyn Workload>, Ground) {
    let names = Box::new(CountNames(Keys::new(&plan.workload.prefix), kind));
    let ground = Ground::new(plan, &["every counter ends at the number of its commits"], names);
    let keys = ground.groups * ground.keys_per_group;
    let counts = Counts {
        ground: ground.clone(),
        kind,
        ops: plan.workload.ops as u64,
        done: (0..keys).map(|_| AtomicU64::new(0)).collect(),
        unknown: (0..keys).map(|_| AtomicU32::new(0)).collect(),
    };
    (Arc::new(counts), ground)
}

impl Counts {
    fn place(&self, group: u64, key: u64) -> usize {
        (group * self.ground.keys_per_group + key) as usize
    }

    fn count(&self, group: u64, key: u64, times: u32, unknown: bool) {
        let place = self.place(group, key);
        if unknown {
            self.unknown[place].fetch_add(times, Relaxed);
        } else {
            self.done[place].fetch_add(u64::from(times), Relaxed);
        }
    }

    /// How often `multi` counts up the `i`-th of `keys` keys that it goes round.
    fn times(&self, i: u64) -> u32 {
        let keys = self.ground.keys_per_group;
        (self.ops / keys + u64::from(i < self.ops % keys)) as u32
    }

    fn judge_one(&self, group: u64, key: u64, value: Option<i64>, least: u64, at: Option<&Moment>) {
        let place = self.place(group, key);
        let (done, unknown) = (self.done[place].load(Relaxed), self.unknown[place].load(Relaxed));
        // While the load runs, what is under way may be done already.
        let under_way = if at.is_some() { self.ground.lanes * self.ops.max(1) } else { 0 };
        let most = done.saturating_add(u64::from(unknown)).saturating_add(under_way);
        let seen = value.and_then(|value| u64::try_from(value).ok());
        if seen.is_some_and(|seen| (least..=most).contains(&seen)) {
            return;
        }
        let what = || {
            let name = shown(&self.ground.keys.name(group, NAME, key));
            let or =
                if most > least && at.is_none() { format!(" to {most}") } else { String::new() };
            match seen {
                None => {
                    format!("{name} is gone or no number; {least}{or} increments were committed")
                }
                Some(seen) if seen < least => format!(
                    "{name} is {seen}, but {least}{or} increments were committed: {} lost",
                    least - seen
                ),
                Some(seen) => format!(
                    "{name} is {seen}, but only {most} increments were committed or under way: {} too many",
                    seen - most
                ),
            }
        };
        let shown = value.map_or_else(|| "nil".to_owned(), |value| value.to_string());
        let at = at.map(|moment| moment.at);
        self.ground.referee.break_in(FINAL, at, what, group, &[(key as u32, shown)]);
    }
}

impl Workload for Counts {
    fn prepare(&self, courier: &mut Courier) -> Result<(), Failure> {
        self.ground.set_all(courier, NAME, |_, _, text| text.push(b'0'))
    }

    fn script(self: Arc<Self>, _user: u32) -> Box<dyn Script> {
        let state = State { counts: self, group: 0, key: 0, name: Vec::new() };
        match state.counts.kind {
            Kind::Counter => Box::new(Counter {
                state,
                read: None,
                is_reading: true,
                exec: Exec::Strange,
                text: Vec::new(),
            }),
            Kind::Incr => Box::new(Incr { state, value: None }),
            _ => Box::new(Multi { state, exec: Exec::Strange, names: Vec::new(), wrong: None }),
        }
    }

    fn auditor(self: Arc<Self>) -> Option<Box<dyn Script>> {
        Some(Box::new(Auditor::new(self)))
    }

    fn check(&self, courier: &mut Courier) -> Result<(), Failure> {
        let mut checked = 0;
        self.ground.read_all(courier, NAME, &mut |group, key, value| {
            checked += 1;
            let least = self.done[self.place(group, key)].load(Relaxed);
            self.judge_one(group, key, value.integer(), least, None);
        })?;
        self.ground.referee.checked_after(FINAL, checked);
        Ok(())
    }

    fn clean(&self, courier: &mut Courier) -> Result<(), Failure> {
        self.ground.remove_all(courier, &[NAME])
    }

    fn kinds(&self) -> Vec<String> {
        vec![self.kind.name().to_owned()]
    }
}

impl Audited for Counts {
    fn groups(&self) -> u64 {
        self.ground.groups
    }

    fn request(&self, group: u64, args: &mut Vec<Vec<u8>>) {
        let keys = self.ground.keys_per_group.min(AUDITED_MAX);
        args.extend((0..keys).map(|key| self.ground.keys.name(group, NAME, key)));
    }

    fn before(&self, group: u64) -> Vec<u64> {
        let keys = self.ground.keys_per_group.min(AUDITED_MAX);
        (0..keys).map(|key| self.done[self.place(group, key)].load(Relaxed)).collect()
    }

    fn judge(&self, group: u64, before: &[u64], values: &[Option<i64>], moment: &Moment) {
        self.ground.referee.checked_during(FINAL, 1);
        for (key, (&value, &least)) in values.iter().zip(before).enumerate() {
            self.judge_one(group, key as u64, value, least, Some(moment));
        }
    }
}

/// What the three scripts share: the key in question.
struct State {
    counts: Arc<Counts>,
    group: u64,
    key: u64,
    name: Vec<u8>,
}

impl State {
    fn choose(&mut self, chance: &mut Chance) {
        let ground = &self.counts.ground;
        (self.group, self.key) = ground.pick(chance);
        ground.keys.write(self.group, NAME, self.key, &mut self.name);
    }

    fn note(&self, moment: &Moment, read: Facts, wrote: Facts, unknown: bool) {
        let (group, moment) = (self.group, *moment);
        self.counts.ground.referee.note(Note { moment, group, kind: 0, read, wrote, unknown });
    }
}

struct Counter {
    state: State,
    is_reading: bool,
    read: Option<i64>,
    exec: Exec,
    text: Vec<u8>,
}

impl Counter {
    fn settle(&self, moment: &Moment, unknown: bool) {
        let State { counts, group, key, .. } = &self.state;
        counts.count(*group, *key, 1, unknown);
        let (key, read) = (*key as u32, self.read.unwrap_or_default());
        let (read, wrote) = (Facts::of(&[(key, read)]), Facts::of(&[(key, read.wrapping_add(1))]));
        self.state.note(moment, read, wrote, unknown);
    }
}

impl Script for Counter {
    fn choose(&mut self, chance: &mut Chance) {
        self.state.choose(chance);
    }

    fn slot(&self) -> Slot {
        Slot::of(&self.state.name)
    }

    fn rewind(&mut self) {
        (self.is_reading, self.read, self.exec) = (true, None, Exec::Strange);
    }

    fn ask(&mut self, ask: &mut Ask<'_>, _moment: &Moment) {
        let name = &self.state.name[..];
        if self.is_reading {
            ask.watch(&[name]);
            ask.read(&[b"GET", name]);
        } else {
            self.text.clear();
            write_i64(&mut self.text, self.read.unwrap_or_default().wrapping_add(1));
            ask.multi();
            ask.change(&[b"SET", name, &self.text]);
            ask.exec();
        }
    }

    fn hear(&mut self, at: usize, reply: Reply<'_>) {
        match (self.is_reading, at) {
            (true, 1) => self.read = reply.integer(),
            (false, 2) => self.exec = Exec::of(reply, 1, |_, _| {}),
            _ => {}
        }
    }

    fn conclude(&mut self, moment: &Moment) -> Next {
        if self.is_reading {
            if self.read.is_none() {
                return Next::Done(Outcome::Malformed("a counter that is no number".to_owned()));
            }
            self.is_reading = false;
            return Next::Again;
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
        if unknown {
            self.settle(moment, true);
        }
    }
}

struct Incr {
    state: State,
    value: Option<i64>,
}

impl Incr {
    fn settle(&self, moment: &Moment, unknown: bool) {
        let State { counts, group, key, .. } = &self.state;
        counts.count(*group, *key, 1, unknown);
        let wrote = Facts::of(&[(*key as u32, self.value.unwrap_or_default())]);
        self.state.note(moment, Facts::default(), wrote, unknown);
    }
}

impl Script for Incr {
    fn choose(&mut self, chance: &mut Chance) {
        self.state.choose(chance);
    }

    fn slot(&self) -> Slot {
        Slot::of(&self.state.name)
    }

    fn rewind(&mut self) {
        self.value = None;
    }

    fn ask(&mut self, ask: &mut Ask<'_>, _moment: &Moment) {
        ask.change(&[b"INCR", &self.state.name]);
    }

    fn hear(&mut self, _at: usize, reply: Reply<'_>) {
        self.value = reply.integer();
    }

    fn conclude(&mut self, moment: &Moment) -> Next {
        self.settle(moment, self.value.is_none());
        Next::Done(match self.value {
            Some(_) => Outcome::Committed,
            None => Outcome::Malformed("INCR did not answer a number".to_owned()),
        })
    }

    fn failed(&mut self, unknown: bool, moment: &Moment) {
        if unknown {
            self.settle(moment, true);
        }
    }
}

struct Multi {
    state: State,
    exec: Exec,
    /// The keys that are counted up, a transaction goes round them.
    names: Vec<Vec<u8>>,
    wrong: Option<String>,
}

impl Multi {
    fn keys(&self) -> u64 {
        self.state.counts.ops.min(self.state.counts.ground.keys_per_group)
    }

    fn settle(&self, moment: &Moment, unknown: bool) {
        let State { counts, group, key, .. } = &self.state;
        let mut facts = Vec::with_capacity(4);
        for i in 0..self.keys() {
            let key = (key + i) % counts.ground.keys_per_group;
            counts.count(*group, key, counts.times(i), unknown);
            if facts.len() < 4 {
                facts.push((key as u32, i64::from(counts.times(i))));
            }
        }
        self.state.note(moment, Facts::default(), Facts::of(&facts), unknown);
    }
}

impl Script for Multi {
    fn choose(&mut self, chance: &mut Chance) {
        self.state.choose(chance);
        let keys = self.keys() as usize;
        self.names.resize_with(keys, Vec::new);
        let ground = &self.state.counts.ground;
        for (i, name) in self.names.iter_mut().enumerate() {
            let key = (self.state.key + i as u64) % ground.keys_per_group;
            ground.keys.write(self.state.group, NAME, key, name);
        }
    }

    fn slot(&self) -> Slot {
        Slot::of(&self.state.name)
    }

    fn rewind(&mut self) {
        (self.exec, self.wrong) = (Exec::Strange, None);
    }

    fn ask(&mut self, ask: &mut Ask<'_>, _moment: &Moment) {
        ask.multi();
        for name in self.names.iter().cycle().take(self.state.counts.ops as usize) {
            ask.change(&[b"INCR", name]);
        }
        ask.exec();
    }

    fn hear(&mut self, at: usize, reply: Reply<'_>) {
        let ops = self.state.counts.ops as usize;
        if at == ops + 1 {
            let wrong = &mut self.wrong;
            self.exec = Exec::of(reply, ops, |_, element| {
                if element.integer().is_none() {
                    *wrong = Some("INCR in EXEC did not answer a number".to_owned());
                }
            });
        }
    }

    fn conclude(&mut self, moment: &Moment) -> Next {
        let outcome = match self.wrong.take() {
            Some(wrong) => Outcome::Malformed(wrong),
            None => self.exec.outcome(),
        };
        match outcome {
            Outcome::Committed => self.settle(moment, false),
            Outcome::Malformed(_) => self.settle(moment, true),
            Outcome::Declined | Outcome::Aborted => {}
        }
        Next::Done(outcome)
    }

    fn failed(&mut self, unknown: bool, moment: &Moment) {
        if unknown {
            self.settle(moment, true);
        }
    }
}
