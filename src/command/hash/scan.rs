//! HSCAN: the fields page by page, while the hash may change.

use super::{hash_at, units};
use crate::command::pace::Strides;
use crate::command::scan::{Page, Scanned, cursor};
use crate::command::{Args, Cx, Outcome};
use crate::dialect::servers;
use crate::keyspace::Pair;
use crate::resp::Sink;

/// HSCAN key cursor [MATCH pattern] [COUNT count] [NOVALUES]
pub(super) fn hscan(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let cursor = cursor(args.at(2))?;
    let (key, hasher) = (cx.key(args.at(1)), cx.keyspace.hasher().clone());
    let Some(hash) = hash_at(cx.keyspace, key)? else {
        // Redis ignores the options if the key does not exist.
        write(out, 0, &[], false);
        return Ok(());
    };
    let has_option = cx.product.is_of(servers::SINCE_7_2);
    let what = if has_option { Scanned::Fields } else { Scanned::Members };
    let Page { count, pattern, without_values, .. } = Page::of(args, 3, what)?;
    let mut strides = Strides::new(cx.pace);
    let (pairs, next) = hash.page(cursor, count, &hasher);
    let found: Vec<_> = pairs
        .into_iter()
        .filter(|(name, value)| {
            strides.step(pattern.units(name) + units(value.len()));
            pattern.matches(name)
        })
        .collect();
    write(out, next, &found, without_values);
    Ok(())
}

fn write(out: &mut Sink<'_>, next: u64, pairs: &[Pair<'_>], without_values: bool) {
    out.array(2);
    out.bulk_int(next as i64);
    out.array(if without_values { pairs.len() } else { 2 * pairs.len() });
    for (name, value) in pairs {
        out.bulk(name);
        if !without_values {
            out.bulk(value);
        }
    }
}
