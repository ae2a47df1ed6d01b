//! A JSON document, as RedisJSON writes it: its text, between the marks of a module's value.
//!
//! ```text
//! 7 | id: the type's name and version, in 8 bytes | 5 | the text, a string | 0
//! ```
//!
//! Version 3 of the type, which RedisJSON has had since 2.0. It reads the text with its parser, and so the
//! nesting is limited.

use super::input::{self, Input};
use super::{FOOTER_BYTES, kind, seal};

/// `ReJSON-RL` in characters of six bits, and the version of the encoding in ten.
const ID: u64 = 0x45E2_5238_DF91_2C03;
/// Marks of a module's value: a string follows, and the end.
const STRING: usize = 5;
const END: usize = 0;
/// A length in eight bytes follows.
const LENGTH_8: u8 = 0x81;

/// Encodes the text of a document.
#[must_use]
pub(crate) fn encode_json(text: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(1 + 9 + 1 + 5 + text.len() + 1 + FOOTER_BYTES);
    payload.extend_from_slice(&[kind::MODULE, LENGTH_8]);
    payload.extend_from_slice(&ID.to_be_bytes());
    input::write_length(&mut payload, STRING);
    input::write_string(&mut payload, text);
    input::write_length(&mut payload, END);
    seal(payload)
}

/// Reads the text of a document; whether it is JSON is not known yet.
pub(super) fn read(input: &mut Input<'_>) -> Option<String> {
    let id = input.length()?;
    let mark = input.length()?;
    if id as u64 != ID || mark != STRING {
        return None;
    }
    let text = input.string()?.into_owned();
    (input.length()? == END).then_some(())?;
    String::from_utf8(text).ok()
}
