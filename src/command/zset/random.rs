//! ZRANDMEMBER: members picked at random, uniformly; without repeats, or with them for a negative
//! count.

use super::{Reply, zset_at};
use crate::command::pace::Strides;
use crate::command::random::{REPEATS_LEN_MAX, REPEATS_MAX, count, distinct, in_order, is_sparse};
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::resp::Sink;

/// ZRANDMEMBER key [count [WITHSCORES]]
pub(super) fn zrandmember(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let wanted = if args.len() == 2 { None } else { Some(wanted(args)?) };
    let mut rng = fastrand::Rng::with_seed(cx.keyspace.random());
    let key = cx.key(args.at(1));
    let zset = zset_at(cx.keyspace, key)?;
    let Some(wanted) = wanted else {
        let rank = zset.map(|zset| rng.usize(..zset.len()));
        let member = zset.zip(rank).and_then(|(zset, at)| zset.range(at..at + 1, false).next());
        out.bulk_or_null(member.as_ref().map(|(name, _)| &**name));
        return Ok(());
    };
    let Some(zset) = zset.filter(|_| wanted != 0) else {
        out.array(0);
        return Ok(());
    };
    let len = zset.len();
    let mut reply = Reply::new(out, Strides::new(cx.pace), args.len() > 3);
    if wanted < 0 {
        let (times, start) = (wanted.unsigned_abs(), reply.out.len());
        if times > REPEATS_MAX {
            return Err(Refusal::OUT_OF_RANGE);
        }
        let members = zset.indexed();
        reply.head(times as usize);
        for _ in 0..times {
            let (name, score) = members.at(rng.usize(..len));
            reply.member(name, score);
            if reply.out.len() - start > REPEATS_LEN_MAX {
                reply.out.truncate(start);
                return Err(Refusal::OUT_OF_RANGE);
            }
        }
        return Ok(());
    }
    let wanted = usize::try_from(wanted).map_or(len, |wanted| wanted.min(len));
    reply.head(wanted);
    if is_sparse(wanted, len) {
        let members = zset.indexed();
        for n in distinct(wanted, len, &mut rng) {
            let (name, score) = members.at(n);
            reply.member(name, score);
        }
    } else {
        for (name, score) in in_order(zset.members(), wanted, len, &mut rng) {
            reply.member(&name, score);
        }
    }
    Ok(())
}

/// Reads the count and checks the option after it.
fn wanted(args: Args<'_>) -> Result<i64, Refusal> {
    let count = count(args)?;
    if args.len() > 4 || (args.len() == 4 && !args.is(3, "withscores")) {
        return Err(Refusal::SYNTAX);
    }
    // With scores the reply has twice as many elements.
    if args.len() == 4 && !(-(i64::MAX / 2)..=i64::MAX / 2).contains(&count) {
        return Err(Refusal::OUT_OF_RANGE);
    }
    Ok(count)
}
