//! RESP2 and RESP3 without I/O: requests from bytes, replies to bytes.
//!
//! ```text
//! decode   requests from bytes; of a partial one, the progress is kept    -> spans into the buffer
//! sink     replies are written straight into the connection's output     <- RESP2 or RESP3
//! reply    the client's side: whole replies from bytes                    -> views of the bytes
//! ```
//!
//! Arguments are never copied here: a request is a list of [`Span`]s into the bytes it came in.

mod decode;
mod sink;
mod reply;

pub use decode::Decoded;
pub use decode::Decoder;
pub use decode::Limits;
pub(crate) use decode::{ProtocolError, short_request};
pub(crate) use reply::{Reply, ReplyDecoder};
pub(crate) use sink::Proto;
pub use sink::Sink;

/// Longest line without its newline: a multibulk header, a bulk header, an inline request.
pub(crate) const LINE_LEN_MAX: usize = 64 * 1024;
/// Most arguments that one request may announce.
pub(crate) const REQUEST_ARGS_MAX: i64 = i32::MAX as i64;
/// Longest argument by default (`proto-max-bulk-len`), in bytes.
pub(crate) const BULK_LEN_MAX_DEFAULT: u64 = 512 * 1024 * 1024;
/// Most arguments in one request of a client that has yet to authenticate.
pub(crate) const UNAUTHENTICATED_ARGS_MAX: i64 = 10;
/// Longest argument of a client that has yet to authenticate, in bytes.
pub(crate) const UNAUTHENTICATED_BULK_LEN_MAX: i64 = 16 * 1024;

/// Returns an argument as an error shows it: up to its first NUL byte, where Redis' C string ends.
#[must_use]
pub(crate) fn until_nul(argument: &[u8]) -> &[u8] {
    argument.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// One argument's position in the buffer that a request was decoded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Length in bytes.
    pub len: u32,
}

impl Span {
    /// Makes a span of `len` bytes from `start`. Buffers stay below 4 GiB by the query-buffer
    /// limit, so a span that does not fit is a bug.
    #[must_use]
    pub fn new(start: usize, len: usize) -> Self {
        let narrow = |n: usize| u32::try_from(n).expect("a query buffer stays below 4 GiB");
        Self { start: narrow(start), len: narrow(len) }
    }

    /// Returns the bytes of `buf` that this span covers.
    #[must_use]
    pub fn of(self, buf: &[u8]) -> &[u8] {
        &buf[self.start as usize..self.start as usize + self.len as usize]
    }

    /// Returns this span for a buffer in which its bytes are `by` further back.
    #[must_use]
    pub(crate) fn shifted(self, by: usize) -> Self {
        Self::new(self.start as usize + by, self.len as usize)
    }
}
