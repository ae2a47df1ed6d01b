//! Errors that quote a request.

use crate::command::Refusal;

/// An error with a text that has parts of the request: RedisJSON writes the lowest byte of each
/// character.
pub(super) fn error_of(text: &str) -> Refusal {
    let byte = |char: char| match (u32::from(char) & 0xFF) as u8 {
        0 => b'?',
        byte => byte,
    };
    Refusal::new(text.chars().map(byte).collect::<Vec<u8>>())
}
