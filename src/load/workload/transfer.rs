//! `transfer`: money from one account to another of its group.
//!
//! ```text
//! WATCH a b, MGET a b │ a < amount: UNWATCH                            declined
//!                     │ MULTI, SET a a-amount, SET b b+amount, EXEC
//! ```
//!
//! The new balances are computed here from what was read, so a target that lets a stale transaction
//! through creates or destroys money: the sum over a group changes.

use super::audit::{Audited, Auditor};
use super::{Ground, Workload};
use crate::load::chance::Chance;
use crate::load::failure::Failure;
use crate::load::keys::{Keys, shown};
use crate::load::plan::Plan;
use crate::load::script::{Ask, Exec, Moment, Next, Outcome, Script};
use crate::load::setup_client::{Courier, must_not_be_error};
use crate::load::verifier::{Facts, Names, Note, Referee};
use crate::resp::Reply;
use crate::slot::Slot;
use crate::text::number::write_i64;
use std::sync::Arc;

const NAME: &str = "account";
/// What every account has at first.
const BALANCE_FIRST: i64 = 1000;
/// The most that is moved at a time.
const AMOUNT_MAX: i64 = 100;
const SUM: usize = 0;
const DEBT: usize = 1;

pub(super) struct Bank {
    ground: Ground,
}

struct BankNames(Keys);

impl Names for BankNames {
    fn key(&self, group: u64, key: u32) -> String {
        shown(&self.0.name(group, NAME, u64::from(key)))
    }

    fn kind(&self, _kind: usize) -> String {
        "transfer".to_owned()
    }
}

pub(super) fn make(plan: &Plan) -> (Arc<dyn Workload>, Ground) {
    let invariants = ["the sum of the accounts of a group stays", "no account falls below zero"];
    let names = Box::new(BankNames(Keys::new(&plan.workload.prefix)));
    let ground = Ground::new(plan, &invariants, names);
    (Arc::new(Bank { ground: ground.clone() }), ground)
}

impl Bank {
    fn referee(&self) -> &Referee {
        &self.ground.referee
    }

    fn judge_group(&self, group: u64, values: &[Option<i64>], at: Option<&Moment>) {
        let at = at.map(|moment| moment.at);
        let show = |value: &Option<i64>| value.map_or_else(|| "nil".to_owned(), |v| v.to_string());
        let all =
            || values.iter().enumerate().map(|(i, v)| (i as u32, show(v))).collect::<Vec<_>>();
        let expected = i128::from(BALANCE_FIRST) * i128::from(self.ground.keys_per_group);
        let sum: i128 = values.iter().flatten().map(|&value| i128::from(value)).sum();
        if sum != expected {
            let what = || {
                let (much, how) = if sum < expected {
                    (expected - sum, "lost")
                } else {
                    (sum - expected, "made")
                };
                format!(
                    "the accounts of group {group} hold {sum} together instead of {expected}: {much} {how}"
                )
            };
            self.referee().break_in(SUM, at, what, group, &all());
        }
        for (key, value) in values.iter().enumerate() {
            if value.is_some_and(|value| value < 0) {
                let name = shown(&self.ground.keys.name(group, NAME, key as u64));
                let what = || format!("{name} holds {}", show(value));
                self.referee().break_in(DEBT, at, what, group, &[(key as u32, show(value))]);
            }
        }
    }
}

impl Workload for Bank {
    fn prepare(&self, courier: &mut Courier) -> Result<(), Failure> {
        self.ground.set_all(courier, NAME, |_, _, text| write_i64(text, BALANCE_FIRST))
    }

    fn script(self: Arc<Self>, _user: u32) -> Box<dyn Script> {
        Box::new(Transfer {
            bank: self,
            group: 0,
            from: (0, Vec::new()),
            to: (0, Vec::new()),
            amount: 0,
            step: Step::Reading,
            read: [None; 2],
            exec: Exec::Strange,
            text: Vec::new(),
        })
    }

    fn auditor(self: Arc<Self>) -> Option<Box<dyn Script>> {
        Some(Box::new(Auditor::new(self)))
    }

    fn check(&self, courier: &mut Courier) -> Result<(), Failure> {
        let (groups, mut args) = (self.ground.groups, Vec::new());
        courier.all(
            groups,
            &mut |group, request| {
                args.clear();
                self.request(group, &mut args);
                request.begin(args.len() + 1);
                request.argument(b"MGET");
                args.iter().for_each(|key| request.argument(key));
                Slot::of(&args[0])
            },
            &mut |group, reply| {
                must_not_be_error(reply)?;
                let values: Vec<_> =
                    reply.elements().into_iter().flatten().map(|v| v.integer()).collect();
                self.judge_group(group, &values, None);
                Ok(())
            },
        )?;
        self.referee().checked_after(SUM, groups);
        self.referee().checked_after(DEBT, groups * self.ground.keys_per_group);
        Ok(())
    }

    fn clean(&self, courier: &mut Courier) -> Result<(), Failure> {
        self.ground.remove_all(courier, &[NAME])
    }

    fn kinds(&self) -> Vec<String> {
        vec!["transfer".to_owned()]
    }
}

impl Audited for Bank {
    fn groups(&self) -> u64 {
        self.ground.groups
    }

    fn request(&self, group: u64, args: &mut Vec<Vec<u8>>) {
        let keys = 0..self.ground.keys_per_group;
        args.extend(keys.map(|key| self.ground.keys.name(group, NAME, key)));
    }

    fn judge(&self, group: u64, _before: &[u64], values: &[Option<i64>], moment: &Moment) {
        self.referee().checked_during(SUM, 1);
        self.referee().checked_during(DEBT, 1);
        self.judge_group(group, values, Some(moment));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Reading,
    Writing,
    Leaving,
}

struct Transfer {
    bank: Arc<Bank>,
    group: u64,
    from: (u64, Vec<u8>),
    to: (u64, Vec<u8>),
    amount: i64,
    step: Step,
    read: [Option<i64>; 2],
    exec: Exec,
    text: Vec<u8>,
}

impl Transfer {
    /// The balances afterwards.
    fn after(&self) -> (i64, i64) {
        let [from, to] = self.read.map(Option::unwrap_or_default);
        (from.wrapping_sub(self.amount), to.wrapping_add(self.amount))
    }

    fn note(&self, moment: &Moment, unknown: bool) {
        let [from, to] = self.read.map(Option::unwrap_or_default);
        let (after_from, after_to) = self.after();
        let keys = (self.from.0 as u32, self.to.0 as u32);
        self.bank.referee().note(Note {
            moment: *moment,
            group: self.group,
            kind: 0,
            read: Facts::of(&[(keys.0, from), (keys.1, to)]),
            wrote: Facts::of(&[(keys.0, after_from), (keys.1, after_to)]),
            unknown,
        });
    }
}

impl Script for Transfer {
    fn choose(&mut self, chance: &mut Chance) {
        let ground = &self.bank.ground;
        (self.group, self.from.0) = ground.pick(chance);
        self.to.0 = ground.key.pick_other(self.from.0, chance);
        self.amount = chance.i64(1..=AMOUNT_MAX);
        for (key, name) in [&mut self.from, &mut self.to] {
            ground.keys.write(self.group, NAME, *key, name);
        }
    }

    fn slot(&self) -> Slot {
        Slot::of(&self.from.1)
    }

    fn rewind(&mut self) {
        (self.step, self.read, self.exec) = (Step::Reading, [None; 2], Exec::Strange);
    }

    fn ask(&mut self, ask: &mut Ask<'_>, _moment: &Moment) {
        let (from, to) = self.after();
        let names = [&self.from.1[..], &self.to.1[..]];
        match self.step {
            Step::Reading => {
                ask.watch(&names);
                ask.read(&[b"MGET", names[0], names[1]]);
            }
            Step::Writing => {
                ask.multi();
                for (name, value) in names.into_iter().zip([from, to]) {
                    self.text.clear();
                    write_i64(&mut self.text, value);
                    ask.change(&[b"SET", name, &self.text]);
                }
                ask.exec();
            }
            Step::Leaving => ask.unwatch(),
        }
    }

    fn hear(&mut self, at: usize, reply: Reply<'_>) {
        match (self.step, at) {
            (Step::Reading, 1) => {
                let values = reply.elements().into_iter().flatten();
                self.read
                    .iter_mut()
                    .zip(values)
                    .for_each(|(place, value)| *place = value.integer());
            }
            (Step::Writing, 3) => self.exec = Exec::of(reply, 2, |_, _| {}),
            _ => {}
        }
    }

    fn conclude(&mut self, moment: &Moment) -> Next {
        match self.step {
            Step::Reading => {
                let [Some(from), Some(_)] = self.read else {
                    let strange = "an account that is missing or no number";
                    return Next::Done(Outcome::Malformed(strange.to_owned()));
                };
                self.step = if from < self.amount { Step::Leaving } else { Step::Writing };
                Next::Again
            }
            Step::Leaving => Next::Done(Outcome::Declined),
            Step::Writing => {
                let outcome = self.exec.outcome();
                match outcome {
                    Outcome::Committed => self.note(moment, false),
                    Outcome::Malformed(_) => self.note(moment, true),
                    Outcome::Declined | Outcome::Aborted => {}
                }
                Next::Done(outcome)
            }
        }
    }

    fn failed(&mut self, unknown: bool, moment: &Moment) {
        if unknown {
            self.note(moment, true);
        }
    }
}
