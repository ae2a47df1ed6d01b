//! The history of a group's lists: what the commits claimed, and the checks of the lists against
//! it.

use super::{NAME, ORDER, THERE, WHOLE};
use crate::load::keys::shown;
use crate::load::workload::Context;
use crate::text::number::{parse_i64, write_i64};
use std::collections::{HashMap, HashSet};

/// The id of an element: the user that appended it, and the number of that user's attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id {
    pub(super) user: u32,
    pub(super) attempt: u64,
}

impl Id {
    /// Writes `USER-ATTEMPT` into `out`, which it empties first.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        out.clear();
        write_i64(out, i64::from(self.user));
        out.push(b'-');
        write_i64(out, self.attempt as i64);
    }

    /// Reads what [`Id::write`] writes.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let dash = text.iter().position(|&byte| byte == b'-')?;
        Some(Self {
            user: u32::try_from(parse_i64(&text[..dash])?).ok()?,
            attempt: u64::try_from(parse_i64(&text[dash + 1..])?).ok()?,
        })
    }
}

/// A list as it was read; `None` is an element that is not an id.
pub(super) type Elements = Vec<Option<Id>>;

/// A commit's claim that its element is at this place (from 1) of this list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) id: Id,
    pub(super) list: u32,
    pub(super) place: u64,
}

/// What the transactions on one group claimed.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) claims: Vec<Claim>,
    /// Ids of transactions of unknown outcome: they may or may not be in the lists.
    pub(super) unknown: HashSet<Id>,
}

/// The check of one group's lists against its history.
pub(super) struct GroupCheck<'a> {
    pub(super) context: &'a Context,
    pub(super) group: u64,
    pub(super) history: &'a History,
    pub(super) lists: &'a [Elements],
    /// Whether the lists were read to their ends.
    pub(super) is_all: bool,
    /// Whether, moreover, every commit of the run left its claims.
    pub(super) is_complete: bool,
}

/// Where each id is: lists and places, from 1.
type Places = HashMap<Id, Vec<(u32, u64)>>;

impl GroupCheck<'_> {
    /// Reports everything that is wrong to the verifier, and how much was checked.
    pub(super) fn run(&self) {
        let places = self.places();
        self.check_claims(&places);
        self.check_ids(&places);
        self.check_order_of_pairs(&places);
        self.check_order_of_users();
        let elements = self.lists.iter().map(|ids| ids.len() as u64).sum();
        let verifier = &self.context.verifier;
        verifier.checked_after(THERE, self.history.claims.len() as u64);
        verifier.checked_after(WHOLE, places.len() as u64);
        verifier.checked_after(ORDER, elements);
    }

    fn violation(&self, invariant: usize, what: impl FnOnce() -> String, values: &[(u32, String)]) {
        self.context.verifier.record_violation(invariant, None, what, self.group, values);
    }

    fn list_name(&self, list: u32) -> String {
        shown(&self.context.keys.name(self.group, NAME, u64::from(list)))
    }

    /// Finds each id, in the order of the lists; reports elements that are not ids.
    fn places(&self) -> Places {
        let mut places = Places::new();
        for (list, at, id) in self.elements() {
            match id {
                Some(id) => places.entry(id).or_default().push((list, at)),
                None => {
                    let what =
                        || format!("{} has an unknown element at {at}", self.list_name(list));
                    self.violation(THERE, what, &[(list, show(None))]);
                }
            }
        }
        places
    }

    /// Every element with its list and its place, from 1.
    fn elements(&self) -> impl Iterator<Item = (u32, u64, Option<Id>)> {
        self.lists.iter().enumerate().flat_map(|(list, ids)| {
            ids.iter().enumerate().map(move |(at, id)| (list as u32, at as u64 + 1, *id))
        })
    }

    /// The element at a place (from 1) of a list; `None` is behind the end.
    fn element(&self, list: u32, place: u64) -> Option<Option<Id>> {
        self.lists[list as usize].get(place as usize - 1).copied()
    }

    /// Checks that every claimed element is where its commit put it.
    fn check_claims(&self, places: &Places) {
        for claim in &self.history.claims {
            let there = self.element(claim.list, claim.place);
            let is_unread = there.is_none() && !self.is_all;
            if is_unread || there == Some(Some(claim.id)) {
                continue;
            }
            let seen = there.map_or_else(|| "the end".to_owned(), show);
            let what = || {
                let elsewhere = places.get(&claim.id).into_iter().flatten();
                let elsewhere: Vec<u64> =
                    elsewhere.filter(|(list, _)| *list == claim.list).map(|(_, at)| *at).collect();
                let where_else = if elsewhere.is_empty() {
                    "it is lost".to_owned()
                } else {
                    format!("it is at {elsewhere:?}")
                };
                let (id, list) = (show(Some(claim.id)), self.list_name(claim.list));
                format!(
                    "{id} was committed at {} of {list}, where {seen} is; {where_else}",
                    claim.place
                )
            };
            self.violation(THERE, what, &[(claim.list, seen.clone())]);
        }
    }

    /// Checks each id on its own: committed, not twice in a list, in both lists.
    fn check_ids(&self, places: &Places) {
        let claimed: HashSet<Id> = self.history.claims.iter().map(|claim| claim.id).collect();
        for (&id, at) in places {
            let shown = show(Some(id));
            let keys: Vec<_> =
                at.iter().map(|&(list, at)| (list, format!("{shown} at {at}"))).collect();
            if at.windows(2).any(|two| two[0].0 == two[1].0) {
                self.violation(THERE, || format!("{shown} is twice in one list"), &keys);
            }
            if self.is_complete && !claimed.contains(&id) && !self.history.unknown.contains(&id) {
                let what = || format!("{shown} is there, but its transaction did not commit");
                self.violation(THERE, what, &keys);
            }
            if at.len() == 1 && self.is_all {
                self.violation(WHOLE, || format!("{shown} is in one of its two lists only"), &keys);
            }
        }
    }

    /// Checks that ids which are in the same two lists are in the same order in both.
    fn check_order_of_pairs(&self, places: &Places) {
        let mut both: HashMap<(u32, u32), Vec<(u64, u64)>> = HashMap::new();
        for at in places.values() {
            if let [(a, first), (b, second)] = at[..]
                && a != b
            {
                both.entry((a, b)).or_default().push((first, second));
            }
        }
        for ((a, b), mut pairs) in both {
            pairs.sort_unstable();
            for two in pairs.windows(2).filter(|two| two[0].1 > two[1].1) {
                let what = || {
                    let (a, b) = (self.list_name(a), self.list_name(b));
                    format!(
                        "two transactions are in one order in {a} and in the other order in {b}"
                    )
                };
                let of = |list: u32, at: u64| {
                    (list, format!("{} at {at}", show(self.element(list, at).flatten())))
                };
                let keys = [of(a, two[0].0), of(a, two[1].0), of(b, two[0].1), of(b, two[1].1)];
                self.violation(ORDER, what, &keys);
            }
        }
    }

    /// Checks that the ids of each user ascend in each list.
    fn check_order_of_users(&self) {
        let mut last: HashMap<(u32, u32), u64> = HashMap::new();
        for (list, at, id) in self.elements() {
            let Some(id) = id else { continue };
            let before = last.insert((list, id.user), id.attempt);
            if before.is_some_and(|before| before > id.attempt) {
                let shown = show(Some(id));
                let what = || format!("{shown} comes after a later one of its connection");
                self.violation(ORDER, what, &[(list, format!("{shown} at {at}"))]);
            }
        }
    }
}

fn show(id: Option<Id>) -> String {
    id.map_or_else(|| "an unknown element".to_owned(), |id| format!("{}-{}", id.user, id.attempt))
}
