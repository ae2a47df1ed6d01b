//! `counter`, `incr` and `multi`: counters whose final value must be the number of commits.
//!
//! ```text
//! counter   WATCH k, GET k │ MULTI, SET k v+1, EXEC          a lost update leaves it too low
//! incr      INCR k                                           the baseline without a transaction
//! multi     MULTI, INCR k, INCR k+1, …, EXEC                 the baseline without WATCH
//! ```

use super::audit::{Audited, Auditor};
use super::{Context, OneKind, Workload, number_or_nil};
use crate::load::failure::Failure;
use crate::load::keys::shown;
use crate::load::plan::{Kind, Plan};
use crate::load::random::Rng;
use crate::load::script::{Exec, Moment, Next, Outcome, RoundWriter, Script};
use crate::load::setup_client::SetupClient;
use crate::load::verifier::{KeyValues, Record};
use crate::resp::Reply;
use crate::slot::Slot;
use crate::text::number::write_i64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

const NAME: &str = "counter";
const FINAL: usize = 0;
/// Most keys of a group that the auditor reads.
const AUDITED_MAX: u64 = 64;

/// The workload: how often each key was incremented.
pub(super) struct Counts {
    context: Context,
    kind: Kind,
    /// Commands in a transaction of `multi`.
    ops: u64,
    /// By key: increments known to be done.
    done: Box<[AtomicU64]>,
    /// By key: increments that may have been done.
    unknown: Box<[AtomicU32]>,
}

pub(super) fn make(plan: &Plan, kind: Kind) -> (Arc<dyn Workload>, Context) {
    let names = Box::new(OneKind::new(plan, NAME, kind.name()));
    let context = Context::new(
        plan,
        &["the final value of every counter is the number of its commits"],
        names,
    );
    let keys = context.groups * context.keys_per_group;
    let counts = Counts {
        context: context.clone(),
        kind,
        ops: plan.workload.ops as u64,
        done: (0..keys).map(|_| AtomicU64::new(0)).collect(),
        unknown: (0..keys).map(|_| AtomicU32::new(0)).collect(),
    };
    (Arc::new(counts), context)
}

impl Counts {
    fn place(&self, group: u64, key: u64) -> usize {
        (group * self.context.keys_per_group + key) as usize
    }

    fn count(&self, group: u64, key: u64, times: u32, is_unknown: bool) {
        let place = self.place(group, key);
        if is_unknown {
            self.unknown[place].fetch_add(times, Relaxed);
        } else {
            self.done[place].fetch_add(u64::from(times), Relaxed);
        }
    }

    /// How often a transaction of `multi` increments the `i`-th of its keys: they take turns.
    fn times(&self, i: u64) -> u32 {
        let keys = self.context.keys_per_group;
        (self.ops / keys + u64::from(i < self.ops % keys)) as u32
    }

    fn verify_counter(
        &self,
        group: u64,
        key: u64,
        value: Option<i64>,
        least: u64,
        at: Option<&Moment>,
    ) {
        let place = self.place(group, key);
        let (done, unknown) = (self.done[place].load(Relaxed), self.unknown[place].load(Relaxed));
        // During the run, increments in flight may be done already.
        let in_flight = if at.is_some() { self.context.in_flight_max * self.ops.max(1) } else { 0 };
        let most = done.saturating_add(u64::from(unknown)).saturating_add(in_flight);
        let seen = value.and_then(|value| u64::try_from(value).ok());
        if seen.is_some_and(|seen| (least..=most).contains(&seen)) {
            return;
        }
        let what = || {
            let name = shown(&self.context.keys.name(group, NAME, key));
            let or =
                if most > least && at.is_none() { format!(" to {most}") } else { String::new() };
            match seen {
                None => {
                    format!(
                        "{name} is missing or not a number; {least}{or} increments were committed"
                    )
                }
                Some(seen) if seen < least => format!(
                    "{name} is {seen}, but {least}{or} increments were committed: {} lost",
                    least - seen
                ),
                Some(seen) => format!(
                    "{name} is {seen}, but only {most} increments were committed or in flight: {} too many",
                    seen - most
                ),
            }
        };
        let shown = number_or_nil(value);
        let at = at.map(|moment| moment.at);
        self.context.verifier.record_violation(FINAL, at, what, group, &[(key as u32, shown)]);
    }
}

impl Workload for Counts {
    fn prepare(&self, client: &mut SetupClient) -> Result<(), Failure> {
        self.context.set_all(client, NAME, |_, _, text| text.push(b'0'))
    }

    fn script(self: Arc<Self>, _user: u32) -> Box<dyn Script> {
        let state = State { counts: self, group: 0, key: 0, name: Vec::new() };
        match state.counts.kind {
            Kind::Counter => Box::new(Counter {
                state,
                read: None,
                is_reading: true,
                exec: Exec::NoReply,
                text: Vec::new(),
            }),
            Kind::Incr => Box::new(Incr { state, value: None }),
            _ => Box::new(Multi { state, exec: Exec::NoReply, names: Vec::new(), wrong: None }),
        }
    }

    fn auditor(self: Arc<Self>) -> Option<Box<dyn Script>> {
        Some(Box::new(Auditor::new(self)))
    }

    fn check(&self, client: &mut SetupClient) -> Result<(), Failure> {
        let mut checked = 0;
        self.context.read_all(client, NAME, &mut |group, key, value| {
            checked += 1;
            let least = self.done[self.place(group, key)].load(Relaxed);
            self.verify_counter(group, key, value.integer(), least, None);
        })?;
        self.context.verifier.checked_after(FINAL, checked);
        Ok(())
    }

    fn clean(&self, client: &mut SetupClient) -> Result<u64, Failure> {
        self.context.remove_all(client, &[NAME])
    }

    fn kinds(&self) -> Vec<String> {
        vec![self.kind.name().to_owned()]
    }
}

impl Audited for Counts {
    fn groups(&self) -> u64 {
        self.context.groups
    }

    fn keys(&self, group: u64, args: &mut Vec<Vec<u8>>) {
        let keys = self.context.keys_per_group.min(AUDITED_MAX);
        args.extend((0..keys).map(|key| self.context.keys.name(group, NAME, key)));
    }

    fn snapshot_before(&self, group: u64) -> Vec<u64> {
        let keys = self.context.keys_per_group.min(AUDITED_MAX);
        (0..keys).map(|key| self.done[self.place(group, key)].load(Relaxed)).collect()
    }

    fn verify(&self, group: u64, before: &[u64], values: &[Option<i64>], moment: &Moment) {
        self.context.verifier.checked_during(FINAL, 1);
        for (key, (&value, &least)) in values.iter().zip(before).enumerate() {
            self.verify_counter(group, key as u64, value, least, Some(moment));
        }
    }
}

/// What the three scripts share: the key of the transaction.
struct State {
    counts: Arc<Counts>,
    group: u64,
    key: u64,
    name: Vec<u8>,
}

impl State {
    fn choose(&mut self, rng: &mut Rng) {
        let context = &self.counts.context;
        (self.group, self.key) = context.pick_key(rng);
        context.keys.write(self.group, NAME, self.key, &mut self.name);
    }

    fn record(&self, moment: &Moment, read: KeyValues, wrote: KeyValues, is_unknown: bool) {
        let (group, moment) = (self.group, *moment);
        let record = Record { moment, group, kind: 0, read, wrote, is_unknown };
        self.counts.context.verifier.record(record);
    }
}

struct Counter {
    state: State,
    is_reading: bool,
    read: Option<i64>,
    exec: Exec,
    text: Vec<u8>,
}

impl Script for Counter {
    fn choose(&mut self, rng: &mut Rng) {
        self.state.choose(rng);
    }

    fn slot(&self) -> Slot {
        Slot::of(&self.state.name)
    }

    fn begin_attempt(&mut self) {
        (self.is_reading, self.read, self.exec) = (true, None, Exec::NoReply);
    }

    fn write_round(&mut self, out: &mut RoundWriter<'_>, _moment: &Moment) {
        let name = &self.state.name[..];
        if self.is_reading {
            out.watch(&[name]);
            out.read(&[b"GET", name]);
        } else {
            self.text.clear();
            write_i64(&mut self.text, self.read.unwrap_or_default().wrapping_add(1));
            out.multi();
            out.change(&[b"SET", name, &self.text]);
            out.exec();
        }
    }

    fn read_reply(&mut self, at: usize, reply: Reply<'_>) {
        match (self.is_reading, at) {
            (true, 1) => self.read = reply.integer(),
            (false, 2) => self.exec = Exec::read(reply, 1, |_, _| {}),
            _ => {}
        }
    }

    fn finish_round(&mut self, _moment: &Moment) -> Next {
        if self.is_reading {
            if self.read.is_none() {
                return Next::Done(Outcome::Malformed(
                    "the value of a counter is not a number".to_owned(),
                ));
            }
            self.is_reading = false;
            return Next::Round;
        }
        Next::Done(self.exec.outcome())
    }

    fn record(&mut self, is_unknown: bool, moment: &Moment) {
        let State { counts, group, key, .. } = &self.state;
        counts.count(*group, *key, 1, is_unknown);
        let (key, read) = (*key as u32, self.read.unwrap_or_default());
        let wrote = KeyValues::of(&[(key, read.wrapping_add(1))]);
        self.state.record(moment, KeyValues::of(&[(key, read)]), wrote, is_unknown);
    }
}

struct Incr {
    state: State,
    value: Option<i64>,
}

impl Script for Incr {
    fn choose(&mut self, rng: &mut Rng) {
        self.state.choose(rng);
    }

    fn slot(&self) -> Slot {
        Slot::of(&self.state.name)
    }

    fn begin_attempt(&mut self) {
        self.value = None;
    }

    fn write_round(&mut self, out: &mut RoundWriter<'_>, _moment: &Moment) {
        out.change(&[b"INCR", &self.state.name]);
    }

    fn read_reply(&mut self, _at: usize, reply: Reply<'_>) {
        self.value = reply.integer();
    }

    fn finish_round(&mut self, _moment: &Moment) -> Next {
        Next::Done(match self.value {
            Some(_) => Outcome::Committed,
            None => Outcome::Malformed("INCR did not return a number".to_owned()),
        })
    }

    fn record(&mut self, is_unknown: bool, moment: &Moment) {
        let State { counts, group, key, .. } = &self.state;
        counts.count(*group, *key, 1, is_unknown);
        let wrote = KeyValues::of(&[(*key as u32, self.value.unwrap_or_default())]);
        self.state.record(moment, KeyValues::default(), wrote, is_unknown);
    }
}

struct Multi {
    state: State,
    exec: Exec,
    /// The keys that the transaction increments in turn.
    names: Vec<Vec<u8>>,
    wrong: Option<String>,
}

impl Multi {
    fn keys(&self) -> u64 {
        self.state.counts.ops.min(self.state.counts.context.keys_per_group)
    }
}

impl Script for Multi {
    fn choose(&mut self, rng: &mut Rng) {
        self.state.choose(rng);
        let keys = self.keys() as usize;
        self.names.resize_with(keys, Vec::new);
        let context = &self.state.counts.context;
        for (i, name) in self.names.iter_mut().enumerate() {
            let key = (self.state.key + i as u64) % context.keys_per_group;
            context.keys.write(self.state.group, NAME, key, name);
        }
    }

    fn slot(&self) -> Slot {
        Slot::of(&self.state.name)
    }

    fn begin_attempt(&mut self) {
        (self.exec, self.wrong) = (Exec::NoReply, None);
    }

    fn write_round(&mut self, out: &mut RoundWriter<'_>, _moment: &Moment) {
        out.multi();
        for name in self.names.iter().cycle().take(self.state.counts.ops as usize) {
            out.change(&[b"INCR", name]);
        }
        out.exec();
    }

    fn read_reply(&mut self, at: usize, reply: Reply<'_>) {
        let ops = self.state.counts.ops as usize;
        if at == ops + 1 {
            let wrong = &mut self.wrong;
            self.exec = Exec::read(reply, ops, |_, element| {
                if element.integer().is_none() {
                    *wrong = Some("INCR in EXEC did not return a number".to_owned());
                }
            });
        }
    }

    fn finish_round(&mut self, _moment: &Moment) -> Next {
        Next::Done(match self.wrong.take() {
            Some(wrong) => Outcome::Malformed(wrong),
            None => self.exec.outcome(),
        })
    }

    fn record(&mut self, is_unknown: bool, moment: &Moment) {
        let State { counts, group, key, .. } = &self.state;
        let mut wrote = Vec::with_capacity(4);
        for i in 0..self.keys() {
            let key = (key + i) % counts.context.keys_per_group;
            counts.count(*group, key, counts.times(i), is_unknown);
            if wrote.len() < 4 {
                wrote.push((key as u32, i64::from(counts.times(i))));
            }
        }
        self.state.record(moment, KeyValues::default(), KeyValues::of(&wrote), is_unknown);
    }
}
