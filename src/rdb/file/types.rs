//! The types of values, by the byte before a key: what TYPE calls them, and how they are laid out.

use std::collections::HashMap;

use super::Server;
use super::fields::{Failure, Fields};

/// How a value is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// One string: often a whole list, set, sorted set or hash in it.
    String,
    /// Many strings.
    Strings,
    /// Many pairs of strings.
    Pairs,
    /// Many members, each with its score as a short text.
    TextScores,
    /// Many members, each with its score in 8 bytes.
    Scores,
    /// Many nodes of a list: their encoding, and a string.
    Nodes,
    /// A stream, in the version of its layout from 1.
    Stream(u8),
    /// The number of a module's type, and what the module wrote.
    Module,
    /// [`Value::TtlPairs`] behind the earliest expiry, as [`Value::String`] may be.
    Earliest(&'static Value),
    /// Many fields, each with its expiry as a number before it.
    TtlPairs,
    /// Many fields, each with its expiry in 8 bytes behind it.
    PairsTtl,
    /// A number.
    Number,
    /// Indexes, each with a number, a float or a string.
    Array,
    /// The number of a template, and a value for each of its fields.
    TemplateValues,
}

/// Returns the name of a type and how its values are laid out; `None` if it is not known here.
///
/// The name of a module's type is in the value.
pub(super) fn of(server: Server, of: u8) -> Option<(&'static str, Value)> {
    Some(match of {
        0 => ("string", Value::String),
        1 | 14 => ("list", Value::Strings),
        10 => ("list", Value::String),
        18 => ("list", Value::Nodes),
        2 => ("set", Value::Strings),
        11 | 20 => ("set", Value::String),
        3 => ("zset", Value::TextScores),
        5 => ("zset", Value::Scores),
        12 | 17 => ("zset", Value::String),
        4 => ("hash", Value::Pairs),
        9 | 13 | 16 => ("hash", Value::String),
        7 => ("module", Value::Module),
        15 => ("stream", Value::Stream(1)),
        19 => ("stream", Value::Stream(2)),
        21 => ("stream", Value::Stream(3)),
        _ => return newer(server, of),
    })
}

/// Since Redis 7.2 the two servers give out numbers of their own.
fn newer(server: Server, of: u8) -> Option<(&'static str, Value)> {
    Some(match (server, of) {
        // Release candidates of Redis 7.4.
        (Server::Redis, 22) => ("hash", Value::TtlPairs),
        (Server::Redis, 23) => ("hash", Value::String),
        (Server::Redis, 24) => ("hash", Value::Earliest(&Value::TtlPairs)),
        (Server::Redis, 25) => ("hash", Value::Earliest(&Value::String)),
        (Server::Redis, 26) => ("stream", Value::Stream(4)),
        (Server::Redis, 27) => ("stream", Value::Stream(5)),
        (Server::Redis, 28) => ("array", Value::Array),
        // 29 and 31 are of DUMP alone.
        (Server::Redis, 30) => ("hash", Value::String),
        (Server::Redis, 32) => ("hash", Value::TemplateValues),
        (Server::Redis, 33) => ("gcra", Value::Number),
        (Server::Valkey, 22) => ("hash", Value::PairsTtl),
        _ => return None,
    })
}

impl Value {
    /// Passes over a value; of [`Value::Module`], what is behind the number. `templates` has the number
    /// of fields of each template of hashes.
    pub(super) fn pass_over(
        self,
        fields: &mut Fields<'_, '_>,
        templates: &HashMap<u64, u64>,
    ) -> Result<(), Failure> {
        const TIME: u64 = 8;
        match self {
            Self::String => fields.strings(1),
            Self::Strings => fields.many(|one| one.strings(1)),
            Self::Pairs => fields.many(|pair| pair.strings(2)),
            Self::TextScores => fields.many(|member| {
                member.strings(1)?;
                match member.byte()? {
                    // NaN and the infinities.
                    0xFD.. => Ok(()),
                    len => member.skip(len.into()),
                }
            }),
            Self::Scores => fields.many(|member| {
                member.strings(1)?;
                member.skip(8)
            }),
            Self::Nodes => fields.many(|node| {
                node.lengths(1)?;
                node.strings(1)
            }),
            Self::Stream(version) => stream(fields, version),
            Self::Module => fields.module(),
            Self::Earliest(value) => {
                fields.skip(TIME)?;
                value.pass_over(fields, templates)
            }
            Self::TtlPairs => fields.many(|field| {
                field.lengths(1)?;
                field.strings(2)
            }),
            Self::PairsTtl => fields.many(|field| {
                field.strings(2)?;
                field.skip(TIME)
            }),
            Self::Number => fields.lengths(1),
            Self::Array => array(fields),
            Self::TemplateValues => {
                let number = fields.length()?;
                match templates.get(&number) {
                    Some(&count) => fields.strings(count),
                    None => fields.malformed(format!("an unknown template of hashes, {number}")),
                }
            }
        }
    }
}

fn stream(fields: &mut Fields<'_, '_>, version: u8) -> Result<(), Failure> {
    const ID: u64 = 16;
    const TIME: u64 = 8;
    fields.many(|node| node.strings(2))?;
    // Length and last id; then first id, largest deleted id, and a count.
    fields.lengths(if version >= 2 { 3 + 5 } else { 3 })?;
    fields.many(|group| {
        group.strings(1)?;
        group.lengths(if version >= 2 { 3 } else { 2 })?;
        group.many(|pending| {
            pending.skip(ID + TIME)?;
            pending.lengths(1)
        })?;
        group.many(|consumer| {
            consumer.strings(1)?;
            consumer.skip(if version >= 3 { 2 * TIME } else { TIME })?;
            consumer.many(|pending| pending.skip(ID))
        })?;
        // Entries that a consumer gave back.
        if version >= 5 { group.many(|given_back| given_back.skip(ID)) } else { Ok(()) }
    })?;
    if version < 4 {
        return Ok(());
    }
    // What producers sent lately, so that sending it again adds nothing.
    fields.lengths(2)?;
    fields.many(|producer| {
        producer.strings(1)?;
        producer.many(|sent| {
            sent.strings(1)?;
            sent.lengths(2)
        })
    })?;
    fields.lengths(2)
}

fn array(fields: &mut Fields<'_, '_>) -> Result<(), Failure> {
    let count = fields.length()?;
    // Whether the place of the next insertion follows.
    if fields.length()? != 0 {
        fields.lengths(1)?;
    }
    for _ in 0..count {
        fields.lengths(1)?;
        match fields.length()? {
            0 | 3 => fields.strings(1)?,
            1 | 2 => fields.skip(8)?,
            other => {
                return fields.malformed(format!("an array's element of unknown type {other}"));
            }
        }
    }
    Ok(())
}

/// Characters of the name of a module's type.
const MODULE_NAME_LEN: usize = 9;

/// Returns the name in the number of a module's type: nine characters of 6 bits each, above the 10
/// bits of a version.
pub(super) fn name_of_module(number: u64) -> [u8; MODULE_NAME_LEN] {
    const CHARACTERS: &[u8; 64] =
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    std::array::from_fn(|at| CHARACTERS[(number >> (58 - 6 * at) & 0x3F) as usize])
}
