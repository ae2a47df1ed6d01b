//! When keys expire: EXPIRE and its kin, TTL and its kin, PERSIST.
//!
//! Four commands set a time and four tell it; they differ in the unit and in whether time counts
//! from now or from the epoch:
//!
//! ```text
//!            from now           from the epoch
//! seconds    EXPIRE  TTL        EXPIREAT   EXPIRETIME
//! millis     PEXPIRE PTTL       PEXPIREAT  PEXPIRETIME
//! ```

use super::spec::access::{ACCESS, RO, RW, UPDATE};
use super::spec::flag::{FAST, READ, WRITE};
use super::spec::{
    Arity::{AtLeast, Exactly},
    BASE, Keys, Run, Spec, acl, check,
};
use super::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{Entry, Millis, Ttl, event};
use crate::resp::{Sink, until_nul};

const SETS: Spec = Spec {
    arity: AtLeast(3),
    flags: WRITE | FAST,
    acl: acl::KEYSPACE,
    keys: &[Keys::at(RW | UPDATE, 1)],
    ..BASE
};

const TELLS: Spec = Spec {
    arity: Exactly(2),
    flags: READ | FAST,
    acl: acl::KEYSPACE,
    keys: &[Keys::at(RO | ACCESS, 1)],
    ..BASE
};

pub(super) const ROWS: &[Spec] = &[
    Spec {
        name: "expire",
        summary: "Lets a key expire after some seconds.",
        run: Run::Shard(expire),
        ..SETS
    },
    Spec {
        name: "expireat",
        since: "1.2.0",
        summary: "Lets a key expire at a Unix time in seconds.",
        run: Run::Shard(expireat),
        ..SETS
    },
    Spec {
        name: "expiretime",
        since: "7.0.0",
        summary: "Tells at which Unix time in seconds a key expires.",
        run: Run::Shard(expiretime),
        ..TELLS
    },
    Spec {
        name: "persist",
        arity: Exactly(2),
        since: "2.2.0",
        summary: "Lets a key stay that was to expire.",
        run: Run::Shard(persist),
        ..SETS
    },
    Spec {
        name: "pexpire",
        since: "2.6.0",
        summary: "Lets a key expire after some milliseconds.",
        run: Run::Shard(pexpire),
        ..SETS
    },
    Spec {
        name: "pexpireat",
        since: "2.6.0",
        summary: "Lets a key expire at a Unix time in milliseconds.",
        run: Run::Shard(pexpireat),
        ..SETS
    },
    Spec {
        name: "pexpiretime",
        since: "7.0.0",
        summary: "Tells at which Unix time in milliseconds a key expires.",
        run: Run::Shard(pexpiretime),
        ..TELLS
    },
    Spec {
        name: "pttl",
        tips: &["nondeterministic_output"],
        since: "2.6.0",
        summary: "Tells how many milliseconds a key has left.",
        run: Run::Shard(pttl),
        ..TELLS
    },
    Spec {
        name: "ttl",
        tips: &["nondeterministic_output"],
        summary: "Tells how many seconds a key has left.",
        run: Run::Shard(ttl),
        ..TELLS
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

/// On which keys EXPIRE acts, by the expiry that they have so far.
#[derive(Clone, Copy, Debug, Default)]
struct Only {
    /// NX: none so far.
    none_yet: bool,
    /// XX: one so far.
    some_already: bool,
    /// GT: an earlier one so far.
    later: bool,
    /// LT: none or a later one so far.
    earlier: bool,
}

impl Only {
    fn of(args: Args<'_>) -> Result<Self, Refusal> {
        let mut only = Self::default();
        for option in args.from(3) {
            match option {
                o if o.eq_ignore_ascii_case(b"nx") => only.none_yet = true,
                o if o.eq_ignore_ascii_case(b"xx") => only.some_already = true,
                o if o.eq_ignore_ascii_case(b"gt") => only.later = true,
                o if o.eq_ignore_ascii_case(b"lt") => only.earlier = true,
                o => {
                    return Err(Refusal::new([b"ERR Unsupported option ", until_nul(o)].concat()));
                }
            }
        }
        if only.none_yet && (only.some_already || only.later || only.earlier) {
            return Err(Refusal::of(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if only.later && only.earlier {
            return Err(Refusal::of("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(only)
    }

    /// Whether a key that expires at `so_far` shall expire at `at`. A key that never expires
    /// counts as one that expires after all others.
    fn admits(self, so_far: Option<Millis>, at: Millis) -> bool {
        !(self.none_yet && so_far.is_some()
            || self.some_already && so_far.is_none()
            || self.later && so_far.is_none_or(|so_far| at <= so_far)
            || self.earlier && so_far.is_some_and(|so_far| at >= so_far))
    }
}

/// EXPIRE and its kin: the time is in units of `unit` milliseconds, counted from `from`.
fn set(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    out: &mut Sink<'_>,
    name: &str,
    unit: Millis,
    from: Millis,
) -> Outcome {
    let only = Only::of(args)?;
    let at = args.int(2)?.checked_mul(unit).and_then(|span| span.checked_add(from));
    let at = at.ok_or_else(|| Refusal::invalid_expire(name))?;
    let key = cx.key(args.at(1));
    let changed = cx
        .keyspace
        .edit_expiry(key, |so_far| if only.admits(so_far, at) { Ttl::At(at) } else { Ttl::Keep });
    if changed {
        let name = if at <= cx.now() { "del" } else { "expire" };
        cx.keyspace.notify_event(event::GENERIC, name, key.bytes);
    }
    out.int(changed.into());
    Ok(())
}

fn persist(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let key = cx.key(args.at(1));
    let changed = cx.keyspace.edit_expiry(key, |so_far| match so_far {
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
    tell(cx, args, out, MILLIS_PER_SECOND, cx.now())
}

fn pttl(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    tell(cx, args, out, 1, cx.now())
}

fn expiretime(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    tell(cx, args, out, MILLIS_PER_SECOND, 0)
}

fn pexpiretime(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    tell(cx, args, out, 1, 0)
}

/// TTL and its kin: -2 without the key, -1 without an expiry, else the time from `from` on in
/// units of `unit` milliseconds, rounded to the nearest.
fn tell(
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
        // Unsigned, so that rounding does not overflow at the end of time.
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
    fn conditions_by_the_expiry_so_far() {
        let (nx, xx) = (
            Only { none_yet: true, ..Only::default() },
            Only { some_already: true, ..Only::default() },
        );
        let (gt, lt) =
            (Only { later: true, ..Only::default() }, Only { earlier: true, ..Only::default() });
        let xx_lt = Only { some_already: true, ..lt };
        // So far: never, earlier than the new time, the same, later.
        let so_far = [None, Some(4), Some(5), Some(6)];
        for (only, admitted) in [
            (Only::default(), [true, true, true, true]),
            (nx, [true, false, false, false]),
            (xx, [false, true, true, true]),
            (gt, [false, true, false, false]),
            (lt, [true, false, false, true]),
            (xx_lt, [false, false, false, true]),
        ] {
            assert_eq!(so_far.map(|so_far| only.admits(so_far, 5)), admitted, "{only:?}");
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
            assert!(!keyspace.edit_expiry(key, |so_far| {
                assert_eq!(so_far, Some(at));
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
