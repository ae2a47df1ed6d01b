//! DUMP and RESTORE: a value as bytes in the format of Redis' RDB files.

use super::generic::{is_taken, put_anew};
use super::pace::BYTES_PER_STEP;
use super::spec::access::{ACCESS, OW, RO, UPDATE};
use super::spec::flag::{ASKING, DENYOOM, READ, WRITE};
use super::spec::{
    Arity::{AtLeast, Exactly},
    BASE, Doc, Group, Keys, Run, Spec, acl, check,
};
use super::{Args, Cx, Outcome, Refusal};
use crate::dialect::Payloads;
use crate::keyspace::{
    End, Hash, KeyHasher, Keyspace, List, Member, PieceLimit, Set, Stream, Ttl, Value, Zset,
    ZsetBuilder, event,
};
use crate::rdb::{self, Decoded};
use crate::resp::Sink;
#[cfg(feature = "json")]
use crate::{dialect::servers, keyspace::Json};

pub(super) const ROWS: &[Spec] = &[
    Spec {
        name: "dump",
        arity: Exactly(2),
        flags: READ,
        acl: acl::KEYSPACE,
        keys: &[Keys::at(RO | ACCESS, 1)],
        tips: &["nondeterministic_output"],
        since: "2.6.0",
        complexity: "O(1) to access the key and additional O(N*M) to serialize it, where N is the number of Redis objects composing the value and M their average size. For small string values the time complexity is thus O(1)+O(1*M) where M is small, so simply O(1).",
        summary: "Returns the value at a key in the binary form that RESTORE reads.",
        run: Run::Shard(dump),
        ..BASE
    },
    RESTORE,
    Spec {
        name: "restore-asking",
        doc: Doc::System,
        flags: WRITE | DENYOOM | ASKING,
        group: Group::Server,
        since: "3.0.0",
        summary: "Does what RESTORE does, for a slot that this node is importing: sent by MIGRATE.",
        ..RESTORE
    },
];
const _: () = check(ROWS);

const RESTORE: Spec = Spec {
    name: "restore",
    arity: AtLeast(4),
    flags: WRITE | DENYOOM,
    acl: acl::KEYSPACE | acl::DANGEROUS,
    keys: &[Keys::at(OW | UPDATE, 1)],
    since: "2.6.0",
    complexity: "O(1) to create the new key and additional O(N*M) to reconstruct the serialized value, where N is the number of Redis objects composing the value and M their average size. For small string values the time complexity is thus O(1)+O(1*M) where M is small, so simply O(1). However for sorted set values the complexity is O(N*M*log(N)) because inserting values into sorted sets is O(log(N)).",
    summary: "Creates a key from the binary form that DUMP returns.",
    run: Run::Shard(restore),
    ..BASE
};

/// A packed sorted set of this many members or more is dumped as a large one.
const PACKED_LEN_END: usize = 1 << 15;

fn dump(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let key = cx.key(args.at(1));
    let (piece, product) = (cx.keyspace.limits.list_piece, cx.product);
    let hasher = cx.keyspace.hasher().clone();
    let Some(value) = cx.keyspace.read(key) else {
        out.null();
        return Ok(());
    };
    cx.pace.step(value.weight());
    out.bulk(&payload_of(value, piece, product.payloads, &hasher));
    Ok(())
}

/// Returns the payload of DUMP for a value; `piece` is `list-max-listpack-size`.
pub(super) fn payload_of(
    value: &Value,
    piece: i64,
    payloads: Payloads,
    hasher: &KeyHasher,
) -> Vec<u8> {
    if let Value::Hash(hash) = value
        && hash.ends() > 0
    {
        let pairs = hash.indexed();
        let timed = |n| {
            let (name, value) = pairs.at(n);
            (name, value, hash.end(name, hasher))
        };
        return rdb::encode_timed_hash((0..hash.len()).map(timed).collect(), payloads);
    }
    match value {
        Value::Stream(stream) => rdb::encode_stream(&stream.parts(), payloads),
        value => rdb::stamp(payload_of_redis7(value, piece), payloads),
    }
}

fn payload_of_redis7(value: &Value, piece: i64) -> Vec<u8> {
    match value {
        Value::Hash(hash) => {
            let pairs = hash.indexed();
            rdb::encode_hash((0..hash.len()).map(|n| pairs.at(n)))
        }
        Value::Set(set) => match set.ints_width() {
            Some(width) => {
                let members = set.members().filter_map(Member::integer);
                rdb::encode_integers(width, set.len(), members)
            }
            None => rdb::encode_set(set.len(), set.members().map(Member::text)),
        },
        Value::Zset(zset) if zset.is_packed() && zset.len() < PACKED_LEN_END => {
            rdb::encode_packed_zset(zset.members(), Zset::packed_integer)
        }
        Value::Zset(zset) => {
            let all = 0..zset.len();
            rdb::encode_zset(zset.len(), zset.range(all, true))
        }
        Value::List(list) => rdb::encode_list(list.iter(), piece),
        Value::Stream(stream) => rdb::encode_stream(&stream.parts(), Payloads::Redis7),
        #[cfg(feature = "json")]
        Value::Json(json) => rdb::encode_json(&json.view().to_text()),
        Value::Int(_) | Value::Str(_) | Value::Raw(_) | Value::Received(_) => {
            rdb::encode_string(value.as_text().as_deref().unwrap_or_default())
        }
    }
}

/// RESTORE's options.
#[derive(Default)]
struct Options {
    /// REPLACE: an existing value is overwritten.
    replace: bool,
    /// ABSTTL: the time is counted from the epoch.
    absolute: bool,
    /// IDLETIME: for how long the key has not been used, in seconds.
    idle_s: Option<u64>,
    /// FREQ: checked and ignored, as there is no LFU eviction.
    freq: Option<i64>,
}

impl Options {
    fn of(args: Args<'_>) -> Result<Self, Refusal> {
        let mut options = Self::default();
        let mut i = 4;
        while i < args.len() {
            let has_value = i + 1 < args.len();
            if args.is(i, "replace") {
                options.replace = true;
            } else if args.is(i, "absttl") {
                options.absolute = true;
            } else if args.is(i, "idletime") && has_value && options.freq.is_none() {
                i += 1;
                let idle_s = u64::try_from(args.int(i)?);
                options.idle_s = Some(
                    idle_s.map_err(|_| Refusal::of("ERR Invalid IDLETIME value, must be >= 0"))?,
                );
            } else if args.is(i, "freq") && has_value && options.idle_s.is_none() {
                i += 1;
                let freq = args.int(i)?;
                if !(0..=255).contains(&freq) {
                    return Err(Refusal::of("ERR Invalid FREQ value, must be >= 0 and <= 255"));
                }
                options.freq = Some(freq);
            } else {
                return Err(Refusal::SYNTAX);
            }
            i += 1;
        }
        Ok(options)
    }
}

fn restore(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let options = Options::of(args)?;
    let key = cx.key(args.at(1));
    if !options.replace && is_taken(cx.keyspace, key) {
        return Err(Refusal::of("BUSYKEY Target key name already exists."));
    }
    let ttl_ms = args.int(2)?;
    if ttl_ms < 0 {
        return Err(Refusal::of("ERR Invalid TTL value, must be >= 0"));
    }
    let payload = args.at(3);
    cx.pace.step(payload.len() / BYTES_PER_STEP);
    let restored = match json_of(payload, cx) {
        Some(json) => Restored::Json(json),
        None => Restored::Other(
            rdb::decode(payload, cx.product.payloads)
                .map_err(|error| Refusal::new(error.to_string()))?,
        ),
    };
    let now = cx.now();
    let ttl = match ttl_ms {
        0 => Ttl::Clear,
        at if options.absolute => Ttl::At(at),
        // A time out of range wraps into the past, as in Redis.
        span => Ttl::At(now.wrapping_add(span)),
    };
    match ttl {
        Ttl::At(at) if at <= now => {
            if cx.keyspace.delete(key) {
                cx.keyspace.notify_event(event::GENERIC, "del", key.bytes);
            }
        }
        _ => {
            let value = match restored {
                Restored::Json(value) => value,
                Restored::Other(decoded) => {
                    if !matches!(decoded, Decoded::String(_)) {
                        cx.keyspace.count_payload();
                    }
                    value_of(decoded, cx.keyspace)
                }
            };
            put_anew(cx.keyspace, key, value, ttl);
            cx.keyspace.notify_event(event::GENERIC, "restore", key.bytes);
            if let Some(idle_s) = options.idle_s {
                cx.keyspace.set_idle(key, idle_s);
            }
        }
    }
    out.ok();
    Ok(())
}

/// What a payload holds.
enum Restored {
    /// A JSON document.
    Json(Value),
    Other(Decoded),
}

/// Reads the payload of a JSON document, on a server that has them.
#[cfg(feature = "json")]
fn json_of(payload: &[u8], cx: &Cx<'_>) -> Option<Value> {
    if cx.product.servers & servers::JSON == 0 {
        return None;
    }
    let text = rdb::decode_json(payload)?;
    Some(Value::Json(Box::new(Json::parse(&text, cx.keyspace.hasher()).ok()?)))
}

#[cfg(not(feature = "json"))]
fn json_of(_: &[u8], _: &Cx<'_>) -> Option<Value> {
    None
}

fn value_of(decoded: Decoded, keyspace: &Keyspace) -> Value {
    match decoded {
        Decoded::String(bytes) => Value::string(&bytes),
        Decoded::List(elements) => {
            let (mut list, limit) = (List::default(), PieceLimit::of(keyspace.limits.list_piece));
            elements.iter().for_each(|element| list.push(End::Back, element, limit));
            Value::List(list)
        }
        Decoded::Hash(pairs) => {
            let mut hash = Hash::default();
            for (name, value) in pairs {
                hash.set(&name, &value, keyspace.limits.hash, keyspace.hasher());
            }
            Value::Hash(hash)
        }
        Decoded::TimedHash(fields) => {
            let mut hash = Hash::default();
            for (name, value, end) in fields {
                hash.set(&name, &value, keyspace.limits.hash, keyspace.hasher());
                if let Some(end) = end {
                    hash.set_end(&name, end, keyspace.hasher());
                }
            }
            Value::Hash(hash)
        }
        Decoded::Set(members) => {
            let mut set = Set::default();
            for member in members {
                let ints_max = keyspace.limits.intset_len_max;
                set.add(Member::Bytes(&member), ints_max, keyspace.hasher());
            }
            Value::Set(set)
        }
        Decoded::Integers { width, members } => {
            let ints_max = keyspace.limits.intset_len_max;
            Value::Set(Set::of_ascending(&members, width, ints_max, keyspace.hasher()))
        }
        Decoded::Zset(members) => {
            let mut zset = ZsetBuilder::default();
            for (member, score) in members {
                zset.put(&member, score, keyspace.hasher(), |_| score);
            }
            Value::Zset(zset.finish(keyspace.limits.zset))
        }
        Decoded::Stream(parts) => Value::Stream(Box::new(Stream::from_parts(*parts))),
    }
}
