//! CLUSTERSCAN, of Valkey 9.1: iterates over the keys of the whole cluster, node by node. Its cursor has a
//! hashtag, by which the request goes to the node of the slot that is next:
//!
//! ```text
//! 0                       the start: the reply has the cursor of slot 0, or of SLOT's, and no keys
//! origin-{tag}-position   a place in the slot of the tag
//! 0-{tag}-0               the start of that slot: where the slots of another node begin
//! ```
//!
//! The origin says in whose order the keys of a slot are. A cursor of another one begins with the slot
//! anew; here all nodes have the same order, so that a cursor goes on where its slot has gone.

use super::{QUERY, slot_argument::slot};
use crate::command::pace::Strides;
use crate::command::scan::cursor;
use crate::command::scan::{Page, Scanned};
use crate::command::sort::slot_of_pattern;
use crate::command::spec::access::NOT_KEY;
use crate::command::spec::flag::READ;
use crate::command::spec::{Arity::AtLeast, Keys, Run, Spec, acl};
use crate::command::{Args, Outcome, Refusal, ServerCx};
use crate::dialect::servers;
use crate::keyspace::Keyed;
use crate::resp::Sink;
use crate::slot::{SLOTS, Slot};
use crate::topology::{Port, Role};
use std::sync::OnceLock;

pub(super) const ROW: Spec = Spec {
    name: "clusterscan",
    parent: "",
    arity: AtLeast(2),
    servers: servers::VALKEY9,
    flags: READ,
    acl: acl::KEYSPACE,
    keys: &[Keys::at(NOT_KEY, 1)],
    since: "9.1.0",
    tips: &["nondeterministic_output", "request_policy:special", "response_policy:special"],
    complexity: "O(N) where N is the number of elements returned.",
    summary: "Iterates over the keys of the cluster page by page.",
    run: Run::Cluster(clusterscan),
    ..QUERY
};

/// The types of keys.
const TYPES: &[&str] = &["string", "list", "set", "zset", "hash", "stream"];
const INVALID: Refusal = Refusal::of("ERR Invalid cursor");
/// Digits of an origin.
const ORIGIN_LEN: usize = 6;

/// A place in the slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    slot: Slot,
    position: u64,
}

impl Place {
    fn begin_of(slot: Slot) -> Self {
        Self { slot, position: 0 }
    }
}

/// CLUSTERSCAN cursor [MATCH pattern] [COUNT count] [TYPE type] [SLOT slot]
fn clusterscan(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let Options { page, only, named } = Options::of(args)?;
    if args.at(1) != b"0" {
        let begin = place(cx, args.at(1))?;
        if only.is_some_and(|only| only != begin.slot) {
            return Err(Refusal::of("ERR Cursor slot mismatch with SLOT argument"));
        }
        let only = only.or(named.filter(|&named| named == begin.slot));
        return scan(cx, begin, &page, Bounds { only, named }, out);
    }
    // A pattern that names another slot matches nothing.
    let next = match (only, named) {
        (Some(only), Some(named)) if only != named => None,
        (one, another) => one.or(another).or(Slot::new(0)),
    };
    reply(cx, next.map(Place::begin_of), &[], out);
    Ok(())
}

/// Which slots are scanned.
#[derive(Clone, Copy)]
struct Bounds {
    /// The only one.
    only: Option<Slot>,
    /// The only one whose keys can match.
    named: Option<Slot>,
}

/// Scans from a place on, as far as the slots of this node go without a gap.
fn scan(
    cx: &mut ServerCx<'_>,
    begin: Place,
    page: &Page<'_>,
    bounds: Bounds,
    out: &mut Sink<'_>,
) -> Outcome {
    if let Some(named) = bounds.named.filter(|&named| named != begin.slot) {
        // Slots before the named one cannot match, nor can those after it.
        let next = (named > begin.slot && bounds.only.is_none()).then(|| Place::begin_of(named));
        reply(cx, next, &[], out);
        return Ok(());
    }
    let owner = owner_seen(cx);
    let served =
        |slot: Slot| owner.is_none_or(|owner| cx.server.topology.owner_of(slot) == Some(owner));
    let (mut names, mut visited, mut strides) = (Vec::new(), 0, Strides::new(cx.pace));
    let mut place = Some(begin);
    while let Some(at) = place {
        if visited >= page.count || !served(at.slot) {
            break;
        }
        let mut position = 0;
        for shard in &cx.shards {
            let (entries, next) = shard.page_of_slot(at.slot, at.position, page.count - visited);
            visited += entries.len();
            position = position.max(next);
            for entry in entries {
                strides.step(page.pattern.units(entry.key()));
                if page.takes(entry) {
                    names.push(entry.key());
                }
            }
        }
        place = match (position, bounds.only) {
            (0, Some(_)) => None,
            (0, None) => Slot::new(at.slot.number() + 1).map(Place::begin_of),
            (position, _) => Some(Place { position, ..at }),
        };
    }
    let names: Vec<Box<[u8]>> = names.into_iter().map(Into::into).collect();
    reply(cx, place, &names, out);
    Ok(())
}

/// The node whose slots are scanned, a replica's master; `None` for all nodes.
fn owner_seen(cx: &ServerCx<'_>) -> Option<usize> {
    let Port::Node(node) = cx.port else { return None };
    match cx.server.topology.node(node).role {
        Role::ReplicaOf(master) => Some(master),
        Role::Master => Some(node),
    }
}

/// The options.
struct Options<'a> {
    page: Page<'a>,
    /// SLOT: the only slot that is scanned.
    only: Option<Slot>,
    /// The slot of all keys that MATCH stands for, if its pattern names one.
    named: Option<Slot>,
}

impl<'a> Options<'a> {
    fn of(args: Args<'a>) -> Result<Self, Refusal> {
        let mut all = Self { page: Page::DEFAULT, only: None, named: None };
        let mut i = 2;
        while i < args.len() {
            if args.is(i, "novalues") {
                return Err(Refusal::of("ERR NOVALUES option can only be used in HSCAN"));
            }
            let value = args.get(i + 1).ok_or(Refusal::SYNTAX)?;
            if args.is(i, "slot") {
                if all.only.is_some() {
                    return Err(Refusal::of("ERR SLOT option can only be specified once"));
                }
                all.only = Some(slot(value)?);
            } else {
                all.page.read(args, i, Scanned::Keys)?;
                let is_type = |name: &&str| value.eq_ignore_ascii_case(name.as_bytes());
                if args.is(i, "type") && !TYPES.iter().any(is_type) {
                    let shown = String::from_utf8_lossy(value);
                    return Err(Refusal::new(format!("ERR unknown type name '{shown}'")));
                }
                if args.is(i, "match") {
                    all.named = slot_of_pattern(value);
                }
            }
            i += 2;
        }
        Ok(all)
    }
}

/// Reads a cursor, of which the slot is that of its hashtag.
fn place(cx: &ServerCx<'_>, text: &[u8]) -> Result<Place, Refusal> {
    let mut parts = text.split(|&byte| byte == b'-');
    let (Some(from), Some(_tag), Some(position), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(INVALID);
    };
    if position.is_empty() || !position.iter().all(u8::is_ascii_digit) {
        return Err(INVALID);
    }
    let position = cursor(position).map_err(|_| INVALID)?;
    let position = if from == origin(cx).as_bytes() { position } else { 0 };
    Ok(Place { slot: Slot::of(text), position })
}

/// The origin of the cursors of this process.
fn origin<'a>(cx: &'a ServerCx<'_>) -> &'a str {
    cx.server.router().run_id.get(..ORIGIN_LEN).unwrap_or("0")
}

fn reply(cx: &ServerCx<'_>, next: Option<Place>, names: &[Box<[u8]>], out: &mut Sink<'_>) {
    let cursor = match next {
        None => "0".to_owned(),
        Some(Place { slot, position: 0 }) => format!("0-{{{}}}-0", tag(slot)),
        Some(Place { slot, position }) => format!("{}-{{{}}}-{position}", origin(cx), tag(slot)),
    };
    out.array(2);
    out.bulk(cursor.as_bytes());
    out.array(names.len());
    names.iter().for_each(|name| out.bulk(name));
}

/// Returns a short name whose slot is this.
fn tag(slot: Slot) -> &'static str {
    static TAGS: OnceLock<Vec<String>> = OnceLock::new();
    let tags = TAGS.get_or_init(|| {
        let mut tags = vec![String::new(); SLOTS as usize];
        let mut missing = tags.len();
        for number in 0u32.. {
            let name = format!("{number:x}");
            let tag = &mut tags[Slot::of(name.as_bytes()).index()];
            if tag.is_empty() {
                *tag = name;
                missing -= 1;
            }
            if missing == 0 {
                break;
            }
        }
        tags
    });
    &tags[slot.index()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_slot_has_a_tag_of_its_own() {
        assert!(Slot::all().all(|slot| Slot::of(tag(slot).as_bytes()) == slot));
        assert!(Slot::all().all(|slot| tag(slot).len() <= 6));
    }
}
