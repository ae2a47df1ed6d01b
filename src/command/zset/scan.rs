//! ZSCAN: the members page by page, while the sorted set may change.

use super::{units, zset_at};
use crate::command::pace::Strides;
use crate::command::scan::{Page, Scanned, cursor};
use crate::command::{Args, Cx, Outcome};
use crate::keyspace::{Text, Zset};
use crate::resp::Sink;
use crate::text::number::{write_f64, write_i64};

/// ZSCAN key cursor [MATCH pattern] [COUNT count]
pub(super) fn zscan(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let cursor = cursor(args.at(2))?;
    let (key, hasher) = (cx.key(args.at(1)), cx.keyspace.hasher().clone());
    let Some(zset) = zset_at(cx.keyspace, key)? else {
        // Redis ignores the options if the key does not exist.
        write(out, 0, &[], false);
        return Ok(());
    };
    let Page { count, pattern, .. } = Page::of(args, 3, Scanned::Members)?;
    let mut strides = Strides::new(cx.pace);
    let (members, next) = zset.page(cursor, count, &hasher);
    let found: Vec<_> = members
        .into_iter()
        .filter(|(name, _)| {
            strides.step(pattern.units(name) + units(name.len()));
            pattern.matches(name)
        })
        .collect();
    write(out, next, &found, zset.is_packed());
    Ok(())
}

/// Writes a page. Scores are byte strings here, in RESP3 too. Whole scores of a packed sorted set
/// are written as integers, because Redis stores them so.
fn write(out: &mut Sink<'_>, next: u64, members: &[(Text<'_>, f64)], is_packed: bool) {
    out.array(2);
    out.bulk_int(next as i64);
    out.array(2 * members.len());
    let mut digits = Vec::new();
    for (name, score) in members {
        out.bulk(name);
        digits.clear();
        match Zset::packed_integer(*score).filter(|_| is_packed) {
            Some(whole) => write_i64(&mut digits, whole),
            None => write_f64(&mut digits, *score),
        }
        out.bulk(&digits);
    }
}
