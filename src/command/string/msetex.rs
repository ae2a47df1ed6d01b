//! MSETEX, of newer servers.

use super::set::{Expiry, exists, expiry_of, put, timed};
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::dialect::{Product, servers};
use crate::keyspace::{Ttl, Value, event};
use crate::resp::Sink;
use crate::text::number::parse_i64;

/// MSETEX's arguments.
struct Request<'a> {
    /// How many keys, each with its value.
    keys: usize,
    /// NX, or XX: none of the keys may exist, or all of them have to.
    exist: Option<bool>,
    expiry: Expiry<'a>,
}

impl<'a> Request<'a> {
    fn of(args: Args<'a>, product: &Product) -> Result<Self, Refusal> {
        let (number, pairs) = match product.is_of(servers::VALKEY9) {
            true => (Refusal::of("ERR invalid numkeys value or out of range"), Refusal::SYNTAX),
            false => (
                Refusal::of("ERR invalid numkeys value"),
                Refusal::of("ERR wrong number of key-value pairs"),
            ),
        };
        let keys = parse_i64(args.at(1)).and_then(|keys| i32::try_from(keys).ok());
        let keys = keys.and_then(|keys| usize::try_from(keys).ok()).filter(|&keys| keys > 0);
        let keys = keys.ok_or(number)?;
        let mut at = keys.checked_mul(2).map_or(usize::MAX, |pairs| pairs.saturating_add(2));
        if at > args.len() {
            return Err(pairs);
        }
        let (mut exist, mut expiry) = (None, Expiry::NotGiven);
        while let Some(option) = args.get(at) {
            match () {
                () if args.is(at, "nx") && exist != Some(true) => exist = Some(false),
                () if args.is(at, "xx") && exist != Some(false) => exist = Some(true),
                () if args.is(at, "keepttl") => expiry = expiry.then(Expiry::Keep)?,
                () => {
                    expiry = expiry.then(timed(option, args.get(at + 1))?)?;
                    at += 1;
                }
            }
            at += 1;
        }
        Ok(Self { keys, exist, expiry })
    }
}

/// MSETEX number key value [key value ...] [NX | XX] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]
pub(super) fn msetex(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let Request { keys, exist, expiry } = Request::of(args, cx.product)?;
    let ttl = expiry_of(cx, expiry, "msetex")?;
    let pairs = || (0..keys).map(|n| (args.at(2 + 2 * n), args.at(3 + 2 * n)));
    if let Some(wanted) = exist {
        for (key, _) in pairs() {
            let key = cx.key(key);
            if exists(cx, key) != wanted {
                out.int(0);
                return Ok(());
            }
        }
    }
    for (key, value) in pairs() {
        cx.pace.step(1);
        let key = cx.key(key);
        // A time in the past is stored as well, other than by SET.
        if cx.product.is_of(servers::VALKEY9) || !matches!(ttl, Ttl::At(_)) {
            put(cx.keyspace, key, value, ttl);
        } else {
            // In Redis the events come the other way round here.
            cx.keyspace.set(key, Value::string(value), ttl);
            cx.keyspace.notify_event(event::GENERIC, "expire", key.bytes);
            cx.keyspace.notify_event(event::STRING, "set", key.bytes);
        }
    }
    out.int(1);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::args::with_words;

    #[test]
    fn requests() {
        let number = Refusal::of("ERR invalid numkeys value or out of range");
        for (line, expected) in [
            ("msetex 1 k v", Ok((1, None, Ttl::Clear))),
            ("msetex 2 k v l w nx", Ok((2, Some(false), Ttl::Clear))),
            ("msetex 1 k v XX keepttl", Ok((1, Some(true), Ttl::Keep))),
            ("msetex 1 k v nx xx", Err(Refusal::SYNTAX)),
            ("msetex 2 k v", Err(Refusal::SYNTAX)),
            ("msetex 2147483647 k v", Err(Refusal::SYNTAX)),
            ("msetex 2147483648 k v", Err(number.clone())),
            ("msetex 0 k v", Err(number.clone())),
            ("msetex -1 k v", Err(number)),
        ] {
            with_words(line, |args| {
                let request = Request::of(args, &Product::VALKEY9).map(|request| {
                    let ttl = if request.expiry == Expiry::Keep { Ttl::Keep } else { Ttl::Clear };
                    (request.keys, request.exist, ttl)
                });
                assert_eq!(request, expected, "{line}");
            });
        }
    }
}
