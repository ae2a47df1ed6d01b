//! DEBUG: what test suites of clients ask for, and only from this machine.
//!
//! To Redis it is one command, not a container, and so it is here.

use super::*;
use crate::number::parse_f64;
use crate::resp::until_nul;
use std::time::Duration;

/// The longest DEBUG SLEEP; more is cut to it.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

pub(super) const ROW: Spec = Spec {
    name: "debug",
    arity: AtLeast(2),
    flags: ADMIN | NOSCRIPT | LOADING | STALE,
    complexity: "Depends on subcommand.",
    summary: "Holds what helps to test clients: SLEEP stops every shard for some seconds.",
    run: Run::Cluster(debug),
    ..SERVER
};

fn debug(cx: &mut HostCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    if !cx.me.peer.ip().to_canonical().is_loopback() {
        return Err(Refusal::of(
            "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run \
             it from a local connection, otherwise you need to set this option in the configuration file, and then \
             restart the server.",
        ));
    }
    if args.len() == 3 && args.is(1, "sleep") {
        // A text that is no number is 0, as it is to Redis.
        let seconds = parse_f64(args.at(2)).unwrap_or(0.0).clamp(0.0, SLEEP_MAX.as_secs_f64());
        cx.pace.sleep(Duration::from_secs_f64(seconds));
        out.ok();
    } else if args.len() == 2 && args.is(1, "help") {
        let lines = [
            "DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
            "SLEEP <seconds>",
            "    Stops every shard for this long, fractions allowed.",
            "HELP",
            "    Lists the subcommands.",
        ];
        out.array(lines.len());
        for line in lines {
            out.simple(line);
        }
    } else {
        let name = &args[1];
        let shown = until_nul(&name[..name.len().min(SHOWN_MAX)]);
        let before = b"ERR unknown subcommand or wrong number of arguments for '";
        return Err(Refusal::new([before, shown, b"'. Try DEBUG HELP."].concat()));
    }
    Ok(())
}

/// An unknown subcommand is shown up to this many bytes.
const SHOWN_MAX: usize = 128;
