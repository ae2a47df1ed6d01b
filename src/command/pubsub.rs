//! Pub/sub: messages to the subscribers that a channel has at that moment. The session runs the
//! commands that subscribe (`session/subscribe.rs`); their rows are here with the rest of the
//! family.

use super::spec::flag::{
    DENYOOM, FAST, LOADING, MAY_REPLICATE, NOSCRIPT, PUBSUB, STALE, WHILE_SUBSCRIBED,
};
use super::spec::{
    Arity::{AtLeast, Exactly},
    BASE, Group, Keys, Run, SAME, SessionCommand, Spec, Variant, access, check,
};
use super::{Args, Outcome, Refusal, ServerCx, help};
use crate::dialect::servers;
use crate::resp::{Sink, until_nul};
use crate::state::pubsub::ChannelKind;

/// Defaults of the rows that subscribe and unsubscribe.
const SUBSCRIBE: Spec = Spec {
    flags: PUBSUB | NOSCRIPT | LOADING | STALE | WHILE_SUBSCRIBED,
    group: Group::PubSub,
    since: "2.0.0",
    ..BASE
};
/// Defaults of the rows that publish.
const PUBLISH: Spec = Spec {
    arity: Exactly(3),
    flags: PUBSUB | LOADING | STALE | FAST | MAY_REPLICATE,
    group: Group::PubSub,
    since: "2.0.0",
    ..BASE
};
/// Defaults of PUBSUB's subcommands.
const INSPECT: Spec = Spec {
    parent: "pubsub",
    arity: AtLeast(2),
    flags: PUBSUB | LOADING | STALE,
    group: Group::PubSub,
    since: "2.8.0",
    ..BASE
};

/// It is refused without memory in Redis 8.10.
const DENYOOM_IN_REDIS8_10: &[Variant] =
    &[Variant { servers: servers::REDIS8_10, with: DENYOOM, ..SAME }];

/// Shard channels: names that belong to slots as keys do, without being keys.
const SHARD_CHANNELS: &[Keys] = &[Keys::range(access::NOT_KEY, 1, -1, 1)];

pub(super) const ROWS: &[Spec] = &[
    Spec {
        name: "subscribe",
        variants: DENYOOM_IN_REDIS8_10,
        arity: AtLeast(2),
        complexity: "O(N) where N is the number of channels to subscribe to.",
        summary: "Subscribes to channels.",
        run: Run::Session(SessionCommand::Subscribe(ChannelKind::Channel)),
        ..SUBSCRIBE
    },
    Spec {
        name: "unsubscribe",
        complexity: "O(N) where N is the number of clients already subscribed to a channel.",
        summary: "Unsubscribes from the named channels, or from all.",
        run: Run::Session(SessionCommand::Unsubscribe(ChannelKind::Channel)),
        ..SUBSCRIBE
    },
    Spec {
        name: "psubscribe",
        variants: DENYOOM_IN_REDIS8_10,
        arity: AtLeast(2),
        complexity: "O(N) where N is the number of patterns the client is already subscribed to.",
        summary: "Subscribes to all channels that match a pattern.",
        run: Run::Session(SessionCommand::Subscribe(ChannelKind::Pattern)),
        ..SUBSCRIBE
    },
    Spec {
        name: "punsubscribe",
        complexity: "O(N+M) where N is the number of patterns the client is already subscribed and M is the \
                     number of total patterns subscribed in the system (by any client).",
        summary: "Unsubscribes from the named patterns, or from all.",
        run: Run::Session(SessionCommand::Unsubscribe(ChannelKind::Pattern)),
        ..SUBSCRIBE
    },
    Spec {
        name: "ssubscribe",
        variants: DENYOOM_IN_REDIS8_10,
        arity: AtLeast(2),
        keys: SHARD_CHANNELS,
        since: "7.0.0",
        complexity: "O(N) where N is the number of shard channels to subscribe to.",
        summary: "Subscribes to shard channels.",
        run: Run::Session(SessionCommand::Subscribe(ChannelKind::ShardChannel)),
        ..SUBSCRIBE
    },
    Spec {
        name: "sunsubscribe",
        keys: SHARD_CHANNELS,
        since: "7.0.0",
        complexity: "O(N) where N is the number of clients already subscribed to a shard channel.",
        summary: "Unsubscribes from the named shard channels, or from all.",
        run: Run::Session(SessionCommand::Unsubscribe(ChannelKind::ShardChannel)),
        ..SUBSCRIBE
    },
    Spec {
        name: "publish",
        complexity: "O(N+M) where N is the number of clients subscribed to the receiving channel and M is the \
                     total number of subscribed patterns (by any client).",
        summary: "Sends a message to a channel; returns how many clients received it.",
        run: Run::Server(publish),
        ..PUBLISH
    },
    Spec {
        name: "spublish",
        keys: &[Keys::at(access::NOT_KEY, 1)],
        since: "7.0.0",
        complexity: "O(N) where N is the number of clients subscribed to the receiving shard channel.",
        summary: "Sends a message to a shard channel; returns how many clients received it.",
        run: Run::Server(spublish),
        ..PUBLISH
    },
    CONTAINER,
];
const _: () = check(ROWS);

const CONTAINER: Spec = Spec {
    name: "pubsub",
    arity: AtLeast(2),
    group: Group::PubSub,
    since: "2.8.0",
    complexity: "Depends on subcommand.",
    summary: "Holds the commands about channels and their subscribers.",
    subcommands: &[
        Spec {
            name: "channels",
            complexity: "O(N) where N is the number of active channels, and assuming constant time pattern \
                         matching (relatively short channels and patterns)",
            summary: "Lists the channels with subscribers, all or those that match a pattern.",
            run: Run::Server(|cx, args, out| list(cx, ChannelKind::Channel, args, out)),
            ..INSPECT
        },
        Spec {
            name: "numsub",
            complexity: "O(N) for the NUMSUB subcommand, where N is the number of requested channels",
            summary: "Counts the subscribers of channels, without those of patterns.",
            run: Run::Server(|cx, args, out| count(cx, ChannelKind::Channel, args, out)),
            ..INSPECT
        },
        Spec {
            name: "numpat",
            arity: Exactly(2),
            summary: "Counts the different patterns with subscribers.",
            run: Run::Server(|cx, _, out| {
                out.count(cx.node.pubsub.counts(cx.port).patterns);
                Ok(())
            }),
            ..INSPECT
        },
        Spec {
            name: "shardchannels",
            since: "7.0.0",
            complexity: "O(N) where N is the number of active shard channels, and assuming constant time pattern \
                         matching (relatively short shard channels).",
            summary: "Lists the shard channels with subscribers, all or those that match a pattern.",
            run: Run::Server(|cx, args, out| list(cx, ChannelKind::ShardChannel, args, out)),
            ..INSPECT
        },
        Spec {
            name: "shardnumsub",
            since: "7.0.0",
            complexity: "O(N) for the SHARDNUMSUB subcommand, where N is the number of requested shard channels",
            summary: "Counts the subscribers of shard channels.",
            run: Run::Server(|cx, args, out| count(cx, ChannelKind::ShardChannel, args, out)),
            ..INSPECT
        },
        Spec {
            name: "help",
            arity: Exactly(2),
            flags: LOADING | STALE,
            since: "6.2.0",
            summary: "Lists the subcommands.",
            run: Run::Server(|cx, _, out| {
                help(&CONTAINER, cx.product, out);
                Ok(())
            }),
            ..INSPECT
        },
    ],
    ..BASE
};

/// PUBLISH channel message
fn publish(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (pace, now) = (cx.pace, cx.now);
    let delivered = &mut |sleeper| pace.delivered(sleeper);
    out.count(cx.node.pubsub.publish(args.at(1), args.at(2), cx.port, now, delivered));
    Ok(())
}

/// SPUBLISH shardchannel message
fn spublish(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (pace, now) = (cx.pace, cx.now);
    let delivered = &mut |sleeper| pace.delivered(sleeper);
    out.count(cx.node.pubsub.publish_to_shard(args.at(1), args.at(2), cx.port, now, delivered));
    Ok(())
}

/// PUBSUB CHANNELS|SHARDCHANNELS [pattern]
fn list(cx: &mut ServerCx<'_>, scope: ChannelKind, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    if args.len() > 3 {
        let before = b"ERR unknown subcommand or wrong number of arguments for '";
        return Err(Refusal::new([before, until_nul(args.at(1)), b"'. Try PUBSUB HELP."].concat()));
    }
    let names = cx.node.pubsub.matching(scope, args.get(2), cx.port);
    out.array(names.len());
    for name in names {
        out.bulk(&name);
    }
    Ok(())
}

/// PUBSUB NUMSUB|SHARDNUMSUB [channel ...]
fn count(cx: &mut ServerCx<'_>, scope: ChannelKind, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    out.array(2 * (args.len() - 2));
    for name in args.from(2) {
        out.bulk(name);
        out.count(cx.node.pubsub.subscriber_count(scope, name, cx.port));
    }
    Ok(())
}
