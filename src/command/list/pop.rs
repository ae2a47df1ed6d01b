//! Popping elements from an end of a list, or of the first of several lists that has any.

use super::{after_removal, end_of, pop_event, write_elements};
use crate::command::collection::{announce_removal, change};
use crate::command::pace::Strides;
use crate::command::wait::{NullReply, Wait, WaitKind};
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{Edited, End, List, event};
use crate::resp::Sink;
use crate::text::number::parse_i64;

/// LPOP, RPOP key [count]
pub(super) fn pop(cx: &mut Cx<'_>, args: Args<'_>, end: End, out: &mut Sink<'_>) -> Outcome {
    if args.len() > 3 {
        let name = if end == End::Front { "lpop" } else { "rpop" };
        return Err(Refusal::arity(name));
    }
    let Some(count) = args.get(2) else {
        if !pop_one(cx, args.at(1), end, out, |_| ())? {
            out.null();
        }
        return Ok(());
    };
    let negative = Refusal::of("ERR value is out of range, must be positive");
    let count = parse_i64(count).and_then(|count| usize::try_from(count).ok()).ok_or(negative)?;
    if !pop_many(cx, args.at(1), end, count, out, |_| ())? {
        out.null_array();
    }
    Ok(())
}

/// Pops the element at an end of the list at `key` and writes it after what `head` writes. Returns
/// `false`, and writes nothing, if the key does not exist.
fn pop_one<'o>(
    cx: &mut Cx<'_>,
    key: &[u8],
    end: End,
    out: &mut Sink<'o>,
    head: impl FnOnce(&mut Sink<'o>),
) -> Result<bool, Refusal> {
    let name = cx.key(key);
    let emptied = change(cx.keyspace, name, |list: &mut List| {
        head(out);
        out.bulk_or_null(list.peek(end).as_deref());
        list.pop(end, 1);
        after_removal(list, list.is_empty())
    })?;
    if let Some(emptied) = emptied {
        announce_removal(cx.keyspace, event::LIST, pop_event(end), key, emptied);
    }
    Ok(emptied.is_some())
}

/// Pops up to `count` elements and writes them as an array after what `head` writes. Returns
/// `false`, and writes nothing, if the key does not exist.
fn pop_many<'o>(
    cx: &mut Cx<'_>,
    key: &[u8],
    end: End,
    count: usize,
    out: &mut Sink<'o>,
    head: impl FnOnce(&mut Sink<'o>),
) -> Result<bool, Refusal> {
    let name = cx.key(key);
    let mut strides = Strides::new(cx.pace);
    let emptied = change(cx.keyspace, name, |list: &mut List| {
        let count = count.min(list.len());
        head(out);
        write_elements(list, end, 0, count, &mut strides, out);
        if count == 0 {
            return Edited::Kept(None);
        }
        list.pop(end, count);
        after_removal(list, Some(list.is_empty()))
    })?;
    if let Some(Some(emptied)) = emptied {
        announce_removal(cx.keyspace, event::LIST, pop_event(end), key, emptied);
    }
    Ok(emptied.is_some())
}

/// The arguments of LMPOP and BLMPOP.
struct MultiPop<'a> {
    keys: usize,
    first_key: usize,
    args: Args<'a>,
    end: End,
    count: usize,
}

impl<'a> MultiPop<'a> {
    /// Reads `numkeys key [key ...] LEFT|RIGHT [COUNT count]` from argument `at` on.
    fn of(args: Args<'a>, at: usize) -> Result<Self, Refusal> {
        let positive = |at: usize, error: &'static str| {
            let number = parse_i64(args.at(at)).filter(|&number| number > 0);
            number.ok_or(Refusal::of(error))
        };
        let keys = positive(at, "ERR numkeys should be greater than 0")?;
        let first_key = at + 1;
        let keys = usize::try_from(keys).ok().filter(|&keys| keys < args.len() - first_key);
        let keys = keys.ok_or(Refusal::SYNTAX)?;
        let after = first_key + keys;
        let end = end_of(args, after)?;
        let count = match args.len() - after {
            1 => 1,
            3 if args.is(after + 1, "count") => {
                positive(after + 2, "ERR count should be greater than 0")?
            }
            _ => return Err(Refusal::SYNTAX),
        };
        Ok(Self { keys, first_key, args, end, count: count as usize })
    }

    /// Pops from the first key that exists. Returns whether one does.
    fn run(&self, cx: &mut Cx<'_>, out: &mut Sink<'_>) -> Result<bool, Refusal> {
        for key in self.args.from(self.first_key).take(self.keys) {
            let head = |out: &mut Sink<'_>| {
                out.array(2);
                out.bulk(key);
            };
            if cx.may_take_from(key) && pop_many(cx, key, self.end, self.count, out, head)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// LMPOP numkeys key [key ...] LEFT|RIGHT [COUNT count]
pub(super) fn lmpop(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    if !MultiPop::of(args, 1)?.run(cx, out)? {
        out.null_array();
    }
    Ok(())
}

/// BLMPOP timeout numkeys key [key ...] LEFT|RIGHT [COUNT count]
pub(super) fn blmpop(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    out: &mut Sink<'_>,
) -> Result<Option<Wait>, Refusal> {
    // Redis parses the timeout last here.
    let request = MultiPop::of(args, 2)?;
    let wait = Wait::of(args, 1, cx.now(), WaitKind::List, NullReply::NullArray)?;
    Ok(if request.run(cx, out)? { None } else { Some(wait) })
}

/// BLPOP, BRPOP key [key ...] timeout
pub(super) fn bpop(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    end: End,
    out: &mut Sink<'_>,
) -> Result<Option<Wait>, Refusal> {
    let last = args.len() - 1;
    let wait = Wait::of(args, last, cx.now(), WaitKind::List, NullReply::NullArray)?;
    for key in args.from(1).take(last - 1) {
        let head = |out: &mut Sink<'_>| {
            out.array(2);
            out.bulk(key);
        };
        if cx.may_take_from(key) && pop_one(cx, key, end, out, head)? {
            return Ok(None);
        }
    }
    Ok(Some(wait))
}
