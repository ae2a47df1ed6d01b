//! GEOSEARCH, GEOSEARCHSTORE, GEORADIUS, GEORADIUSBYMEMBER: members within an area.

use super::area::Area;
use super::cell::{Point, shown_bits};
use super::nearest::sort_first;
use super::query::{Form, Locate, Order, Query};
use super::reply;
use crate::command::collection;
use crate::command::pace::Strides;
use crate::command::{Args, Cx, Outcome, Pace, Refusal};
use crate::keyspace::{Text, Value, Zset, ZsetBuilder, event};
use crate::resp::Sink;

/// A member within the area.
struct Found<'z> {
    name: Text<'z>,
    score: f64,
    point: Point,
    /// From the centre, in metres.
    distance: f64,
}

/// GEORADIUS key longitude latitude radius M | KM | FT | MI [WITHCOORD] [WITHDIST] [WITHHASH]
/// [COUNT count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]
pub(super) fn georadius(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    search(cx, args, Form::Radius { may_store: true }, out)
}

/// GEORADIUS_RO: the same without STORE.
pub(super) fn georadius_ro(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    search(cx, args, Form::Radius { may_store: false }, out)
}

/// GEORADIUSBYMEMBER key member radius M | KM | FT | MI …
pub(super) fn georadiusbymember(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    search(cx, args, Form::RadiusByMember { may_store: true }, out)
}

/// GEORADIUSBYMEMBER_RO: the same without STORE.
pub(super) fn georadiusbymember_ro(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    search(cx, args, Form::RadiusByMember { may_store: false }, out)
}

/// GEOSEARCH key FROMMEMBER member | FROMLONLAT longitude latitude BYRADIUS radius unit | BYBOX width
/// height unit [ASC | DESC] [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]
pub(super) fn geosearch(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    search(cx, args, Form::Search, out)
}

/// GEOSEARCHSTORE destination source … [STOREDIST]
pub(super) fn geosearchstore(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    search(cx, args, Form::SearchStore, out)
}

fn search(cx: &mut Cx<'_>, args: Args<'_>, form: Form, out: &mut Sink<'_>) -> Outcome {
    let key = cx.key(args.at(if form == Form::SearchStore { 2 } else { 1 }));
    match cx.keyspace.read(key) {
        None | Some(Value::Zset(_)) => {}
        Some(_) => return Err(Refusal::WRONG_TYPE),
    }
    let (hasher, pace) = (cx.keyspace.hasher(), cx.pace);
    let zset = match cx.keyspace.get(key) {
        Some(Value::Zset(zset)) => Some(zset),
        _ => None,
    };
    let locate =
        zset.map(|zset| move |member: &[u8]| zset.score(member, hasher).map(Point::of_score));
    let locate: Locate<'_> = locate.as_ref().map(|locate| locate as _);
    let query = Query::of(args, form, locate)?;
    let mut found = match (zset, &query.area) {
        (Some(zset), Some(area)) => within(zset, area, &query, pace),
        _ => Vec::new(),
    };
    let returned = if query.count == 0 { found.len() } else { query.count.min(found.len()) };
    sort(&mut found, returned, query.order);
    found.truncate(returned);
    let unit = query.area.map_or(1.0, |area| area.unit);
    match query.store {
        None => answer(&found, &query, unit, Strides::new(pace), out),
        Some(destination) => {
            let mut stored = ZsetBuilder::default();
            for Found { name, score, distance, .. } in &found {
                let distance = distance / unit;
                // No score is NaN, which the distance to the other side of the earth may be.
                let distance = if distance.is_nan() { 0.0 } else { distance };
                let score = if query.stores_distance { distance } else { *score };
                stored.put(name, score, hasher, |_| score);
            }
            let stored = Value::Zset(stored.finish(cx.keyspace.limits.zset));
            let is_search = form == Form::SearchStore;
            let event = if is_search { "geosearchstore" } else { "georadiusstore" };
            let to = cx.key(destination);
            collection::store(cx.keyspace, to, stored, event::ZSET, event, out);
        }
    }
    Ok(())
}

/// Returns the members within an area, cell by cell; with ANY at most `count`.
fn within<'z>(zset: &'z Zset, area: &Area, query: &Query<'_>, pace: &dyn Pace) -> Vec<Found<'z>> {
    let limit = if query.any { query.count } else { usize::MAX };
    let (mut found, sieve) = (Vec::new(), area.sieve());
    let mut strides = Strides::new(pace);
    for cell in area.cells() {
        if found.len() >= limit {
            break;
        }
        for (name, score) in zset.between_scores(cell.scores()) {
            strides.step(1);
            let point = Point::of_score(score);
            if let Some(distance) = sieve.distance(point) {
                found.push(Found { name: name.read(), score, point, distance });
                if found.len() >= limit {
                    break;
                }
            }
        }
    }
    found
}

/// Sorts the results so far that the first ones are in order.
fn sort(found: &mut [Found<'_>], returned: usize, order: Order) {
    let ascending = |one: &Found<'_>, other: &Found<'_>| one.distance.total_cmp(&other.distance);
    let descending = |one: &Found<'_>, other: &Found<'_>| ascending(other, one);
    match (order, returned == found.len()) {
        (Order::AsFound, _) => {}
        (Order::Ascending, true) => found.sort_by(ascending),
        (Order::Descending, true) => found.sort_by(descending),
        (Order::Ascending, false) => sort_first(found, returned, ascending),
        (Order::Descending, false) => sort_first(found, returned, descending),
    }
}

fn answer(
    found: &[Found<'_>],
    query: &Query<'_>,
    unit: f64,
    mut strides: Strides<'_>,
    out: &mut Sink<'_>,
) {
    let options = [query.with_distance, query.with_hash, query.with_coordinates];
    let options = options.into_iter().filter(|&is_given| is_given).count();
    out.array(found.len());
    for Found { name, score, point, distance } in found {
        strides.step(1 + options);
        if options > 0 {
            out.array(1 + options);
        }
        out.bulk(name);
        if query.with_distance {
            reply::distance(out, distance / unit);
        }
        if query.with_hash {
            out.int(shown_bits(*score));
        }
        if query.with_coordinates {
            out.array(2);
            reply::coordinate(out, point.longitude);
            reply::coordinate(out, point.latitude);
        }
    }
}
