//! What CLIENT TRACKINGINFO and CLIENT GETREDIR show; the session runs CLIENT TRACKING.

use super::super::{Args, Outcome, ServerCx};
use crate::resp::Sink;
use crate::state::clients::{Client, TrackingMode};

/// The client that gets a client's invalidations: 0 for itself, -1 without tracking.
pub(super) fn redirection(client: &Client) -> i64 {
    match client.tracking().has(TrackingMode::ON) {
        true => client.tracking_redirect().cast_signed(),
        false => -1,
    }
}

/// CLIENT TRACKINGINFO
pub(super) fn trackinginfo(cx: &mut ServerCx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let mode = cx.me.tracking();
    let caching = mode.has(TrackingMode::CACHING);
    let flags: Vec<&str> = [
        (mode.has(TrackingMode::ON), "on"),
        (!mode.has(TrackingMode::ON), "off"),
        (mode.has(TrackingMode::BCAST), "bcast"),
        (mode.has(TrackingMode::OPTIN), "optin"),
        (mode.has(TrackingMode::OPTIN) && caching, "caching-yes"),
        (mode.has(TrackingMode::OPTOUT), "optout"),
        (mode.has(TrackingMode::OPTOUT) && caching, "caching-no"),
        (mode.has(TrackingMode::NOLOOP), "noloop"),
        (mode.has(TrackingMode::BROKEN), "broken_redirect"),
    ]
    .into_iter()
    .filter_map(|(is_set, word)| is_set.then_some(word))
    .collect();
    let prefixes = cx.node.tracking.prefixes_of(cx.me.id);
    out.map(3);
    out.bulk(b"flags");
    out.set(flags.len());
    flags.iter().for_each(|flag| out.bulk(flag.as_bytes()));
    out.bulk(b"redirect");
    out.int(redirection(cx.me));
    out.bulk(b"prefixes");
    out.array(prefixes.len());
    prefixes.iter().for_each(|prefix| out.bulk(prefix));
    Ok(())
}
