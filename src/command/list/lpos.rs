//! LPOS: the index of an element in a list.

use super::list_at;
use crate::command::pace::Strides;
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{EncodedElement, End};
use crate::resp::Sink;

/// LPOS' options.
struct Options {
    /// The end where the search starts.
    end: End,
    /// How many matches are skipped.
    skipped: u64,
    /// How many indices are returned, 0 for all; `None` for one, not in an array.
    count: Option<u64>,
    /// How many elements are compared, 0 for all.
    len_max: u64,
}

impl Options {
    fn of(args: Args<'_>) -> Result<Self, Refusal> {
        let (mut rank, mut count, mut len_max) = (1, None, 0);
        for i in (3..args.len()).step_by(2) {
            let has_value = i + 1 < args.len();
            let not_negative = |error: &'static str| {
                let number = args.int(i + 1).ok().and_then(|number| u64::try_from(number).ok());
                number.ok_or(Refusal::of(error))
            };
            if args.is(i, "rank") && has_value {
                rank = args.int(i + 1)?;
                if rank == 0 {
                    return Err(Refusal::of(
                        "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list",
                    ));
                }
            } else if args.is(i, "count") && has_value {
                count = Some(not_negative("ERR COUNT can't be negative")?);
            } else if args.is(i, "maxlen") && has_value {
                len_max = not_negative("ERR MAXLEN can't be negative")?;
            } else {
                return Err(Refusal::SYNTAX);
            }
        }
        let end = if rank < 0 { End::Back } else { End::Front };
        let mut skipped = rank.unsigned_abs() - 1;
        if rank == i64::MIN {
            // It cannot be negated: Redis then skips no match, and returns all of them with any
            // COUNT.
            skipped = 0;
            count = count.map(|_| 0);
        }
        Ok(Self { end, skipped, count, len_max })
    }
}

/// LPOS key element [RANK rank] [COUNT count] [MAXLEN len]
pub(super) fn lpos(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let Options { end, mut skipped, count, len_max } = Options::of(args)?;
    let key = cx.key(args.at(1));
    let list = list_at(cx.keyspace, key)?;
    let wanted = match count {
        None => 1,
        Some(0) => u64::MAX,
        Some(count) => count,
    };
    let mut found = Vec::new();
    if let Some(list) = list {
        let sought = EncodedElement::of(args.at(2));
        let mut strides = Strides::new(cx.pace);
        let mut elements = list.iter_from(end, 0);
        let mut visited = 0;
        while (len_max == 0 || visited < len_max)
            && let Some(is_match) = elements.next_is(&sought)
        {
            strides.step(1);
            if is_match && skipped > 0 {
                skipped -= 1;
            } else if is_match {
                let distance = visited as usize;
                found.push(if end == End::Front { distance } else { list.len() - 1 - distance });
                if found.len() as u64 >= wanted {
                    break;
                }
            }
            visited += 1;
        }
    }
    match (count, found.first()) {
        (Some(_), _) => {
            out.array(found.len());
            found.into_iter().for_each(|index| out.count(index));
        }
        (None, Some(&index)) => out.count(index),
        (None, None) => out.null(),
    }
    Ok(())
}
