//! DEBUG: the parts that test suites of clients use, for clients on this machine only.
//!
//! As in Redis it is one command, not a container.

use super::super::dump::payload_of;
use super::super::object::encoding_of;
use super::super::too_many_arguments;
use super::*;
use crate::dialect::servers;
use crate::slot::Slot;
use crate::text::number::parse_f64;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The longest DEBUG SLEEP; a longer one is cut to it.
const SLEEP_MAX: Duration = Duration::from_secs(3600);
/// Bytes of a payload that are not part of the value: its type, the version and the checksum.
const PAYLOAD_FRAME: usize = 11;

pub(super) const ROW: Spec = Spec {
    name: "debug",
    doc: Doc::System,
    arity: AtLeast(2),
    flags: ADMIN | NOSCRIPT | LOADING | STALE,
    complexity: "Depends on subcommand.",
    summary: "Holds what tests of clients need: SLEEP stops the port's shards for some seconds.",
    run: Run::Cluster(debug),
    ..SERVER
};

/// The double that DEBUG PROTOCOL replies with in Redis.
const PROTOCOL_DOUBLE: f64 = 3141.0 / 1000.0;

/// The lines of DEBUG HELP.
const HELP: &[&str] = &[
    "DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ERROR <string>",
    "    Replies with this text as an error.",
    "LOG <message>",
    "    Writes the message to the log.",
    "OBJECT <key>",
    "    Shows how the value of a key is stored.",
    "PROTOCOL <type>",
    "    Replies with a value of this type: string, integer, double, null, array, set, map, verbatim, true or false.",
    "SET-ACTIVE-EXPIRE <0|1>",
    "    With 0, expired keys are removed only when they are accessed; 1 is the default.",
    "SLEEP <seconds>",
    "    Stops the shards of this port for this long, fractions allowed.",
    "SLOTMIGRATION PREVENT-PAUSE <0|1>",
    "    With 1, slots that migrate from this node as a whole stay here once their keys are copied.",
    "HELP",
    "    Lists the subcommands.",
];

fn debug(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    if !cx.me.peer.ip().to_canonical().is_loopback() {
        return Err(Refusal::of(
            "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run \
             it from a local connection, otherwise you need to set this option in the configuration file, and then \
             restart the server.",
        ));
    }
    match (&*args[1].to_ascii_lowercase(), args.len()) {
        (b"sleep", 3) => {
            // As in Redis, a text that is not a number counts as 0.
            let seconds = parse_f64(args.at(2)).unwrap_or(0.0).clamp(0.0, SLEEP_MAX.as_secs_f64());
            cx.pace.sleep(Duration::from_secs_f64(seconds));
            out.ok();
        }
        (b"object", 3) => return object(cx, args.at(2), out),
        (b"error", 3) => out.error(args.at(2)),
        (b"log", 3) => {
            tracing::warn!("DEBUG LOG: {}", args.at(2).escape_ascii());
            out.ok();
        }
        (b"protocol", 3) => return protocol(args, out),
        (b"set-active-expire", 3) => {
            // As in Redis, a text that is not a number counts as 0.
            let on = parse_i64(args.at(2)).unwrap_or(0) != 0;
            cx.covered().iter().for_each(|port| port.expires_keys.store(on, Ordering::Relaxed));
            out.ok();
        }
        (b"slotmigration", 4)
            if args.is(2, "prevent-pause") && cx.product.is_of(servers::VALKEY9) =>
        {
            let is_held = parse_i64(args.at(3)).unwrap_or(0) != 0;
            for port in cx.covered() {
                if let Port::Node(node) = port.port {
                    cx.server.slot_migrations.set_held(node, is_held);
                }
            }
            cx.server.faults.set_work_due(Some(cx.now));
            out.ok();
        }
        (b"help", 2) => {
            out.array(HELP.len());
            HELP.iter().for_each(|line| out.simple(line));
        }
        _ => return Err(too_many_arguments(args)),
    }
    Ok(())
}

/// DEBUG OBJECT key. The address has no meaning and is 0.
fn object(cx: &mut ServerCx<'_>, name: &[u8], out: &mut Sink<'_>) -> Outcome {
    let (slot, second) = (Slot::of(name), cx.now / 1000);
    let (product, payloads) = (cx.product, cx.product.payloads);
    let found = cx.shards.iter_mut().find_map(|shard| {
        let (key, piece) = (shard.key(slot, name), shard.limits.list_piece);
        let hasher = shard.hasher().clone();
        shard.peek(key).map(|entry| (entry, piece, hasher))
    });
    let (entry, piece, hasher) = found.ok_or(Refusal::NO_SUCH_KEY)?;
    let value = entry.value();
    cx.pace.step(value.weight());
    let len = payload_of(value, piece, payloads, &hasher).len().saturating_sub(PAYLOAD_FRAME);
    let used_s = i64::from(entry.accessed_at());
    out.simple(&format!(
        "Value at:0x0 refcount:1 encoding:{} serializedlength:{len} lru:{} lru_seconds_idle:{}",
        encoding_of(value, product),
        used_s & 0x00FF_FFFF,
        (second - used_s).max(0),
    ));
    Ok(())
}

/// DEBUG PROTOCOL type: Redis' values, for the types that occur in replies here.
fn protocol(args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    match &*args.at(2).to_ascii_lowercase() {
        b"string" => out.bulk(b"Hello World"),
        b"integer" => out.int(12345),
        b"double" => out.double(PROTOCOL_DOUBLE),
        b"null" => out.null(),
        b"array" => {
            out.array(3);
            (0..3).for_each(|i| out.int(i));
        }
        b"set" => {
            out.set(3);
            (0..3).for_each(|i| out.int(i));
        }
        b"map" => {
            out.map(3);
            for i in 0..3 {
                out.int(i);
                out.boolean(i == 1);
            }
        }
        b"verbatim" => out.verbatim(*b"txt", b"This is a verbatim\nstring"),
        b"true" => out.boolean(true),
        b"false" => out.boolean(false),
        _ => {
            return Err(Refusal::of(
                "ERR Wrong protocol type name. Please use one of the following: \
                 string|integer|double|null|array|set|map|verbatim|true|false",
            ));
        }
    }
    Ok(())
}
