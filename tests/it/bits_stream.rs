//! Random commands on bitmaps, HyperLogLogs and places, sent to the reference and to Slotway, with
//! every pair of replies compared to the last byte, and the bytes of every key from time to time.
//!
//! One seed makes one stream: `SLOTWAY_SEED` repeats a run, `SLOTWAY_BITS_COMMANDS` sets its length.
//! Each family has a stream of its own, over a few keys of one slot.

use fastrand::Rng;

use crate::env::{say, setting};
use crate::references;
use crate::server_process::ServerProcess;
use crate::wire::{Answer, Client, Reply, text};

/// The seed of a run that names none.
const SEED: u64 = 0xB1_75_3A;
/// The default number of commands: some seconds in a debug build.
const COMMANDS: usize = 8_000;
/// All keys are compared after this many commands.
const AUDIT_EVERY: usize = 500;
/// One in so many commands runs while its first key is watched.
const WATCHED: u32 = 8;
/// One in so many commands has a wrong argument.
const SPOILT: u32 = 20;
/// The commands before a difference that are shown.
const SHOWN: usize = 12;

/// Draws a command. Its first key is argument 1, or 2 of BITOP.
type Draw = fn(&mut Rng) -> Vec<Vec<u8>>;

#[test]
fn bitmaps_get_the_same_replies() {
    compare("bitmaps", &[], bitmap);
}

#[test]
fn hyperloglogs_get_the_same_replies() {
    compare("hyperloglogs", &[], hyperloglog);
}

/// Promoted early, so that both forms are merged with each other.
#[test]
fn small_hyperloglogs_get_the_same_replies() {
    compare("small_hyperloglogs", &["CONFIG", "SET", "hll-sparse-max-bytes", "120"], hyperloglog);
}

#[test]
fn places_get_the_same_replies() {
    compare("places", &[], geo);
}

/// In sorted sets that are not small, many of them at the same place.
#[test]
fn many_places_get_the_same_replies() {
    compare("many_places", &[], crowded);
}

fn compare(name: &str, first: &[&str], draw: Draw) {
    let number = |name: &str| setting(name).map(|n| n.parse::<u64>().expect(name));
    let seed = number("SLOTWAY_SEED").unwrap_or(SEED);
    let length = number("SLOTWAY_BITS_COMMANDS").map_or(COMMANDS, |n| n as usize);
    let Some(oracle) = references::lease(&[]) else { return };
    let ours = ServerProcess::start(&[]);
    let open = |address| Client::connect(address).expect("both servers accept connections");
    // One pair speaks RESP3; the last watches.
    let mut pairs = [(); 3].map(|()| [open(oracle.address), open(ours.address)]);
    pairs[0].iter_mut().for_each(|client| drop(client.call(&["FLUSHALL"])));
    pairs[1].iter_mut().for_each(|client| drop(client.call(&["HELLO", "3"])));
    if !first.is_empty() {
        pairs[0].iter_mut().for_each(|client| drop(client.ask(first)));
    }
    let mut rng = Rng::with_seed(seed);
    let mut history: Vec<String> = Vec::new();
    let (mut errors, mut aborted, mut writes) = (0, 0, 0);
    for step in 0..length {
        let mut command = draw(&mut rng);
        if rng.u32(..SPOILT) == 0 {
            spoil(&mut rng, &mut command);
        }
        history.push(command.iter().map(|arg| format!("{:?} ", text(arg))).collect());
        let watched = (rng.u32(..WATCHED) == 0 && command.len() > 2).then(|| {
            let at = 1 + usize::from(command[0].eq_ignore_ascii_case(b"bitop"));
            command[at].clone()
        });
        let fail = |what: &str, theirs: &Answer, ours: &Answer| -> ! {
            let shown = &history[history.len().saturating_sub(SHOWN)..];
            panic!(
                "seed {seed}, step {step}, {what}:\n{}\nreference {theirs:?}\nours      {ours:?}\n\
                 Repeat: SLOTWAY_SEED={seed} SLOTWAY_BITS_COMMANDS={} cargo test --test it \
                 bits_stream::{name}",
                shown.join("\n"),
                step + 1
            )
        };
        let mut both = |which: usize, argv: &[Vec<u8>], what: &str| {
            let [theirs, ours] = pairs[which].each_mut().map(|client| client.call(argv));
            if theirs != ours || !matches!(theirs, Answer::Reply(_)) {
                fail(what, &theirs, &ours);
            }
            theirs
        };
        if let Some(key) = &watched {
            both(2, &[b"WATCH".to_vec(), key.clone()], "WATCH");
        }
        let answer = both(usize::from(rng.u32(..4) == 0), &command, "the reply");
        errors += usize::from(matches!(answer, Answer::Reply(Reply::Error(_))));
        if watched.is_some() {
            both(2, &[b"MULTI".to_vec()], "MULTI");
            both(2, &[b"PING".to_vec()], "PING");
            let ran = both(2, &[b"EXEC".to_vec()], "whether a WATCH was tripped");
            aborted += usize::from(ran == Answer::Reply(Reply::NullArray));
            writes += 1;
        }
        if step % AUDIT_EVERY == AUDIT_EVERY - 1 || step + 1 == length {
            audit(&mut both);
        }
    }
    if !first.is_empty() {
        let usual = ["CONFIG", "SET", "hll-sparse-max-bytes", "3000"];
        pairs[0].iter_mut().for_each(|client| drop(client.ask(&usual)));
    }
    say(&format!("seed {seed}: {length} commands, {errors} errors, {aborted} of {writes} aborted"));
    let is_dull = errors * 2 > length || aborted == 0 || aborted == writes;
    assert!(length < COMMANDS || !is_dull, "the stream is dull");
}

/// Compares the type, the encoding, the bytes and the expiry of every key.
fn audit(both: &mut impl FnMut(usize, &[Vec<u8>], &str) -> Answer) {
    for number in 0..KEYS {
        for kind in ["s", "h", "g"] {
            let key = format!("{{t}}{kind}{number}").into_bytes();
            let words = |words: &[&str]| -> Vec<Vec<u8>> {
                words.iter().map(|word| word.as_bytes().to_vec()).chain([key.clone()]).collect()
            };
            let kind = both(0, &words(&["TYPE"]), "its type");
            both(0, &words(&["OBJECT", "ENCODING"]), "its encoding");
            match kind {
                Answer::Reply(Reply::Simple(kind)) if kind == b"string" => {
                    both(0, &words(&["GET"]), "its bytes");
                }
                Answer::Reply(Reply::Simple(kind)) if kind == b"zset" => {
                    let all =
                        [words(&["ZRANGE"]), vec![b"0".into(), b"-1".into(), b"WITHSCORES".into()]];
                    both(0, &all.concat(), "its members");
                }
                _ => {}
            }
            both(0, &words(&["TTL"]), "its expiry");
        }
    }
}

/// Makes one argument too many, too few, or wrong.
fn spoil(rng: &mut Rng, command: &mut Vec<Vec<u8>>) {
    const BAD: &[&str] = &[
        "",
        "0",
        "-1",
        "abc",
        "1.5",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "0x10",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "#1",
        "u64",
        "i64",
        "BIT",
        "ANY",
        "COUNT",
        "STORE",
        "{t}l0",
        "{t}x\u{e9}",
    ];
    let bad = BAD[rng.usize(..BAD.len())].as_bytes().to_vec();
    match rng.u32(..3) {
        0 => command.push(bad),
        1 if command.len() > 2 => drop(command.pop()),
        _ if command.len() > 1 => {
            let at = rng.usize(1..command.len());
            command[at] = bad;
        }
        _ => {}
    }
}

const KEYS: u32 = 5;

/// A few keys; each kind of commands has its own, and now and then takes another's.
fn key(rng: &mut Rng, kind: &str) -> String {
    let kind = if rng.u32(..60) == 0 { ["s", "h", "g", "l"][rng.usize(..4)] } else { kind };
    format!("{{t}}{kind}{}", rng.u32(..KEYS))
}

fn words(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').filter(|word| !word.is_empty()).map(|word| word.as_bytes().to_vec()).collect()
}

fn pick<'w>(rng: &mut Rng, words: &[&'w str]) -> &'w str {
    words[rng.usize(..words.len())]
}

// ── bitmaps ───────────────────────────────────────────────────────────────────────────────────────

/// Mostly near the beginning, and at the edges of bytes.
fn bit(rng: &mut Rng) -> u64 {
    match rng.u32(..20) {
        0 => rng.u64(..20_000),
        1..4 => 8 * rng.u64(..40) + [0, 7][rng.usize(..2)],
        _ => rng.u64(..200),
    }
}

/// A position from the beginning or the end.
fn index(rng: &mut Rng, most: i64) -> i64 {
    match rng.u32(..40) {
        0 => [i64::MIN, i64::MAX, i64::MIN + 1][rng.usize(..3)],
        1..4 => rng.i64(-10 * most..10 * most),
        _ => rng.i64(-most..most),
    }
}

fn range(rng: &mut Rng) -> String {
    let unit = pick(rng, &["", "", "BYTE", "BIT", "bit"]);
    let most = if unit.eq_ignore_ascii_case("bit") { 250 } else { 30 };
    format!("{} {} {unit}", index(rng, most), index(rng, most))
}

fn form(rng: &mut Rng) -> String {
    match rng.u32(..8) {
        0 => pick(rng, &["u63", "i64", "i63", "u1", "i1", "u32", "i32"]).to_owned(),
        1..5 => pick(rng, &["u8", "i8", "u16", "i5"]).to_owned(),
        _ => format!("{}{}", pick(rng, &["u", "i"]), rng.u32(1..64)),
    }
}

fn number(rng: &mut Rng) -> i64 {
    match rng.u32(..10) {
        0 => [i64::MIN, i64::MAX, i64::MIN + 1, -1, 1 << 62][rng.usize(..5)],
        1 => rng.i64(..),
        2..5 => rng.i64(-70_000..70_000),
        _ => rng.i64(-300..300),
    }
}

fn fields(rng: &mut Rng, only_get: bool) -> String {
    let mut line = String::new();
    for _ in 0..rng.u32(1..5) {
        let form = form(rng);
        let hash = pick(rng, &["", "", "#"]);
        let offset = if hash.is_empty() { bit(rng) } else { rng.u64(..20) };
        let kind = if only_get { 0 } else { rng.u32(..8) };
        line += &match kind {
            0..2 => format!(" GET {form} {hash}{offset}"),
            2..4 => format!(" SET {form} {hash}{offset} {}", number(rng)),
            4..7 => format!(" INCRBY {form} {hash}{offset} {}", number(rng)),
            _ => format!(" OVERFLOW {}", pick(rng, &["WRAP", "SAT", "FAIL", "sat", "fail"])),
        };
    }
    line
}

fn bitmap(rng: &mut Rng) -> Vec<Vec<u8>> {
    let key = key(rng, "s");
    match rng.u32(..100) {
        0..18 => words(&format!("SETBIT {key} {} {}", bit(rng), rng.u32(..2))),
        18..26 => words(&format!("GETBIT {key} {}", bit(rng))),
        26..30 => words(&format!("BITCOUNT {key}")),
        30..42 => words(&format!("BITCOUNT {key} {}", range(rng))),
        42..46 => words(&format!("BITPOS {key} {}", rng.u32(..2))),
        46..49 => words(&format!("BITPOS {key} {} {}", rng.u32(..2), index(rng, 30))),
        49..60 => words(&format!("BITPOS {key} {} {}", rng.u32(..2), range(rng))),
        60..72 => {
            let operation = pick(rng, &["AND", "OR", "XOR", "NOT", "and", "Not"]);
            let sources = if operation.eq_ignore_ascii_case("not") { 1 } else { rng.u32(1..5) };
            let sources: String =
                (0..sources).map(|_| format!(" {}", self::key(rng, "s"))).collect();
            words(&format!("BITOP {operation} {key}{sources}"))
        }
        72..88 => words(&format!("BITFIELD {key}{}", fields(rng, false))),
        88..92 => words(&format!("BITFIELD_RO {key}{}", fields(rng, true))),
        92..94 => {
            let bytes = (0..rng.usize(..60)).map(|_| [0, 0xFF, rng.u8(..)][rng.usize(..3)]);
            vec![b"SET".to_vec(), key.into_bytes(), bytes.collect()]
        }
        94 => words(&format!("SET {key} {}", number(rng))),
        95 => words(&format!("SETRANGE {key} {} abc", rng.u32(..50))),
        96 => words(&format!("EXPIRE {key} 1000000")),
        97 => words(&format!("STRLEN {key}")),
        98 => words(&format!("RPUSH {{t}}l{} x", rng.u32(..KEYS))),
        _ => words(&format!("DEL {key}")),
    }
}

// ── HyperLogLogs ──────────────────────────────────────────────────────────────────────────────────

fn element(rng: &mut Rng) -> Vec<u8> {
    match rng.u32(..10) {
        0 => (0..rng.usize(..30)).map(|_| rng.u8(..)).collect(),
        1..4 => rng.u32(..50).to_string().into_bytes(),
        _ => rng.u32(..1_000_000).to_string().into_bytes(),
    }
}

/// Some bytes of a HyperLogLog, changed at random: mostly corrupt. Their last byte is none that needs
/// another one behind it, for the reference would take that from memory that is not the string's.
fn hostile(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80".to_vec();
    match rng.u32(..4) {
        0 => bytes.extend([0x7F, 0xFF]),
        // A valid one with a few runs.
        1 => bytes.extend([0x40, 0x63, 0x88, 0x7F, 0x9A]),
        2 => bytes.extend([0x40 | 0x1F, 0xFF, 0x80, 0x83, 0x84, 0x8B, 0x40 | 0x1F, 0xF3]),
        _ => bytes.extend((0..rng.usize(..40)).map(|_| rng.u8(..))),
    }
    if rng.u32(..3) == 0 {
        let at = rng.usize(..bytes.len());
        bytes[at] = rng.u8(..);
    }
    if let Some(last @ 0x40..0x80) = bytes.last_mut() {
        *last |= 0x80;
    }
    bytes
}

fn hyperloglog(rng: &mut Rng) -> Vec<Vec<u8>> {
    let key = key(rng, "h");
    let some = |rng: &mut Rng, most: u32| -> String {
        (0..rng.u32(..most)).map(|_| format!(" {}", self::key(rng, "h"))).collect()
    };
    match rng.u32(..100) {
        0..50 => {
            let many = if rng.u32(..20) == 0 { 400 } else { 6 };
            let elements = (0..rng.usize(..many)).map(|_| element(rng));
            let elements: Vec<_> = elements.collect();
            [words(&format!("PFADD {key}")), elements].concat()
        }
        50..64 => words(&format!("PFCOUNT {key}")),
        64..72 => words(&format!("PFCOUNT {key}{}", some(rng, 4))),
        72..82 => words(&format!("PFMERGE {key}{}", some(rng, 4))),
        82..85 => words(&format!("PFDEBUG {} {key}", pick(rng, &["ENCODING", "encoding", "x"]))),
        85 => words(&format!("PFDEBUG DECODE {key}")),
        86 if rng.bool() => words(&format!("PFDEBUG TODENSE {key}")),
        86 => words(&format!("PFDEBUG GETREG {key}")),
        87..90 => vec![b"SET".to_vec(), key.into_bytes(), hostile(rng)],
        90..92 => {
            // Within the header.
            let at = rng.u32(..16).to_string().into_bytes();
            vec![b"SETRANGE".to_vec(), key.into_bytes(), at, vec![rng.u8(..)]]
        }
        92 => words(&format!("SET {key} {}", number(rng))),
        93 => words(&format!("COPY {key} {} REPLACE", self::key(rng, "h"))),
        94 => words(&format!("EXPIRE {key} 1000000")),
        95 => words(&format!("RPUSH {{t}}l{} x", rng.u32(..KEYS))),
        96..98 => words(&format!("GET {key}")),
        _ => words(&format!("DEL {key}")),
    }
}

// ── places ────────────────────────────────────────────────────────────────────────────────────────

/// Near a few places, anywhere, at the poles and at the date line.
fn place(rng: &mut Rng) -> String {
    const PLACES: &[(f64, f64)] = &[
        (13.361389, 38.115556),
        (15.087269, 37.502669),
        (-0.1276, 51.5072),
        (0.0, 0.0),
        (180.0, 85.05112878),
        (-180.0, -85.05112878),
        (179.999, 10.0),
        (-179.999, -10.0),
        (45.0, 84.9),
        (-90.0, 66.5),
    ];
    let (longitude, latitude) = match rng.u32(..10) {
        0..2 => (rng.f64() * 360.0 - 180.0, rng.f64() * 170.0 - 85.0),
        // On the lines between cells.
        2 => (f64::from(rng.i32(-4..=4)) * 45.0, f64::from(rng.i32(-3..=3)) * 21.25),
        3..6 => PLACES[rng.usize(..PLACES.len())],
        _ => {
            let (longitude, latitude) = PLACES[rng.usize(..PLACES.len())];
            let spread = [0.0001, 0.01, 1.0, 20.0][rng.usize(..4)];
            let mut near = |degrees: f64| degrees + (rng.f64() - 0.5) * spread;
            (near(longitude), near(latitude))
        }
    };
    let limit = if rng.u32(..40) == 0 { 1000.0 } else { 85.05112878 };
    format!("{} {}", longitude.clamp(-180.0, 180.0), latitude.clamp(-limit, limit))
}

fn distance(rng: &mut Rng) -> String {
    let metres = match rng.u32(..8) {
        0 => 0.0,
        1 => rng.f64() * 30_000_000.0,
        2 => rng.f64() * 3_000_000.0,
        3 => [1e-5, 1e30, 5e6, 1e7, 2e7, 20_015_086.0][rng.usize(..6)],
        _ => rng.f64() * [10.0, 2000.0, 300_000.0][rng.usize(..3)],
    };
    if rng.bool() { format!("{}", metres.round()) } else { format!("{metres}") }
}

fn unit(rng: &mut Rng) -> &'static str {
    pick(rng, &["m", "m", "km", "KM", "ft", "mi"])
}

fn names(rng: &mut Rng, most: usize) -> String {
    (0..rng.usize(1..most)).map(|_| format!(" {}", name(rng))).collect()
}

fn name(rng: &mut Rng) -> String {
    if rng.bool() { rng.u32(..60).to_string() } else { format!("m{}", rng.u32(..60)) }
}

fn options(rng: &mut Rng, may_show: bool) -> String {
    let mut line = String::new();
    for option in ["WITHDIST", "WITHCOORD", "withhash"] {
        if may_show && rng.u32(..4) == 0 {
            line = format!("{line} {option}");
        }
    }
    match rng.u32(..6) {
        0 => line += &format!(" COUNT {}", rng.u32(..12)),
        1 => line += &format!(" COUNT {} ANY", rng.u32(1..12)),
        2 => line += &format!(" count {}", rng.u32(1..80)),
        _ => {}
    }
    line + " " + pick(rng, &["", "", "ASC", "DESC", "asc"])
}

fn area(rng: &mut Rng) -> String {
    let from = match rng.u32(..3) {
        0 => format!("FROMMEMBER {}", name(rng)),
        _ => format!("FROMLONLAT {}", place(rng)),
    };
    let by = match rng.bool() {
        true => format!("BYRADIUS {} {}", distance(rng), unit(rng)),
        false => format!("BYBOX {} {} {}", distance(rng), distance(rng), unit(rng)),
    };
    if rng.u32(..4) == 0 { format!("{by} {from}") } else { format!("{from} {by}") }
}

fn geo(rng: &mut Rng) -> Vec<Vec<u8>> {
    let key = key(rng, "g");
    match rng.u32(..100) {
        0..30 => {
            let flags = pick(rng, &["", "", "", "NX", "XX", "CH", "XX CH", "nx ch"]);
            let places = (0..rng.u32(1..5)).map(|_| format!(" {} {}", place(rng), name(rng)));
            let places: String = places.collect();
            words(&format!("GEOADD {key} {flags}{places}"))
        }
        30..36 => words(&format!("GEOPOS {key}{}", names(rng, 5))),
        36..40 => words(&format!("GEOHASH {key}{}", names(rng, 5))),
        40..46 => {
            let unit = pick(rng, &["", "m", "km", "ft", "mi", "x"]);
            words(&format!("GEODIST {key} {} {} {unit}", name(rng), name(rng)))
        }
        46..66 => words(&format!("GEOSEARCH {key} {}{}", area(rng), options(rng, true))),
        66..74 => {
            let (area, options) = (area(rng), options(rng, false));
            let dist = pick(rng, &["", "", "STOREDIST"]);
            words(&format!("GEOSEARCHSTORE {} {key} {area}{options} {dist}", self::key(rng, "g")))
        }
        74..90 => {
            let store = match rng.u32(..5) {
                0 => format!("{} {}", pick(rng, &["STORE", "STOREDIST"]), self::key(rng, "g")),
                _ => String::new(),
            };
            let options = options(rng, store.is_empty());
            let (distance, unit) = (distance(rng), unit(rng));
            match rng.u32(..4) {
                0 => words(&format!(
                    "GEORADIUS {key} {} {distance} {unit}{options} {store}",
                    place(rng)
                )),
                1 => {
                    words(&format!("GEORADIUS_RO {key} {} {distance} {unit}{options}", place(rng)))
                }
                2 => words(&format!(
                    "GEORADIUSBYMEMBER {key} {} {distance} {unit}{options} {store}",
                    name(rng)
                )),
                _ => words(&format!(
                    "GEORADIUSBYMEMBER_RO {key} {} {distance} {unit}{options}",
                    name(rng)
                )),
            }
        }
        90 => {
            let score = pick(
                rng,
                &["0", "-1", "inf", "-inf", "1e300", "4503599627370496", "1.5", "9e18", "2e19"],
            );
            words(&format!("ZADD {key} {score} {}", name(rng)))
        }
        91 => words(&format!("ZREM {key}{}", names(rng, 9))),
        92 => words(&format!("ZSCORE {key} {}", name(rng))),
        93 => words(&format!("EXPIRE {key} 1000000")),
        94 => words(&format!("RPUSH {{t}}l{} x", rng.u32(..KEYS))),
        95 => words(&format!("COPY {key} {} REPLACE", self::key(rng, "g"))),
        96 => words(&format!("ZCARD {key}")),
        _ => words(&format!("DEL {key}")),
    }
}

/// Few keys that grow, and searches that find much of them.
fn crowded(rng: &mut Rng) -> Vec<Vec<u8>> {
    let key = format!("{{t}}g{}", rng.u32(..2));
    let corner = |rng: &mut Rng| format!("{} {}", rng.u32(..12) * 3, rng.u32(..6) * 3);
    match rng.u32(..100) {
        0..40 => {
            let places =
                (0..rng.u32(1..40)).map(|_| format!(" {} {}", corner(rng), rng.u32(..900)));
            let places: String = places.collect();
            words(&format!("GEOADD {key}{places}"))
        }
        40..80 => {
            let (from, km) = (corner(rng), rng.u32(..4000));
            words(&format!(
                "GEOSEARCH {key} FROMLONLAT {from} BYRADIUS {km} km{}",
                options(rng, true)
            ))
        }
        80..90 => {
            let (from, km, other) = (corner(rng), rng.u32(..4000), rng.u32(..4000));
            words(&format!(
                "GEOSEARCH {key} FROMLONLAT {from} BYBOX {km} {other} km{}",
                options(rng, true)
            ))
        }
        90..98 => {
            let (from, km) = (corner(rng), rng.u32(..4000));
            let dist = pick(rng, &["", "STOREDIST"]);
            let options = options(rng, false);
            words(&format!(
                "GEOSEARCHSTORE {{t}}g{} {key} FROMLONLAT {from} BYRADIUS {km} km{options} {dist}",
                rng.u32(2..KEYS)
            ))
        }
        98 => words("GEOADD {t}s0 1 1 x"),
        _ => words(&format!("GEOPOS {key} {}", rng.u32(..900))),
    }
}
