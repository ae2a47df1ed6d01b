//! MIGRATE: moves or copies keys from one node to another of this process, in one step: no client
//! sees a key on both nodes or on neither.

use super::super::spec::access::{ACCESS, DELETE, INCOMPLETE, RW};
use super::super::spec::flag::{MIGRATES, MOVABLE_KEYS, WRITE};
use super::super::spec::{Arity::AtLeast, BASE, Begin, Find, Keys, Run, Secret, Spec, acl};
use super::super::{Args, Outcome, Refusal, ServerCx};
use crate::keyspace::{DetachedValue, Keyspace, event};
use crate::resp::Sink;
use crate::slot::Slot;
use crate::text::number::parse_i64;
use crate::topology::{KeyPresence, NodeNumber, Port, RequestFlags, Route};

pub(super) const ROW: Spec = Spec {
    name: "migrate",
    arity: AtLeast(6),
    flags: WRITE | MOVABLE_KEYS | MIGRATES,
    acl: acl::KEYSPACE | acl::DANGEROUS,
    keys: &[
        Keys::at(RW | ACCESS | DELETE, 3),
        Keys {
            begin: Begin::Keyword("KEYS", -2),
            find: Find::Range { last: -1, step: 1, limit: 0 },
            access: RW | ACCESS | DELETE | INCOMPLETE,
            notes: "",
        },
    ],
    secrets: &[
        Secret::After { word: "auth", from: 6, step: 1, count: 1 },
        Secret::After { word: "auth2", from: 6, step: 1, count: 2 },
    ],
    since: "2.6.0",
    tips: &["nondeterministic_output"],
    complexity: "This command actually executes a DUMP+DEL in the source instance, and a RESTORE in the target \
                 instance. See the pages of these commands for time complexity. Also an O(N) data transfer between \
                 the two instances is performed.",
    summary: "Moves keys to another node.",
    run: Run::Whole(migrate),
    ..BASE
};

/// The arguments of MIGRATE.
struct Request<'a> {
    host: &'a [u8],
    port: i64,
    database: i64,
    copy: bool,
    replace: bool,
    /// The user, unless it is the default one, and the password.
    login: Option<(Option<&'a [u8]>, &'a [u8])>,
    keys: Vec<&'a [u8]>,
}

impl<'a> Request<'a> {
    fn of(args: Args<'a>) -> Result<Self, Refusal> {
        let (mut copy, mut replace, mut login) = (false, false, None);
        let mut keys = vec![args.at(3)];
        let mut i = 6;
        while i < args.len() {
            let more = args.len() - 1 - i;
            if args.is(i, "copy") {
                copy = true;
            } else if args.is(i, "replace") {
                replace = true;
            } else if args.is(i, "auth") && more >= 1 {
                login = Some((None, args.at(i + 1)));
                i += 1;
            } else if args.is(i, "auth2") && more >= 2 {
                login = Some((Some(args.at(i + 1)), args.at(i + 2)));
                i += 2;
            } else if args.is(i, "keys") {
                if !args.at(3).is_empty() {
                    return Err(Refusal::of(
                        "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
                    ));
                }
                keys = args.from(i + 1).collect();
                break;
            } else {
                return Err(Refusal::SYNTAX);
            }
            i += 1;
        }
        // The timeout is only checked: within one process there is nothing to wait for.
        args.int(5)?;
        let database = args.int(4)?;
        let port = parse_i64(args.at(2)).unwrap_or(-1);
        Ok(Self { host: args.at(1), port, database, copy, replace, login, keys })
    }
}

/// MIGRATE host port key|"" database timeout [COPY] [REPLACE] [AUTH password]
/// [AUTH2 user password] [KEYS key [key ...]]
fn migrate(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let request = Request::of(args)?;
    let topology = &cx.server.topology;
    let slot = request.keys.first().map_or(Slot::of(b""), |key| Slot::of(key));
    let source = match (cx.port, (cx.me.database() as usize).checked_sub(1)) {
        // A database above number 0 has one shard, and is no part of a node.
        (_, Some(number)) => topology.shards() + number,
        (Port::Node(node), None) => topology.shard_of_node(node),
        (Port::Router, None) => {
            topology.migration_of(slot).map_or(topology.shard_of(slot), |it| it.from)
        }
    };
    let mut present = Vec::with_capacity(request.keys.len());
    for &bytes in &request.keys {
        let shard = &mut *cx.shards[source];
        let key = shard.key(slot, bytes);
        if shard.peek(key).is_some() {
            present.push(bytes);
        }
    }
    if present.is_empty() {
        out.simple("NOKEY");
        return Ok(());
    }
    let target = target_of(cx, &request)?;
    let shard_of_target = topology.shard_of_node(target);
    if shard_of_target == source {
        // In Redis a node that migrates to itself times out waiting for its own reply.
        return Err(Refusal::of("IOERR error or timeout reading to target instance"));
    }
    check_login(cx, target, &request)?;
    if request.database != 0 {
        return Err(from_target(
            Refusal::no_database(cx.product, Port::Node(target), "SELECT").text(),
        ));
    }
    check_route(cx, target, slot)?;
    let mut busy = false;
    for bytes in present {
        let key = cx.shards[source].key(slot, bytes);
        if !request.replace && cx.shards[shard_of_target].peek(key).is_some() {
            busy = true;
            continue;
        }
        let Some(parcel) = parcel(cx.shards[source], bytes, request.copy) else { continue };
        cx.pace.step(parcel.value.weight());
        cx.shards[shard_of_target].insert_detached(key, parcel);
        cx.shards[shard_of_target].notify_event(event::GENERIC, "restore", bytes);
    }
    if busy {
        return Err(from_target("BUSYKEY Target key name already exists."));
    }
    out.ok();
    Ok(())
}

/// An error as Redis reports it when the target replies with one.
fn from_target(text: impl AsRef<[u8]>) -> Refusal {
    Refusal::new([b"ERR Target instance replied with error: ", text.as_ref()].concat())
}

/// The node at the address of the request.
fn target_of(cx: &ServerCx<'_>, request: &Request<'_>) -> Result<NodeNumber, Refusal> {
    let advertised = u16::try_from(request.port).ok().filter(|_| is_host(request.host));
    let node = advertised.and_then(|port| cx.server.node_announced_at(port));
    node.ok_or(Refusal::of("IOERR error or timeout writing to target instance"))
}

/// Checks the password of the request as the target would.
fn check_login(cx: &ServerCx<'_>, target: NodeNumber, request: &Request<'_>) -> Outcome {
    let settings = &cx.server.node(Port::Node(target)).settings;
    match request.login {
        None if settings.needs_password() => Err(from_target(Refusal::NO_AUTH)),
        None => Ok(()),
        Some((None, _)) if !settings.needs_password() => Err(from_target(Refusal::NO_PASSWORD)),
        Some((user, password)) => {
            let is_right = settings.check_password(password);
            match is_right && user.is_none_or(|user| user == b"default") {
                true => Ok(()),
                false => Err(from_target(Refusal::WRONG_PASS)),
            }
        }
    }
}

/// Checks that the target would accept the keys: it owns the slot or imports it.
fn check_route(cx: &ServerCx<'_>, target: NodeNumber, slot: Slot) -> Outcome {
    let topology = &cx.server.topology;
    let flags = RequestFlags { asking: true, writes: true, ..RequestFlags::default() };
    let missing = || KeyPresence { here: 0, missing: 1, several: false };
    match topology.route(target, slot, flags, missing) {
        Route::Here => Ok(()),
        Route::Moved(node) | Route::Ask(node) => {
            let (host, port) =
                cx.server.endpoint(Port::Node(target), Port::Node(node), cx.me.local);
            Err(from_target(format!("MOVED {} {host}:{port}", slot.number())))
        }
        Route::Unassigned => Err(from_target(Refusal::SLOT_NOT_SERVED)),
        Route::TryAgain | Route::Down | Route::DownForWrites => {
            Err(from_target(Refusal::CLUSTER_DOWN))
        }
    }
}

/// Returns what is moved to the target: the value itself, or a copy of it.
fn parcel(source: &mut Keyspace, bytes: &[u8], copy: bool) -> Option<DetachedValue> {
    let key = source.key(Slot::of(bytes), bytes);
    if copy {
        let entry = source.peek(key)?;
        return Some(DetachedValue {
            value: entry.value().clone(),
            expires_at: entry.expires_at(),
        });
    }
    let parcel = source.detach(key);
    source.signal_ready(bytes);
    source.notify_event(event::GENERIC, "del", bytes);
    parcel
}

/// Whether `host` could be a host. Any will do: the advertised one need not be an address of this
/// machine.
fn is_host(host: &[u8]) -> bool {
    !host.is_empty() && host.iter().all(u8::is_ascii_graphic)
}
