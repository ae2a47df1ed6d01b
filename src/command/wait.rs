//! Blocking commands: BLPOP, BLMOVE, BZPOPMIN and others.
//!
//! Such a command runs like any other. If its keys hold nothing for it, it returns a [`Wait`]
//! instead of writing a reply. The shard then keeps the request and runs it again, for one key only
//! ([`super::Cx::may_take_from`]), when one of the keys that it waits for is filled: those of the
//! row's first key specification. In a transaction it does not block but replies with null.
//!
//! What a request means may depend on when it blocks: `$` of XREAD is the last id at that moment. The
//! request that is kept has such arguments replaced ([`Wait::resolved`]).

use super::{Args, Refusal};
use crate::keyspace::{Millis, Value};
use crate::resp::{Sink, Span};
use crate::text::number::{parse_f64, parse_i64};

/// What a blocked command waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The type that one of its keys has to hold.
    pub kind: WaitKind,
    /// When it times out; `None` for never.
    pub until: Option<Millis>,
    /// The reply where it may not block. (A command that times out replies with the null array.)
    pub null_reply: NullReply,
    /// The request to keep, if it is not the one that was sent.
    pub resolved: Option<Box<ResolvedRequest>>,
}

/// A request with some arguments replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvedRequest {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl ResolvedRequest {
    /// Adds an argument behind the others.
    pub fn push(&mut self, argument: &[u8]) {
        self.spans.push(Span::new(self.bytes.len(), argument.len()));
        self.bytes.extend_from_slice(argument);
    }

    /// Returns its arguments.
    #[must_use]
    pub fn args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.spans)
    }
}

/// The type of value that a blocked command waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitKind {
    List,
    Zset,
    /// A stream with an entry that the command has not seen; for a command that reads for a group, also
    /// the end of the stream or of the group. Which it is the command decides itself.
    Stream,
}

impl WaitKind {
    /// Whether `value` is of this type and has an element: what that means for a stream depends on the
    /// command.
    #[must_use]
    pub fn fits(self, value: &Value) -> bool {
        matches!((self, value), (Self::List, Value::List(_)) | (Self::Zset, Value::Zset(_)))
    }
}

/// The null that a command replies with if there is nothing for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NullReply {
    /// The null byte string.
    Null,
    /// The null array.
    NullArray,
}

impl NullReply {
    /// Writes the reply.
    pub fn write(self, out: &mut Sink<'_>) {
        match self {
            Self::Null => out.null(),
            Self::NullArray => out.null_array(),
        }
    }
}

impl Wait {
    /// Reads the timeout, argument `at`, in seconds; 0 means to wait without limit.
    ///
    /// # Errors
    /// The timeout is not a number, or negative. One that is out of range counts as negative, as in
    /// Redis 7.0.
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
        Ok(Self { kind, until, null_reply, resolved: None })
    }

    /// Reads the timeout, argument `at`, in milliseconds; 0 means to wait without limit.
    ///
    /// # Errors
    /// The timeout is not an integer, or negative.
    pub(super) fn in_millis(
        args: Args<'_>,
        at: usize,
        now: Millis,
        kind: WaitKind,
        null_reply: NullReply,
    ) -> Result<Self, Refusal> {
        let timeout = Refusal::of("ERR timeout is not an integer or out of range");
        let millis = parse_i64(args.at(at)).ok_or(timeout)?;
        if millis < 0 {
            return Err(Refusal::of("ERR timeout is negative"));
        }
        // A time out of range wraps into the past, as in Redis 7.0.
        let until = (millis > 0).then(|| now.wrapping_add(millis));
        Ok(Self { kind, until, null_reply, resolved: None })
    }
}
