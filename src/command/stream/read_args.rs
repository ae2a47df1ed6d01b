//! The arguments of XREAD and XREADGROUP, and what wakes a client that is blocked in one of them.

use super::ids::id_of;
use crate::command::wait::{NullReply, ResolvedRequest, Wait, WaitKind};
use crate::command::{Args, Cx, Invocation, Refusal};
use crate::dialect::Product;
use crate::keyspace::{Millis, Stream, StreamId, Value};

/// The arguments.
pub(super) struct ReadArgs<'a> {
    args: Args<'a>,
    /// The group and its consumer.
    pub(super) group: Option<(&'a [u8], &'a [u8])>,
    /// Most entries of each stream; 0 means all.
    pub(super) count: usize,
    /// NOACK: what is delivered does not become pending.
    pub(super) no_ack: bool,
    /// BLOCK.
    pub(super) wait: Option<Wait>,
    /// The argument that is the first key.
    keys_at: usize,
    /// The number of streams: of keys, and of the ids behind them.
    pub(super) streams: usize,
}

/// What decides how the arguments are read.
#[derive(Clone, Copy)]
pub(super) struct Reader {
    /// The command is XREADGROUP.
    pub(super) for_group: bool,
    pub(super) product: &'static Product,
    pub(super) now: Millis,
    pub(super) in_script: bool,
}

impl Reader {
    pub(super) fn of(cx: &Cx<'_>, for_group: bool) -> Self {
        Self { for_group, product: cx.product, now: cx.now(), in_script: cx.in_script }
    }
}

impl<'a> ReadArgs<'a> {
    pub(super) fn of(args: Args<'a>, reader: Reader) -> Result<Self, Refusal> {
        let mut read =
            Self { args, group: None, count: 0, no_ack: false, wait: None, keys_at: 0, streams: 0 };
        let mut i = 1;
        while i < args.len() {
            let more = args.len() - 1 - i;
            if args.is(i, "block") && more > 0 {
                i += 1;
                read.wait = Some(wait_of(args, i, reader)?);
            } else if args.is(i, "count") && more > 0 {
                i += 1;
                read.count = usize::try_from(args.int(i)?).unwrap_or(0);
            } else if args.is(i, "streams") && more > 0 {
                (read.keys_at, read.streams) = (i + 1, more / 2);
                if more % 2 == 1 {
                    return Err(unbalanced(args, reader));
                }
                break;
            } else if args.is(i, "group") && more >= 2 {
                if !reader.for_group {
                    return Err(Refusal::of(
                        "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.",
                    ));
                }
                read.group = Some((args.at(i + 1), args.at(i + 2)));
                i += 2;
            } else if args.is(i, "noack") {
                if !reader.for_group {
                    return Err(Refusal::of(
                        "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.",
                    ));
                }
                read.no_ack = true;
            } else {
                return Err(Refusal::SYNTAX);
            }
            i += 1;
        }
        if read.keys_at == 0 {
            return Err(Refusal::SYNTAX);
        }
        if reader.for_group && read.group.is_none() {
            return Err(Refusal::of("ERR Missing GROUP option for XREADGROUP"));
        }
        Ok(read)
    }

    pub(super) fn key(&self, n: usize) -> &'a [u8] {
        self.args.at(self.keys_at + n)
    }

    pub(super) fn id_text(&self, n: usize) -> &'a [u8] {
        self.args.at(self.keys_at + self.streams + n)
    }

    /// Returns the request with these ids in place of those that depend on when it is read.
    pub(super) fn resolved(&self, ids: &[Vec<u8>]) -> Box<ResolvedRequest> {
        let mut request = ResolvedRequest::default();
        let first_id = self.keys_at + self.streams;
        self.args.from(0).take(first_id).for_each(|argument| request.push(argument));
        ids.iter().for_each(|id| request.push(id));
        Box::new(request)
    }
}

fn unbalanced(args: Args<'_>, reader: Reader) -> Refusal {
    if !reader.product.has_new_streams {
        return Refusal::of(
            "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.",
        );
    }
    let name = args.at(0).to_ascii_lowercase();
    let marks: &[u8] = match reader.for_group {
        true => b" or '>'",
        false if reader.product.names_last_entry => b", '+', or '$'",
        false => b" or '$'",
    };
    Refusal::new(
        [
            b"ERR Unbalanced '",
            &name[..],
            b"' list of streams: for each stream key an ID",
            marks,
            b" must be specified.",
        ]
        .concat(),
    )
}

fn wait_of(args: Args<'_>, at: usize, reader: Reader) -> Result<Wait, Refusal> {
    if reader.in_script && !reader.product.has_new_streams {
        let text: [&[u8]; 3] =
            [b"ERR ", args.at(0), b" command is not allowed with BLOCK option from scripts"];
        return Err(Refusal::new(text.concat()));
    }
    let wait = Wait::in_millis(args, at, reader.now, WaitKind::Stream, NullReply::NullArray)?;
    if reader.product.has_new_streams && wait.until.is_some_and(|until| until < reader.now) {
        return Err(Refusal::of("ERR timeout is out of range"));
    }
    Ok(wait)
}

/// Returns whether a client that is blocked in XREAD or XREADGROUP has to be woken, now that this is
/// the value at one of its keys.
#[must_use]
pub(crate) fn ends_wait_for_stream(
    request: &Invocation<'_>,
    product: &'static Product,
    key: &[u8],
    value: Option<&Value>,
) -> bool {
    let reader = Reader { for_group: request.spec.writes(), product, now: 0, in_script: false };
    let Ok(read) = ReadArgs::of(request.args, reader) else { return false };
    let stream = match value {
        Some(Value::Stream(stream)) => Some(&**stream),
        _ => None,
    };
    match (read.group, stream) {
        (None, None) => false,
        (Some(_), None) => true,
        (Some((group, _)), Some(stream)) => {
            stream.group(group).is_none_or(|group| is_ahead(stream, group.last_id, product))
        }
        (None, Some(stream)) => {
            let mut of_key = (0..read.streams).filter(|&n| read.key(n) == key);
            let is_past = |n| id_of(read.id_text(n)).is_ok_and(|id| is_ahead(stream, id, product));
            match product.has_new_streams {
                true => of_key.any(is_past),
                // Of a key that is named twice, only the first id counts.
                false => of_key.next().is_some_and(is_past),
            }
        }
    }
}

/// Returns whether a stream has an entry behind `id`; up to Redis 7.0, also if it had one that is
/// deleted already.
fn is_ahead(stream: &Stream, id: StreamId, product: &Product) -> bool {
    stream.log.last_id > id && (!product.has_new_streams || stream.log.last_entry_id() > id)
}
