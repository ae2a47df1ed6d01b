//! SSCAN: the members page by page, while the set may change.

use super::{Reply, set_at, units};
use crate::command::pace::Strides;
use crate::command::scan::{Page, Scanned, cursor};
use crate::command::{Args, Cx, Outcome};
use crate::keyspace::Member;
use crate::resp::Sink;

/// SSCAN key cursor [MATCH pattern] [COUNT count]
pub(super) fn sscan(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let cursor = cursor(args.at(2))?;
    let (key, hasher) = (cx.key(args.at(1)), cx.keyspace.hasher().clone());
    let Some(set) = set_at(cx.keyspace, key)? else {
        // Redis ignores the options if the key does not exist.
        head(out, 0, 0);
        return Ok(());
    };
    let Page { count, pattern, .. } = Page::of(args, 3, Scanned::Members)?;
    let mut strides = Strides::new(cx.pace);
    let (members, next) = set.page(cursor, count, &hasher);
    let found: Vec<Member<'_>> = members
        .into_iter()
        .filter(|member| {
            let text = member.text();
            strides.step(pattern.units(&text) + units(*member));
            pattern.matches(&text)
        })
        .collect();
    head(out, next, found.len());
    let mut reply = Reply::new(out, strides);
    found.into_iter().for_each(|member| reply.member(member));
    Ok(())
}

fn head(out: &mut Sink<'_>, next: u64, members: usize) {
    out.array(2);
    out.bulk_int(next as i64);
    out.array(members);
}
