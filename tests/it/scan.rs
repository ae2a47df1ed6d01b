//! Scans while elements are removed: each element that stays is returned once, as few times as by
//! Redis or fewer. (Redis repeats elements when a table shrinks between two calls.)

use std::collections::{BTreeMap, BTreeSet};

use crate::server_process::ServerProcess;
use crate::servers::{Product, Server};
use crate::wire::{Client, Reply};

/// Tables of each form: up to 128 elements, and above.
const SIZES: [usize; 3] = [40, 120, 2000];

/// A command that scans, and those that add and remove an element. The hash tag makes one slot.
struct Kind {
    scan: &'static [&'static str],
    add: fn(&str) -> Vec<String>,
    remove: fn(&str) -> Vec<String>,
    /// Words of a reply per element.
    width: usize,
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

const KINDS: [Kind; 4] = [
    Kind {
        scan: &["SSCAN", "k"],
        add: |name| words(&["SADD", "k", name]),
        remove: |name| words(&["SREM", "k", name]),
        width: 1,
    },
    Kind {
        scan: &["HSCAN", "k"],
        add: |name| words(&["HSET", "k", name, "v"]),
        remove: |name| words(&["HDEL", "k", name]),
        width: 2,
    },
    Kind {
        scan: &["ZSCAN", "k"],
        add: |name| words(&["ZADD", "k", "1", name]),
        remove: |name| words(&["ZREM", "k", name]),
        width: 2,
    },
    Kind {
        scan: &["SCAN"],
        add: |name| words(&["SET", name, "v"]),
        remove: |name| words(&["DEL", name]),
        width: 1,
    },
];

/// What is removed between two calls: of what the last page has, and of what no page has yet.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Removal {
    OneReturned,
    OneToCome,
    AllReturned,
}

/// Element `n`; longer than what small encodings hold.
fn name(n: usize) -> String {
    format!("{{t}}{n:0>80}")
}

/// Scans with removals; returns how many elements were returned more than once.
///
/// # Panics
/// An element that was never removed is not returned.
fn repeats(client: &mut Client, kind: &Kind, size: usize, removal: Removal) -> usize {
    client.ask(&["FLUSHALL"]);
    (0..size).for_each(|n| drop(client.ask(&(kind.add)(&name(n)))));
    let mut left: BTreeSet<String> = (0..size).map(name).collect();
    let mut met = BTreeMap::<String, usize>::new();
    let mut cursor = "0".to_owned();
    loop {
        let call: Vec<&str> = kind.scan.iter().copied().chain([&*cursor, "COUNT", "7"]).collect();
        let Reply::Array(mut reply) = client.ask(&call) else { panic!("a cursor and a page") };
        let (Some(Reply::Array(page)), Some(Reply::Bulk(next))) = (reply.pop(), reply.pop()) else {
            panic!("a cursor and a page")
        };
        let text = |bytes| String::from_utf8(bytes).expect("names are text");
        let page = page.into_iter().step_by(kind.width).map(|element| match element {
            Reply::Bulk(bytes) => text(bytes),
            other => panic!("an element: {other:?}"),
        });
        let page: Vec<String> = page.collect();
        page.iter().for_each(|name| *met.entry(name.clone()).or_default() += 1);
        cursor = text(next);
        if cursor == "0" {
            break;
        }
        let gone = match removal {
            Removal::OneReturned => page.into_iter().take(1).collect(),
            Removal::OneToCome => {
                left.iter().find(|&name| !met.contains_key(name)).cloned().into_iter().collect()
            }
            Removal::AllReturned => page,
        };
        for name in gone {
            client.ask(&(kind.remove)(&name));
            left.remove(&name);
        }
    }
    assert!(left.iter().all(|name| met.contains_key(name)), "{removal:?} of {size}");
    met.values().filter(|&&times| times > 1).count()
}

#[test]
fn removals_between_two_calls_repeat_nothing() {
    let server = ServerProcess::start(&[]);
    let reference = match Server::start(Product::Redis7, &[]) {
        Ok(server) => Some(server),
        Err(missing) => {
            crate::references::report_missing(&missing);
            None
        }
    };
    for kind in &KINDS {
        for size in SIZES {
            for removal in [Removal::OneReturned, Removal::OneToCome, Removal::AllReturned] {
                let ours = repeats(&mut server.client(), kind, size, removal);
                assert_eq!(ours, 0, "{:?}: {removal:?} of {size}", kind.scan);
                if let Some(reference) = &reference {
                    let theirs = repeats(&mut reference.client(), kind, size, removal);
                    // The control: where Redis' table keeps its size, the removal is not the cause
                    // of repeats.
                    let keeps_size = removal != Removal::AllReturned;
                    assert!(theirs == 0 || !keeps_size, "{:?}: {removal:?} of {size}", kind.scan);
                }
            }
        }
    }
}
