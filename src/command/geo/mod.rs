//! Places on earth: members of a sorted set whose scores are cells of its surface.
//!
//! ```text
//! geo          the rows; GEOADD, GEOPOS, GEODIST, GEOHASH
//! geo/cell     points, cells, scores
//! geo/area     what is searched, and the nine cells that cover it
//! geo/nearest  the first few of many in order
//! geo/query    the arguments of a search
//! geo/reply    how distances and coordinates are spelled
//! geo/search   GEOSEARCH, GEORADIUS and their kin
//! ```

mod cell;
mod area;
mod nearest;
mod query;
mod reply;
mod search;

use self::cell::{Point, STEP_MAX};
use super::collection::read_at;
use super::spec::access::{ACCESS, INCOMPLETE, OW, RO, RW, UPDATE, VARIABLE_FLAGS};
use super::spec::flag::{DENYOOM, MOVABLE_KEYS, READ, WRITE};
use super::spec::{
    Arity::AtLeast, BASE, Begin, Doc, Find, Group, Keys, Run, SAME, Spec, Variant, acl, check,
};
use super::zset::{AddConditions, add_members};
use super::{Args, Cx, Outcome, Refusal};
use crate::dialect::servers;
use crate::keyspace::Zset;
use crate::resp::Sink;

/// Defaults of the rows.
const GEO: Spec = Spec { group: Group::Geo, acl: acl::GEO, since: "3.2.0", ..BASE };

/// One key whose members are returned.
const READ_KEY: &[Keys] = &[Keys::at(RO | ACCESS, 1)];

/// The key behind a word, searched for from argument `from` on.
const fn behind(word: &'static str, from: i8) -> Keys {
    let find = Find::Range { last: 0, step: 1, limit: 0 };
    Keys { access: OW | UPDATE, begin: Begin::Keyword(word, from), find, notes: "" }
}

/// The same, of which either is read only if the other is missing.
const fn either(word: &'static str, from: i8) -> Keys {
    let found = behind(word, from);
    Keys { access: found.access | VARIABLE_FLAGS, ..found }
}

/// The same as Redis 8.10 describes it.
const fn last_wins(word: &'static str, from: i8, notes: &'static str) -> Keys {
    let found = behind(word, from);
    Keys { access: found.access | INCOMPLETE, notes, ..found }
}

/// What Redis 8.10 says of it.
const LAST_STORE: &str =
    "Incomplete because duplicate STORE options use last-wins; fall back to georadiusGetKeys";
const LAST_STOREDIST: &str =
    "Incomplete because duplicate STOREDIST options use last-wins; fall back to georadiusGetKeys";

const GEORADIUS: Spec = Spec {
    name: "georadius",
    doc: Doc::not_in_redis("6.2.0", "`GEOSEARCH … BYRADIUS`, `GEOSEARCHSTORE … BYRADIUS`"),
    arity: AtLeast(6),
    flags: WRITE | DENYOOM | MOVABLE_KEYS,
    keys: &[Keys::at(RO | ACCESS, 1), behind("STORE", 6), behind("STOREDIST", 6)],
    variants: &[
        Variant {
            servers: servers::VALKEY9,
            keys: Some(&[Keys::at(RO | ACCESS, 1), either("STORE", 6), either("STOREDIST", 6)]),
            ..SAME
        },
        Variant {
            servers: servers::REDIS8_10,
            keys: Some(&[
                Keys::at(RO | ACCESS, 1),
                last_wins("STORE", 6, LAST_STORE),
                last_wins("STOREDIST", 6, LAST_STOREDIST),
            ]),
            ..SAME
        },
    ],
    complexity: "O(N+log(M)) where N is the number of elements inside the bounding box of the \
                 circular area delimited by center and radius and M is the number of items inside \
                 the index.",
    summary: "Returns or stores the members within a distance of a point.",
    run: Run::Shard(search::georadius),
    ..GEO
};

const GEOSEARCH: Spec = Spec {
    name: "geosearch",
    arity: AtLeast(7),
    flags: READ,
    keys: READ_KEY,
    since: "6.2.0",
    complexity: "O(N+log(M)) where N is the number of elements in the grid-aligned bounding box \
                 area around the shape provided as the filter and M is the number of items inside \
                 the shape",
    summary: "Returns the members within a circle or a box.",
    run: Run::Shard(search::geosearch),
    ..GEO
};

pub(super) const ROWS: &[Spec] = &[
    Spec {
        name: "geoadd",
        arity: AtLeast(5),
        flags: WRITE | DENYOOM,
        keys: &[Keys::at(RW | UPDATE, 1)],
        complexity: "O(log(N)) for each item added, where N is the number of elements in the \
                     sorted set.",
        summary: "Adds members with their longitudes and latitudes, or moves existing members.",
        run: Run::Shard(geoadd),
        ..GEO
    },
    Spec {
        name: "geodist",
        arity: AtLeast(4),
        flags: READ,
        keys: READ_KEY,
        complexity: "O(log(N))",
        summary: "Returns the distance of two members.",
        run: Run::Shard(geodist),
        ..GEO
    },
    Spec {
        name: "geohash",
        arity: AtLeast(2),
        flags: READ,
        keys: READ_KEY,
        complexity: "O(log(N)) for each member requested, where N is the number of elements in the \
                     sorted set.",
        summary: "Returns the positions of members as geohashes of eleven characters.",
        run: Run::Shard(geohash),
        ..GEO
    },
    Spec {
        name: "geopos",
        arity: AtLeast(2),
        flags: READ,
        keys: READ_KEY,
        complexity: "O(N) where N is the number of members requested.",
        summary: "Returns the longitudes and latitudes of members.",
        run: Run::Shard(geopos),
        ..GEO
    },
    GEORADIUS,
    Spec {
        name: "georadius_ro",
        doc: Doc::not_in_redis("6.2.0", "`GEOSEARCH … BYRADIUS`"),
        variants: &[],
        flags: READ,
        keys: READ_KEY,
        since: "3.2.10",
        summary: "Returns the members within a distance of a point.",
        run: Run::Shard(search::georadius_ro),
        ..GEORADIUS
    },
    Spec {
        name: "georadiusbymember",
        doc: Doc::not_in_redis(
            "6.2.0",
            "`GEOSEARCH … FROMMEMBER … BYRADIUS`, `GEOSEARCHSTORE … FROMMEMBER … BYRADIUS`",
        ),
        arity: AtLeast(5),
        keys: &[Keys::at(RO | ACCESS, 1), behind("STORE", 5), behind("STOREDIST", 5)],
        variants: &[
            Variant {
                servers: servers::VALKEY9,
                keys: Some(&[Keys::at(RO | ACCESS, 1), either("STORE", 5), either("STOREDIST", 5)]),
                ..SAME
            },
            Variant {
                servers: servers::REDIS8_10,
                keys: Some(&[
                    Keys::at(RO | ACCESS, 1),
                    last_wins("STORE", 5, LAST_STORE),
                    last_wins("STOREDIST", 5, LAST_STOREDIST),
                ]),
                ..SAME
            },
        ],
        summary: "Returns or stores the members within a distance of a member.",
        run: Run::Shard(search::georadiusbymember),
        ..GEORADIUS
    },
    Spec {
        name: "georadiusbymember_ro",
        doc: Doc::not_in_redis("6.2.0", "`GEOSEARCH … FROMMEMBER … BYRADIUS`"),
        variants: &[],
        arity: AtLeast(5),
        flags: READ,
        keys: READ_KEY,
        since: "3.2.10",
        summary: "Returns the members within a distance of a member.",
        run: Run::Shard(search::georadiusbymember_ro),
        ..GEORADIUS
    },
    GEOSEARCH,
    Spec {
        name: "geosearchstore",
        arity: AtLeast(8),
        flags: WRITE | DENYOOM,
        keys: &[Keys::at(OW | UPDATE, 1), Keys::at(RO | ACCESS, 2)],
        summary: "Stores the members within a circle or a box.",
        run: Run::Shard(search::geosearchstore),
        ..GEOSEARCH
    },
];
const _: () = check(ROWS);

/// GEOADD key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]
fn geoadd(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (mut conditions, mut i) = (AddConditions::default(), 2);
    while i < args.len() {
        let condition = match () {
            () if args.is(i, "nx") => &mut conditions.only_new,
            () if args.is(i, "xx") => &mut conditions.only_existing,
            () if args.is(i, "ch") => &mut conditions.count_changed,
            () => break,
        };
        *condition = true;
        i += 1;
    }
    let places = args.len() - i;
    if !places.is_multiple_of(3) || places == 0 || (conditions.only_new && conditions.only_existing)
    {
        return Err(Refusal::SYNTAX);
    }
    let places = (i..args.len()).step_by(3).map(|at| {
        let point = query::coordinates(args, at)?;
        Ok((point.cell(STEP_MAX).score(), args.at(at + 2)))
    });
    let members = places.collect::<Result<Vec<(f64, &[u8])>, Refusal>>()?;
    out.count(add_members(cx, args.at(1), conditions, &members)?);
    Ok(())
}

/// Calls `each` with the position of each member named from argument 2 on.
fn each_point<'o>(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    out: &mut Sink<'o>,
    each: impl Fn(&mut Sink<'o>, Option<Point>),
) -> Outcome {
    let key = cx.key(args.at(1));
    read_at::<Zset>(cx.keyspace, key)?;
    let hasher = cx.keyspace.hasher();
    let zset = cx.keyspace.get(key).and_then(<Zset as super::collection::Collection>::of);
    out.array(args.len() - 2);
    for member in args.from(2) {
        let score = zset.and_then(|zset| zset.score(member, hasher));
        each(out, score.map(Point::of_score));
        cx.pace.step(1);
    }
    Ok(())
}

/// GEOPOS key [member ...]
fn geopos(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    each_point(cx, args, out, |out, point| match point {
        None => out.null_array(),
        Some(point) => {
            out.array(2);
            reply::coordinate(out, point.longitude);
            reply::coordinate(out, point.latitude);
        }
    })
}

/// GEOHASH key [member ...]
fn geohash(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    each_point(cx, args, out, |out, point| match point {
        None => out.null(),
        Some(point) => out.bulk(&point.geohash()),
    })
}

/// GEODIST key member1 member2 [M | KM | FT | MI]
fn geodist(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let unit = match args.len() {
        4 => 1.0,
        5 => query::unit(args, 4)?,
        _ => return Err(Refusal::SYNTAX),
    };
    let key = cx.key(args.at(1));
    read_at::<Zset>(cx.keyspace, key)?;
    let hasher = cx.keyspace.hasher();
    let zset = cx.keyspace.get(key).and_then(<Zset as super::collection::Collection>::of);
    let point = |at| zset.and_then(|zset| zset.score(args.at(at), hasher)).map(Point::of_score);
    match (point(2), point(3)) {
        (Some(one), Some(other)) => reply::distance(out, area::distance(one, other) / unit),
        _ => out.null(),
    }
    Ok(())
}
