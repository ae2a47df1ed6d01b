//! `order`: the shop. A buyer with a balance takes an item that is in stock, or brings one back.
//!
//! ```text
//! WATCH stock sold balance till, MGET of the four
//!   buy      MULTI, SET stock s-1, INCR sold, SET balance b-price, INCRBY till price, EXEC
//!   return   the other way round, when the shelf or the purse is empty
//!   neither  UNWATCH                                                     declined
//! ```
//!
//! Stock and balance are written as computed from what was read, sold and till by what they change:
//! both a lost update and half an EXEC break `stock + sold` or `balances + till`.

use super::audit::{Audited, Auditor};
use super::{Ground, Workload};
use crate::load::chance::Chance;
use crate::load::failure::Failure;
use crate::load::keys::{Keys, shown};
use crate::load::plan::Plan;
use crate::load::script::{Ask, Exec, Moment, Next, Outcome, Script};
use crate::load::setup_client::{Courier, must_be_ok, must_not_be_error};
use crate::load::verifier::{Facts, Names, Note};
use crate::resp::Reply;
use crate::slot::Slot;
use crate::text::number::write_i64;
use std::sync::Arc;

/// How many of each item there are.
const STOCK_FIRST: i64 = 100;
/// What each buyer has.
const BALANCE_FIRST: i64 = 1000;
/// The dearest item's price; item `i` costs `1 + i mod` this.
const PRICE_MAX: u64 = 20;
const GOODS: usize = 0;
const MONEY: usize = 1;
const DEBT: usize = 2;
const STOCK: &str = "stock";
const SOLD: &str = "sold";
const BALANCE: &str = "balance";
const TILL: &str = "till";

pub(super) struct Shop {
    ground: Ground,
}

/// The keys of a group in their order: stock, sold and balance for each key of the group, the till.
struct ShopNames(Keys, u64);

impl Names for ShopNames {
    fn key(&self, group: u64, key: u32) -> String {
        let (key, items) = (u64::from(key), self.1);
        let (kind, index) = match key / items {
            0 => (STOCK, key),
            1 => (SOLD, key - items),
            2 => (BALANCE, key - 2 * items),
            _ => (TILL, 0),
        };
        shown(&self.0.name(group, kind, index))
    }

    fn kind(&self, _kind: usize) -> String {
        "order".to_owned()
    }
}

pub(super) fn make(plan: &Plan) -> (Arc<dyn Workload>, Ground) {
    let invariants = [
        "of each item, what is in stock and what was sold are together what there was",
        "the balances and the till of a group hold what there was",
        "no stock and no balance falls below zero",
    ];
    let names = ShopNames(Keys::new(&plan.workload.prefix), plan.shape.keys_per_group as u64);
    let ground = Ground::new(plan, &invariants, Box::new(names));
    (Arc::new(Shop { ground: ground.clone() }), ground)
}

fn price(item: u64) -> i64 {
    (1 + item % PRICE_MAX) as i64
}

impl Shop {
    fn judge_group(&self, group: u64, values: &[Option<i64>], at: Option<&Moment>) {
        let referee = &self.ground.referee;
        let at = at.map(|moment| moment.at);
        let items = self.ground.keys_per_group as usize;
        let show = |key: usize| {
            let value = values[key].map_or_else(|| "nil".to_owned(), |value| value.to_string());
            (key as u32, value)
        };
        let number = |key: usize| i128::from(values[key].unwrap_or_default());
        for item in 0..items {
            let sum = number(item) + number(items + item);
            if sum != i128::from(STOCK_FIRST) {
                let what = || {
                    format!(
                        "of item {item} of group {group} there are {sum} instead of {STOCK_FIRST}"
                    )
                };
                referee.break_in(GOODS, at, what, group, &[show(item), show(items + item)]);
            }
        }
        let balances = 2 * items..3 * items;
        let money = balances.clone().map(number).sum::<i128>() + number(3 * items);
        let expected = i128::from(BALANCE_FIRST) * items as i128;
        if money != expected {
            let keys: Vec<_> = (2 * items..=3 * items).map(show).collect();
            let what = || format!("group {group} holds {money} altogether instead of {expected}");
            referee.break_in(MONEY, at, what, group, &keys);
        }
        for key in (0..items).chain(balances) {
            if values[key].is_some_and(|value| value < 0) {
                let what = || format!("a key of group {group} fell to {}", number(key));
                referee.break_in(DEBT, at, what, group, &[show(key)]);
            }
        }
    }
}

impl Workload for Shop {
    fn prepare(&self, courier: &mut Courier) -> Result<(), Failure> {
        self.ground.set_all(courier, STOCK, |_, _, text| write_i64(text, STOCK_FIRST))?;
        self.ground.set_all(courier, SOLD, |_, _, text| text.push(b'0'))?;
        self.ground.set_all(courier, BALANCE, |_, _, text| write_i64(text, BALANCE_FIRST))?;
        courier.all(
            self.ground.groups,
            &mut |group, request| {
                let key = self.ground.keys.name(group, TILL, 0);
                request.command(&[b"SET", &key, b"0"]);
                Slot::of(&key)
            },
            &mut |_, reply| must_be_ok(reply),
        )
    }

    fn script(self: Arc<Self>, _user: u32) -> Box<dyn Script> {
        Box::new(Order {
            shop: self,
            group: 0,
            item: 0,
            buyer: 0,
            names: Default::default(),
            step: Step::Reading,
            read: [None; 4],
            exec: Exec::Strange,
            text: Vec::new(),
        })
    }

    fn auditor(self: Arc<Self>) -> Option<Box<dyn Script>> {
        Some(Box::new(Auditor::new(self)))
    }

    fn check(&self, courier: &mut Courier) -> Result<(), Failure> {
        let (groups, mut args) = (self.ground.groups, Vec::new());
        let len = 3 * self.ground.keys_per_group as usize + 1;
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
                let mut values: Vec<_> =
                    reply.elements().into_iter().flatten().map(|v| v.integer()).collect();
                values.resize(len, None);
                self.judge_group(group, &values, None);
                Ok(())
            },
        )?;
        for (invariant, things) in [
            (GOODS, self.ground.keys_per_group),
            (MONEY, 1),
            (DEBT, 2 * self.ground.keys_per_group),
        ] {
            self.ground.referee.checked_after(invariant, groups * things);
        }
        Ok(())
    }

    fn clean(&self, courier: &mut Courier) -> Result<(), Failure> {
        self.ground.remove_all(courier, &[STOCK, SOLD, BALANCE])?;
        courier.all(
            self.ground.groups,
            &mut |group, request| {
                let key = self.ground.keys.name(group, TILL, 0);
                request.command(&[b"DEL", &key]);
                Slot::of(&key)
            },
            &mut |_, reply| must_not_be_error(reply),
        )
    }

    fn kinds(&self) -> Vec<String> {
        vec!["order".to_owned()]
    }
}

impl Audited for Shop {
    fn groups(&self) -> u64 {
        self.ground.groups
    }

    fn request(&self, group: u64, args: &mut Vec<Vec<u8>>) {
        for kind in [STOCK, SOLD, BALANCE] {
            let keys = 0..self.ground.keys_per_group;
            args.extend(keys.map(|key| self.ground.keys.name(group, kind, key)));
        }
        args.push(self.ground.keys.name(group, TILL, 0));
    }

    fn judge(&self, group: u64, _before: &[u64], values: &[Option<i64>], moment: &Moment) {
        [GOODS, MONEY, DEBT].into_iter().for_each(|i| self.ground.referee.checked_during(i, 1));
        self.judge_group(group, values, Some(moment));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Reading,
    /// So many items change hands: 1 is bought, -1 is returned.
    Writing(i64),
    Leaving,
}

struct Order {
    shop: Arc<Shop>,
    group: u64,
    item: u64,
    buyer: u64,
    /// Stock, sold, balance, till.
    names: [Vec<u8>; 4],
    step: Step,
    read: [Option<i64>; 4],
    exec: Exec,
    text: Vec<u8>,
}

impl Order {
    fn note(&self, moment: &Moment, unknown: bool) {
        let Step::Writing(bought) = self.step else { return };
        let items = self.shop.ground.keys_per_group;
        let keys =
            [self.item, items + self.item, 2 * items + self.buyer, 3 * items].map(|k| k as u32);
        let [stock, sold, balance, till] = self.read.map(Option::unwrap_or_default);
        let paid = bought * price(self.item);
        let facts = |values: [i64; 4]| {
            let mut facts = [(0, 0); 4];
            facts
                .iter_mut()
                .zip(keys.into_iter().zip(values))
                .for_each(|(place, fact)| *place = fact);
            Facts::of(&facts)
        };
        self.shop.ground.referee.note(Note {
            moment: *moment,
            group: self.group,
            kind: 0,
            read: facts([stock, sold, balance, till]),
            wrote: facts([stock - bought, sold + bought, balance - paid, till + paid]),
            unknown,
        });
    }
}

impl Script for Order {
    fn choose(&mut self, chance: &mut Chance) {
        let ground = &self.shop.ground;
        (self.group, self.item) = ground.pick(chance);
        self.buyer = chance.u64(0..ground.keys_per_group);
        let places = [(STOCK, self.item), (SOLD, self.item), (BALANCE, self.buyer), (TILL, 0)];
        for (name, (kind, index)) in self.names.iter_mut().zip(places) {
            ground.keys.write(self.group, kind, index, name);
        }
    }

    fn slot(&self) -> Slot {
        Slot::of(&self.names[0])
    }

    fn rewind(&mut self) {
        (self.step, self.read, self.exec) = (Step::Reading, [None; 4], Exec::Strange);
    }

    fn ask(&mut self, ask: &mut Ask<'_>, _moment: &Moment) {
        let [stock, sold, balance, till] = self.names.each_ref().map(|name| &name[..]);
        match self.step {
            Step::Reading => {
                ask.watch(&[stock, sold, balance, till]);
                ask.read(&[b"MGET", stock, sold, balance, till]);
            }
            Step::Writing(bought) => {
                let [had, _, held, _] = self.read.map(Option::unwrap_or_default);
                let paid = bought * price(self.item);
                ask.multi();
                self.text.clear();
                write_i64(&mut self.text, had.wrapping_sub(bought));
                ask.change(&[b"SET", stock, &self.text]);
                ask.change_by(&[b"INCRBY", sold], bought);
                self.text.clear();
                write_i64(&mut self.text, held.wrapping_sub(paid));
                ask.change(&[b"SET", balance, &self.text]);
                ask.change_by(&[b"INCRBY", till], paid);
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
            (Step::Writing(_), 5) => self.exec = Exec::of(reply, 4, |_, _| {}),
            _ => {}
        }
    }

    fn conclude(&mut self, moment: &Moment) -> Next {
        match self.step {
            Step::Reading => {
                let [Some(stock), Some(sold), Some(balance), Some(till)] = self.read else {
                    let strange = "a key of the shop that is missing or no number";
                    return Next::Done(Outcome::Malformed(strange.to_owned()));
                };
                let price = price(self.item);
                self.step = if stock >= 1 && balance >= price {
                    Step::Writing(1)
                } else if sold >= 1 && till >= price {
                    Step::Writing(-1)
                } else {
                    Step::Leaving
                };
                Next::Again
            }
            Step::Leaving => Next::Done(Outcome::Declined),
            Step::Writing(_) => {
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
