//! `order`: a shop. A buyer with a balance buys an item that is in stock, or returns one.
//!
//! ```text
//! WATCH stock sold balance till, MGET of the four
//!   buy      MULTI, SET stock s-1, INCR sold, SET balance b-price, INCRBY till price, EXEC
//!   return   the reverse, if the stock or the balance is too low
//!   neither  UNWATCH                                                     declined
//! ```
//!
//! Stock and balance are set to values computed from what was read, sold and till are incremented:
//! a lost update and half an EXEC both break `stock + sold` or `balances + till`.

use super::audit::{Audited, Auditor, read_groups};
use super::{Context, Workload, number_or_nil, read_integers};
use crate::load::failure::Failure;
use crate::load::keys::{Keys, shown};
use crate::load::plan::Plan;
use crate::load::random::Rng;
use crate::load::script::{Exec, Moment, Next, Outcome, RoundWriter, Script};
use crate::load::setup_client::SetupClient;
use crate::load::verifier::{KeyNames, KeyValues, Record};
use crate::resp::Reply;
use crate::slot::Slot;
use crate::text::number::write_i64;
use std::sync::Arc;

/// The initial stock of each item.
const STOCK_FIRST: i64 = 100;
/// The initial balance of each buyer.
const BALANCE_FIRST: i64 = 1000;
/// The highest price; item `i` costs `1 + i mod` this.
const PRICE_MAX: u64 = 20;
const ITEMS: usize = 0;
const BALANCES: usize = 1;
const NEGATIVE: usize = 2;
const STOCK: &str = "stock";
const SOLD: &str = "sold";
const BALANCE: &str = "balance";
const TILL: &str = "till";

pub(super) struct Shop {
    context: Context,
}

/// Key numbers of a group: the stock of each item, then sold, then the balances, then the till.
struct ShopNames(Keys, u64);

impl KeyNames for ShopNames {
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

pub(super) fn make(plan: &Plan) -> (Arc<dyn Workload>, Context) {
    let invariants = [
        "stock and sales of each item add up to its initial stock",
        "balances and till of each group add up to the initial balances",
        "no stock and no balance is below zero",
    ];
    let names = ShopNames(Keys::new(&plan.workload.prefix), plan.shape.keys_per_group as u64);
    let context = Context::new(plan, &invariants, Box::new(names));
    (Arc::new(Shop { context: context.clone() }), context)
}

fn price(item: u64) -> i64 {
    (1 + item % PRICE_MAX) as i64
}

impl Shop {
    fn verify_group(&self, group: u64, values: &[Option<i64>], at: Option<&Moment>) {
        let verifier = &self.context.verifier;
        let at = at.map(|moment| moment.at);
        let items = self.context.keys_per_group as usize;
        let show = |key: usize| (key as u32, number_or_nil(values[key]));
        let number = |key: usize| i128::from(values[key].unwrap_or_default());
        for item in 0..items {
            let sum = number(item) + number(items + item);
            if sum != i128::from(STOCK_FIRST) {
                let what = || {
                    format!(
                        "stock and sales of item {item} of group {group} add up to {sum} instead of {STOCK_FIRST}"
                    )
                };
                verifier.record_violation(
                    ITEMS,
                    at,
                    what,
                    group,
                    &[show(item), show(items + item)],
                );
            }
        }
        let balances = 2 * items..3 * items;
        let balance = balances.clone().map(number).sum::<i128>() + number(3 * items);
        let expected = i128::from(BALANCE_FIRST) * items as i128;
        if balance != expected {
            let keys: Vec<_> = (2 * items..=3 * items).map(show).collect();
            let what = || {
                format!(
                    "balances and till of group {group} add up to {balance} instead of {expected}"
                )
            };
            verifier.record_violation(BALANCES, at, what, group, &keys);
        }
        for key in (0..items).chain(balances) {
            if values[key].is_some_and(|value| value < 0) {
                let what = || format!("a stock or balance of group {group} is {}", number(key));
                verifier.record_violation(NEGATIVE, at, what, group, &[show(key)]);
            }
        }
    }
}

impl Workload for Shop {
    fn prepare(&self, client: &mut SetupClient) -> Result<(), Failure> {
        self.context.set_all(client, STOCK, |_, _, text| write_i64(text, STOCK_FIRST))?;
        self.context.set_all(client, SOLD, |_, _, text| text.push(b'0'))?;
        self.context.set_all(client, BALANCE, |_, _, text| write_i64(text, BALANCE_FIRST))?;
        self.context.set_one_per_group(client, TILL, b"0")
    }

    fn script(self: Arc<Self>, _user: u32) -> Box<dyn Script> {
        Box::new(Order {
            shop: self,
            group: 0,
            item: 0,
            buyer: 0,
            names: Default::default(),
            round: Round::Read,
            read: [None; 4],
            exec: Exec::NoReply,
            text: Vec::new(),
        })
    }

    fn auditor(self: Arc<Self>) -> Option<Box<dyn Script>> {
        Some(Box::new(Auditor::new(self)))
    }

    fn check(&self, client: &mut SetupClient) -> Result<(), Failure> {
        read_groups(self, client, &mut |group, values| self.verify_group(group, values, None))?;
        for (invariant, things) in [
            (ITEMS, self.context.keys_per_group),
            (BALANCES, 1),
            (NEGATIVE, 2 * self.context.keys_per_group),
        ] {
            self.context.verifier.checked_after(invariant, self.context.groups * things);
        }
        Ok(())
    }

    fn clean(&self, client: &mut SetupClient) -> Result<u64, Failure> {
        let removed = self.context.remove_all(client, &[STOCK, SOLD, BALANCE]);
        let tills = self.context.remove_one_per_group(client, TILL);
        Ok(removed? + tills?)
    }

    fn kinds(&self) -> Vec<String> {
        vec!["order".to_owned()]
    }
}

impl Audited for Shop {
    fn groups(&self) -> u64 {
        self.context.groups
    }

    fn keys(&self, group: u64, args: &mut Vec<Vec<u8>>) {
        for kind in [STOCK, SOLD, BALANCE] {
            let keys = 0..self.context.keys_per_group;
            args.extend(keys.map(|key| self.context.keys.name(group, kind, key)));
        }
        args.push(self.context.keys.name(group, TILL, 0));
    }

    fn verify(&self, group: u64, _before: &[u64], values: &[Option<i64>], moment: &Moment) {
        [ITEMS, BALANCES, NEGATIVE]
            .into_iter()
            .for_each(|i| self.context.verifier.checked_during(i, 1));
        self.verify_group(group, values, Some(moment));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    Read,
    /// The number of items bought: 1, or -1 for a return.
    Write(i64),
    Unwatch,
}

struct Order {
    shop: Arc<Shop>,
    group: u64,
    item: u64,
    buyer: u64,
    /// Stock, sold, balance, till.
    names: [Vec<u8>; 4],
    round: Round,
    read: [Option<i64>; 4],
    exec: Exec,
    text: Vec<u8>,
}

impl Script for Order {
    fn choose(&mut self, rng: &mut Rng) {
        let context = &self.shop.context;
        (self.group, self.item) = context.pick_key(rng);
        self.buyer = rng.u64(0..context.keys_per_group);
        let places = [(STOCK, self.item), (SOLD, self.item), (BALANCE, self.buyer), (TILL, 0)];
        for (name, (kind, index)) in self.names.iter_mut().zip(places) {
            context.keys.write(self.group, kind, index, name);
        }
    }

    fn slot(&self) -> Slot {
        Slot::of(&self.names[0])
    }

    fn begin_attempt(&mut self) {
        (self.round, self.read, self.exec) = (Round::Read, [None; 4], Exec::NoReply);
    }

    fn write_round(&mut self, out: &mut RoundWriter<'_>, _moment: &Moment) {
        let [stock, sold, balance, till] = self.names.each_ref().map(|name| &name[..]);
        match self.round {
            Round::Read => {
                out.watch(&[stock, sold, balance, till]);
                out.read(&[b"MGET", stock, sold, balance, till]);
            }
            Round::Write(bought) => {
                let [had, _, held, _] = self.read.map(Option::unwrap_or_default);
                let paid = bought * price(self.item);
                out.multi();
                self.text.clear();
                write_i64(&mut self.text, had.wrapping_sub(bought));
                out.change(&[b"SET", stock, &self.text]);
                out.change_by(&[b"INCRBY", sold], bought);
                self.text.clear();
                write_i64(&mut self.text, held.wrapping_sub(paid));
                out.change(&[b"SET", balance, &self.text]);
                out.change_by(&[b"INCRBY", till], paid);
                out.exec();
            }
            Round::Unwatch => out.unwatch(),
        }
    }

    fn read_reply(&mut self, at: usize, reply: Reply<'_>) {
        match (self.round, at) {
            (Round::Read, 1) => read_integers(reply, &mut self.read),
            (Round::Write(_), 5) => self.exec = Exec::read(reply, 4, |_, _| {}),
            _ => {}
        }
    }

    fn finish_round(&mut self, _moment: &Moment) -> Next {
        match self.round {
            Round::Read => {
                let [Some(stock), Some(sold), Some(balance), Some(till)] = self.read else {
                    let why = "a key of the shop is missing or not a number";
                    return Next::Done(Outcome::Malformed(why.to_owned()));
                };
                let price = price(self.item);
                self.round = if stock >= 1 && balance >= price {
                    Round::Write(1)
                } else if sold >= 1 && till >= price {
                    Round::Write(-1)
                } else {
                    Round::Unwatch
                };
                Next::Round
            }
            Round::Unwatch => Next::Done(Outcome::Declined),
            Round::Write(_) => Next::Done(self.exec.outcome()),
        }
    }

    fn record(&mut self, is_unknown: bool, moment: &Moment) {
        let Round::Write(bought) = self.round else { return };
        let items = self.shop.context.keys_per_group;
        let keys =
            [self.item, items + self.item, 2 * items + self.buyer, 3 * items].map(|k| k as u32);
        let [stock, sold, balance, till] = self.read.map(Option::unwrap_or_default);
        let paid = bought * price(self.item);
        let pairs = |values: [i64; 4]| {
            KeyValues::of(&std::array::from_fn::<_, 4, _>(|i| (keys[i], values[i])))
        };
        self.shop.context.verifier.record(Record {
            moment: *moment,
            group: self.group,
            kind: 0,
            read: pairs([stock, sold, balance, till]),
            wrote: pairs([stock - bought, sold + bought, balance - paid, till + paid]),
            is_unknown,
        });
    }
}
