//! XCLAIM and XAUTOCLAIM.

use super::group::{note_moved_id, note_new_consumer};
use super::ids::{id_of, start_of, write_id};
use super::reply::{Aggregate, write_counted, write_entry};
use super::{no_group, stream_at};
use crate::command::collection::change;
use crate::command::pace::Strides;
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{
    ConsumerNumber, Edited, Group, Key, Millis, Stream, StreamEntry, StreamId, StreamLog,
};
use crate::resp::{Sink, until_nul};
use crate::text::number::parse_i64;

/// The arguments of both: key, group, consumer, and the least time since the last delivery.
const GROUP: usize = 2;
const CONSUMER: usize = 3;
const IDLE: usize = 4;
const REST: usize = 5;

/// A consumer that claims entries.
struct Claimer<'s> {
    log: &'s StreamLog,
    group: &'s mut Group,
    name: &'s [u8],
    /// Once it is looked up, which the first claimed entry does.
    number: Option<ConsumerNumber>,
    is_new: bool,
    /// Whether a pending entry was given to a consumer, or removed: replicas are sent those one by one,
    /// and the last id of the group along with them.
    is_sent: bool,
    now: Millis,
}

impl<'s> Claimer<'s> {
    fn of(log: &'s StreamLog, group: &'s mut Group, name: &'s [u8], now: Millis) -> Self {
        Self { log, group, name, number: None, is_new: false, is_sent: false, now }
    }

    fn number(&mut self) -> ConsumerNumber {
        let Self { group, name, now, is_new, .. } = self;
        *self.number.get_or_insert_with(|| {
            let found = group.find(name);
            *is_new = found.is_none();
            let number = found.unwrap_or_else(|| group.add_consumer(name, *now));
            group.consumer_mut(number).seen_at = *now;
            number
        })
    }

    /// Gives an entry to the consumer.
    fn take(&mut self, id: StreamId, delivered_at: Millis, deliveries: u64) {
        let number = self.number();
        self.is_sent = true;
        self.group.assign(id, number, delivered_at, deliveries);
        self.group.consumer_mut(number).active_at = self.now;
    }
}

/// Writes a claimed entry: as a whole, or its id.
fn write_claimed(
    entry: &StreamEntry<'_>,
    id_alone: bool,
    strides: &mut Strides<'_>,
    out: &mut Sink<'_>,
) {
    match id_alone {
        true => write_id(out, entry.id()),
        false => write_entry(entry, strides, out),
    }
}

/// Reads the least time since the last delivery.
fn idle_min(args: Args<'_>, error: &'static str) -> Result<i64, Refusal> {
    Ok(parse_i64(args.at(IDLE)).ok_or(Refusal::of(error))?.max(0))
}

/// Fails unless the group exists.
fn require_group(cx: &mut Cx<'_>, key: Key<'_>, name: &[u8]) -> Outcome {
    let group = stream_at(cx, key)?.and_then(|stream| stream.group(name));
    group.map(|_| ()).ok_or_else(|| no_group(key.bytes, name))
}

/// The arguments of XCLAIM behind its consumer.
#[derive(Default)]
struct Claim {
    idle_min: i64,
    ids: Vec<StreamId>,
    /// When the entries count as delivered.
    delivered_at: Millis,
    /// RETRYCOUNT.
    deliveries: Option<u64>,
    /// FORCE: entries that are not pending are claimed as well.
    force: bool,
    /// JUSTID.
    id_alone: bool,
    /// LASTID.
    last_id: StreamId,
}

impl Claim {
    fn of(args: Args<'_>, now: Millis) -> Result<Self, Refusal> {
        let idle_min = idle_min(args, "ERR Invalid min-idle-time argument for XCLAIM")?;
        let ids: Vec<StreamId> = args.from(REST).map_while(|text| id_of(text).ok()).collect();
        let mut i = REST + ids.len();
        let mut claim = Self { idle_min, ids, ..Self::default() };
        let mut delivered_at = None;
        while i < args.len() {
            let has_value = i + 1 < args.len();
            let integer = |error| parse_i64(args.at(i + 1)).ok_or(Refusal::of(error));
            if args.is(i, "force") {
                claim.force = true;
            } else if args.is(i, "justid") {
                claim.id_alone = true;
            } else if args.is(i, "idle") && has_value {
                let idle = integer("ERR Invalid IDLE option argument for XCLAIM")?;
                delivered_at = Some(now.wrapping_sub(idle));
                i += 1;
            } else if args.is(i, "time") && has_value {
                delivered_at = Some(integer("ERR Invalid TIME option argument for XCLAIM")?);
                i += 1;
            } else if args.is(i, "retrycount") && has_value {
                let count = integer("ERR Invalid RETRYCOUNT option argument for XCLAIM")?;
                claim.deliveries = u64::try_from(count).ok();
                i += 1;
            } else if args.is(i, "lastid") && has_value {
                claim.last_id = id_of(args.at(i + 1))?;
                i += 1;
            } else {
                let option = until_nul(args.at(i));
                return Err(Refusal::new(
                    [b"ERR Unrecognized XCLAIM option '", option, b"'"].concat(),
                ));
            }
            i += 1;
        }
        // A time before the epoch or after now is taken for a mistake.
        claim.delivered_at = delivered_at.filter(|at| (0..=now).contains(at)).unwrap_or(now);
        Ok(claim)
    }

    /// Claims an entry; returns it unless it stays as it is.
    fn claim<'s>(&self, id: StreamId, claimer: &mut Claimer<'s>) -> Option<StreamEntry<'s>> {
        let log = claimer.log;
        let Some(entry) = log.entry(id) else {
            claimer.is_sent |= claimer.group.acknowledge(id);
            return None;
        };
        let before = match claimer.group.pending().get(id) {
            Some(pending) => {
                let idle = claimer.now.saturating_sub(pending.delivered_at);
                if self.idle_min > 0 && idle < self.idle_min {
                    return None;
                }
                pending.deliveries
            }
            None if self.force => 1,
            None => return None,
        };
        let deliveries = match self.deliveries {
            Some(deliveries) => deliveries,
            None if self.id_alone => before,
            None => before.wrapping_add(1),
        };
        claimer.take(id, self.delivered_at, deliveries);
        Some(entry)
    }
}

/// XCLAIM key group consumer min-idle-time id [id …] [IDLE ms] [TIME ms] [RETRYCOUNT count] [FORCE]
/// [JUSTID] [LASTID id]
pub(super) fn xclaim(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (key, name, now) = (cx.key(args.at(1)), args.at(GROUP), cx.now());
    require_group(cx, key, name)?;
    let claim = Claim::of(args, now)?;
    let (always_creates, mut strides) = (cx.product.has_new_streams, Strides::new(cx.pace));
    let mut moves_id = false;
    let is_new = change(cx.keyspace, key, |stream: &mut Stream| {
        let Some((log, group)) = stream.log_and_group(name) else {
            return Edited::Kept((false, false));
        };
        moves_id = claim.last_id > group.last_id;
        group.last_id = group.last_id.max(claim.last_id);
        let mut claimer = Claimer::of(log, group, args.at(CONSUMER), now);
        if always_creates {
            claimer.number();
        }
        write_counted(Aggregate::Array, out, |out| {
            let mut claimed = 0;
            for &id in &claim.ids {
                strides.step(1);
                if let Some(entry) = claim.claim(id, &mut claimer) {
                    write_claimed(&entry, claim.id_alone, &mut strides, out);
                    claimed += 1;
                }
            }
            claimed
        });
        moves_id &= !claimer.is_sent;
        Edited::Unwatched((claimer.is_new, claimer.is_sent))
    })?;
    if let Some((true, is_sent)) = is_new {
        note_new_consumer(cx, key.bytes, is_sent);
    }
    if moves_id {
        note_moved_id(cx, key.bytes);
    }
    Ok(())
}

/// The arguments of XAUTOCLAIM behind its consumer.
struct AutoClaim {
    idle_min: i64,
    start: StreamId,
    /// Most entries to claim, deleted ones included.
    count: usize,
    id_alone: bool,
}

/// XAUTOCLAIM looks at this many pending entries for each one that it may claim.
const ATTEMPTS_FACTOR: usize = 10;
/// Largest COUNT of XAUTOCLAIM.
const COUNT_MAX: i64 = i64::MAX / 16;

impl AutoClaim {
    fn of(args: Args<'_>) -> Result<Self, Refusal> {
        let idle_min = idle_min(args, "ERR Invalid min-idle-time argument for XAUTOCLAIM")?;
        let mut claim =
            Self { idle_min, start: start_of(args.at(REST))?, count: 100, id_alone: false };
        let mut i = REST + 1;
        while i < args.len() {
            if args.is(i, "count") && i + 1 < args.len() {
                let count = parse_i64(args.at(i + 1)).filter(|n| (1..=COUNT_MAX).contains(n));
                claim.count = count.ok_or(Refusal::of("ERR COUNT must be > 0"))? as usize;
                i += 1;
            } else if args.is(i, "justid") {
                claim.id_alone = true;
            } else {
                return Err(Refusal::SYNTAX);
            }
            i += 1;
        }
        Ok(claim)
    }

    /// Claims entries and writes them; returns how many, those that were pending and are deleted, and the
    /// id to continue with.
    fn run(
        &self,
        claimer: &mut Claimer<'_>,
        strides: &mut Strides<'_>,
        out: &mut Sink<'_>,
    ) -> (usize, Vec<StreamId>, StreamId) {
        let attempts = self.count.saturating_mul(ATTEMPTS_FACTOR);
        let (mut deleted, mut claimed, mut seen) = (Vec::new(), 0, 0);
        let mut next = claimer.group.pending().range(self.start).next().map(|(id, _)| id);
        while let Some(id) = next {
            if seen == attempts || claimed + deleted.len() == self.count {
                break;
            }
            seen += 1;
            strides.step(1);
            next = id.next().and_then(|after| Some(claimer.group.pending().range(after).next()?.0));
            let Some(pending) = claimer.group.pending().get(id).copied() else { continue };
            let log = claimer.log;
            let Some(entry) = log.entry(id) else {
                claimer.group.acknowledge(id);
                deleted.push(id);
                continue;
            };
            let idle = claimer.now.saturating_sub(pending.delivered_at);
            if self.idle_min > 0 && idle < self.idle_min {
                continue;
            }
            let deliveries = pending.deliveries.wrapping_add((!self.id_alone).into());
            claimer.take(id, claimer.now, deliveries);
            write_claimed(&entry, self.id_alone, strides, out);
            claimed += 1;
        }
        (claimed, deleted, next.unwrap_or(StreamId::MIN))
    }
}

/// XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID]
pub(super) fn xautoclaim(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let claim = AutoClaim::of(args)?;
    let (key, name, now) = (cx.key(args.at(1)), args.at(GROUP), cx.now());
    require_group(cx, key, name)?;
    let (always_creates, mut strides) = (cx.product.has_new_streams, Strides::new(cx.pace));
    let is_new = change(cx.keyspace, key, |stream: &mut Stream| {
        let Some((log, group)) = stream.log_and_group(name) else {
            return Edited::Kept((false, false));
        };
        let mut claimer = Claimer::of(log, group, args.at(CONSUMER), now);
        if always_creates {
            claimer.number();
        }
        let mut claimed = Vec::new();
        let mut body = Sink::new(&mut claimed, out.proto);
        let mut end = (Vec::new(), StreamId::MIN);
        write_counted(Aggregate::Array, &mut body, |body| {
            let (count, deleted, next) = claim.run(&mut claimer, &mut strides, body);
            end = (deleted, next);
            count
        });
        let (deleted, next) = end;
        out.array(3);
        write_id(out, next);
        out.raw(&claimed);
        out.array(deleted.len());
        deleted.iter().for_each(|&id| write_id(out, id));
        Edited::Unwatched((claimer.is_new, claimer.is_sent || !deleted.is_empty()))
    })?;
    if let Some((true, is_sent)) = is_new {
        note_new_consumer(cx, key.bytes, is_sent);
    }
    Ok(())
}
