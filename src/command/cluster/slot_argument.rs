//! A slot as an argument of CLUSTER.

use crate::command::Refusal;
use crate::slot::Slot;
use crate::text::number::parse_i64;

/// Parses a slot.
///
/// # Errors
/// It is no number from 0 to 16383.
pub(super) fn slot(text: &[u8]) -> Result<Slot, Refusal> {
    let number = parse_i64(text).and_then(|number| u16::try_from(number).ok());
    number.and_then(Slot::new).ok_or(Refusal::of("ERR Invalid or out of range slot"))
}
