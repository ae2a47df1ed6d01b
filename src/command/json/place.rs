//! Places in a document by name, which stay when members move.

use super::path::BY_NAME;
use crate::keyspace::{Kind, Ref};
use std::cmp::Ordering;
use std::collections::HashSet;

/// A step of a place, by name, so that it is found again when members have moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Member(Box<[u8]>),
    Element(u32),
}

/// The names and indices of a place.
pub(super) fn steps(root: Ref<'_>, place: &[u32]) -> Vec<Step> {
    let mut value = root;
    let mut steps = Vec::with_capacity(place.len());
    for &at in place {
        let position = at & !BY_NAME;
        let Some((key, child)) = value.children().nth(position as usize) else { break };
        steps.push(match key {
            Some(_) if at & BY_NAME != 0 => Step::Member(position.to_string().into_bytes().into()),
            Some(key) => Step::Member(key.into()),
            None => Step::Element(position),
        });
        value = child;
    }
    steps
}

/// A place that a path has found.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Positions(Box<[u32]>),
    Named(Vec<Step>),
}

impl Place {
    pub(super) fn new(root: Ref<'_>, place: Box<[u32]>) -> Self {
        if place.iter().any(|at| at & BY_NAME != 0) {
            Self::Named(steps(root, &place))
        } else {
            Self::Positions(place)
        }
    }

    /// Returns the positions, if there is a value.
    pub(super) fn find(self, root: Ref<'_>) -> Option<Box<[u32]>> {
        match self {
            Self::Positions(place) => root.at(&place).is_some().then_some(place),
            Self::Named(steps) => place_of(root, &steps).map(Vec::into_boxed_slice),
        }
    }
}

/// The positions of a place that names and indices say; `None` if it is gone.
pub(super) fn place_of(root: Ref<'_>, steps: &[Step]) -> Option<Vec<u32>> {
    let mut value = root;
    let mut place = Vec::with_capacity(steps.len());
    for step in steps {
        let (at, child) = match (step, value.kind()) {
            (Step::Member(key), Kind::Object(_)) => value.member(key)?,
            (Step::Element(at), Kind::Array(_)) => (*at as usize, value.child(*at as usize)?),
            _ => return None,
        };
        place.push(at as u32);
        value = child;
    }
    Some(place)
}

/// Returns those places of values to delete that RedisJSON deletes, in its order.
///
/// It writes each place as text, with commas, and leaves out those before which, in the order of texts,
/// one is their beginning: what is inside of another value, but also `ab` beside `a`, and the eleventh
/// element beside the second. It looks a text up among all of them, so that one that is there twice
/// counts as its own beginning if it is not the first that is found.
pub(super) fn deleted_places(mut places: Vec<Vec<Step>>) -> Vec<Vec<Step>> {
    if places.len() < 2 {
        return places;
    }
    places.sort_by(|a, b| in_order_of_deletion(a, b));
    let texts: Vec<String> = places.iter().map(|place| text_of(place)).collect();
    let mut sorted: Vec<&str> = texts.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let mut kept: HashSet<&str> = HashSet::new();
    // Texts that begin the one at hand; each begins the next.
    let mut beginnings: Vec<&str> = Vec::new();
    for (at, &text) in sorted.iter().enumerate() {
        while beginnings.last().is_some_and(|last| !text.starts_with(last)) {
            beginnings.pop();
        }
        if beginnings.is_empty() && look_up(&sorted, text) == Some(at) {
            kept.insert(text);
        }
        beginnings.push(text);
    }
    let is_kept: Vec<bool> = texts.iter().map(|text| kept.contains(text.as_str())).collect();
    let mut is_kept = is_kept.into_iter();
    places.retain(|_| is_kept.next().unwrap_or(false));
    places
}

/// A binary search that ends at the first of several equal texts that it meets, as Rust's did up to 1.81.
fn look_up(sorted: &[&str], text: &str) -> Option<usize> {
    let (mut from, mut to) = (0, sorted.len());
    while from < to {
        let middle = from + (to - from) / 2;
        match sorted[middle].cmp(text) {
            Ordering::Less => from = middle + 1,
            Ordering::Greater => to = middle,
            Ordering::Equal => return Some(middle),
        }
    }
    None
}

fn text_of(place: &[Step]) -> String {
    let words: Vec<String> = place
        .iter()
        .map(|step| match step {
            Step::Member(key) => String::from_utf8_lossy(key).into_owned(),
            Step::Element(at) => at.to_string(),
        })
        .collect();
    words.join(",")
}

/// Later elements first, names in their order and before what reads as a number, longer places first.
fn in_order_of_deletion(a: &[Step], b: &[Step]) -> Ordering {
    for (a, b) in a.iter().zip(b) {
        let order = match (number(a), number(b)) {
            (Ok(a), Ok(b)) => b.cmp(&a),
            (Ok(_), Err(_)) => Ordering::Greater,
            (Err(_), Ok(_)) => Ordering::Less,
            (Err(a), Err(b)) => a.cmp(b),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    b.len().cmp(&a.len())
}

/// The number that a step is, or reads as; else its name.
fn number(step: &Step) -> Result<usize, &[u8]> {
    match step {
        Step::Element(at) => Ok(*at as usize),
        Step::Member(key) => {
            std::str::from_utf8(key).ok().and_then(|key| key.parse().ok()).ok_or(key)
        }
    }
}
