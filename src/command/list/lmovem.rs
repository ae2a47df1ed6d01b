//! LMOVEM, of Redis 8.10: several elements move from an end of a list to an end of another, or of the same.

use super::{after_removal, end_of, piece_limit, pop_event, push_event};
use crate::command::collection::{announce_removal, change};
use crate::command::pace::Strides;
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{Edited, End, Entry, List, Ttl, Value, event};
use crate::resp::Sink;
use crate::text::number::parse_i64;

/// How many elements move, and how.
struct Request {
    from: End,
    to: End,
    count: usize,
    /// None move if there are fewer.
    is_exact: bool,
    /// They stay in the order of the list; else each is moved for itself.
    is_bulk: bool,
}

impl Request {
    fn of(args: Args<'_>) -> Result<Self, Refusal> {
        let (from, to) = (end_of(args, 3)?, end_of(args, 4)?);
        let one = Self { from, to, count: 1, is_exact: false, is_bulk: false };
        let is_exact = match args.len() {
            5 => return Ok(one),
            8 if args.is(5, "count") => false,
            8 if args.is(5, "exactly") => true,
            _ => return Err(Refusal::SYNTAX),
        };
        let count = parse_i64(args.at(6)).and_then(|count| usize::try_from(count).ok());
        let none = Refusal::of("ERR count should be greater than 0");
        let count = count.filter(|&count| count > 0).ok_or(none)?;
        let is_bulk = match () {
            () if args.is(7, "bulk") => true,
            () if args.is(7, "obo") => false,
            () => return Err(Refusal::SYNTAX),
        };
        Ok(Self { count, is_exact, is_bulk, ..one })
    }

    /// Takes the elements from a list; returns them in the order in which they will stand, `None` if there
    /// are too few.
    fn take(&self, list: &mut List, strides: &mut Strides<'_>) -> Option<Vec<Vec<u8>>> {
        if self.is_exact && list.len() < self.count {
            return None;
        }
        let count = self.count.min(list.len());
        strides.step(count);
        let taken = list.iter_from(self.from, 0).take(count);
        let mut taken: Vec<Vec<u8>> = taken.map(|element| element.to_vec()).collect();
        list.pop(self.from, count);
        if self.is_bulk && self.from == End::Back || !self.is_bulk && self.to == End::Front {
            taken.reverse();
        }
        Some(taken)
    }
}

/// LMOVEM source destination LEFT|RIGHT LEFT|RIGHT [COUNT|EXACTLY number OBO|BULK]
pub(super) fn lmovem(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let request = Request::of(args)?;
    let (from, to) = (args.at(1), args.at(2));
    let (source, destination) = (cx.key(from), cx.key(to));
    let limit = piece_limit(cx.keyspace);
    let push = |list: &mut List, elements: &[Vec<u8>]| match request.to {
        End::Front => elements.iter().rev().for_each(|text| list.push(End::Front, text, limit)),
        End::Back => elements.iter().for_each(|text| list.push(End::Back, text, limit)),
    };
    let is_same = from == to;
    let len = match cx.keyspace.peek(source).map(Entry::value) {
        None => 0,
        Some(Value::List(list)) => list.len(),
        Some(_) => return Err(Refusal::WRONG_TYPE),
    };
    if len == 0 || request.is_exact && len < request.count {
        out.null_array();
        return Ok(());
    }
    // Checked before they are taken: on an error they stay in the source.
    if !matches!(cx.keyspace.peek(destination).map(Entry::value), None | Some(Value::List(_))) {
        return Err(Refusal::WRONG_TYPE);
    }
    let mut strides = Strides::new(cx.pace);
    let taken = change(cx.keyspace, source, |list: &mut List| {
        let Some(taken) = request.take(list, &mut strides) else { return Edited::Kept(None) };
        if is_same {
            push(list, &taken);
            return Edited::Changed(Some((taken, false)));
        }
        let is_empty = list.is_empty();
        after_removal(list, Some((taken, is_empty)))
    })?;
    let Some((taken, emptied)) = taken.flatten() else { return Ok(()) };
    out.array(taken.len());
    taken.iter().for_each(|element| out.bulk(element));
    if is_same {
        cx.keyspace.notify_event(event::LIST, pop_event(request.from), from);
        cx.keyspace.notify_event(event::LIST, push_event(request.to), from);
        return Ok(());
    }
    let pushed = change(cx.keyspace, destination, |list: &mut List| {
        push(list, &taken);
        Edited::Changed(())
    })?;
    if pushed.is_none() {
        let mut list = List::default();
        push(&mut list, &taken);
        cx.keyspace.set(destination, Value::List(list), Ttl::Clear);
    }
    cx.keyspace.notify_event(event::LIST, push_event(request.to), to);
    announce_removal(cx.keyspace, event::LIST, pop_event(request.from), from, emptied);
    Ok(())
}
