//! HRANDFIELD: fields picked at random, uniformly; without repeats, or with them for a negative
//! count.

use super::{hash_at, units};
use crate::command::pace::Strides;
use crate::command::random::{REPEATS_LEN_MAX, REPEATS_MAX, distinct, in_order, is_sparse};
use crate::command::{Args, Cx, Outcome, Refusal, random};
use crate::resp::{Proto, Sink};

/// HRANDFIELD key [count [WITHVALUES]]
pub(super) fn hrandfield(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let wanted = if args.len() == 2 { None } else { Some(count(args)?) };
    let with_values = args.len() > 3;
    let mut rng = fastrand::Rng::with_seed(cx.keyspace.random());
    let key = cx.key(args.at(1));
    let hash = hash_at(cx.keyspace, key)?;
    let Some(wanted) = wanted else {
        let name = hash.and_then(|hash| hash.pairs().nth(rng.usize(..hash.len())));
        out.bulk_or_null(name.as_ref().map(|(name, _)| &**name));
        return Ok(());
    };
    let Some(hash) = hash.filter(|_| wanted != 0) else {
        out.array(0);
        return Ok(());
    };
    let mut reply = Reply { out, with_values, strides: Strides::new(cx.pace) };
    if wanted < 0 {
        let times = wanted.unsigned_abs();
        let start = reply.out.len();
        if times > REPEATS_MAX {
            return Err(Refusal::OUT_OF_RANGE);
        }
        let pairs = hash.indexed();
        reply.head(times as usize);
        for _ in 0..times {
            let (name, value) = pairs.at(rng.usize(..hash.len()));
            reply.pair(name, value);
            if reply.out.len() - start > REPEATS_LEN_MAX {
                reply.out.truncate(start);
                return Err(Refusal::OUT_OF_RANGE);
            }
        }
        return Ok(());
    }
    let wanted = usize::try_from(wanted).map_or(hash.len(), |wanted| wanted.min(hash.len()));
    reply.head(wanted);
    if is_sparse(wanted, hash.len()) {
        let pairs = hash.indexed();
        for at in distinct(wanted, hash.len(), &mut rng) {
            let (name, value) = pairs.at(at);
            reply.pair(name, value);
        }
    } else {
        for (name, value) in in_order(hash.pairs(), wanted, hash.len(), &mut rng) {
            reply.pair(&name, &value);
        }
    }
    Ok(())
}

/// Reads the count and checks the option after it.
fn count(args: Args<'_>) -> Result<i64, Refusal> {
    let count = random::count(args)?;
    if args.len() > 4 || (args.len() == 4 && !args.is(3, "withvalues")) {
        return Err(Refusal::SYNTAX);
    }
    // With values the reply has twice as many elements.
    if args.len() == 4 && !(-(i64::MAX / 2)..=i64::MAX / 2).contains(&count) {
        return Err(Refusal::OUT_OF_RANGE);
    }
    Ok(count)
}

/// Writes fields as the reply: in RESP3 a field with its value is an array of two.
struct Reply<'s, 'o, 'p> {
    out: &'s mut Sink<'o>,
    with_values: bool,
    strides: Strides<'p>,
}

impl Reply<'_, '_, '_> {
    fn is_nested(&self) -> bool {
        self.with_values && self.out.proto == Proto::Resp3
    }

    fn head(&mut self, fields: usize) {
        let flat = self.with_values && !self.is_nested();
        self.out.array(if flat { 2 * fields } else { fields });
    }

    fn pair(&mut self, name: &[u8], value: &[u8]) {
        self.strides.step(units(name.len() + value.len()));
        if self.is_nested() {
            self.out.array(2);
        }
        self.out.bulk(name);
        if self.with_values {
            self.out.bulk(value);
        }
    }
}
