//! Commands that wait for a key: BLPOP and its kin.
//!
//! Such a command runs as any other and, if there is nothing for it, gives back a [`Wait`] instead
//! of a reply. The shard then keeps the request and runs it again, for that one key
//! ([`super::Cx::serves`]), when a key that it waits for comes to be: those are the keys of the
//! row's first key specification. In a transaction it answers at once that there is nothing.

use super::{Args, Refusal};
use crate::keyspace::{Millis, Value};
use crate::resp::Sink;
use crate::text::number::parse_f64;

/// What a command that found nothing waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// A key that holds this.
    pub kind: WaitKind,
    /// When it has waited long enough; `None` for never.
    pub until: Option<Millis>,
    /// What it answers where it cannot wait; one whose time is over answers the null_reply array.
    pub null_reply: NullReply,
}

/// What a key must hold to be of use to who waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the type of its name")]
pub enum WaitKind {
    List,
    Zset,
}

impl WaitKind {
    /// Whether `value` is of this type.
    #[must_use]
    pub fn fits(self, value: &Value) -> bool {
        matches!((self, value), (Self::List, Value::List(_)) | (Self::Zset, Value::Zset(_)))
    }
}

/// How a command says that there is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NullReply {
    /// The null_reply byte string.
    Null,
    /// The null_reply array.
    NullArray,
}

impl NullReply {
    /// Writes it.
    pub fn write(self, out: &mut Sink<'_>) {
        match self {
            Self::Null => out.null(),
            Self::NullArray => out.null_array(),
        }
    }
}

impl Wait {
    /// A wait for argument `at`, a timeout in seconds of which 0 means for ever.
    ///
    /// # Errors
    /// The timeout is no number, or negative; as in Redis 7.0, one beyond all range counts as
    /// negative.
    pub(super) fn of(
        args: Args<'_>,
        at: usize,
        now: Millis,
        kind: WaitKind,
        null_reply: NullReply,
    ) -> Result<Self, Refusal> {
        let timeout = Refusal::of("ERR timeout is not a float or out of range");
        let millis = (parse_f64(args.at(at)).ok_or(timeout)? * 1000.0).ceil();
        if millis >= -(i64::MIN as f64) || millis <= -1.0 {
            return Err(Refusal::of("ERR timeout is negative"));
        }
        let until = match millis as Millis {
            0 => None,
            millis => now.checked_add(millis),
        };
        Ok(Self { kind, until, null_reply })
    }
}
