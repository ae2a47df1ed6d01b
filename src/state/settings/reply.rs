//! The error replies of CONFIG SET, written and read again.

use super::row::SetRule;
use super::rows;
use crate::resp::until_nul;
use std::borrow::Cow;

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

/// Why CONFIG SET failed; no parameter was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetError {
    /// There is no parameter of this name.
    Unknown(Vec<u8>),
    /// The parameter refuses the value.
    Refused {
        /// Its name.
        name: Vec<u8>,
        /// The reason.
        why: Cow<'static, str>,
    },
}

impl SetError {
    /// Returns the error reply of CONFIG SET, code first.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        match self {
            Self::Unknown(name) => [UNKNOWN, until_nul(name), b"'"].concat(),
            Self::Refused { name, why } => [REFUSED, &name[..], BECAUSE, why.as_bytes()].concat(),
        }
    }
}

impl std::fmt::Display for SetError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "there is no setting '{}'", name.escape_ascii()),
            Self::Refused { name, why } => write!(f, "setting '{}': {why}", name.escape_ascii()),
        }
    }
}

impl std::error::Error for SetError {}
