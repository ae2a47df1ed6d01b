//! `append`: appends an element to two lists, and checks the history that the lists show.
//!
//! ```text
//! WATCH a b, LLEN a, LLEN b │ MULTI, RPUSH a id, RPUSH b id, EXEC ─► its places in both lists
//! ```
//!
//! Every attempt has an id of its own. RPUSH returns the length, so a commit claims a place in each
//! list. After the run the lists are read. A claim that is not in its place is a lost, duplicated
//! or moved write. An id without a commit is an aborted transaction that ran. An id in one list
//! only is half a transaction. The ids of a connection, and those of transactions with the same two
//! lists, must be in one order. A place that is not the length read plus one means that another
//! append came between WATCH and EXEC.
//!
//! At most [`CLAIMS_MAX`] claims are kept and [`ELEMENTS_MAX`] elements of a group read; the report
//! says if a longer run left some out.

mod history;

use super::{Context, OneKind, Workload};
use crate::load::failure::Failure;
use crate::load::keys::shown;
use crate::load::plan::Plan;
use crate::load::random::Rng;
use crate::load::script::{Exec, Moment, Next, Outcome, RoundWriter, Script};
use crate::load::setup_client::{SetupClient, expect_elements};
use crate::load::verifier::{KeyValues, Record};
use crate::resp::Reply;
use crate::slot::Slot;
use history::{Claim, Elements, GroupCheck, History, Id};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const NAME: &str = "list";
/// Most claims kept; each takes 32 bytes.
const CLAIMS_MAX: u64 = 4_000_000;
/// Most elements read of the lists of a group.
const ELEMENTS_MAX: u64 = 10_000_000;
/// Elements read with one LRANGE.
const PIECE: u64 = 10_000;
const THERE: usize = 0;
const WHOLE: usize = 1;
const ORDER: usize = 2;
const BETWEEN: usize = 3;

pub(super) struct Lists {
    context: Context,
    /// By group.
    histories: Box<[Mutex<History>]>,
    committed: AtomicU64,
    claimed: AtomicU64,
}

pub(super) fn make(plan: &Plan) -> (Arc<dyn Workload>, Context) {
    let invariants = [
        "every committed append is in its place, exactly once, and nothing else is in the list",
        "every transaction is in both of its lists or in neither",
        "appends are in the same order everywhere",
        "no other append comes between WATCH and EXEC",
    ];
    let names = Box::new(OneKind::new(plan, NAME, "append"));
    let context = Context::new(plan, &invariants, names);
    let workload = Lists {
        context: context.clone(),
        histories: (0..context.groups).map(|_| Mutex::default()).collect(),
        committed: AtomicU64::new(0),
        claimed: AtomicU64::new(0),
    };
    (Arc::new(workload), context)
}

impl Lists {
    /// Reads the lists of a group. Returns `false` if that would be more than [`ELEMENTS_MAX`].
    fn read_group(
        &self,
        client: &mut SetupClient,
        group: u64,
    ) -> Result<(Vec<Elements>, bool), Failure> {
        let (mut lists, mut read, mut is_all) = (Vec::new(), 0, true);
        for key in 0..self.context.keys_per_group {
            let name = self.context.keys.name(group, NAME, key);
            let mut ids = Vec::new();
            loop {
                let (from, before) = (ids.len() as u64, ids.len());
                if read >= ELEMENTS_MAX {
                    is_all = false;
                    break;
                }
                let (first, last) = (from.to_string(), (from + PIECE - 1).to_string());
                client.call(
                    Slot::of(&name),
                    &[b"LRANGE", &name, first.as_bytes(), last.as_bytes()],
                    &mut |reply| {
                        let elements = expect_elements(reply, None, "LRANGE")?;
                        ids.extend(elements.map(|element| match element {
                            Reply::Bulk(text) => Id::parse(text),
                            _ => None,
                        }));
                        Ok(())
                    },
                )?;
                let got = (ids.len() - before) as u64;
                read += got;
                if got < PIECE {
                    break;
                }
            }
            lists.push(ids);
        }
        Ok((lists, is_all))
    }
}

impl Workload for Lists {
    fn prepare(&self, _client: &mut SetupClient) -> Result<(), Failure> {
        // A list without elements is no key.
        Ok(())
    }

    fn script(self: Arc<Self>, user: u32) -> Box<dyn Script> {
        Box::new(Append {
            lists: self,
            id: Id { user, attempt: 0 },
            group: 0,
            keys: [0; 2],
            names: Default::default(),
            is_reading: true,
            lens: [None; 2],
            places: [None; 2],
            exec: Exec::NoReply,
            text: Vec::new(),
        })
    }

    fn auditor(self: Arc<Self>) -> Option<Box<dyn Script>> {
        // Every commit compares its places with the lengths that it read.
        None
    }

    fn check(&self, client: &mut SetupClient) -> Result<(), Failure> {
        let mut is_all = true;
        for group in 0..self.context.groups {
            let (lists, is_whole) = self.read_group(client, group)?;
            is_all &= is_whole;
            let committed = self.committed.load(Relaxed);
            let history = self.histories[group as usize].lock();
            let check = GroupCheck {
                context: &self.context,
                group,
                history: &history,
                lists: &lists,
                is_all: is_whole,
                is_complete: is_whole && self.claimed.load(Relaxed) == committed * 2,
            };
            check.run();
        }
        let (committed, claimed) =
            (self.committed.load(Relaxed), self.claimed.load(Relaxed).min(CLAIMS_MAX));
        if claimed < committed * 2 || !is_all {
            let part = if is_all { "all" } else { "the first elements" };
            let coverage = format!(
                "the first {} of {committed} transactions, {part} of the lists",
                claimed / 2
            );
            self.context.verifier.set_coverage(THERE, coverage);
        }
        Ok(())
    }

    fn clean(&self, client: &mut SetupClient) -> Result<u64, Failure> {
        self.context.remove_all(client, &[NAME])
    }

    fn kinds(&self) -> Vec<String> {
        vec!["append".to_owned()]
    }
}

struct Append {
    lists: Arc<Lists>,
    id: Id,
    group: u64,
    keys: [u64; 2],
    names: [Vec<u8>; 2],
    is_reading: bool,
    lens: [Option<i64>; 2],
    places: [Option<i64>; 2],
    exec: Exec,
    text: Vec<u8>,
}

impl Append {
    fn record_values(&self, moment: &Moment, is_unknown: bool) {
        let pairs = |values: [Option<i64>; 2]| {
            let [a, b] = values.map(Option::unwrap_or_default);
            KeyValues::of(&[(self.keys[0] as u32, a), (self.keys[1] as u32, b)])
        };
        self.lists.context.verifier.record(Record {
            moment: *moment,
            group: self.group,
            kind: 0,
            read: pairs(self.lens),
            wrote: pairs(self.places),
            is_unknown,
        });
    }

    fn record_unknown(&self, moment: &Moment) {
        self.record_values(moment, true);
        self.lists.histories[self.group as usize].lock().unknown.insert(self.id);
    }

    fn record_commit(&self, moment: &Moment, places: [i64; 2]) {
        self.record_values(moment, false);
        let Lists { context, histories, committed, claimed } = &*self.lists;
        let mut history = histories[self.group as usize].lock();
        committed.fetch_add(1, Relaxed);
        if claimed.load(Relaxed) < CLAIMS_MAX {
            claimed.fetch_add(2, Relaxed);
            for (key, place) in self.keys.into_iter().zip(places) {
                let place = u64::try_from(place).unwrap_or_default().max(1);
                history.claims.push(Claim { id: self.id, list: key as u32, place });
            }
        }
        drop(history);
        context.verifier.checked_during(BETWEEN, 1);
        for (i, (place, len)) in places.into_iter().zip(self.lens).enumerate() {
            if len.is_none_or(|len| place != len + 1) {
                let len = len.unwrap_or_default();
                let name = shown(&self.names[i]);
                let what = || {
                    format!("{name} had {len} elements under WATCH, and EXEC appended at {place}")
                };
                let key = (self.keys[i] as u32, format!("length {place}"));
                context.verifier.record_violation(
                    BETWEEN,
                    Some(moment.at),
                    what,
                    self.group,
                    &[key],
                );
            }
        }
    }
}

impl Script for Append {
    fn choose(&mut self, rng: &mut Rng) {
        let context = &self.lists.context;
        (self.group, self.keys[0]) = context.pick_key(rng);
        self.keys[1] = context.key.pick_other(self.keys[0], rng);
        for (key, name) in self.keys.into_iter().zip(&mut self.names) {
            context.keys.write(self.group, NAME, key, name);
        }
    }

    fn slot(&self) -> Slot {
        Slot::of(&self.names[0])
    }

    fn begin_attempt(&mut self) {
        self.id.attempt += 1;
        (self.is_reading, self.exec) = (true, Exec::NoReply);
        (self.lens, self.places) = ([None; 2], [None; 2]);
    }

    fn write_round(&mut self, out: &mut RoundWriter<'_>, _moment: &Moment) {
        let names = self.names.each_ref().map(|name| &name[..]);
        if self.is_reading {
            out.watch(&names);
            names.iter().for_each(|name| out.read(&[b"LLEN", name]));
        } else {
            self.id.write(&mut self.text);
            out.multi();
            names.iter().for_each(|name| out.change(&[b"RPUSH", name, &self.text]));
            out.exec();
        }
    }

    fn read_reply(&mut self, at: usize, reply: Reply<'_>) {
        match (self.is_reading, at) {
            (true, 1 | 2) => self.lens[at - 1] = reply.integer(),
            (false, 3) => {
                let places = &mut self.places;
                self.exec = Exec::read(reply, 2, |i, element| {
                    if let Some(place) = places.get_mut(i) {
                        *place = element.integer();
                    }
                });
            }
            _ => {}
        }
    }

    fn finish_round(&mut self, _moment: &Moment) -> Next {
        if std::mem::take(&mut self.is_reading) {
            return match self.lens {
                [Some(_), Some(_)] => Next::Round,
                _ => Next::Done(Outcome::Malformed("LLEN did not return a number".to_owned())),
            };
        }
        Next::Done(match (self.exec.outcome(), self.places) {
            (Outcome::Committed, [_, None] | [None, _]) => {
                Outcome::Malformed("RPUSH in EXEC did not return a number".to_owned())
            }
            (outcome, _) => outcome,
        })
    }

    fn record(&mut self, is_unknown: bool, moment: &Moment) {
        match self.places {
            [Some(a), Some(b)] if !is_unknown => self.record_commit(moment, [a, b]),
            _ => self.record_unknown(moment),
        }
    }
}
