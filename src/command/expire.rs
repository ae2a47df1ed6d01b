//! Expiry of keys: setting it, reading it, PERSIST.
//!
//! Four commands set an expiry and four read it. They differ in the unit and in whether the time is
//! relative or counted from the epoch:
//!
//! ```text
//!            from now           from the epoch
//! seconds    EXPIRE  TTL        EXPIREAT   EXPIRETIME
//! millis     PEXPIRE PTTL       PEXPIREAT  PEXPIRETIME
//! ```

use super::conditions::Conditions;
use super::spec::access::{ACCESS, RO, RW, UPDATE};
use super::spec::flag::{FAST, READ, WRITE};
use super::spec::{
    Arity::{AtLeast, Exactly},
    BASE, Keys, Run, Spec, acl, check,
};
use super::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{Entry, Millis, Ttl, event};
use crate::resp::Sink;

/// Defaults of the rows that change an expiry.
const CHANGE: Spec = Spec {
    arity: AtLeast(3),
    flags: WRITE | FAST,
    acl: acl::KEYSPACE,
    keys: &[Keys::at(RW | UPDATE, 1)],
    ..BASE
};

/// Defaults of the rows that read an expiry.
const QUERY: Spec = Spec {
    arity: Exactly(2),
    flags: READ | FAST,
    acl: acl::KEYSPACE,
    keys: &[Keys::at(RO | ACCESS, 1)],
    ..BASE
};

pub(super) const ROWS: &[Spec] = &[
    Spec {
        name: "expire",
        summary: "Sets the time to live of a key in seconds.",
        run: Run::Shard(expire),
        ..CHANGE
    },
    Spec {
        name: "expireat",
        since: "1.2.0",
        summary: "Sets the expiry of a key to a Unix time in seconds.",
        run: Run::Shard(expireat),
        ..CHANGE
    },
    Spec {
        name: "expiretime",
        since: "7.0.0",
        summary: "Returns the expiry of a key as a Unix time in seconds.",
        run: Run::Shard(expiretime),
        ..QUERY
    },
    Spec {
        name: "persist",
        arity: Exactly(2),
        since: "2.2.0",
        summary: "Removes the expiry of a key.",
        run: Run::Shard(persist),
        ..CHANGE
    },
    Spec {
        name: "pexpire",
        since: "2.6.0",
        summary: "Sets the time to live of a key in milliseconds.",
        run: Run::Shard(pexpire),
        ..CHANGE
    },
    Spec {
        name: "pexpireat",
        since: "2.6.0",
        summary: "Sets the expiry of a key to a Unix time in milliseconds.",
        run: Run::Shard(pexpireat),
        ..CHANGE
    },
    Spec {
        name: "pexpiretime",
        since: "7.0.0",
        summary: "Returns the expiry of a key as a Unix time in milliseconds.",
        run: Run::Shard(pexpiretime),
        ..QUERY
    },
    Spec {
        name: "pttl",
        tips: &["nondeterministic_output"],
        since: "2.6.0",
        summary: "Returns the time to live of a key in milliseconds.",
        run: Run::Shard(pttl),
        ..QUERY
    },
    Spec {
        name: "ttl",
        tips: &["nondeterministic_output"],
        summary: "Returns the time to live of a key in seconds.",
        run: Run::Shard(ttl),
        ..QUERY
    },
];
const _: () = check(ROWS);

const MILLIS_PER_SECOND: Millis = 1000;

fn expire(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    set(cx, args, out, "expire", MILLIS_PER_SECOND, cx.now())
}

fn expireat(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    set(cx, args, out, "expireat", MILLIS_PER_SECOND, 0)
}

fn pexpire(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    set(cx, args, out, "pexpire", 1, cx.now())
}

fn pexpireat(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    set(cx, args, out, "pexpireat", 1, 0)
}

/// Sets the expiry to argument 2, in units of `unit` milliseconds, counted from `from`.
fn set(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    out: &mut Sink<'_>,
    name: &str,
    unit: Millis,
    from: Millis,
) -> Outcome {
    let conditions = Conditions::of(args.from(3))?;
    let at = args.int(2)?.checked_mul(unit).and_then(|span| span.checked_add(from));
    let at = at.ok_or_else(|| Refusal::invalid_expire(name))?;
    let key = cx.key(args.at(1));
    let changed = cx.keyspace.edit_expiry(key, |current| match conditions.admit(current, at) {
        true => Ttl::At(at),
        false => Ttl::Keep,
    });
    if changed {
        match at <= cx.now() {
            true => cx.note_past_expiry(key),
            false => cx.keyspace.notify_event(event::GENERIC, "expire", key.bytes),
        }
    }
    out.int(changed.into());
    Ok(())
}

fn persist(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let key = cx.key(args.at(1));
    let changed = cx.keyspace.edit_expiry(key, |current| match current {
        Some(_) => Ttl::Clear,
        None => Ttl::Keep,
    });
    if changed {
        cx.keyspace.notify_event(event::GENERIC, "persist", key.bytes);
    }
    out.int(changed.into());
    Ok(())
}

fn ttl(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    query(cx, args, out, MILLIS_PER_SECOND, cx.now())
}

fn pttl(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    query(cx, args, out, 1, cx.now())
}

fn expiretime(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    query(cx, args, out, MILLIS_PER_SECOND, 0)
}

fn pexpiretime(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    query(cx, args, out, 1, 0)
}

/// Replies with the expiry: -2 if the key does not exist, -1 if it has no expiry, else the time
/// since `from` in units of `unit` milliseconds, rounded to the nearest.
fn query(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    out: &mut Sink<'_>,
    unit: Millis,
    from: Millis,
) -> Outcome {
    let key = cx.key(args.at(1));
    out.int(match cx.keyspace.inspect(key).map(Entry::expires_at) {
        None => -2,
        Some(None) => -1,
        // Unsigned, so that rounding the last time of all does not overflow.
        Some(Some(at)) => (((at - from).max(0) as u64 + unit as u64 / 2) / unit as u64) as i64,
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::{KeyHasher, Keyspace, Value};
    use crate::slot::Slot;

    #[test]
    fn conditions_on_the_current_expiry() {
        let none = Conditions::default();
        let nx = Conditions { no_expiry: true, ..none };
        let xx = Conditions { has_expiry: true, ..none };
        let (gt, lt) = (Conditions { later: true, ..none }, Conditions { earlier: true, ..none });
        let xx_lt = Conditions { has_expiry: true, ..lt };
        // None, earlier than the new time, the same, later.
        let current = [None, Some(4), Some(5), Some(6)];
        for (conditions, admitted) in [
            (none, [true, true, true, true]),
            (nx, [true, false, false, false]),
            (xx, [false, true, true, true]),
            (gt, [false, true, false, false]),
            (lt, [true, false, false, true]),
            (xx_lt, [false, false, false, true]),
        ] {
            let actual = current.map(|current| conditions.admit(current, 5));
            assert_eq!(actual, admitted, "{conditions:?}");
        }
    }

    #[test]
    fn an_expiry_is_any_time_up_to_the_last() {
        let mut keyspace = Keyspace::new(Slot::all(), KeyHasher::new(1), 1);
        keyspace.begin(1000);
        let key = keyspace.key(Slot::of(b"k"), b"k");
        keyspace.set(key, Value::Int(1), Ttl::Clear);
        for at in [1001, Millis::MAX] {
            assert!(keyspace.edit_expiry(key, |_| Ttl::At(at)));
            assert_eq!(keyspace.peek(key).map(Entry::expires_at), Some(Some(at)));
            assert_eq!(keyspace.volatile(), 1);
            assert!(!keyspace.edit_expiry(key, |current| {
                assert_eq!(current, Some(at));
                Ttl::Keep
            }));
        }
        assert!(keyspace.edit_expiry(key, |_| Ttl::Clear));
        assert_eq!((keyspace.len(), keyspace.volatile()), (1, 0));
        assert!(keyspace.edit_expiry(key, |_| Ttl::At(1000)));
        assert_eq!((keyspace.len(), keyspace.volatile()), (0, 0));
        assert!(!keyspace.edit_expiry(key, |_| Ttl::At(2000)));
    }
}
