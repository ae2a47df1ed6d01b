//! The payload of DUMP and RESTORE: one value as bytes, in the format of Redis 7.0.
//!
//! ```text
//! type | value                                                  | version | checksum
//! 1    | by type                                                | 2, LE   | 8, LE: CRC64 of all before
//!
//! 0      string                                                             read, written
//! 4      length, then field and value, each a string                        read, written
//! 16     a string holding a listpack of field, value, field, ...            read, written
//! 13     the same in a ziplist, the listpack's forerunner                   read
//! 1, 10, 14, 18  a list: see list.rs                                     read, 18 written
//! 2, 11  a set: see set.rs                                                  read, written
//! 3, 12  a sorted set: see zset.rs                                          read
//! 5, 17  a sorted set                                                       read, written
//! 20     a set: see set.rs; of Redis 7.2 and Valkey                         read
//! 22, 24, 25     a hash with fields that expire: see timed_hash.rs          read, written
//! 15, 19, 21     a stream: see stream.rs; 21 of Redis 7.2 and Valkey        read, 19 or 21 written
//! 7      a module's value: see json.rs                                      read, written
//! ```
//!
//! Redis restores what is written here, and the other way round. The bytes are equal too, unless
//! Redis compresses: strings (listpacks are strings) of more than 20 bytes that LZF makes shorter
//! are written uncompressed here, which every version reads.
//!
//! A payload comes from a client and is validated to the last byte, as the reference server does
//! under `sanitize-dump-payload yes`: a valid checksum proves nothing. The remaining differences
//! all refuse more: a string that runs into the footer, compressed data with a claimed length of 0,
//! an integer's mark where a length belongs, and the zipmap (type 9, before Redis 2.6). Bytes
//! between the value and the footer are ignored, as there.
//!
//! Memory is allocated for bytes that exist, never for a length that a payload claims.

mod lzf;
mod input;
pub(crate) mod listpack;
pub(crate) mod listpack_cursor;
mod ziplist;
mod list;
mod set;
mod zset;
mod stream;
mod timed_hash;
#[cfg(feature = "json")]
mod json;
pub(crate) mod file_window;
pub(crate) mod file;

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use crc_fast::CrcAlgorithm;

pub(crate) use crate::dialect::Payloads as Known;
use crate::text::number;
use input::Input;
#[cfg(feature = "json")]
pub(crate) use json::encode_json;
pub(crate) use list::{Elements, encode_list};
pub(crate) use set::{encode_integers, encode_set};
pub(crate) use stream::{
    ConsumerParts, ENTRY_DELETED, ENTRY_SAME_FIELDS, GroupParts, PendingParts, StreamParts,
    encode_stream,
};
pub(crate) use timed_hash::TimedPair;
pub(crate) use zset::{encode_packed_zset, encode_zset};

/// The format version of Redis 7.0, the one that is written.
const VERSION: u16 = 10;
/// Those of Redis 7.2, of Redis 7.4 and 8.2, and of Valkey 9.
const VERSION_REDIS72: u16 = 11;
const VERSION_REDIS8: u16 = 12;
/// That of Redis 8.10.
const VERSION_REDIS8_10: u16 = 15;
const VERSION_VALKEY: u16 = 80;

/// Bytes of the footer: the version and the checksum.
const FOOTER_BYTES: usize = 2 + 8;

/// Hashes of more fields than this are written as pairs (`hash-max-listpack-entries`).
const LISTPACK_FIELDS_MAX: usize = 512;

/// Hashes with a longer field or value than this are written as pairs (`hash-max-listpack-value`).
const LISTPACK_ELEMENT_BYTES_MAX: usize = 64;

/// The first byte of a payload: type and encoding of the value.
mod kind {
    pub(super) const STRING: u8 = 0;
    pub(super) const LIST_STRINGS: u8 = 1;
    pub(super) const SET: u8 = 2;
    pub(super) const HASH_PAIRS: u8 = 4;
    #[cfg(feature = "json")]
    pub(super) const MODULE: u8 = 7;
    pub(super) const SET_INTEGERS: u8 = 11;
    pub(super) const ZSET_TEXTS: u8 = 3;
    pub(super) const ZSET_PAIRS: u8 = 5;
    pub(super) const ZSET_ZIPLIST: u8 = 12;
    pub(super) const ZSET_LISTPACK: u8 = 17;
    pub(super) const HASH_ZIPLIST: u8 = 13;
    pub(super) const HASH_LISTPACK: u8 = 16;
    pub(super) const LIST_ZIPLIST: u8 = 10;
    pub(super) const LIST_ZIPLISTS: u8 = 14;
    pub(super) const LIST_NODES: u8 = 18;
    pub(super) const STREAM_1: u8 = 15;
    pub(super) const STREAM_2: u8 = 19;
    pub(super) const SET_LISTPACK: u8 = 20;
    pub(super) const STREAM_3: u8 = 21;
}

const CHECKSUM: CrcAlgorithm = CrcAlgorithm::Crc64Redis;

/// A value read from a payload.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Decoded {
    /// A string, of any bytes.
    String(Vec<u8>),
    /// The elements of a list: at least one.
    List(Elements),
    /// The fields and values of a hash in their stored order: at least one pair, no field twice.
    Hash(Vec<(Vec<u8>, Vec<u8>)>),
    /// The same of a hash of which fields expire, each with its end in milliseconds since the epoch.
    TimedHash(Vec<(Vec<u8>, Vec<u8>, Option<i64>)>),
    /// The members of a set: at least one, none twice.
    Set(Vec<Vec<u8>>),
    /// The members of a set of integers: at least one, ascending, each in `width` bytes (2, 4, 8).
    Integers { width: usize, members: Vec<i64> },
    /// The members of a sorted set with their scores, in any order: at least one, none twice, no
    /// score NaN.
    Zset(Vec<(Vec<u8>, f64)>),
    /// A stream; it may be empty.
    Stream(Box<StreamParts>),
}

/// Why a payload is refused. Nothing was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RestoreError {
    /// The footer is missing, from a newer version, or does not fit the bytes.
    VersionOrChecksum,
    /// The footer is valid, but the bytes before it are not a known value.
    BadFormat,
}

impl fmt::Display for RestoreError {
    /// Returns the reply of RESTORE, without the leading `-`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::VersionOrChecksum => "ERR DUMP payload version or checksum are wrong",
            Self::BadFormat => "ERR Bad data format",
        })
    }
}

impl std::error::Error for RestoreError {}

/// Encodes a string.
#[must_use]
pub(crate) fn encode_string(value: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(1 + 5 + value.len() + FOOTER_BYTES);
    payload.push(kind::STRING);
    input::write_string(&mut payload, value);
    seal(payload)
}

/// Encodes a hash, given its fields and values in the order to be kept. The fields must differ and
/// there must be at least one; otherwise [`decode`] refuses the payload.
#[must_use]
pub(crate) fn encode_hash<'a>(pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Vec<u8> {
    let pairs: Vec<_> = pairs.into_iter().collect();
    let elements = || pairs.iter().flat_map(|&(field, value)| [field, value]);
    let mut payload = Vec::new();
    let small = pairs.len() <= LISTPACK_FIELDS_MAX
        && elements().all(|element| element.len() <= LISTPACK_ELEMENT_BYTES_MAX);
    if small {
        payload.push(kind::HASH_LISTPACK);
        input::write_string(&mut payload, &listpack::encode(elements()));
    } else {
        payload.push(kind::HASH_PAIRS);
        input::write_length(&mut payload, pairs.len());
        for element in elements() {
            input::write_string(&mut payload, element);
        }
    }
    seal(payload)
}

/// Encodes a hash of which fields expire, for the servers that can.
#[must_use]
pub(crate) fn encode_timed_hash(pairs: Vec<TimedPair<'_>>, known: Known) -> Vec<u8> {
    let is_packed = pairs.len() <= LISTPACK_FIELDS_MAX
        && pairs
            .iter()
            .all(|(field, value, _)| field.len().max(value.len()) <= LISTPACK_ELEMENT_BYTES_MAX);
    seal_as(timed_hash::encode(pairs, known, is_packed), known.version())
}

/// Gives a payload the version of these servers.
#[must_use]
pub(crate) fn stamp(mut payload: Vec<u8>, known: Known) -> Vec<u8> {
    if known != Known::Redis7 {
        payload.truncate(payload.len().saturating_sub(FOOTER_BYTES));
        payload = seal_as(payload, known.version());
    }
    payload
}

/// What begins the text of a library of functions.
const LIBRARY: u8 = 245;

/// Encodes the texts of libraries of functions.
#[must_use]
pub(crate) fn encode_libraries<'a>(codes: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut payload = Vec::new();
    for code in codes {
        payload.push(LIBRARY);
        input::write_string(&mut payload, code);
    }
    seal(payload)
}

/// Decodes the texts of libraries of functions from an untrusted source.
///
/// # Errors
/// See [`RestoreError`].
pub(crate) fn decode_libraries(payload: &[u8]) -> Result<Vec<Vec<u8>>, RestoreError> {
    let value = unseal(payload, Known::Redis7).ok_or(RestoreError::VersionOrChecksum)?;
    let (mut input, mut codes) = (Input::new(value), Vec::new());
    while !input.is_empty() {
        match (input.byte(), input.string()) {
            (Some(LIBRARY), Some(code)) => codes.push(code.into_owned()),
            _ => return Err(RestoreError::BadFormat),
        }
    }
    Ok(codes)
}

/// Appends the footer.
pub(crate) fn seal(payload: Vec<u8>) -> Vec<u8> {
    seal_as(payload, VERSION)
}

fn seal_as(mut payload: Vec<u8>, version: u16) -> Vec<u8> {
    payload.extend_from_slice(&version.to_le_bytes());
    let checksum = crc_fast::checksum(CHECKSUM, &payload);
    payload.extend_from_slice(&checksum.to_le_bytes());
    payload
}

impl Known {
    /// The version that is written.
    fn version(self) -> u16 {
        match self {
            Self::Redis7 => VERSION,
            Self::Redis8 => VERSION_REDIS8,
            Self::Redis8_10 => VERSION_REDIS8_10,
            Self::Valkey9 => VERSION_VALKEY,
        }
    }

    fn has(self, version: u16) -> bool {
        match self {
            Self::Redis7 => version <= VERSION,
            Self::Redis8 => version <= VERSION_REDIS8,
            Self::Redis8_10 => version <= VERSION_REDIS8_10,
            Self::Valkey9 => matches!(version, 0..=VERSION_REDIS72 | VERSION_VALKEY),
        }
    }
}

/// Decodes a payload from an untrusted source.
///
/// # Errors
/// See [`RestoreError`].
pub(crate) fn decode(payload: &[u8], known: Known) -> Result<Decoded, RestoreError> {
    let value = unseal(payload, known).ok_or(RestoreError::VersionOrChecksum)?;
    decode_value(value, known).ok_or(RestoreError::BadFormat)
}

/// Decodes the payload of a JSON document from an untrusted source, also of Redis 7.4 (Redis Stack);
/// `None` if it is not one.
#[cfg(feature = "json")]
#[must_use]
pub(crate) fn decode_json(payload: &[u8]) -> Option<String> {
    let (checked, checksum) = payload.split_last_chunk()?;
    let (value, version) = checked.split_last_chunk()?;
    let is_intact = u64::from_le_bytes(*checksum) == crc_fast::checksum(CHECKSUM, checked);
    let is_known = u16::from_le_bytes(*version) <= VERSION_REDIS8;
    if !is_intact || !is_known {
        return None;
    }
    let mut input = Input::new(value);
    (input.byte()? == kind::MODULE).then_some(())?;
    json::read(&mut input)
}

/// Checks the footer and returns the bytes before it.
fn unseal(payload: &[u8], known: Known) -> Option<&[u8]> {
    let (checked, checksum) = payload.split_last_chunk()?;
    let (value, version) = checked.split_last_chunk()?;
    let intact = u64::from_le_bytes(*checksum) == crc_fast::checksum(CHECKSUM, checked);
    (known.has(u16::from_le_bytes(*version)) && intact).then_some(value)
}

/// Reads the type and the value.
fn decode_value(value: &[u8], known: Known) -> Option<Decoded> {
    let mut input = Input::new(value);
    match input.byte()? {
        kind @ timed_hash::kind::VALKEY if known == Known::Valkey9 => {
            timed_hash::read(&mut input, kind)
        }
        kind @ (timed_hash::kind::PLAIN | timed_hash::kind::LISTPACK)
            if matches!(known, Known::Redis8 | Known::Redis8_10) =>
        {
            timed_hash::read(&mut input, kind)
        }
        kind::STREAM_3 if known != Known::Redis7 => stream::read(&mut input, 3),
        kind::SET_LISTPACK if known != Known::Redis7 => set::packed(&input.string()?),
        kind::STRING => Some(Decoded::String(input.string()?.into_owned())),
        kind::SET => set::plain(&mut input),
        kind::SET_INTEGERS => set::integers(&input.string()?),
        kind::ZSET_PAIRS => zset::pairs(&mut input),
        kind::ZSET_TEXTS => zset::texts(&mut input),
        kind::ZSET_LISTPACK => {
            zset::packed(&input.string()?, |packed, take| listpack::read(packed, take))
        }
        kind::ZSET_ZIPLIST => {
            zset::packed(&input.string()?, |packed, take| ziplist::read(packed, take))
        }
        kind::LIST_STRINGS => list::strings(&mut input),
        kind::LIST_ZIPLIST => list::zipped(&mut input),
        kind::LIST_ZIPLISTS => list::zipped_nodes(&mut input),
        kind::LIST_NODES => list::nodes(&mut input),
        kind::STREAM_1 => stream::read(&mut input, 1),
        kind::STREAM_2 => stream::read(&mut input, 2),
        kind::HASH_PAIRS => {
            let mut hash = HashBuilder::default();
            for _ in 0..input.length()? {
                hash.push(input.string()?)?;
                hash.push(input.string()?)?;
            }
            hash.finish()
        }
        kind::HASH_LISTPACK => {
            let packed = input.string()?;
            let mut hash = HashBuilder::default();
            listpack::read(&packed, |element| hash.push(element))?;
            hash.finish()
        }
        kind::HASH_ZIPLIST => {
            let packed = input.string()?;
            let mut hash = HashBuilder::default();
            ziplist::read(&packed, |element| hash.push(element))?;
            hash.finish()
        }
        _ => None,
    }
}

/// A hash that is built element by element: field, value, field, value.
///
/// A repeated field is noticed at once, not at the end, so a payload of many copies of the shortest
/// pair, two bytes each, cannot make this large.
#[derive(Default)]
struct HashBuilder<'a> {
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The fields of `pairs`, and `field`.
    fields: HashSet<Cow<'a, [u8]>>,
    /// A field whose value is next.
    field: Option<Vec<u8>>,
}

impl<'a> HashBuilder<'a> {
    /// Adds the next element; `None` when it is a repeated field.
    fn push(&mut self, element: Cow<'a, [u8]>) -> Option<()> {
        match self.field.take() {
            Some(field) => self.pairs.push((field, element.into_owned())),
            None => {
                self.field = Some(element.to_vec());
                if !self.fields.insert(element) {
                    return None;
                }
            }
        }
        Some(())
    }

    /// Returns the hash; `None` when it is empty or its last field has no value.
    fn finish(self) -> Option<Decoded> {
        let whole = self.field.is_none() && !self.pairs.is_empty();
        whole.then_some(Decoded::Hash(self.pairs))
    }
}

/// Returns the text of an element that is stored as an integer.
fn integer_text<'a>(value: i64) -> Cow<'a, [u8]> {
    let mut text = Vec::new();
    number::write_i64(&mut text, value);
    Cow::Owned(text)
}

#[cfg(test)]
mod tests;
