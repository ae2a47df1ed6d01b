//! MIGRATE: keys moved, or copied, from one node to another of this process, as one step: nobody
//! sees a key in both places or in neither.

use super::super::spec::access::{ACCESS, DELETE, INCOMPLETE, RW};
use super::super::spec::flag::{MIGRATES, MOVABLE_KEYS, WRITE};
use super::super::spec::{Arity::AtLeast, BASE, Begin, Find, Keys, Run, Spec, acl};
use super::super::{Args, Outcome, Refusal, ServerCx};
use crate::keyspace::{DetachedValue, Keyspace, event};
use crate::resp::Sink;
use crate::slot::Slot;
use crate::topology::{KeyPresence, Port, RequestFlags, Route};

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
    since: "2.6.0",
    tips: &["nondeterministic_output"],
    complexity: "This command actually executes a DUMP+DEL in the source instance, and a RESTORE in the target \
                 instance. See the pages of these commands for time complexity. Also an O(N) data transfer between \
                 the two instances is performed.",
    summary: "Moves keys to another node.",
    run: Run::Whole(migrate),
    ..BASE
};

/// What a request asks for.
struct Request<'a> {
    host: &'a [u8],
    port: i64,
    database: i64,
    keeps: bool,
    replaces: bool,
    /// The user, unless it is the default one, and the password.
    login: Option<(Option<&'a [u8]>, &'a [u8])>,
    keys: Vec<&'a [u8]>,
}

impl<'a> Request<'a> {
    fn of(args: Args<'a>) -> Result<Self, Refusal> {
        let (mut keeps, mut replaces, mut login) = (false, false, None);
        let mut keys = vec![args.at(3)];
        let mut i = 6;
        while i < args.len() {
            let more = args.len() - 1 - i;
            if args.is(i, "copy") {
                keeps = true;
            } else if args.is(i, "replace") {
                replaces = true;
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
        // The time limit is read and then of no use: within one process there is nothing to wait for.
        args.int(5)?;
        let database = args.int(4)?;
        let port = crate::text::number::parse_i64(args.at(2)).unwrap_or(-1);
        Ok(Self { host: args.at(1), port, database, keeps, replaces, login, keys })
    }
}

/// MIGRATE host port key|"" database timeout [COPY] [REPLACE] [AUTH password]
/// [AUTH2 user password] [KEYS key [key ...]]
fn migrate(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let request = Request::of(args)?;
    if cx.me.database() != 0 {
        return Err(Refusal::of("ERR MIGRATE moves keys of database 0 only"));
    }
    let topology = &cx.server.topology;
    let slot = request.keys.first().map_or(Slot::of(b""), |key| Slot::of(key));
    let source = match cx.port {
        Port::Node(node) => topology.shard_of_node(node),
        Port::Router => topology.migration_of(slot).map_or(topology.shard_of(slot), |it| it.from),
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
    let unreachable = Refusal::of("IOERR error or timeout writing to target instance");
    let delivered =
        u16::try_from(request.port).ok().map(|port| cx.server.announce.listening_port(port));
    let target =
        delivered.and_then(|port| topology.node_at(port)).filter(|_| is_host(request.host));
    let Some(target) = target else { return Err(unreachable) };
    let shard_of_node = topology.shard_of_node(target);
    if shard_of_node == source {
        // A node that migrates to itself waits for itself.
        return Err(Refusal::of("IOERR error or timeout reading to target instance"));
    }
    let replied =
        |text: String| Refusal::new(format!("ERR Target instance replied with error: {text}"));
    if let Some((user, password)) = request.login {
        let settings = &cx.server.settings;
        if user.is_none() && !settings.needs_password() {
            return Err(replied(String::from_utf8_lossy(Refusal::NO_PASSWORD.text()).into_owned()));
        }
        let right = settings.check_password(password);
        if !right || user.is_some_and(|user| user != b"default") {
            return Err(replied(String::from_utf8_lossy(Refusal::WRONG_PASS.text()).into_owned()));
        }
    } else if cx.server.settings.needs_password() {
        return Err(replied(String::from_utf8_lossy(Refusal::NO_AUTH.text()).into_owned()));
    }
    if request.database != 0 {
        return Err(replied("ERR SELECT is not allowed in cluster mode".to_owned()));
    }
    let request_flags = RequestFlags { asking: true, writes: true, ..RequestFlags::default() };
    let one = || KeyPresence { here: 0, missing: 1, several: false };
    match topology.route(target, slot, request_flags, one) {
        Route::Here => {}
        Route::Moved(node) | Route::Ask(node) => {
            let (host, port) = cx.server.endpoint(topology.port_of(node), cx.me.local);
            return Err(replied(format!("MOVED {} {host}:{port}", slot.number())));
        }
        Route::Unassigned => {
            return Err(replied("CLUSTERDOWN Hash slot not served".to_owned()));
        }
        Route::TryAgain | Route::Down | Route::DownForWrites => {
            return Err(replied("CLUSTERDOWN The cluster is down".to_owned()));
        }
    }
    let mut refused = None;
    for bytes in present {
        let key = cx.shards[source].key(slot, bytes);
        if !request.replaces && cx.shards[shard_of_node].peek(key).is_some() {
            refused = refused.or(Some("BUSYKEY Target key name already exists."));
            continue;
        }
        let Some(parcel) = parcel(cx.shards[source], bytes, request.keeps) else { continue };
        cx.pace.step(parcel.value.weight());
        cx.shards[shard_of_node].insert_detached(key, parcel);
        cx.shards[shard_of_node].notify_event(event::GENERIC, "restore", bytes);
    }
    match refused {
        Some(text) => Err(replied(text.to_owned())),
        None => {
            out.ok();
            Ok(())
        }
    }
}

/// What goes to the other node: the value itself, or a copy of it.
fn parcel(source: &mut Keyspace, bytes: &[u8], keeps: bool) -> Option<DetachedValue> {
    let key = source.key(Slot::of(bytes), bytes);
    if keeps {
        let entry = source.peek(key)?;
        return Some(DetachedValue {
            value: entry.value().clone(),
            expires_at: entry.expires_at(),
        });
    }
    let parcel = source.detach(key);
    source.notify_event(event::GENERIC, "del", bytes);
    parcel
}

/// Whether something could be listening there: what is told of our nodes need not be an address of
/// this machine, so any host will do.
fn is_host(host: &[u8]) -> bool {
    !host.is_empty() && host.iter().all(u8::is_ascii_graphic)
}
