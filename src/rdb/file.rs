//! Reads a whole RDB file for its keys: values are skipped, the checksum is verified.
//!
//! ```text
//! REDIS0010 | FA name value | FE database | FB sizes | [FC expiry] type key value | … | FF | CRC64
//! ```
//!
//! One pass in constant memory. All value types of Redis 7.0 are known, and those that came with
//! 7.2; a module's value, or a newer type, ends the reading, since its length is unknown.

use super::{CHECKSUM, kind, lzf};
use crate::rdb::file_window::FileWindow;
use crate::text::number::write_i64;

/// Longest key, and longest compressed string that is decompressed, in bytes.
pub const KEY_LEN_MAX: u64 = 64 << 20;

/// Type bytes that only occur in files or are not written here.
mod more {
    pub(super) const MODULE_OLD: u8 = 6;
    pub(super) const MODULE: u8 = 7;
    pub(super) const HASH_ZIPMAP: u8 = 9;
    pub(super) const STREAM: u8 = 15;
    pub(super) const STREAM_2: u8 = 19;
    pub(super) const SET_LISTPACK: u8 = 20;
    pub(super) const STREAM_3: u8 = 21;
}

/// Opcodes: records that are not values.
mod opcode {
    pub(super) const SLOT_INFO: u8 = 0xF4;
    pub(super) const FUNCTION: u8 = 0xF5;
    pub(super) const IDLE: u8 = 0xF8;
    pub(super) const FREQUENCY: u8 = 0xF9;
    pub(super) const AUX: u8 = 0xFA;
    pub(super) const SIZES: u8 = 0xFB;
    pub(super) const EXPIRES_MS: u8 = 0xFC;
    pub(super) const EXPIRES_S: u8 = 0xFD;
    pub(super) const DATABASE: u8 = 0xFE;
    pub(super) const END: u8 = 0xFF;
}

/// A record of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// The keys that follow are in this database.
    Database(u64),
    /// A key.
    Key {
        /// Its name.
        key: &'a [u8],
        /// Bytes that it takes in the file, its name included.
        bytes: u64,
        /// `string`, `list`, `set`, `zset`, `hash`, `stream`.
        kind: &'static str,
    },
}

/// Why the reading ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RdbError {
    /// The offset in the file, from 0, of the first byte that could not be read.
    pub at: u64,
    /// What is wrong.
    pub why: String,
}

/// Returns whether `start` begins an RDB file.
#[must_use]
pub fn is_rdb(start: &[u8]) -> bool {
    start.starts_with(b"REDIS") && start.get(5..9).is_some_and(|v| v.iter().all(u8::is_ascii_digit))
}

/// Reads a file from its first byte to its checksum; bytes after that are ignored.
///
/// # Errors
/// The file ends early or is not of a known format. The records reported before are valid, except
/// after a wrong checksum.
pub fn read(
    window: &mut FileWindow<'_>,
    report: &mut dyn FnMut(Record<'_>),
) -> Result<(), RdbError> {
    let mut reader = Reader { window, key: Vec::new() };
    reader.file(report).map_err(|why| match why {
        Failure::Ended => {
            let why = match reader.window.failure() {
                Some(error) => format!("read error: {error}"),
                None => "the file ends here, in the middle".to_owned(),
            };
            RdbError { at: reader.window.offset(), why }
        }
        Failure::Malformed(at, why) => RdbError { at, why },
    })
}

enum Failure {
    Ended,
    Malformed(u64, String),
}

struct Reader<'f, 'r> {
    window: &'f mut FileWindow<'r>,
    key: Vec<u8>,
}

/// A length, or the mark of an encoded string.
enum Length {
    Plain(u64),
    Encoded(u8),
}

impl Reader<'_, '_> {
    fn malformed<T>(&self, why: impl Into<String>) -> Result<T, Failure> {
        Err(Failure::Malformed(self.window.offset(), why.into()))
    }

    fn file(&mut self, report: &mut dyn FnMut(Record<'_>)) -> Result<(), Failure> {
        const HEADER: usize = 9;
        self.window.begin_sum(CHECKSUM.digest());
        if !is_rdb(self.window.more(HEADER)) {
            return self.malformed("not an RDB file");
        }
        let digits = &self.window.take(HEADER)[5..];
        let version = digits.iter().fold(0_u32, |n, digit| n * 10 + u32::from(digit - b'0'));
        loop {
            let at = self.window.offset();
            match self.byte()? {
                opcode::END => break,
                opcode::DATABASE => {
                    let number = self.length()?;
                    report(Record::Database(number));
                }
                opcode::SIZES => self.lengths(2)?,
                opcode::SLOT_INFO => self.lengths(3)?,
                opcode::IDLE => self.lengths(1)?,
                opcode::FREQUENCY => self.skip(1)?,
                opcode::EXPIRES_MS => self.skip(8)?,
                opcode::EXPIRES_S => self.skip(4)?,
                opcode::AUX => self.strings(2)?,
                opcode::FUNCTION => self.strings(1)?,
                of => {
                    let Some(name) = name(of) else {
                        let why = match of {
                            more::MODULE | more::MODULE_OLD => "a module's value",
                            0..=63 => "a value of a newer version of Redis",
                            _ => "an unknown type of value",
                        };
                        return Err(Failure::Malformed(at, format!("{why} (type {of})")));
                    };
                    self.read_key()?;
                    self.value(of)?;
                    let bytes = self.window.offset() - at;
                    report(Record::Key { key: &self.key, bytes, kind: name });
                }
            }
        }
        self.checksum(version)
    }

    fn checksum(&mut self, version: u32) -> Result<(), Failure> {
        const SINCE: u32 = 5;
        let at = self.window.offset();
        let sum = self.window.end_sum();
        if version < SINCE {
            return Ok(());
        }
        let stored = u64::from_le_bytes(self.array()?);
        // Zero means that none was computed (`rdbchecksum no`).
        if stored != 0 && Some(stored) != sum {
            let why = "wrong checksum: the keys read before may be wrong, too".to_owned();
            return Err(Failure::Malformed(at, why));
        }
        Ok(())
    }

    fn value(&mut self, of: u8) -> Result<(), Failure> {
        match of {
            kind::LIST_STRINGS | kind::SET | kind::LIST_ZIPLISTS => self.many(|r| r.strings(1)),
            kind::HASH_PAIRS => self.many(|r| r.strings(2)),
            kind::ZSET_PAIRS => self.many(|r| {
                r.strings(1)?;
                r.skip(8)
            }),
            kind::ZSET_TEXTS => self.many(|r| {
                r.strings(1)?;
                match r.byte()? {
                    0xFD.. => Ok(()),
                    len => r.skip(len.into()),
                }
            }),
            kind::LIST_NODES => self.many(|r| {
                r.lengths(1)?;
                r.strings(1)
            }),
            more::STREAM | more::STREAM_2 | more::STREAM_3 => self.stream(of),
            // All others are one string.
            _ => self.strings(1),
        }
    }

    fn stream(&mut self, of: u8) -> Result<(), Failure> {
        const ID: u64 = 16;
        const TIME: u64 = 8;
        self.many(|r| r.strings(2))?;
        // Length and last id; then first id, largest deleted id, and a count.
        self.lengths(if of >= more::STREAM_2 { 3 + 5 } else { 3 })?;
        self.many(|group| {
            group.strings(1)?;
            group.lengths(if of >= more::STREAM_2 { 3 } else { 2 })?;
            group.many(|pending| {
                pending.skip(ID + TIME)?;
                pending.lengths(1)
            })?;
            group.many(|consumer| {
                consumer.strings(1)?;
                consumer.skip(if of >= more::STREAM_3 { 2 * TIME } else { TIME })?;
                consumer.many(|pending| pending.skip(ID))
            })
        })
    }

    /// Reads a length, and as many of something.
    fn many(
        &mut self,
        mut one: impl FnMut(&mut Self) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        // The claimed length is not trusted: each iteration needs bytes that exist.
        for _ in 0..self.length()? {
            one(self)?;
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, Failure> {
        self.array().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Failure> {
        let array = *self.window.more(N).first_chunk().ok_or(Failure::Ended)?;
        self.window.take(N);
        Ok(array)
    }

    fn skip(&mut self, len: u64) -> Result<(), Failure> {
        if self.window.skip(len) { Ok(()) } else { Err(Failure::Ended) }
    }

    fn any_length(&mut self) -> Result<Length, Failure> {
        Ok(Length::Plain(match self.byte()? {
            first @ 0x00..=0x3F => first.into(),
            first @ 0x40..=0x7F => u64::from(first & 0x3F) << 8 | u64::from(self.byte()?),
            0x80 => u32::from_be_bytes(self.array()?).into(),
            0x81 => u64::from_be_bytes(self.array()?),
            first @ 0xC0..=0xC3 => return Ok(Length::Encoded(first)),
            _ => return self.malformed("an invalid length"),
        }))
    }

    fn length(&mut self) -> Result<u64, Failure> {
        match self.any_length()? {
            Length::Plain(length) => Ok(length),
            Length::Encoded(_) => self.malformed("a string in place of a length"),
        }
    }

    fn lengths(&mut self, count: usize) -> Result<(), Failure> {
        (0..count).try_for_each(|_| self.length().map(drop))
    }

    /// Skips strings.
    fn strings(&mut self, count: usize) -> Result<(), Failure> {
        for _ in 0..count {
            match self.any_length()? {
                Length::Plain(len) => self.skip(len)?,
                Length::Encoded(0xC0) => self.skip(1)?,
                Length::Encoded(0xC1) => self.skip(2)?,
                Length::Encoded(0xC2) => self.skip(4)?,
                Length::Encoded(_) => {
                    let stored = self.length()?;
                    self.lengths(1)?;
                    self.skip(stored)?;
                }
            }
        }
        Ok(())
    }

    /// Reads a string into `key`.
    fn read_key(&mut self) -> Result<(), Failure> {
        self.key.clear();
        let integer = match self.any_length()? {
            Length::Plain(len) => {
                let len = self.bounded(len)?;
                let key = self.window.more(len).get(..len).ok_or(Failure::Ended)?;
                self.key.extend_from_slice(key);
                self.window.take(len);
                return Ok(());
            }
            Length::Encoded(0xC0) => i64::from(i8::from_le_bytes(self.array()?)),
            Length::Encoded(0xC1) => i64::from(i16::from_le_bytes(self.array()?)),
            Length::Encoded(0xC2) => i64::from(i32::from_le_bytes(self.array()?)),
            Length::Encoded(_) => {
                let (stored, len) = (self.length()?, self.length()?);
                let (stored, len) = (self.bounded(stored)?, self.bounded(len)?);
                let key = self.window.more(stored).get(..stored).ok_or(Failure::Ended)?;
                let Some(key) = lzf::decompress(key, len) else {
                    return self.malformed("a compressed key is malformed");
                };
                self.key = key;
                self.window.take(stored);
                return Ok(());
            }
        };
        write_i64(&mut self.key, integer);
        Ok(())
    }

    fn bounded(&self, len: u64) -> Result<usize, Failure> {
        match usize::try_from(len) {
            Ok(short) if len <= KEY_LEN_MAX => Ok(short),
            _ => self.malformed(format!("a key of {len} bytes; at most {KEY_LEN_MAX} are read")),
        }
    }
}

/// Returns the type name of a value; `None` if it is not known here.
fn name(of: u8) -> Option<&'static str> {
    Some(match of {
        kind::STRING => "string",
        kind::LIST_STRINGS | kind::LIST_ZIPLIST | kind::LIST_ZIPLISTS | kind::LIST_NODES => "list",
        kind::SET | kind::SET_INTEGERS | more::SET_LISTPACK => "set",
        kind::ZSET_TEXTS | kind::ZSET_PAIRS | kind::ZSET_ZIPLIST | kind::ZSET_LISTPACK => "zset",
        kind::HASH_PAIRS | more::HASH_ZIPMAP | kind::HASH_ZIPLIST | kind::HASH_LISTPACK => "hash",
        more::STREAM | more::STREAM_2 | more::STREAM_3 => "stream",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Found = (Vec<(u64, String, &'static str)>, Result<(), RdbError>);

    fn scan(mut bytes: &[u8]) -> Found {
        let (mut found, mut database, mut progress) = (Vec::new(), 0, |_| ());
        let mut window = FileWindow::new(&mut bytes, &mut progress);
        let outcome = read(&mut window, &mut |record| match record {
            Record::Database(number) => database = number,
            Record::Key { key, kind, .. } => {
                found.push((database, String::from_utf8_lossy(key).into_owned(), kind));
            }
        });
        (found, outcome)
    }

    /// Saved by redis-server 7.0.15, as tests/data/check/README.md describes.
    const SAVED: &[u8] = include_bytes!("../../tests/data/check/dump.rdb");

    #[test]
    fn a_file_of_the_reference_is_read() {
        let (mut found, outcome) = scan(SAVED);
        assert_eq!(outcome, Ok(()));
        found.sort();
        let long = "k".repeat(300);
        let mut expected: Vec<(u64, String, &str)> = [
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
        .map(|(db, key, kind)| (db, key.to_owned(), kind))
        .into();
        expected.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_file_that_ends_early_says_where() {
        for len in (0..SAVED.len()).step_by(101).chain(SAVED.len() - 20..SAVED.len()) {
            let (found, outcome) = scan(&SAVED[..len]);
            let error = outcome.expect_err("not whole");
            assert!(error.at <= len as u64 && found.len() <= 15, "{error:?}");
        }
    }

    #[test]
    fn a_changed_file_is_noticed() {
        let mut bytes = SAVED.to_vec();
        let at = bytes.windows(9).position(|w| w == b"elsewhere").expect("the key");
        bytes[at] = b'E';
        let (found, outcome) = scan(&bytes);
        assert_eq!(found.len(), 15);
        assert!(outcome.expect_err("changed").why.contains("checksum"));
    }

    #[test]
    fn older_and_newer_types() {
        let of =
            |kind: u8, value: &[u8]| [b"REDIS0003", &[kind][..], b"\x01k", value, b"\xff"].concat();
        for (bytes, name) in [
            (of(3, b"\x02\x01a\x011\x01b\xfe"), "zset"),
            (of(14, b"\x01\x05abcde"), "list"),
            (of(15, b"\x00\x00\x00\x00\x00"), "stream"),
        ] {
            assert_eq!(scan(&bytes), (vec![(0, "k".to_owned(), name)], Ok(())), "{bytes:?}");
        }
        for (bytes, why) in [
            (of(7, b""), "module"),
            (of(24, b""), "newer"),
            (of(200, b""), "unknown type"),
            (of(0, b"\xc9"), "invalid length"),
            (of(1, b"\xc0\x01"), "in place of a length"),
            (b"REDISxxxx".to_vec(), "not an RDB file"),
            (b"REDIS0003\x00\x81\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(), "at most"),
        ] {
            let error = scan(&bytes).1.expect_err(why);
            assert!(error.why.contains(why), "{}: {why}", error.why);
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
            let mut bytes = SAVED.to_vec();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let (_, outcome) = scan(&bytes);
            prop_assert!(outcome.is_ok() || outcome.is_err_and(|b| b.at <= bytes.len() as u64));
        }
    }
}
