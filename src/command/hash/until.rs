//! Commands that read or set fields and say how long these stay: HGETEX, HSETEX, HGETDEL.

use super::change;
use super::ends::{announce_past, check_first, check_type, set_end};
use super::options::{End, Fields, UntilOptions};
use crate::command::collection::announce_removal;
use crate::command::pace::{Strides, units};
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{Edited, Hash, event};
use crate::resp::Sink;

/// What a command has done to fields, of which the reply may tell.
#[derive(Default)]
struct Done {
    values: Vec<Option<Vec<u8>>>,
    /// Fields that stay now, or expire at another time.
    altered: usize,
    /// Fields that are gone.
    removed: usize,
    emptied: bool,
    /// Its condition does not hold: nothing is done.
    is_refused: bool,
}

impl Done {
    fn edited(mut self, hash: &Hash) -> Edited<Result<Self, Refusal>> {
        self.emptied = self.removed > 0 && hash.is_empty();
        match () {
            () if self.emptied => Edited::Emptied(Ok(self)),
            () if self.altered + self.removed > 0 => Edited::Changed(Ok(self)),
            () => Edited::Kept(Ok(self)),
        }
    }

    fn write(&self, out: &mut Sink<'_>) {
        out.array(self.values.len());
        self.values.iter().for_each(|value| out.bulk_or_null(value.as_deref()));
    }
}

/// HGETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST] FIELDS number field [field ...]
pub(super) fn hgetex(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let key = cx.key(args.at(1));
    check_first(cx, key)?;
    let UntilOptions { end, fields, .. } = UntilOptions::of_hgetex(cx, args)?;
    // Valkey looks at the type before it reads the time.
    check_type(cx, key)?;
    let time = time_of(cx, args, end)?;
    let (now, hasher) = (cx.now(), cx.keyspace.hasher().clone());
    let done = change(cx.keyspace, key, |hash| {
        let (mut done, mut strides) = (Done::default(), Strides::new(cx.pace));
        for name in fields.names() {
            let value = hash.get(name, &hasher).map(|value| value.to_vec());
            strides.step(units(name.len() + value.as_ref().map_or(0, Vec::len)));
            match (value.is_some(), end, time) {
                (true, End::Clear, _) => {
                    done.altered += usize::from(hash.clear_end(name, &hasher));
                }
                (true, _, Some(time)) => match set_end(hash, name, time, now, &hasher) {
                    1 => done.altered += 1,
                    _ => done.removed += 1,
                },
                _ => {}
            }
            done.values.push(value);
        }
        done.edited(hash)
    })?;
    if done.removed > 0 {
        announce_past(cx, key, done.emptied);
    } else if done.altered > 0 {
        let name = if end == End::Clear { "hpersist" } else { "hexpire" };
        cx.keyspace.notify_event(event::HASH, name, key.bytes);
    }
    done.write(out);
    Ok(())
}

fn time_of(cx: &Cx<'_>, args: Args<'_>, end: End) -> Result<Option<i64>, Refusal> {
    match end {
        End::At(unit, at) => unit.time(cx, args, at).map(Some),
        End::Unsaid | End::Clear | End::Keep => Ok(None),
    }
}

/// HSETEX key [FNX | FXX] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL] FIELDS number field value
/// [field value ...]; Valkey has NX and XX too
pub(super) fn hsetex(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let options = UntilOptions::of_hsetex(cx, args)?;
    let key = cx.key(args.at(1));
    check_type(cx, key)?;
    let was_there = cx.keyspace.peek(key).is_some();
    if options.key_exists.is_some_and(|wanted| wanted != was_there) {
        out.int(0);
        return Ok(());
    }
    let time = time_of(cx, args, options.end)?;
    let (now, limits) = (cx.now(), cx.keyspace.limits.hash);
    let hasher = cx.keyspace.hasher().clone();
    let UntilOptions { end, fields, fields_exist, .. } = options;
    let done = change(cx.keyspace, key, |hash| {
        let mut strides = Strides::new(cx.pace);
        let mut exist = fields.names().map(|name| hash.contains(name, &hasher));
        if fields_exist.is_some_and(|wanted| exist.any(|is_there| is_there != wanted)) {
            return Edited::Kept(Ok(Done { is_refused: true, ..Done::default() }));
        }
        let mut done = Done::default();
        for (name, value) in fields.pairs() {
            strides.step(units(name.len() + value.len()));
            match end {
                End::Keep => hash.update(name, value, limits, &hasher),
                _ => hash.set(name, value, limits, &hasher),
            };
            done.altered += 1;
        }
        for name in fields.names() {
            if let Some(time) = time
                && hash.contains(name, &hasher)
            {
                done.removed += usize::from(set_end(hash, name, time, now, &hasher) != 1);
            }
        }
        done.edited(hash)
    })?;
    if done.is_refused {
        out.int(0);
        return Ok(());
    }
    if !was_there && done.emptied && !cx.product.expires_at_once {
        // The key was there for a moment, which Valkey does not count as a change.
        cx.keyspace.touch(key.bytes, true);
    }
    cx.keyspace.notify_event(event::HASH, "hset", key.bytes);
    if time.is_some() && (done.removed == 0 || cx.product.expires_at_once) {
        cx.keyspace.notify_event(event::HASH, "hexpire", key.bytes);
    }
    if done.removed > 0 {
        announce_past(cx, key, done.emptied);
    }
    out.int(1);
    Ok(())
}

/// HGETDEL key FIELDS number field [field ...]
pub(super) fn hgetdel(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let key = cx.key(args.at(1));
    check_first(cx, key)?;
    let fields = Fields::at_2(cx, args, false)?;
    let hasher = cx.keyspace.hasher().clone();
    let done = change(cx.keyspace, key, |hash| {
        let (mut done, mut strides) = (Done::default(), Strides::new(cx.pace));
        for name in fields.names() {
            let value = hash.get(name, &hasher).map(|value| value.to_vec());
            strides.step(units(name.len() + value.as_ref().map_or(0, Vec::len)));
            done.removed += usize::from(hash.remove(name, &hasher));
            done.values.push(value);
        }
        done.edited(hash)
    })?;
    if done.removed > 0 {
        announce_removal(cx.keyspace, event::HASH, "hdel", key.bytes, done.emptied);
    }
    done.write(out);
    Ok(())
}
