//! `append`: one element to the ends of two lists, and the history read back.
//!
//! ```text
//! WATCH a b, LLEN a, LLEN b │ MULTI, RPUSH a id, RPUSH b id, EXEC ─► the places that it got
//! ```
//!
//! Every attempt has an id of its own. RPUSH answers the length, so a commit claims a place in each
//! list. Afterwards the lists are read: a claim that is not where it was made is a lost, doubled or
//! moved write; an id that nobody committed is an aborted transaction that ran; an id in one list
//! only is half a transaction; a connection's ids, and those of transactions with the same two
//! lists, must come in one order. A place other than the length that was read, plus one, means that
//! somebody came between WATCH and EXEC.
//!
//! At most [`CLAIMS_MAX`] claims are remembered and [`ELEMENTS_MAX`] elements of a group read back;
//! what a longer run leaves out is said in the report.

use super::{Ground, Workload};
use crate::load::chance::Chance;
use crate::load::failure::Failure;
use crate::load::keys::{Keys, shown};
use crate::load::plan::Plan;
use crate::load::script::{Ask, Exec, Moment, Next, Outcome, Script};
use crate::load::setup_client::{Courier, must_not_be_error};
use crate::load::verifier::{Facts, Names, Note};
use crate::resp::Reply;
use crate::slot::Slot;
use crate::text::number::{parse_i64, write_i64};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const NAME: &str = "list";
/// Most claims remembered: 64 MiB of them.
const CLAIMS_MAX: u64 = 4_000_000;
/// Most elements of a group's lists that are read back.
const ELEMENTS_MAX: u64 = 10_000_000;
/// Elements read at a time.
const PIECE: u64 = 10_000;
const THERE: usize = 0;
const WHOLE: usize = 1;
const ORDER: usize = 2;
const BETWEEN: usize = 3;

/// Who appended, and the how-manieth attempt of that user it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Id {
    user: u32,
    attempt: u64,
}

impl Id {
    fn write(self, out: &mut Vec<u8>) {
        out.clear();
        write_i64(out, i64::from(self.user));
        out.push(b'-');
        write_i64(out, self.attempt as i64);
    }

    fn read(text: &[u8]) -> Option<Self> {
        let dash = text.iter().position(|&byte| byte == b'-')?;
        Some(Self {
            user: u32::try_from(parse_i64(&text[..dash])?).ok()?,
            attempt: u64::try_from(parse_i64(&text[dash + 1..])?).ok()?,
        })
    }
}

/// A list as it was read; `None` is what is no id.
type Elements = Vec<Option<Id>>;

/// "This id is at this place (from 1) of this list."
#[derive(Clone, Copy, Debug)]
struct Claim {
    id: Id,
    list: u32,
    place: u64,
}

#[derive(Debug, Default)]
struct History {
    claims: Vec<Claim>,
    /// Ids that may or may not be there.
    unknown: HashSet<Id>,
}

pub(super) struct Lists {
    ground: Ground,
    /// By group.
    histories: Box<[Mutex<History>]>,
    committed: AtomicU64,
    claimed: AtomicU64,
}

struct ListNames(Keys);

impl Names for ListNames {
    fn key(&self, group: u64, key: u32) -> String {
        shown(&self.0.name(group, NAME, u64::from(key)))
    }

    fn kind(&self, _kind: usize) -> String {
        "append".to_owned()
    }
}

pub(super) fn make(plan: &Plan) -> (Arc<dyn Workload>, Ground) {
    let invariants = [
        "every committed append is where it was put, once, and nothing else is there",
        "a transaction is in both of its lists or in none",
        "appends stand in one order everywhere",
        "nobody comes between WATCH and EXEC",
    ];
    let names = Box::new(ListNames(Keys::new(&plan.workload.prefix)));
    let ground = Ground::new(plan, &invariants, names);
    let workload = Lists {
        ground: ground.clone(),
        histories: (0..ground.groups).map(|_| Mutex::default()).collect(),
        committed: AtomicU64::new(0),
        claimed: AtomicU64::new(0),
    };
    (Arc::new(workload), ground)
}

impl Lists {
    /// The lists of a group as they are: for each, its ids. `false` if not everything was read.
    fn read_group(
        &self,
        courier: &mut Courier,
        group: u64,
    ) -> Result<(Vec<Elements>, bool), Failure> {
        let (mut lists, mut read, mut is_all) = (Vec::new(), 0, true);
        for key in 0..self.ground.keys_per_group {
            let name = self.ground.keys.name(group, NAME, key);
            let mut ids = Vec::new();
            loop {
                let (from, before) = (ids.len() as u64, ids.len());
                if read >= ELEMENTS_MAX {
                    is_all = false;
                    break;
                }
                let (first, last) = (from.to_string(), (from + PIECE - 1).to_string());
                courier.one(
                    Slot::of(&name),
                    &[b"LRANGE", &name, first.as_bytes(), last.as_bytes()],
                    &mut |reply| {
                        must_not_be_error(reply)?;
                        ids.extend(reply.elements().into_iter().flatten().map(|element| {
                            match element {
                                Reply::Bulk(text) => Id::read(text),
                                _ => None,
                            }
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

    fn judge_group(&self, group: u64, lists: &[Elements], is_all: bool) {
        let history = self.histories[group as usize].lock();
        let is_complete = is_all && self.claimed.load(Relaxed) == self.committed.load(Relaxed) * 2;
        let referee = &self.ground.referee;
        let name = |list: u32| shown(&self.ground.keys.name(group, NAME, u64::from(list)));
        let show = |id: Option<Id>| {
            id.map_or_else(
                || "nothing of ours".to_owned(),
                |id| format!("{}-{}", id.user, id.attempt),
            )
        };
        // Where each id is.
        let mut places: HashMap<Id, Vec<(u32, u64)>> = HashMap::new();
        for (list, ids) in lists.iter().enumerate() {
            for (at, id) in ids.iter().enumerate() {
                match id {
                    Some(id) => places.entry(*id).or_default().push((list as u32, at as u64 + 1)),
                    None => {
                        let what = || {
                            format!(
                                "{} holds what nobody appended at {}",
                                name(list as u32),
                                at + 1
                            )
                        };
                        referee.break_in(THERE, None, what, group, &[(list as u32, show(None))]);
                    }
                }
            }
        }
        let mut claimed: HashSet<Id> = HashSet::new();
        for claim in &history.claims {
            claimed.insert(claim.id);
            let there = lists[claim.list as usize].get(claim.place as usize - 1).copied();
            if there.is_none() && !is_all {
                continue;
            }
            if there != Some(Some(claim.id)) {
                let seen = there.map_or_else(|| "the end".to_owned(), show);
                let what = || {
                    let elsewhere = places.get(&claim.id).into_iter().flatten();
                    let elsewhere: Vec<u64> = elsewhere
                        .filter(|(list, _)| *list == claim.list)
                        .map(|(_, at)| *at)
                        .collect();
                    let where_else = if elsewhere.is_empty() {
                        "it is lost".to_owned()
                    } else {
                        format!("it is at {elsewhere:?}")
                    };
                    let (id, list) = (show(Some(claim.id)), name(claim.list));
                    format!(
                        "{id} was committed at {} of {list}, where {seen} is; {where_else}",
                        claim.place
                    )
                };
                referee.break_in(THERE, None, what, group, &[(claim.list, seen.clone())]);
            }
        }
        let mut both: HashMap<(u32, u32), Vec<(u64, u64)>> = HashMap::new();
        for (id, at) in &mut places {
            at.sort_unstable();
            let keys: Vec<_> = at
                .iter()
                .map(|&(list, at)| (list, format!("{} at {at}", show(Some(*id)))))
                .collect();
            if at.windows(2).any(|two| two[0].0 == two[1].0) {
                let what = || format!("{} stands twice in one list", show(Some(*id)));
                referee.break_in(THERE, None, what, group, &keys);
            }
            if is_complete && !claimed.contains(id) && !history.unknown.contains(id) {
                let what = || {
                    format!("{} is there, though its transaction did not commit", show(Some(*id)))
                };
                referee.break_in(THERE, None, what, group, &keys);
            }
            match at[..] {
                [(a, first), (b, second)] if a != b => {
                    both.entry((a, b)).or_default().push((first, second));
                }
                [_] if is_all => {
                    let what = || format!("{} is in one of its two lists only", show(Some(*id)));
                    referee.break_in(WHOLE, None, what, group, &keys);
                }
                _ => {}
            }
        }
        for ((a, b), mut pairs) in both {
            pairs.sort_unstable();
            for two in pairs.windows(2).filter(|two| two[0].1 > two[1].1) {
                let what = || {
                    format!(
                        "two transactions stand one way in {} and the other way in {}",
                        name(a),
                        name(b)
                    )
                };
                let of = |list: u32, at: u64| {
                    let id = lists[list as usize].get(at as usize - 1).copied().flatten();
                    (list, format!("{} at {at}", show(id)))
                };
                let keys = [of(a, two[0].0), of(a, two[1].0), of(b, two[0].1), of(b, two[1].1)];
                referee.break_in(ORDER, None, what, group, &keys);
            }
        }
        for (list, ids) in lists.iter().enumerate() {
            let mut last: HashMap<u32, u64> = HashMap::new();
            for (at, id) in ids.iter().enumerate().filter_map(|(at, id)| Some((at, (*id)?))) {
                let before = last.insert(id.user, id.attempt);
                if before.is_some_and(|before| before > id.attempt) {
                    let what = || {
                        format!("{} stands behind a later one of its connection", show(Some(id)))
                    };
                    let key = (list as u32, format!("{} at {}", show(Some(id)), at + 1));
                    referee.break_in(ORDER, None, what, group, &[key]);
                }
            }
        }
        let elements = lists.iter().map(|ids| ids.len() as u64).sum();
        referee.checked_after(THERE, history.claims.len() as u64);
        referee.checked_after(WHOLE, places.len() as u64);
        referee.checked_after(ORDER, elements);
    }
}

impl Workload for Lists {
    fn prepare(&self, courier: &mut Courier) -> Result<(), Failure> {
        self.ground.remove_all(courier, &[NAME])
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
            exec: Exec::Strange,
            text: Vec::new(),
        })
    }

    fn auditor(self: Arc<Self>) -> Option<Box<dyn Script>> {
        // Every commit compares its places with the lengths it read.
        None
    }

    fn check(&self, courier: &mut Courier) -> Result<(), Failure> {
        let mut is_all = true;
        for group in 0..self.ground.groups {
            let (lists, all_of_it) = self.read_group(courier, group)?;
            is_all &= all_of_it;
            self.judge_group(group, &lists, all_of_it);
        }
        let (committed, claimed) =
            (self.committed.load(Relaxed), self.claimed.load(Relaxed).min(CLAIMS_MAX));
        if claimed < committed * 2 || !is_all {
            let most = if is_all { "all" } else { "the front" };
            let coverage = format!(
                "the first {} of {committed} transactions, {most} of the lists",
                claimed / 2
            );
            self.ground.referee.covers(THERE, coverage);
        }
        Ok(())
    }

    fn clean(&self, courier: &mut Courier) -> Result<(), Failure> {
        self.ground.remove_all(courier, &[NAME])
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
    fn note(&self, moment: &Moment, unknown: bool) {
        let facts = |values: [Option<i64>; 2]| {
            let [a, b] = values.map(Option::unwrap_or_default);
            Facts::of(&[(self.keys[0] as u32, a), (self.keys[1] as u32, b)])
        };
        self.lists.ground.referee.note(Note {
            moment: *moment,
            group: self.group,
            kind: 0,
            read: facts(self.lens),
            wrote: facts(self.places),
            unknown,
        });
    }

    fn lost_sight(&self, moment: &Moment) {
        self.note(moment, true);
        self.lists.histories[self.group as usize].lock().unknown.insert(self.id);
    }

    fn claim(&self, moment: &Moment, places: [i64; 2]) {
        self.note(moment, false);
        let Lists { ground, histories, committed, claimed } = &*self.lists;
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
        ground.referee.checked_during(BETWEEN, 1);
        for (i, (place, len)) in places.into_iter().zip(self.lens).enumerate() {
            if len.is_none_or(|len| place != len + 1) {
                let len = len.unwrap_or_default();
                let name = shown(&self.names[i]);
                let what = || {
                    format!("{name} had {len} elements under WATCH, and EXEC appended at {place}")
                };
                let key = (self.keys[i] as u32, format!("length {place}"));
                ground.referee.break_in(BETWEEN, Some(moment.at), what, self.group, &[key]);
            }
        }
    }
}

impl Script for Append {
    fn choose(&mut self, chance: &mut Chance) {
        let ground = &self.lists.ground;
        (self.group, self.keys[0]) = ground.pick(chance);
        self.keys[1] = ground.key.pick_other(self.keys[0], chance);
        for (key, name) in self.keys.into_iter().zip(&mut self.names) {
            ground.keys.write(self.group, NAME, key, name);
        }
    }

    fn slot(&self) -> Slot {
        Slot::of(&self.names[0])
    }

    fn rewind(&mut self) {
        self.id.attempt += 1;
        (self.is_reading, self.exec) = (true, Exec::Strange);
        (self.lens, self.places) = ([None; 2], [None; 2]);
    }

    fn ask(&mut self, ask: &mut Ask<'_>, _moment: &Moment) {
        let names = self.names.each_ref().map(|name| &name[..]);
        if self.is_reading {
            ask.watch(&names);
            names.iter().for_each(|name| ask.read(&[b"LLEN", name]));
        } else {
            self.id.write(&mut self.text);
            ask.multi();
            names.iter().for_each(|name| ask.change(&[b"RPUSH", name, &self.text]));
            ask.exec();
        }
    }

    fn hear(&mut self, at: usize, reply: Reply<'_>) {
        match (self.is_reading, at) {
            (true, 1 | 2) => self.lens[at - 1] = reply.integer(),
            (false, 3) => {
                let places = &mut self.places;
                self.exec = Exec::of(reply, 2, |i, element| {
                    if let Some(place) = places.get_mut(i) {
                        *place = element.integer();
                    }
                });
            }
            _ => {}
        }
    }

    fn conclude(&mut self, moment: &Moment) -> Next {
        if std::mem::take(&mut self.is_reading) {
            return match self.lens {
                [Some(_), Some(_)] => Next::Again,
                _ => Next::Done(Outcome::Malformed("LLEN did not answer a number".to_owned())),
            };
        }
        let outcome = self.exec.outcome();
        match (&outcome, self.places) {
            (Outcome::Committed, [Some(a), Some(b)]) => self.claim(moment, [a, b]),
            (Outcome::Committed, _) => {
                self.lost_sight(moment);
                let strange = "RPUSH in EXEC did not answer a number";
                return Next::Done(Outcome::Malformed(strange.to_owned()));
            }
            (Outcome::Malformed(_), _) => self.lost_sight(moment),
            (Outcome::Declined | Outcome::Aborted, _) => {}
        }
        Next::Done(outcome)
    }

    fn failed(&mut self, unknown: bool, moment: &Moment) {
        if unknown {
            self.lost_sight(moment);
        }
    }
}
