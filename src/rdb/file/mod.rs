//! Reads a whole RDB file for its keys: values are passed over, the checksum is verified.
//!
//! ```text
//! REDIS0015 | FA name value | FE database | FB sizes | [FC expiry] type key value | … | FF | CRC64 | rest
//! VALKEY080
//! magic and version                                            rest: nothing, a mark, or commands
//! ```
//!
//! One pass in constant memory. All that Redis up to 8.10 and Valkey up to 9.1 write is passed over,
//! modules' values too, which say where they end: [`types`] has the types of values. A value of another
//! type ends the reading, since its length is unknown.
//!
//! The numbers are those of rdb.h of these servers; behind the magic of Valkey, those from 22 on mean
//! other types, and those up to 243 other records.

mod fields;
mod types;

use std::collections::HashMap;

use super::CHECKSUM;
use super::file_window::FileWindow;
use crc_fast::Digest;
use fields::{Failure, Fields};
use types::{Value, name_of_module};

/// Longest key, and longest compressed string that is decompressed, in bytes.
pub(crate) const KEY_LEN_MAX: u64 = 64 << 20;

/// Most templates of hashes whose numbers of fields are kept.
const TEMPLATES_MAX: usize = 1 << 20;

/// Bytes of the magic and the version together.
const HEADER_LEN: usize = 9;

/// Bytes of the mark behind a file that was streamed to a replica: hexadecimal digits.
const MARK_LEN: usize = 40;

/// Records that are not values.
mod opcode {
    /// Of Redis: the fields of hashes that are stored without them.
    pub(super) const TEMPLATE: u8 = 242;
    /// Of Redis: what modules attach to a key.
    pub(super) const KEY_META: u8 = 243;
    /// Of Valkey: slots that are being imported.
    pub(super) const SLOT_IMPORT: u8 = 243;
    pub(super) const SLOT_INFO: u8 = 244;
    pub(super) const FUNCTION: u8 = 245;
    /// Of the release candidates of Redis 7.0.
    pub(super) const FUNCTION_OLD: u8 = 246;
    pub(super) const MODULE_AUX: u8 = 247;
    pub(super) const IDLE: u8 = 248;
    pub(super) const FREQUENCY: u8 = 249;
    pub(super) const AUX: u8 = 250;
    pub(super) const SIZES: u8 = 251;
    pub(super) const EXPIRES_MS: u8 = 252;
    pub(super) const EXPIRES_S: u8 = 253;
    pub(super) const DATABASE: u8 = 254;
    pub(super) const END: u8 = 255;
    /// Opcodes come down from 255, types of values up from 0; this is far from both.
    pub(super) const FIRST: u8 = 128;
}

/// Whose file it is: the meaning of the newer types depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Redis,
    Valkey,
}

/// A record of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    /// The keys that follow are in this database.
    Database(u64),
    /// A key.
    Key {
        /// Its name.
        key: &'a [u8],
        /// Bytes that it takes in the file, its name included.
        bytes: u64,
        /// What TYPE answers: `string`, `list`, `set`, `zset`, `hash`, `stream`, `array`, or the name
        /// of a module's type, as `ReJSON-RL`.
        kind: &'a str,
    },
}

/// What follows a file that was read to its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Nothing; or the mark behind a file that was streamed to a replica, which is read, too.
    Nothing,
    /// The commands of an append-only file, whose preamble the file is.
    Commands,
}

/// Why the reading ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RdbError {
    /// The offset in the file, from 0, of the first byte that could not be read.
    pub at: u64,
    /// What is wrong.
    pub why: String,
    /// The key in whose value that is.
    pub key: Option<Vec<u8>>,
    /// If there may be more keys behind it: how many were read before.
    pub keys_before: Option<u64>,
}

/// Returns whether `start` begins an RDB file.
#[must_use]
pub(crate) fn is_rdb(start: &[u8]) -> bool {
    header(start).is_some()
}

/// The magic and the version: `REDIS0012`, `VALKEY080`.
fn header(start: &[u8]) -> Option<(Server, u32)> {
    let start = start.first_chunk::<HEADER_LEN>()?;
    let (server, digits) = match start.strip_prefix(b"REDIS") {
        Some(digits) => (Server::Redis, digits),
        None => (Server::Valkey, start.strip_prefix(b"VALKEY")?),
    };
    let version = digits.iter().fold(0_u32, |n, &digit| n * 10 + u32::from(digit & 0x0F));
    digits.iter().all(u8::is_ascii_digit).then_some((server, version))
}

/// Reads a file from its first byte to its checksum, and a mark behind it.
///
/// # Errors
/// The file ends early or is not of a known format. The records reported before are valid, except
/// after a wrong checksum.
pub(crate) fn read(
    window: &mut FileWindow<'_>,
    report: &mut dyn FnMut(Record<'_>),
) -> Result<Rest, RdbError> {
    let mut file = File {
        fields: Fields::new(window),
        templates: HashMap::new(),
        part: Part::Record("header"),
        keys: 0,
    };
    file.read(report).map_err(|failure| file.error(failure))
}

/// What is being read.
enum Part {
    /// This record or part of one.
    Record(&'static str),
    /// The value of the key in [`Fields::text`].
    Value,
    /// What is behind the last record.
    Behind,
}

struct File<'f, 'r> {
    fields: Fields<'f, 'r>,
    /// How many fields a template of hashes has, by its number.
    templates: HashMap<u64, u64>,
    part: Part,
    keys: u64,
}

impl<'f, 'r> File<'f, 'r> {
    fn read(&mut self, report: &mut dyn FnMut(Record<'_>)) -> Result<Rest, Failure> {
        self.fields.window.begin_sum(Digest::new(CHECKSUM));
        let Some((server, version)) = header(self.fields.window.more(HEADER_LEN)) else {
            return self.fields.malformed("not an RDB file");
        };
        self.fields.window.take(HEADER_LEN);
        loop {
            let at = self.part("next record").window.offset();
            match self.fields.byte()? {
                opcode::END => break,
                opcode::DATABASE => {
                    let number = self.part("number of a database").length()?;
                    report(Record::Database(number));
                }
                of @ opcode::FIRST.. => self.record(server, at, of)?,
                of => self.key(server, at, of, report)?,
            }
        }
        self.checksum(version)?;
        self.rest()
    }

    /// Passes over a record that is neither a key nor a database.
    fn record(&mut self, server: Server, at: u64, of: u8) -> Result<(), Failure> {
        match (of, server) {
            (opcode::SIZES, _) => self.part("sizes of a database").lengths(2),
            (opcode::SLOT_INFO, _) => self.part("sizes of a slot").lengths(3),
            (opcode::IDLE, _) => self.part("idle time of a key").lengths(1),
            (opcode::FREQUENCY, _) => self.part("use of a key").skip(1),
            (opcode::EXPIRES_MS, _) => self.part("expiry of a key").skip(8),
            (opcode::EXPIRES_S, _) => self.part("expiry of a key").skip(4),
            (opcode::AUX, _) => self.part("auxiliary field").strings(2),
            (opcode::FUNCTION, _) => self.part("library of functions").strings(1),
            (opcode::FUNCTION_OLD, _) => {
                let library = self.part("library of functions");
                // Name, engine, whether there is a description, that, and the code.
                library.strings(2)?;
                if library.length()? != 0 {
                    library.strings(1)?;
                }
                library.strings(1)
            }
            (opcode::MODULE_AUX, _) => {
                let data = self.part("data of a module");
                // The module, and when it wrote this: a number with its opcode.
                data.lengths(3)?;
                data.module()
            }
            (opcode::SLOT_IMPORT, Server::Valkey) => {
                let import = self.part("import of slots");
                import.strings(1)?;
                import.many(|range| range.lengths(2))
            }
            (opcode::KEY_META, Server::Redis) => {
                const CLASS_LEN: u64 = 4;
                self.part("metadata of a key").many(|class| {
                    class.skip(CLASS_LEN)?;
                    class.module()
                })
            }
            (opcode::TEMPLATE, Server::Redis) => self.template(),
            _ => Err(Failure::Malformed(at, format!("a record of unknown type {of}"))),
        }
    }

    /// What is read from here on, for the message if it cannot be.
    fn part(&mut self, name: &'static str) -> &mut Fields<'f, 'r> {
        self.part = Part::Record(name);
        &mut self.fields
    }

    fn template(&mut self) -> Result<(), Failure> {
        let template = self.part("template of hashes");
        let (number, count) = (template.length()?, template.length()?);
        template.strings(count)?;
        if self.templates.len() >= TEMPLATES_MAX {
            let why = format!("more than {TEMPLATES_MAX} templates of hashes");
            return self.fields.malformed(why);
        }
        self.templates.insert(number, count);
        Ok(())
    }

    /// Reads a key and passes over its value of type `of`.
    fn key(
        &mut self,
        server: Server,
        at: u64,
        of: u8,
        report: &mut dyn FnMut(Record<'_>),
    ) -> Result<(), Failure> {
        let Some((kind, value)) = types::of(server, of) else {
            // Its name helps, if there is one.
            if self.fields.text().is_ok() {
                self.part = Part::Value;
            }
            let why = match of {
                6 => "a module's value of a release candidate of Redis 4.0 (type 6)".to_owned(),
                _ => format!("unknown type {of}"),
            };
            return Err(Failure::Malformed(at, why + ", which cannot be passed over"));
        };
        self.part("name of a key").text()?;
        self.part = Part::Value;
        let module;
        let kind = if value == Value::Module {
            module = name_of_module(self.fields.length()?);
            str::from_utf8(&module).unwrap_or_default()
        } else {
            kind
        };
        value.pass_over(&mut self.fields, &self.templates)?;
        let bytes = self.fields.window.offset() - at;
        self.keys += 1;
        report(Record::Key { key: self.fields.text_read(), bytes, kind });
        Ok(())
    }

    fn checksum(&mut self, version: u32) -> Result<(), Failure> {
        const SINCE: u32 = 5;
        self.part = Part::Behind;
        let at = self.fields.window.offset();
        let sum = self.fields.window.end_sum();
        if version < SINCE {
            return Ok(());
        }
        let stored = u64::from_le_bytes(self.fields.array()?);
        // Zero means that none was computed (`rdbchecksum no`).
        if stored != 0 && Some(stored) != sum {
            let why = "wrong checksum: the keys read before may be wrong, too".to_owned();
            return Err(Failure::Malformed(at, why));
        }
        Ok(())
    }

    /// A mark is hexadecimal, and a command begins with `*`, an annotation with `#`.
    fn rest(&mut self) -> Result<Rest, Failure> {
        let rest = self.fields.window.more(MARK_LEN + 1);
        match rest {
            [] => Ok(Rest::Nothing),
            [b'*' | b'#', ..] => Ok(Rest::Commands),
            mark if mark.len() == MARK_LEN && mark.iter().all(u8::is_ascii_hexdigit) => {
                self.fields.window.take(MARK_LEN);
                Ok(Rest::Nothing)
            }
            _ => self.fields.malformed(
                "behind the checksum is neither a command nor the mark of a streamed file",
            ),
        }
    }

    fn error(&self, failure: Failure) -> RdbError {
        let (at, why) = match failure {
            Failure::Malformed(at, why) => (at, why),
            Failure::Ended => {
                let ended = match self.fields.window.failure() {
                    Some(error) => format!("read error: {error}"),
                    None => "the file ends here".to_owned(),
                };
                let why = match self.part {
                    Part::Record(name) => format!("{ended}, in the {name}"),
                    Part::Value => ended,
                    Part::Behind => format!("{ended}, in the checksum"),
                };
                (self.fields.window.offset(), why)
            }
        };
        let key = matches!(self.part, Part::Value).then(|| self.fields.text_read().to_vec());
        let keys_before = (!matches!(self.part, Part::Behind)).then_some(self.keys);
        RdbError { at, why, key, keys_before }
    }
}

#[cfg(test)]
mod tests;
