use super::*;
use crate::resp::Proto;
use crate::state::clients::RegisteredClient;
use std::net::SocketAddr;

struct Stand {
    clients: Arc<Clients>,
    tracking: Tracking,
}

impl Stand {
    fn new() -> Self {
        let clients = Arc::new(Clients::of_nodes(1));
        let tracking = Tracking::new(Port::Router, Arc::clone(&clients), 1);
        Self { clients, tracking }
    }

    /// Connects a client that speaks `proto`.
    fn connect(&self, proto: Proto) -> RegisteredClient {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let client = self.clients.register(address, address, Port::Router, 7, 0, 99).expect("room");
        client.open_outbox(&Arc::default(), proto);
        client
    }

    /// Switches tracking on, of the prefix `k`.
    fn switch_on(&self, client: &Arc<Client>, mode: TrackingMode, redirect: u64) {
        self.tracking.enter(client);
        self.tracking.switch_on(client, mode, redirect, [&b"k"[..]].into_iter());
    }

    fn read(&self, client: &Client, keys: &[&[u8]], keys_max: usize) {
        let each = |remember: &mut dyn FnMut(&[u8])| keys.iter().for_each(|key| remember(key));
        self.tracking.remember(each, client.tracking_number(), keys_max, 0, &mut |_| {});
    }

    fn change(&self, key: &[u8], writer: u64) -> bool {
        let origin = Origin { port: Port::Router, client: writer, in_script: false };
        self.tracking.note_change(key, origin, 0, &mut |_| {})
    }
}

/// Takes what a client has got, as text.
fn got(client: &Client) -> String {
    let mut bytes = Vec::new();
    client.outbox().expect("it has one").poll(Waker::noop(), 0, &mut bytes);
    String::from_utf8(bytes).expect("text")
}

const OF_K: &str = ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n";

#[test]
fn a_reader_is_notified_once() {
    let stand = Stand::new();
    let client = stand.connect(Proto::Resp3);
    stand.switch_on(&client, TrackingMode::default(), 0);
    stand.read(&client, &[b"k", b"l"], 0);
    assert_eq!(
        stand.tracking.counts(),
        TrackingCounts { clients: 1, keys: 2, items: 2, prefixes: 0 }
    );
    stand.change(b"k", 0);
    stand.change(b"k", 0);
    assert_eq!(got(&client), OF_K);
    // What is read while tracking is off and on again counts; a client that has gone does not.
    stand.read(&client, &[b"k"], 0);
    stand.tracking.switch_off(&client);
    stand.tracking.switch_on(&client, TrackingMode::default(), 0, std::iter::empty());
    stand.change(b"k", client.id);
    assert_eq!(got(&client), OF_K);
    stand.read(&client, &[b"k"], 0);
    stand.tracking.switch_off(&client);
    stand.change(b"k", 0);
    assert_eq!(got(&client), "");
    stand.tracking.leave(&client);
    assert_eq!(stand.tracking.counts(), TrackingCounts::default());
    assert!(!stand.tracking.is_in_use());
}

#[test]
fn no_loop_and_broadcast() {
    let stand = Stand::new();
    let [quiet, broad] = [stand.connect(Proto::Resp3), stand.connect(Proto::Resp3)];
    stand.switch_on(&quiet, TrackingMode::NOLOOP, 0);
    stand.switch_on(&broad, TrackingMode::BCAST.with(TrackingMode::NOLOOP), 0);
    stand.read(&quiet, &[b"k", b"k2"], 0);
    stand.read(&broad, &[b"k"], 0);
    assert!(stand.change(b"k", quiet.id) && stand.change(b"k2", broad.id));
    assert!(!stand.change(b"x", quiet.id), "no prefix fits");
    assert_eq!(got(&quiet), OF_K.replace("$1\r\nk", "$2\r\nk2"));
    assert_eq!(got(&broad), "", "broadcast is for the end of the turn");
    stand.tracking.settle(0, 0, &mut |_| {});
    assert_eq!(got(&broad), OF_K, "but for its own change");
    stand.tracking.settle(0, 0, &mut |_| {});
    assert_eq!(got(&broad), "");
    stand.tracking.note_emptied(0, &mut |_| {});
    for client in [&quiet, &broad] {
        assert_eq!(got(client), ">2\r\n$10\r\ninvalidate\r\n_\r\n");
    }
    stand.tracking.switch_off(&broad);
    assert_eq!(stand.tracking.counts().prefixes, 0);
}

#[test]
fn another_client_gets_them_while_it_is_there() {
    let stand = Stand::new();
    let [reader, chosen] = [stand.connect(Proto::Resp3), stand.connect(Proto::Resp2)];
    stand.switch_on(&reader, TrackingMode::default(), chosen.id);
    let change = || {
        stand.read(&reader, &[b"k"], 0);
        stand.change(b"k", 0);
    };
    change();
    assert_eq!((got(&reader), got(&chosen)), (String::new(), String::new()));
    let outbox = chosen.outbox().expect("it has one");
    let channels = crate::state::clients::SubscriptionCounts { channels: 1, ..Default::default() };
    outbox.set_subscription_counts(channels);
    change();
    let message = "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*1\r\n$1\r\nk\r\n";
    assert_eq!(got(&chosen), message);
    outbox.set_proto(Proto::Resp3);
    change();
    assert_eq!((got(&reader), got(&chosen)), (String::new(), OF_K.to_owned()));
    let id = chosen.id;
    drop(chosen);
    change();
    assert_eq!(got(&reader), format!(">2\r\n$21\r\ntracking-redir-broken\r\n:{id}\r\n"));
    assert!(reader.tracking().has(TrackingMode::BROKEN));
}

#[test]
fn the_table_keeps_within_its_limit_and_says_what_it_forgets() {
    let stand = Stand::new();
    let client = stand.connect(Proto::Resp3);
    stand.switch_on(&client, TrackingMode::default(), 0);
    let keys: Vec<Vec<u8>> = (0..3000).map(|key| format!("{key:04}").into_bytes()).collect();
    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    stand.read(&client, &keys, 0);
    assert_eq!(stand.tracking.counts().keys, 3000);
    for left in [2000, 1000, 10, 10] {
        let is_over = stand.tracking.settle(10, 0, &mut |_| {});
        assert_eq!((stand.tracking.counts().keys, is_over), (left, left > 10), "some at a time");
    }
    let forgotten = got(&client).matches("invalidate").count();
    assert_eq!((forgotten, stand.tracking.counts().items), (2990, 10));
}

#[test]
fn numbers_of_clients_are_used_again_once_no_key_has_them() {
    let stand = Stand::new();
    let stays = stand.connect(Proto::Resp3);
    stand.switch_on(&stays, TrackingMode::default(), 0);
    for _ in 0..10 * GONE_MIN {
        let client = stand.connect(Proto::Resp3);
        stand.switch_on(&client, TrackingMode::default(), 0);
        stand.read(&client, &[b"k"], 0);
        stand.read(&stays, &[b"k2"], 0);
        stand.tracking.switch_off(&client);
        stand.tracking.leave(&client);
        assert!(stand.tracking.counts().items <= GONE_MIN + 1);
    }
    assert!(stand.tracking.seated.lock().by_number.len() <= GONE_MIN + 2);
    // Whoever has the number of another that has read the key has not read it.
    let client = stand.connect(Proto::Resp3);
    stand.switch_on(&client, TrackingMode::default(), 0);
    stand.change(b"k", 0);
    stand.change(b"k2", 0);
    assert_eq!(got(&client), "");
    assert!(got(&stays).contains("k2"));
}
