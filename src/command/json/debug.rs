//! JSON.DEBUG.

use super::document::{check_len, document, no_path, path_at, values};
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::resp::Sink;

/// JSON.DEBUG MEMORY key [path] | HELP
pub(super) fn debug(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    check_len(args, 2..=usize::MAX, "json.debug")?;
    if args.is(1, "help") {
        out.array(2);
        out.bulk(b"MEMORY <key> [path] - reports memory usage");
        out.bulk(b"HELP                - this message");
        return Ok(());
    }
    if !args.is(1, "memory") {
        return Err(Refusal::of("ERR unknown subcommand - try `JSON.DEBUG HELP`"));
    }
    check_len(args, 3..=usize::MAX, "json.debug")?;
    let path = path_at(args, 3)?;
    let (key, pace) = (cx.key(args.at(2)), cx.pace);
    let Some(json) = document(cx, key)? else {
        if path.is_legacy() {
            out.int(0);
        } else {
            out.array(0);
        }
        return Ok(());
    };
    let found = values(json, &path.compile()?, pace)?;
    if path.is_legacy() {
        out.count(found.first().ok_or_else(|| no_path(path))?.memory());
    } else {
        out.array(found.len());
        found.into_iter().for_each(|value| out.count(value.memory()));
    }
    Ok(())
}
