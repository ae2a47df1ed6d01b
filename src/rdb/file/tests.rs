use super::*;
use proptest::prelude::*;

/// Keys with their databases and kinds, and what comes after them.
type Found = (Vec<(u64, String, String)>, Result<Rest, RdbError>);

fn scan(mut bytes: &[u8]) -> Found {
    let (mut found, mut database, mut progress) = (Vec::new(), 0, |_| ());
    let mut window = FileWindow::new(&mut bytes, &mut progress);
    let outcome = read(&mut window, &mut |record| match record {
        Record::Database(number) => database = number,
        Record::Key { key, kind, .. } => {
            found.push((database, String::from_utf8_lossy(key).into_owned(), kind.to_owned()));
        }
    });
    (found, outcome)
}

/// Saved by redis-server 7.0.15, as tests/data/check/README.md describes.
const SAVED: &[u8] = include_bytes!("../../../tests/data/check/dump.rdb");

/// A file without a checksum, as it was before version 5, of Redis or of Valkey.
fn file(server: Server, records: &[&[u8]]) -> Vec<u8> {
    match server {
        Server::Redis => [b"REDIS0003", &*records.concat(), b"\xFF"].concat(),
        Server::Valkey => [b"VALKEY003", &*records.concat(), b"\xFF"].concat(),
    }
}

/// The number of a module's type of this name, in version 1, as a length of 64 bits.
fn module_id(name: &str) -> Vec<u8> {
    const CHARACTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let place = |c| CHARACTERS.find(c).expect("a character of a module's name") as u64;
    let number = name.chars().fold(0, |number, c| number << 6 | place(c)) << 10 | 1;
    [&[0x81][..], &number.to_be_bytes()].concat()
}

/// What a module writes: a number, a negative one, a float, a double, a text, a compressed one, the end.
const MODULE: &[u8] = b"\x02\x07\x01\x81\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x03ffff\x04dddddddd\
    \x05\x03abc\x05\xC3\x04\x05\x00a\x40\x00\x00";
const ID: &[u8] = b"millisec0equence";
const TIME: &[u8] = b"\x01\x02\x03\x04\x05\x06\x07\x08";

/// A node, the counts of version 2 and later, and a group with an entry that a consumer has.
fn stream(group_ends: &[u8]) -> Vec<u8> {
    let counts = [b"\x01\x10", ID, b"\x03lp1\x02\x05\x00\x01\x00\x00\x00\x02"].concat();
    let pending = [b"\x01", ID, TIME, b"\x02"].concat();
    let consumer = [b"\x01\x01c", TIME, TIME, b"\x01", ID].concat();
    [&counts, b"\x01\x05group\x05\x01\x02".as_slice(), &pending, &consumer, group_ends].concat()
}

/// Values of the types that came since Redis 7.2: by server and type, with what TYPE calls them.
fn newer() -> Vec<(Server, u8, Vec<u8>, &'static str)> {
    use Server::{Redis, Valkey};
    let idempotent = b"\x40\x64\x40\x64\x01\x01p\x01\x02id\x05\x01\x07\x00".as_slice();
    let module = |name| [&*module_id(name), MODULE].concat();
    vec![
        (Redis, 7, module("ReJSON-RL"), "ReJSON-RL"),
        (Valkey, 7, module("bloomfltr"), "bloomfltr"),
        (Redis, 21, stream(b""), "stream"),
        (
            Redis,
            22,
            b"\x02\x00\x01f\x01v\x81\x00\x00\x01\x8B\x00\x00\x00\x00\x01g\x01w".to_vec(),
            "hash",
        ),
        (Redis, 23, b"\x04lpex".to_vec(), "hash"),
        (Redis, 24, [TIME, b"\x02\x00\x01f\x01v\x01\x01g\xC0\x05"].concat(), "hash"),
        (Redis, 25, [TIME, b"\x04lpex"].concat(), "hash"),
        (Redis, 26, [&*stream(b""), idempotent].concat(), "stream"),
        (Redis, 27, [&*stream(&[b"\x01", ID].concat()), idempotent].concat(), "stream"),
        (
            Redis,
            28,
            [b"\x04\x01\x05\x00\x00\x01a\x01\x01", TIME, b"\x02\x02", TIME, b"\x03\x03\xC0\x05"]
                .concat(),
            "array",
        ),
        (Redis, 28, b"\x00\x00".to_vec(), "array"),
        (Redis, 30, b"\x04lpid".to_vec(), "hash"),
        (Redis, 32, b"\x07\x01a\x02bb".to_vec(), "hash"),
        (Redis, 33, b"\x81\x00\x00\x01\x8B\x00\x00\x00\x00".to_vec(), "gcra"),
        (Valkey, 22, [b"\x02\x01f\x01v", TIME, b"\x01g\xC0\x05", TIME].concat(), "hash"),
    ]
}

/// Records that are neither keys nor databases.
fn records() -> Vec<(Server, Vec<u8>)> {
    use Server::{Redis, Valkey};
    let aux = [b"\xF7", &*module_id("scdtype00"), b"\x02\x01", MODULE].concat();
    let mut all = vec![
        (Redis, b"\xF2\x07\x02\x01a\x01b".to_vec()),
        (Redis, [b"\xF3\x02spec", MODULE, b"spec", MODULE].concat()),
        (Valkey, b"\xF3\x03job\x02\x00\x05\x40\x64\x40\x65".to_vec()),
    ];
    for server in [Redis, Valkey] {
        for record in [
            b"\xF4\x05\x01\x00".as_slice(),
            b"\xF5\x04code",
            b"\xF6\x04name\x03LUA\x01\x04text\x04code",
            b"\xF6\x04name\x03LUA\x00\x04code",
            &aux,
            b"\xF8\x40\x64",
            b"\xF9\xFF",
            b"\xFA\x09slot-info\x055,1,0",
            b"\xFB\x05\x01",
            b"\xFC\x01\x02\x03\x04\x05\x06\x07\x08",
            b"\xFD\x01\x02\x03\x04",
        ] {
            all.push((server, record.to_vec()));
        }
    }
    all
}

/// Every record and every newer value of a server in one file, with how many keys.
fn whole(server: Server) -> (Vec<u8>, usize) {
    let mut all = Vec::new();
    for (_, record) in records().iter().filter(|(of, _)| *of == server) {
        all.push(record.clone());
    }
    all.push(b"\xFE\x03".to_vec());
    let values: Vec<_> = newer().into_iter().filter(|(of, ..)| *of == server).collect();
    for (_, kind, value, _) in &values {
        all.push([&[*kind], &b"\x03key"[..], value].concat());
    }
    let all: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
    (file(server, &all), values.len())
}

#[test]
fn a_file_of_the_reference_is_read() {
    let (mut found, outcome) = scan(SAVED);
    assert_eq!(outcome, Ok(Rest::Nothing));
    found.sort();
    let long = "k".repeat(300);
    let mut expected: Vec<(u64, String, String)> = [
        (0, "12345", "string"),
        (0, "hash:large", "hash"),
        (0, "hash:small", "hash"),
        (0, "list:large", "list"),
        (0, "list:small", "list"),
        (0, "set:integers", "set"),
        (0, "set:large", "set"),
        (0, "stream", "stream"),
        (0, "string:compressed", "string"),
        (0, "string:expires", "string"),
        (0, "string:integer", "string"),
        (0, "zset:large", "zset"),
        (0, "zset:small", "zset"),
        (0, &long, "string"),
        (3, "elsewhere", "string"),
    ]
    .map(|(db, key, kind)| (db, key.to_owned(), kind.to_owned()))
    .into();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn older_types_are_passed_over() {
    for (of, value, name) in [
        (3, b"\x02\x01a\x011\x01b\xfe".as_slice(), "zset"),
        (14, b"\x01\x05abcde", "list"),
        (15, b"\x00\x00\x00\x00\x00", "stream"),
    ] {
        let bytes = file(Server::Redis, &[&[of], b"\x01k", value]);
        let found = vec![(0, "k".to_owned(), name.to_owned())];
        assert_eq!(scan(&bytes), (found, Ok(Rest::Nothing)), "{name}");
    }
}

#[test]
fn newer_types_are_passed_over() {
    let template = b"\xF2\x07\x02\x01a\x01b";
    for (server, of, value, name) in newer() {
        // The key behind it shows that it was passed over exactly.
        let before: &[u8] = if server == Server::Redis { template } else { b"" };
        let bytes = file(server, &[before, &[of], b"\x01k", &value, b"\x00\x04next\x01v"]);
        let found = [("k", name), ("next", "string")];
        let found = found.map(|(key, kind)| (0, key.to_owned(), kind.to_owned())).to_vec();
        assert_eq!(scan(&bytes), (found, Ok(Rest::Nothing)), "{server:?}, type {of}");
    }
}

#[test]
fn records_are_passed_over_before_and_behind_keys() {
    for (server, record) in records() {
        let bytes = file(server, &[&record, b"\x00\x01k\x01v", &record]);
        let found = vec![(0, "k".to_owned(), "string".to_owned())];
        assert_eq!(scan(&bytes), (found, Ok(Rest::Nothing)), "{server:?}: {record:?}");
    }
}

#[test]
fn a_module_type_has_the_name_that_it_was_given() {
    for name in ["ReJSON-RL", "MBbloom--", "TSDB-TYPE", "vectorset", "A________"] {
        let id = module_id(name).split_off(1).try_into().expect("8 bytes");
        assert_eq!(name_of_module(u64::from_be_bytes(id)), name.as_bytes());
    }
}

#[test]
fn what_cannot_be_passed_over_names_the_key() {
    let cases: [(Server, u8, &[u8], &str); 8] = [
        (Server::Redis, 6, b"", "a module's value of a release candidate"),
        (Server::Redis, 40, b"", "unknown type 40"),
        (Server::Redis, 29, b"\x00", "unknown type 29"),
        (Server::Valkey, 24, TIME, "unknown type 24"),
        (Server::Redis, 7, b"\x01\x06", "a module's field of unknown type 6"),
        (Server::Redis, 28, b"\x01\x00\x01\x04", "an array's element of unknown type 4"),
        (Server::Redis, 32, b"\x09\x01a", "an unknown template of hashes, 9"),
        (Server::Redis, 0, b"\xC9", "an invalid length"),
    ];
    for (server, of, value, why) in cases {
        let bytes = file(server, &[b"\x00\x05first\x01v", &[of], b"\x01k", value]);
        let (found, outcome) = scan(&bytes);
        let error = outcome.expect_err(why);
        assert!(error.why.contains(why), "{}: {why}", error.why);
        assert_eq!((found.len(), error.key.as_deref()), (1, Some(&b"k"[..])), "{why}");
        assert_eq!(error.keys_before, Some(1), "{why}");
    }
}

#[test]
fn what_is_no_record_says_so() {
    let long = b"\x00\x81\xff\xff\xff\xff\xff\xff\xff\xff";
    for (bytes, why, keys_before) in [
        (b"REDISxxxx".to_vec(), "not an RDB file", Some(0)),
        (b"VALKEY08".to_vec(), "not an RDB file", Some(0)),
        (file(Server::Redis, &[b"\xC8"]), "a record of unknown type 200", Some(0)),
        (file(Server::Redis, &[b"\x50"]), "unknown type 80, which cannot be", Some(0)),
        // Without the template, 242 is a record of Redis alone.
        (
            file(Server::Valkey, &[b"\xF2\x07\x02\x01a\x01b"]),
            "a record of unknown type 242",
            Some(0),
        ),
        (file(Server::Redis, &[b"\x00\xC9"]), "an invalid length", Some(0)),
        (file(Server::Redis, &[long]), "at most", Some(0)),
        (file(Server::Redis, &[b"\xFE\xC0\x01"]), "in place of a length", Some(0)),
        (file(Server::Redis, &[b"\x00\xC3\x02\x09\xE0\xE0"]), "malformed compressed", Some(0)),
        ([&file(Server::Redis, &[]), &b"behind"[..]].concat(), "neither a command", None),
    ] {
        let error = scan(&bytes).1.expect_err(why);
        assert!(error.why.contains(why), "{}: {why}", error.why);
        assert_eq!((error.key, error.keys_before), (None, keys_before), "{why}");
    }
}

#[test]
fn a_file_is_followed_by_nothing_a_mark_or_commands() {
    let mark = b"0123456789abcdef0123456789abcdef01234567";
    let behind = |rest: &[u8]| scan(&[SAVED, rest].concat()).1.map_err(|error| error.why);
    let wrong = || Err("behind the checksum is neither a command nor the mark of a streamed file");
    for (rest, expected) in [
        (&b""[..], Ok(Rest::Nothing)),
        (mark, Ok(Rest::Nothing)),
        (b"*1\r\n$4\r\nPING\r\n", Ok(Rest::Commands)),
        (b"#TS:1628217470\r\n", Ok(Rest::Commands)),
        // As long as the mark.
        (b"*2\r\n$3\r\nGET\r\n$19\r\n0123456789abcdef012\r\n", Ok(Rest::Commands)),
        (&mark[..39], wrong()),
        (b"0123456789abcdef0123456789abcdef012345670", wrong()),
        (b"0123456789abcdef0123456789abcdef0123456g", wrong()),
        (b"0123456789abcdef0123456789abcdef01234567*1\r\n", wrong()),
    ] {
        assert_eq!(behind(rest), expected.map_err(str::to_owned), "{:?}", rest.escape_ascii());
    }
}

#[test]
fn a_file_that_ends_early_says_where() {
    let (redis, redis_keys) = whole(Server::Redis);
    let (valkey, valkey_keys) = whole(Server::Valkey);
    for (bytes, keys) in [(&redis[..], redis_keys), (&valkey, valkey_keys), (SAVED, 15)] {
        assert_eq!((scan(bytes).0.len(), scan(bytes).1), (keys, Ok(Rest::Nothing)));
        for len in
            (0..bytes.len()).filter(|len| len % 101 == 0 || *len < 2000 || bytes.len() - len < 20)
        {
            let (found, outcome) = scan(&bytes[..len]);
            let error = outcome.expect_err("not whole");
            assert!(error.at <= len as u64, "{error:?}");
            let in_checksum = error.why == "the file ends here, in the checksum";
            assert_eq!(
                error.keys_before,
                (!in_checksum).then_some(found.len() as u64),
                "{error:?}"
            );
            let in_value = error.why == "the file ends here";
            assert_eq!(error.key.is_some(), in_value, "{error:?}");
            assert!(
                len < 9
                    || error.key.is_some()
                    || error.why.starts_with("the file ends here, in the "),
                "{error:?}"
            );
        }
    }
}

#[test]
fn a_claimed_length_costs_nothing() {
    let huge = b"\x81\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF";
    for of in (0..=33).filter(|&of| types::of(Server::Redis, of).is_some()) {
        for before in [&b""[..], b"\x00", b"\x00\x00", TIME, b"\x01"] {
            let bytes = [&b"REDIS0012"[..], &[of], b"\x01k", before, huge].concat();
            let error = scan(&bytes).1.expect_err("the file ends");
            assert!(error.at <= bytes.len() as u64, "type {of}: {error:?}");
        }
    }
}

#[test]
fn a_changed_file_is_noticed() {
    let mut bytes = SAVED.to_vec();
    let at = bytes.windows(9).position(|w| w == b"elsewhere").expect("the key");
    bytes[at] = b'E';
    let (found, outcome) = scan(&bytes);
    assert_eq!(found.len(), 15);
    let error = outcome.expect_err("changed");
    assert!(error.why.contains("checksum") && error.keys_before.is_none(), "{error:?}");
}

proptest! {
    #[test]
    fn nothing_panics(
        of in 0..3_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        len in any::<prop::sample::Index>(),
    ) {
        let mut bytes = match of {
            0 => SAVED.to_vec(),
            1 => whole(Server::Redis).0,
            _ => whole(Server::Valkey).0,
        };
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len().min(len.index(2 * bytes.len())));
        let (found, outcome) = scan(&bytes);
        if let Err(error) = outcome {
            prop_assert!(error.at <= bytes.len() as u64, "{:?}", error);
            prop_assert!(error.keys_before.is_none_or(|keys| keys == found.len() as u64), "{:?}", error);
        }
    }
}
