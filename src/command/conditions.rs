//! NX, XX, GT and LT of EXPIRE and HEXPIRE.

use super::Refusal;
use crate::keyspace::Millis;
use crate::resp::until_nul;

/// Conditions on the present expiry of a key, or of a field.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Conditions {
    /// NX: there is none.
    pub(super) no_expiry: bool,
    /// XX: there is one.
    pub(super) has_expiry: bool,
    /// GT: the new one is later.
    pub(super) later: bool,
    /// LT: the new one is earlier.
    pub(super) earlier: bool,
}

impl Conditions {
    /// Reads the options.
    ///
    /// # Errors
    /// One is unknown, or does not go with another.
    pub(super) fn of<'a>(options: impl Iterator<Item = &'a [u8]>) -> Result<Self, Refusal> {
        let mut conditions = Self::default();
        for option in options {
            match option {
                o if o.eq_ignore_ascii_case(b"nx") => conditions.no_expiry = true,
                o if o.eq_ignore_ascii_case(b"xx") => conditions.has_expiry = true,
                o if o.eq_ignore_ascii_case(b"gt") => conditions.later = true,
                o if o.eq_ignore_ascii_case(b"lt") => conditions.earlier = true,
                o => {
                    return Err(Refusal::new([b"ERR Unsupported option ", until_nul(o)].concat()));
                }
            }
        }
        let Self { no_expiry, has_expiry, later, earlier } = conditions;
        if no_expiry && (has_expiry || later || earlier) {
            return Err(Refusal::of(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if later && earlier {
            return Err(Refusal::of("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(conditions)
    }

    /// Whether the expiry `current` may be replaced by `new`. What has no expiry counts as what
    ///  expires after all others.
    pub(super) fn admit(self, current: Option<Millis>, new: Millis) -> bool {
        !(self.no_expiry && current.is_some()
            || self.has_expiry && current.is_none()
            || self.later && current.is_none_or(|current| new <= current)
            || self.earlier && current.is_some_and(|current| new >= current))
    }
}
