//! `transfer`: moves an amount from one account to another of the same group.
//!
//! ```text
//! WATCH a b, MGET a b │ a < amount: UNWATCH                            declined
//!                     │ MULTI, SET a a-amount, SET b b+amount, EXEC
//! ```
//!
//! The client computes the new balances from what it read. A target that commits a transaction
//! although a watched key has changed thus changes the sum of the group.

use super::audit::{Audited, Auditor, read_groups};
use super::{Context, OneKind, Workload, number_or_nil, read_integers};
use crate::load::failure::Failure;
use crate::load::keys::shown;
use crate::load::plan::Plan;
use crate::load::random::Rng;
use crate::load::script::{Exec, Moment, Next, Outcome, RoundWriter, Script};
use crate::load::setup_client::SetupClient;
use crate::load::verifier::{KeyValues, Record, Verifier};
use crate::resp::Reply;
use crate::slot::Slot;
use crate::text::number::write_i64;
use std::sync::Arc;

const NAME: &str = "account";
/// The initial balance of every account.
const BALANCE_FIRST: i64 = 1000;
/// The highest amount of a transfer.
const AMOUNT_MAX: i64 = 100;
const SUM: usize = 0;
const NEGATIVE: usize = 1;

pub(super) struct Bank {
    context: Context,
}

pub(super) fn make(plan: &Plan) -> (Arc<dyn Workload>, Context) {
    let invariants =
        ["the sum of the accounts of each group stays the same", "no account is below zero"];
    let names = Box::new(OneKind::new(plan, NAME, "transfer"));
    let context = Context::new(plan, &invariants, names);
    (Arc::new(Bank { context: context.clone() }), context)
}

impl Bank {
    fn verifier(&self) -> &Verifier {
        &self.context.verifier
    }

    fn verify_group(&self, group: u64, values: &[Option<i64>], at: Option<&Moment>) {
        let at = at.map(|moment| moment.at);
        let show = |value: &Option<i64>| number_or_nil(*value);
        let all =
            || values.iter().enumerate().map(|(i, v)| (i as u32, show(v))).collect::<Vec<_>>();
        let expected = i128::from(BALANCE_FIRST) * i128::from(self.context.keys_per_group);
        let sum: i128 = values.iter().flatten().map(|&value| i128::from(value)).sum();
        if sum != expected {
            let what = || {
                let (much, how) = if sum < expected {
                    (expected - sum, "lost")
                } else {
                    (sum - expected, "too much")
                };
                format!(
                    "the sum of the accounts of group {group} is {sum} instead of {expected}: {much} {how}"
                )
            };
            self.verifier().record_violation(SUM, at, what, group, &all());
        }
        for (key, value) in values.iter().enumerate() {
            if value.is_some_and(|value| value < 0) {
                let name = shown(&self.context.keys.name(group, NAME, key as u64));
                let what = || format!("{name} is {}", show(value));
                self.verifier().record_violation(
                    NEGATIVE,
                    at,
                    what,
                    group,
                    &[(key as u32, show(value))],
                );
            }
        }
    }
}

impl Workload for Bank {
    fn prepare(&self, client: &mut SetupClient) -> Result<(), Failure> {
        self.context.set_all(client, NAME, |_, _, text| write_i64(text, BALANCE_FIRST))
    }

    fn script(self: Arc<Self>, _user: u32) -> Box<dyn Script> {
        Box::new(Transfer {
            bank: self,
            group: 0,
            from: (0, Vec::new()),
            to: (0, Vec::new()),
            amount: 0,
            round: Round::Read,
            read: [None; 2],
            exec: Exec::NoReply,
            text: Vec::new(),
        })
    }

    fn auditor(self: Arc<Self>) -> Option<Box<dyn Script>> {
        Some(Box::new(Auditor::new(self)))
    }

    fn check(&self, client: &mut SetupClient) -> Result<(), Failure> {
        read_groups(self, client, &mut |group, values| self.verify_group(group, values, None))?;
        let groups = self.context.groups;
        self.verifier().checked_after(SUM, groups);
        self.verifier().checked_after(NEGATIVE, groups * self.context.keys_per_group);
        Ok(())
    }

    fn clean(&self, client: &mut SetupClient) -> Result<u64, Failure> {
        self.context.remove_all(client, &[NAME])
    }

    fn kinds(&self) -> Vec<String> {
        vec!["transfer".to_owned()]
    }
}

impl Audited for Bank {
    fn groups(&self) -> u64 {
        self.context.groups
    }

    fn keys(&self, group: u64, args: &mut Vec<Vec<u8>>) {
        let keys = 0..self.context.keys_per_group;
        args.extend(keys.map(|key| self.context.keys.name(group, NAME, key)));
    }

    fn verify(&self, group: u64, _before: &[u64], values: &[Option<i64>], moment: &Moment) {
        self.verifier().checked_during(SUM, 1);
        self.verifier().checked_during(NEGATIVE, 1);
        self.verify_group(group, values, Some(moment));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    Read,
    Write,
    Unwatch,
}

struct Transfer {
    bank: Arc<Bank>,
    group: u64,
    from: (u64, Vec<u8>),
    to: (u64, Vec<u8>),
    amount: i64,
    round: Round,
    read: [Option<i64>; 2],
    exec: Exec,
    text: Vec<u8>,
}

impl Transfer {
    /// The balances after the transfer.
    fn after(&self) -> (i64, i64) {
        let [from, to] = self.read.map(Option::unwrap_or_default);
        (from.wrapping_sub(self.amount), to.wrapping_add(self.amount))
    }
}

impl Script for Transfer {
    fn choose(&mut self, rng: &mut Rng) {
        let context = &self.bank.context;
        (self.group, self.from.0) = context.pick_key(rng);
        self.to.0 = context.key.pick_other(self.from.0, rng);
        self.amount = rng.i64(1..=AMOUNT_MAX);
        for (key, name) in [&mut self.from, &mut self.to] {
            context.keys.write(self.group, NAME, *key, name);
        }
    }

    fn slot(&self) -> Slot {
        Slot::of(&self.from.1)
    }

    fn begin_attempt(&mut self) {
        (self.round, self.read, self.exec) = (Round::Read, [None; 2], Exec::NoReply);
    }

    fn write_round(&mut self, out: &mut RoundWriter<'_>, _moment: &Moment) {
        let (from, to) = self.after();
        let names = [&self.from.1[..], &self.to.1[..]];
        match self.round {
            Round::Read => {
                out.watch(&names);
                out.read(&[b"MGET", names[0], names[1]]);
            }
            Round::Write => {
                out.multi();
                for (name, value) in names.into_iter().zip([from, to]) {
                    self.text.clear();
                    write_i64(&mut self.text, value);
                    out.change(&[b"SET", name, &self.text]);
                }
                out.exec();
            }
            Round::Unwatch => out.unwatch(),
        }
    }

    fn read_reply(&mut self, at: usize, reply: Reply<'_>) {
        match (self.round, at) {
            (Round::Read, 1) => read_integers(reply, &mut self.read),
            (Round::Write, 3) => self.exec = Exec::read(reply, 2, |_, _| {}),
            _ => {}
        }
    }

    fn finish_round(&mut self, _moment: &Moment) -> Next {
        match self.round {
            Round::Read => {
                let [Some(from), Some(_)] = self.read else {
                    let why = "an account is missing or not a number";
                    return Next::Done(Outcome::Malformed(why.to_owned()));
                };
                self.round = if from < self.amount { Round::Unwatch } else { Round::Write };
                Next::Round
            }
            Round::Unwatch => Next::Done(Outcome::Declined),
            Round::Write => Next::Done(self.exec.outcome()),
        }
    }

    fn record(&mut self, is_unknown: bool, moment: &Moment) {
        let [from, to] = self.read.map(Option::unwrap_or_default);
        let (after_from, after_to) = self.after();
        let keys = (self.from.0 as u32, self.to.0 as u32);
        self.bank.verifier().record(Record {
            moment: *moment,
            group: self.group,
            kind: 0,
            read: KeyValues::of(&[(keys.0, from), (keys.1, to)]),
            wrote: KeyValues::of(&[(keys.0, after_from), (keys.1, after_to)]),
            is_unknown,
        });
    }
}
