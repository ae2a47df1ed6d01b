//! Subscribers, patterns, limits and keyspace events, without connections.

use super::*;
use crate::state::clients::{Clients, RegisteredClient};
use std::net::SocketAddr;

/// A registry and clients that subscribe to it.
struct World {
    pubsub: Arc<PubSub>,
    seats: Vec<RegisteredClient>,
}

fn world(clients: usize) -> World {
    let (registry, address) = (Arc::new(Clients::default()), ([127, 0, 0, 1], 1));
    let address = SocketAddr::from(address);
    let seat = |_| registry.register(address, address, Port::Router, 7, 0, clients).expect("room");
    World { pubsub: Arc::default(), seats: (0..clients).map(seat).collect() }
}

impl World {
    fn subscriptions(&self, of: usize) -> Subscriptions {
        let client = Arc::clone(&self.seats[of]);
        Subscriptions::new(Arc::clone(&self.pubsub), client, &Arc::default(), Proto::Resp2)
    }

    fn publish(&self, channel: &str, message: &str) -> usize {
        self.pubsub.publish(channel.as_bytes(), message.as_bytes(), Port::Router, 0, &mut |_| ())
    }

    /// Publishes an event to those whose port wants these classes and ways.
    fn publish_event(&self, event: &Event, wanted: EventClass) {
        let hears = |_, class| class & wanted == class;
        self.pubsub.publish_event(event, 0, 0, &mut |_| (), hears);
    }

    fn mail(&self, of: usize) -> String {
        let mut mail = Vec::new();
        self.seats[of].outbox().expect("it listens").take(&mut mail);
        String::from_utf8(mail).expect("text").replace("\r\n", " ")
    }
}

#[test]
fn a_message_goes_to_channels_first_and_to_each_pattern() {
    let world = world(2);
    let (mut one, mut two) = (world.subscriptions(0), world.subscriptions(1));
    for (kind, name) in
        [(ChannelKind::Channel, "ab"), (ChannelKind::Pattern, "a*"), (ChannelKind::Pattern, "*b")]
    {
        one.add(kind, name.as_bytes()).expect("room");
        one.add(kind, name.as_bytes()).expect("it is there already");
    }
    two.add(ChannelKind::ShardChannel, b"ab").expect("room");
    two.add(ChannelKind::Pattern, b"*c").expect("room");
    assert_eq!(
        (world.publish("ab", "x"), world.publish("b", "y"), world.publish("d", "z")),
        (3, 1, 0)
    );
    assert_eq!(
        world.mail(0),
        "*3 $7 message $2 ab $1 x *4 $8 pmessage $2 *b $2 ab $1 x *4 $8 pmessage $2 a* $2 ab $1 x \
         *4 $8 pmessage $2 *b $1 b $1 y "
    );
    assert_eq!(world.pubsub.publish_to_shard(b"ab", b"s", Port::Router, 0, &mut |_| ()), 1);
    assert_eq!(world.mail(1), "*3 $8 smessage $2 ab $1 s ");
    let counts = Counts { channels: 1, patterns: 3, shard_channels: 1 };
    assert_eq!(world.pubsub.counts(Port::Router), counts);
    assert_eq!(
        world.seats[0].subscription_counts(),
        SubscriptionCounts { channels: 1, patterns: 2, shard_channels: 0 }
    );
    assert_eq!((one.count(ChannelKind::Channel), one.count(ChannelKind::ShardChannel)), (3, 0));
}

#[test]
fn names_go_with_the_last_of_their_audience() {
    let world = world(2);
    let (mut one, mut two) = (world.subscriptions(0), world.subscriptions(1));
    for kind in [ChannelKind::Channel, ChannelKind::Pattern, ChannelKind::ShardChannel] {
        one.add(kind, b"n").expect("room");
        two.add(kind, b"n").expect("room");
        one.add(kind, b"own").expect("room");
        two.remove(kind, b"own");
    }
    assert_eq!(world.pubsub.subscriber_count(ChannelKind::Channel, b"n", Port::Router), 2);
    one.remove(ChannelKind::Channel, b"n");
    assert!(
        !one.is_empty()
            && world.pubsub.subscriber_count(ChannelKind::Channel, b"n", Port::Router) == 1
    );
    drop(one);
    assert!(world.seats[0].subscription_counts().is_empty());
    assert_eq!(
        world.pubsub.counts(Port::Router),
        Counts { channels: 1, patterns: 1, shard_channels: 1 }
    );
    assert_eq!(
        world.pubsub.matching(ChannelKind::ShardChannel, Some(b"?"), Port::Router),
        [ChannelName::from(*b"n")]
    );
    drop(two);
    assert_eq!(
        world.pubsub.counts(Port::Router),
        Counts { channels: 0, patterns: 0, shard_channels: 0 }
    );
    assert_eq!(world.publish("n", "x"), 0);
}

#[test]
fn the_length_of_a_clients_names_is_bounded() {
    let world = world(1);
    let mut one = world.subscriptions(0);
    let long = vec![b'n'; NAMES_LEN_MAX / 2 + 1];
    one.add(ChannelKind::Channel, &long).expect("half of what is allowed");
    assert_eq!(one.add(ChannelKind::Pattern, &long), Err(TooManySubscriptions));
    assert_eq!(one.add(ChannelKind::Channel, &long), Ok(()), "it is subscribed to that");
    one.remove(ChannelKind::Channel, &long);
    one.add(ChannelKind::Pattern, &long).expect("there is room again");
}

#[test]
fn events_are_published_to_the_wanted_channels() {
    let world = world(1);
    let mut one = world.subscriptions(0);
    one.add(ChannelKind::Pattern, b"*").expect("room");
    let happened = |name, key: &[u8]| Event::new(event::STRING, name, key);
    let events = [happened("set", b"k"), happened("append", b"l")];
    let by_key = "*4 $8 pmessage $1 * $16 __keyspace@0__:";
    let by_name = "*4 $8 pmessage $1 * $18 __keyevent@0__:";
    for (wanted, heard) in [
        (event::STRING | event::BY_KEY, [format!("{by_key}k $3 set "), String::new()]),
        (event::STRING | event::BY_NAME, [String::new(), format!("{by_name}set $1 k ")]),
        (
            event::STRING | event::BY_KEY | event::BY_NAME,
            [format!("{by_key}k $3 set "), format!("{by_name}set $1 k ")],
        ),
        (event::STRING, [String::new(), String::new()]),
        (event::LIST | event::BY_KEY, [String::new(), String::new()]),
    ] {
        world.publish_event(&events[0], wanted);
        assert_eq!(world.mail(0), heard.concat());
    }
    events.iter().for_each(|event| world.publish_event(event, event::BY_KEY | event::STRING));
    assert_eq!(world.mail(0), format!("{by_key}k $3 set {by_key}l $6 append "));
}
