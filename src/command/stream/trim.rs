//! How a stream is trimmed: `MAXLEN|MINID [=|~] threshold [LIMIT count]` of XADD and XTRIM, and what becomes
//! of references to the entries that go.

use super::ids::{AddedId, added_id_of, id_of};
use crate::command::{Args, Refusal};
use crate::dialect::{Product, servers};
use crate::keyspace::{NodeLimits, References, TrimTo};

/// Most entries that an approximate trim removes unless LIMIT says otherwise, and what it is if nodes
/// have no limit.
const LIMIT_MAX: u64 = 1_000_000;
const LIMIT_WITHOUT_NODES: u64 = 10_000;
/// An approximate trim removes this many full nodes at most.
const LIMIT_NODES: u64 = 100;

/// What a stream is trimmed to, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trim {
    pub(super) to: TrimTo,
    pub(super) is_approximate: bool,
    /// Most entries to remove; 0 means no limit.
    pub(super) limit: u64,
    pub(super) references: References,
}

/// Reads what becomes of references, if that is what an argument says.
pub(super) fn references_of(args: Args<'_>, at: usize) -> Option<References> {
    match () {
        () if args.is(at, "keepref") => Some(References::Keep),
        () if args.is(at, "delref") => Some(References::Delete),
        () if args.is(at, "acked") => Some(References::Acked),
        () => None,
    }
}

/// The options of XADD or XTRIM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) trim: Option<Trim>,
    /// NOMKSTREAM: no stream is created.
    pub(super) no_stream: bool,
    /// The id of the entry to be added; `None` for `*`.
    pub(super) id: Option<AddedId>,
    /// The argument that is the id.
    pub(super) id_at: usize,
}

/// What of the options has been read.
#[derive(Default)]
struct Seen {
    to: Option<TrimTo>,
    is_approximate: bool,
    limit: Option<u64>,
    references: Option<References>,
}

impl Options {
    /// Reads the options: those of XADD up to its id, or those of XTRIM to the end.
    pub(super) fn of(
        args: Args<'_>,
        is_add: bool,
        nodes: NodeLimits,
        product: &Product,
    ) -> Result<Self, Refusal> {
        let (mut options, mut seen) =
            (Self { id_at: args.len(), ..Self::default() }, Seen::default());
        let mut i = 2;
        while i < args.len() {
            let has_value = i + 1 < args.len();
            if is_add && args.at(i) == b"*" {
                options.id_at = i;
                break;
            } else if args.is(i, "maxlen") && has_value {
                i = seen.mark(args, i)?;
                let len = u64::try_from(args.int(i)?);
                let negative = Refusal::of("ERR The MAXLEN argument must be >= 0.");
                seen.to = Some(TrimTo::Len(len.map_err(|_| negative)?));
            } else if args.is(i, "minid") && has_value {
                i = seen.mark(args, i)?;
                seen.to = Some(TrimTo::Id(id_of(args.at(i))?));
            } else if args.is(i, "limit") && has_value {
                i += 1;
                let limit = u64::try_from(args.int(i)?);
                let negative = Refusal::of("ERR The LIMIT argument must be >= 0.");
                seen.limit = Some(limit.map_err(|_| negative)?);
            } else if is_add && args.is(i, "nomkstream") {
                options.no_stream = true;
            } else if product.is_of(servers::REDIS8) && seen.marks_references(args, i) {
            } else if is_add {
                options.id = Some(added_id_of(args.at(i))?);
                options.id_at = i;
                break;
            } else {
                return Err(Refusal::SYNTAX);
            }
            i += 1;
        }
        options.trim = seen.finish(is_add, nodes, product)?;
        Ok(options)
    }
}

impl Seen {
    /// Reads what becomes of references, once; returns whether the argument says so.
    fn marks_references(&mut self, args: Args<'_>, at: usize) -> bool {
        if self.references.is_some() {
            return false;
        }
        self.references = references_of(args, at);
        self.references.is_some()
    }

    /// Reads `=` or `~` behind MAXLEN or MINID; returns where the threshold is.
    fn mark(&mut self, args: Args<'_>, at: usize) -> Result<usize, Refusal> {
        if self.to.is_some() {
            return Err(Refusal::of(
                "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
            ));
        }
        let has_mark = at + 2 < args.len();
        self.is_approximate = has_mark && args.at(at + 1) == b"~";
        let is_marked = self.is_approximate || has_mark && args.at(at + 1) == b"=";
        Ok(if is_marked { at + 2 } else { at + 1 })
    }

    fn finish(
        self,
        is_add: bool,
        nodes: NodeLimits,
        product: &Product,
    ) -> Result<Option<Trim>, Refusal> {
        let Self { to, is_approximate, limit, references } = self;
        let Some(to) = to else {
            return match limit {
                Some(1..) => Err(Refusal::of(
                    "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
                )),
                _ if !is_add => Err(Refusal::of(
                    "ERR syntax error, XTRIM must be called with a trimming strategy",
                )),
                Some(0) => Err(LIMIT_WITHOUT_MARK),
                None => Ok(None),
            };
        };
        let limit = match limit {
            Some(_) if !is_approximate => return Err(LIMIT_WITHOUT_MARK),
            Some(limit) => limit,
            None if !is_approximate => 0,
            None => match nodes.entries_max.saturating_mul(LIMIT_NODES) {
                0 => LIMIT_WITHOUT_NODES,
                limit => limit.min(LIMIT_MAX),
            },
        };
        let references = references.unwrap_or_default();
        // Redis 8.2 removes nothing then.
        if is_approximate && references != References::Keep && product.is_of(servers::REDIS8_2) {
            return Ok(None);
        }
        Ok(Some(Trim { to, is_approximate, limit, references }))
    }
}

const LIMIT_WITHOUT_MARK: Refusal =
    Refusal::of("ERR syntax error, LIMIT cannot be used without the special ~ option");
