use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Decodes a payload as Redis 7.0 does.
pub(super) fn decode_known(payload: &[u8]) -> Result<Decoded, RestoreError> {
    decode(payload, Known::Redis7)
}

/// Payloads of strings, recorded from the reference server's DUMP.
const STRINGS: &[(&[u8], &[u8])] = &[
    (b"hello", b"\x00\x05hello\n\x00cr\xdfve4 \n"),
    (b"12", b"\x00\xc0\x0c\n\x00<*\xf8Q\\\x04\xbc\xd5"),
    (b"-1", b"\x00\xc0\xff\n\x00\x0c\x93~$\x85\x08\x9d\xc5"),
    (b"-129", b"\x00\xc1\x7f\xff\n\x00\x17`\x82(T\x80\x84\x80"),
    (b"300", b"\x00\xc1,\x01\n\x00\x95Ba\xf2e\x82\\\x10"),
    (b"70000", b"\x00\xc2p\x11\x01\x00\n\x00\x01\xa4\x08\xfe\x950\x95\xa5"),
    (b"3000000000", b"\x00\n3000000000\n\x00\xe7\x07kyT\xbbyG"),
    (b"12345678901", b"\x00\x0b12345678901\n\x000NR\xd7'\x17e\x10"),
    (b"01", b"\x00\x0201\n\x00l\xdd\xc4A\x14L}\xa4"),
    (b"", b"\x00\x00\n\x00]\x9b\\@\x0f\x7f\xa2\xda"),
    (b"01234567890123456789", b"\x00\x1401234567890123456789\n\x00\xd6\x96\xa1%\xfd2\xe7L"),
];

/// A small hash in the order it was set, and its recorded payload.
const HASH: &[(&[u8], &[u8])] = &[(b"a", b"1"), (b"b", b"2000"), (b"c", b"xyz")];
const HASH_PAYLOAD: &[u8] = b"\x10\x1a\x1a\x00\x00\x00\x06\x00\x81a\x02\x01\x01\x81b\x02\xc7\xd0\
    \x02\x81c\x02\x83xyz\x04\xff\n\x00\x0b\xe3N9\xfdF\x89\xc2";

fn owned(pairs: &[(&[u8], &[u8])]) -> Decoded {
    Decoded::Hash(pairs.iter().map(|(field, value)| (field.to_vec(), value.to_vec())).collect())
}

fn encode(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    encode_hash(pairs.iter().map(|(field, value)| (&field[..], &value[..])))
}

/// Decodes a type and value with a valid footer.
fn sealed(value: &[u8]) -> Result<Decoded, RestoreError> {
    decode_known(&seal(value.to_vec()))
}

/// Returns a listpack of raw elements with a right header, as a payload.
fn packed(elements: &[&[u8]]) -> Vec<u8> {
    let body = elements.concat();
    let total = body.len() as u8 + 7;
    let mut value = vec![kind::HASH_LISTPACK, total, total, 0, 0, 0, elements.len() as u8, 0];
    value.extend_from_slice(&body);
    value.push(0xFF);
    value
}

/// Returns a ziplist of raw entries without their back links, with a right header, as a payload.
fn zipped(entries: &[&[u8]]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut last = 0;
    let mut previous = 0;
    for entry in entries {
        last = body.len();
        body.push(previous);
        body.extend_from_slice(entry);
        previous = entry.len() as u8 + 1;
    }
    let total = body.len() as u8 + 11;
    let mut value = vec![kind::HASH_ZIPLIST, 0x40, total, total, 0, 0, 0, last as u8 + 10, 0, 0, 0];
    value.extend_from_slice(&[entries.len() as u8, 0]);
    value.extend_from_slice(&body);
    value.push(0xFF);
    value
}

#[test]
fn strings_are_the_reference_servers_bytes() {
    for &(value, payload) in STRINGS {
        assert_eq!(encode_string(value), payload, "{}", value.escape_ascii());
        assert_eq!(decode_known(payload), Ok(Decoded::String(value.to_vec())));
    }
}

#[test]
fn a_small_hash_is_the_reference_servers_bytes() {
    assert_eq!(encode_hash(HASH.iter().copied()), HASH_PAYLOAD);
    assert_eq!(decode_known(HASH_PAYLOAD), Ok(owned(HASH)));
}

#[test]
fn a_compressed_string_is_unfolded() {
    // DUMP of thirty times "a".
    let payload = b"\x00\xc3\x09\x1e\x01aa\xe0\x11\x00\x01aa\n\x00Es|\xbb+d{\xbb";
    assert_eq!(decode_known(payload), Ok(Decoded::String(b"a".repeat(30))));
}

#[test]
fn a_hash_beyond_either_limit_is_written_as_pairs() {
    let long = b"x".repeat(LISTPACK_ELEMENT_BYTES_MAX + 1);
    assert_eq!(encode_hash([(&b"f"[..], &long[..64])])[0], kind::HASH_LISTPACK);
    assert_eq!(encode_hash([(&b"f"[..], &long[..])])[0], kind::HASH_PAIRS);
    assert_eq!(encode_hash([(&long[..], &b"v"[..])])[0], kind::HASH_PAIRS);
    let many = |count: usize| -> Vec<_> {
        (0..count).map(|n| (n.to_string().into_bytes(), Vec::new())).collect()
    };
    assert_eq!(encode(&many(LISTPACK_FIELDS_MAX))[0], kind::HASH_LISTPACK);
    assert_eq!(encode(&many(LISTPACK_FIELDS_MAX + 1))[0], kind::HASH_PAIRS);
}

#[test]
fn a_wrong_footer_differs_from_a_wrong_value() {
    let good = STRINGS[0].1;
    let footer = |version: u16| {
        let mut payload = good[..good.len() - FOOTER_BYTES].to_vec();
        payload.extend_from_slice(&version.to_le_bytes());
        let checksum = crc_fast::checksum(CHECKSUM, &payload);
        payload.extend_from_slice(&checksum.to_le_bytes());
        decode_known(&payload)
    };
    let hello = Ok(Decoded::String(b"hello".to_vec()));
    assert_eq!(footer(0), hello);
    assert_eq!(footer(9), hello);
    assert_eq!(footer(10), hello);
    assert_eq!(footer(11), Err(RestoreError::VersionOrChecksum));
    assert_eq!(footer(266), Err(RestoreError::VersionOrChecksum));

    for short in [&b""[..], b"garbage", b"123456789", &good[..good.len() - 1]] {
        assert_eq!(decode_known(short), Err(RestoreError::VersionOrChecksum));
    }
    let zero = [&good[..good.len() - 8], &[0; 8]].concat();
    assert_eq!(decode_known(&zero), Err(RestoreError::VersionOrChecksum));
    assert_eq!(sealed(b""), Err(RestoreError::BadFormat));
    assert_eq!(
        RestoreError::VersionOrChecksum.to_string(),
        "ERR DUMP payload version or checksum are wrong"
    );
    assert_eq!(RestoreError::BadFormat.to_string(), "ERR Bad data format");
}

/// Every spelling that the reference server was seen to restore.
#[test]
fn longer_spellings_are_read() {
    for value in [
        &b"\x00\x05hello"[..],
        b"\x00\x40\x05hello",
        b"\x00\x80\0\0\0\x05hello",
        b"\x00\x81\0\0\0\0\0\0\0\x05hello",
        b"\x00\xc3\x06\x05\x04hello",
        b"\x00\x05hello and bytes that are ignored",
    ] {
        let decoded = sealed(value);
        assert_eq!(decoded, Ok(Decoded::String(b"hello".to_vec())), "{}", value.escape_ascii());
    }
    let value = b"\x04\x01\xc0\x01\xc2\xff\xff\xff\xff";
    assert_eq!(sealed(value), Ok(owned(&[(b"1", b"-1")])));
    // In a listpack: a string with 12 and with 32 bits of length, a small number in 16 bits.
    let value =
        packed(&[b"\xe0\x01a\x03", b"\xf0\x01\0\0\0b\x06", b"\x81c\x02", b"\xf1\x02\x00\x03"]);
    assert_eq!(sealed(&value), Ok(owned(&[(b"a", b"b"), (b"c", b"2")])));
    // A count that says "too many to count".
    let mut uncounted = packed(&[b"\x81a\x02", b"\x01\x01"]);
    uncounted[6..8].copy_from_slice(&[0xFF, 0xFF]);
    assert_eq!(sealed(&uncounted), Ok(owned(&[(b"a", b"1")])));
}

#[test]
fn bad_values_are_refused() {
    let (a, b): (&[u8], &[u8]) = (b"\x81a\x02", b"\x81b\x02");
    let edited = |elements: &[&[u8]], at: usize, byte: u8| {
        let mut value = packed(elements);
        value[at] = byte;
        value
    };
    let cases: &[(&str, &[u8])] = &[
        ("an unknown type", b"\x63\x00"),
        ("a list of nothing", b"\x01\x00"),
        ("no string", b"\x00"),
        ("a string cut short", b"\x00\x06hello"),
        ("a length of nearly 2^64", b"\x00\x81\xff\xff\xff\xff\xff\xff\xff\xffhello"),
        ("a length in no known form", b"\x00\x82\0\0\0\x05hello"),
        ("a string in no known form", b"\x00\xc4hello"),
        ("an integer cut short", b"\x00\xc2\x01\x01\x01"),
        ("compressed, more claimed than made", b"\x00\xc3\x09\x1f\x01aa\xe0\x11\x00\x01aa"),
        ("compressed, less claimed than made", b"\x00\xc3\x09\x1d\x01aa\xe0\x11\x00\x01aa"),
        (
            "compressed, far more claimed",
            b"\x00\xc3\x09\x80\xff\xff\xff\xff\x01aa\xe0\x11\x00\x01aa",
        ),
        ("compressed, a copy from before the start", b"\x00\xc3\x04\x04\x00a\x20\x05"),
        ("compressed, a copy cut short", b"\x00\xc3\x03\x04\x00a\x20"),
        ("a hash of nothing", b"\x04\x00"),
        ("a hash cut short", b"\x04\x02\x01a\x01b"),
        ("a hash that claims 2^64 fields", b"\x04\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01a\x01b"),
        ("a field twice", b"\x04\x02\x01a\x01b\x01a\x01c"),
        ("a field twice, once as an integer", b"\x04\x02\xc0\x01\xc0\x02\x011\x01b"),
        ("a listpack of nothing", &packed(&[])),
        ("a listpack of one", &packed(&[a])),
        ("a field twice in a listpack", &packed(&[a, b, a, b])),
        (
            "a field twice in a listpack, once as an integer",
            &packed(&[b"\x01\x01", b, b"\x811\x02", b]),
        ),
        ("a wrong total", &edited(&[a, b], 2, 7)),
        ("a wrong count", &edited(&[a, b], 6, 4)),
        ("no end", &edited(&[a, b], 14, 0)),
        ("a wrong backward length", &packed(&[b"\x81a\x03", b])),
        ("a long backward length", &packed(&[b"\x81a\x00\x82", b])),
        ("an element in no known form", &packed(&[b"\xf5\x01", b])),
        ("an element cut short", &packed(&[a, b"\x85b\x06"])),
        ("a header alone", b"\x10\x06\x06\0\0\0\0\0"),
        ("a ziplist of nothing", &zipped(&[])),
        ("a ziplist of one", &zipped(&[b"\x01a"])),
        ("a field twice in a ziplist", &zipped(&[b"\x01a", b"\xf3", b"\x01a", b"\xf4"])),
        ("an entry in no known form", &zipped(&[b"\xc1\x01\x01", b"\xf2"])),
    ];
    for (what, value) in cases {
        assert_eq!(sealed(value), Err(RestoreError::BadFormat), "{what}");
    }
}

#[test]
fn every_form_of_a_ziplist_entry_is_read() {
    let value = zipped(&[
        b"\xf1",
        b"\xfd",
        b"\xfe\x80",
        b"\xc0\x00\x80",
        b"\xf0\x00\x00\x80",
        b"\xd0\0\0\0\x80",
        b"\xe0\0\0\0\0\0\0\0\x80",
        b"\x01a",
        b"\x40\x01b",
        b"\x80\0\0\0\x01c",
    ]);
    let hash = owned(&[
        (b"0", b"12"),
        (b"-128", b"-32768"),
        (b"-8388608", b"-2147483648"),
        (b"-9223372036854775808", b"a"),
        (b"b", b"c"),
    ]);
    assert_eq!(sealed(&value), Ok(hash));

    // Each word of the frame: total, last entry, count; then a back link.
    for at in [3, 7, 11, 14] {
        let mut wrong = value.clone();
        wrong[at] ^= 1;
        assert_eq!(sealed(&wrong), Err(RestoreError::BadFormat), "byte {at}");
    }
}

#[test]
fn a_payload_may_not_unfold_without_bound() {
    // 4 GiB claimed behind one byte: refused by the claim, whatever the bytes would make.
    let mut value = b"\x00\xc3\x01\x81".to_vec();
    value.extend_from_slice(&(1_u64 << 32).to_be_bytes());
    value.push(0);
    assert_eq!(sealed(&value), Err(RestoreError::BadFormat));
}

/// Texts around everything that the formats treat differently.
fn element() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..70),
        any::<i64>().prop_map(|value| value.to_string().into_bytes()),
        (any::<i64>(), 0_u32..64).prop_map(|(value, by)| (value >> by).to_string().into_bytes()),
        "[-+0]?[0-9]{1,20}".prop_map(String::into_bytes),
        (0_usize..20_000).prop_map(|length| vec![b'x'; length]),
    ]
}

fn pairs() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
    proptest::collection::btree_map(element(), element(), 1..12)
        .prop_map(|map| map.into_iter().collect())
}

proptest! {
    #[test]
    fn strings_come_back(value in element()) {
        prop_assert_eq!(decode_known(&encode_string(&value)), Ok(Decoded::String(value)));
    }

    #[test]
    fn hashes_come_back_in_order(pairs in pairs()) {
        prop_assert_eq!(decode_known(&encode(&pairs)), Ok(Decoded::Hash(pairs)));
    }

    /// Long elements too, where a server with other limits would write them.
    #[test]
    fn listpacks_come_back(elements in vec(element(), 0..12)) {
        let packed = listpack::encode(elements.iter().map(Vec::as_slice));
        let mut read = Vec::new();
        let whole = listpack::read(&packed, |element| {
            read.push(element.into_owned());
            Some(())
        });
        prop_assert_eq!(whole, Some(()));
        prop_assert_eq!(read, elements);
    }

    #[test]
    fn one_changed_byte_is_noticed(value in element(), at: prop::sample::Index, flip in 1_u8..) {
        let mut payload = encode_string(&value);
        let at = at.index(payload.len());
        payload[at] ^= flip;
        prop_assert_eq!(decode_known(&payload), Err(RestoreError::VersionOrChecksum));
    }

    /// A valid footer may follow any bytes. An accepted payload must be sound: its value encodes
    /// and decodes again.
    #[test]
    fn changed_values_are_refused_or_sound(
        pairs in pairs(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..3), 1..4),
        plain: bool,
    ) {
        let mut payload = if plain { encode_string(&pairs[0].0) } else { encode(&pairs) };
        payload.truncate(payload.len() - FOOTER_BYTES);
        for (at, byte, how) in changes {
            let at = at.index(payload.len());
            match how {
                0 => payload[at] = byte,
                1 => payload.insert(at, byte),
                _ if payload.len() > 1 => drop(payload.remove(at)),
                _ => {}
            }
        }
        match sealed(&payload) {
            Ok(Decoded::String(value)) => {
                prop_assert_eq!(decode_known(&encode_string(&value)), Ok(Decoded::String(value)));
            }
            Ok(Decoded::TimedHash(_)) => prop_assert!(false, "Redis 7.0 has no such hash"),
            Ok(Decoded::Hash(pairs)) => {
                prop_assert_eq!(decode_known(&encode(&pairs)), Ok(Decoded::Hash(pairs)));
            }
            Ok(Decoded::List(elements)) => {
                let again = encode_list(elements.iter(), -2);
                prop_assert_eq!(decode_known(&again), Ok(Decoded::List(elements)));
            }
            Ok(Decoded::Set(members)) => {
                let again = encode_set(members.len(), members.iter().map(Vec::as_slice));
                prop_assert_eq!(decode_known(&again), Ok(Decoded::Set(members)));
            }
            Ok(Decoded::Integers { width, members }) => {
                let again = encode_integers(width, members.len(), members.iter().copied());
                prop_assert_eq!(decode_known(&again), Ok(Decoded::Integers { width, members }));
            }
            Ok(Decoded::Zset(members)) => {
                let pairs = || members.iter().map(|(member, score)| (member.as_slice(), *score));
                let again = encode_zset(members.len(), pairs());
                prop_assert_eq!(decode_known(&again), Ok(Decoded::Zset(members.clone())));
            }
            Ok(Decoded::Stream(parts)) => {
                prop_assert!(matches!(decode_known(&encode_stream(&parts, Known::Redis7)), Ok(Decoded::Stream(_))));
            }
            Err(error) => prop_assert_eq!(error, RestoreError::BadFormat),
        }
    }

    #[test]
    fn no_bytes_panic(kind in prop::sample::select(&[0_u8, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 21][..]), rest in vec(any::<u8>(), 0..80)) {
        let _ = decode_known(&rest);
        let _ = sealed(&[&[kind], &rest[..]].concat());
        // The frame of a packed list of these bytes, so that its elements are reached.
        let total = rest.len() as u8 + 7;
        let mut framed = vec![kind::HASH_LISTPACK, 0x40, total, total, 0, 0, 0, 0xFF, 0xFF];
        framed.extend_from_slice(&rest);
        framed.push(0xFF);
        let _ = sealed(&framed);
        let total = total + 4;
        let mut framed = vec![kind::HASH_ZIPLIST, 0x40, total, total, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF];
        framed.extend_from_slice(&rest);
        framed.push(0xFF);
        let _ = sealed(&framed);
        let _ = lzf::decompress(&rest, 300);
    }
}
