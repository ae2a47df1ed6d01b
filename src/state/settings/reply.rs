//! The error replies of CONFIG SET, written and read again.

use super::row::SetRule;
use super::rows;

/// What stands before the name of a parameter that does not exist.
pub(super) const UNKNOWN: &[u8] = b"ERR Unknown option or number of arguments for CONFIG SET - '";
/// What stands before the name of a parameter that refuses the value, and behind it.
pub(super) const REFUSED: &[u8] = b"ERR CONFIG SET failed (possibly related to argument '";
pub(super) const BECAUSE: &[u8] = b"') - ";

/// Returns the parameter, if this reply refuses what a server would do: it does not exist here, or has
/// one value only.
#[must_use]
pub(crate) fn lacking_parameter(reply: &[u8]) -> Option<&[u8]> {
    if let Some(name) = reply.strip_prefix(UNKNOWN) {
        return name.strip_suffix(b"'");
    }
    let rest = reply.strip_prefix(REFUSED)?;
    rows::all().find_map(|row| {
        let SetRule::Fixed(why) = row.set else { return None };
        let reason = rest.strip_prefix(row.name.as_bytes())?.strip_prefix(BECAUSE)?;
        (reason == why.as_bytes()).then_some(row.name.as_bytes())
    })
}
