//! However the bytes of a conversation are cut, the replies are the same.

use crate::conversation::converse;
use proptest::prelude::*;

/// A request of commands whose replies do not depend on time.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        "get", "SET", "incr", "del", "mget", "{a}1", "{a}2", "b", "c", "multi", "exec", "discard",
        "watch", "unwatch", "ping", "echo", "hello", "2", "3", "hset", "hgetall", "append",
        "nosuch", "x", "", "dbsize", "reset", "10", "client", "reply", "skip", "on", "off", "quit",
    ]);
    let word = prop_oneof![
        12 => word.prop_map(|w| w.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..30),
    ];
    let framed = prop::collection::vec(word, 0..5).prop_map(|args| {
        let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            bytes.extend_from_slice(&arg);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    });
    let inline = prop::sample::select(vec![
        "PING\r\n",
        "set {a}1 \"x \\x41\"\n",
        "get {a}1\r\n",
        "\r\n",
        "echo 'a b'\r\n",
        "multi\r\n",
        "exec\n",
    ]);
    prop_oneof![
        30 => framed,
        8 => inline.prop_map(|line| line.as_bytes().to_vec()),
        1 => "[*$0-9a-z\"' \r\n]{0,20}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn replies_do_not_depend_on_where_the_input_is_cut(
        requests in prop::collection::vec(request(), 1..20),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let bytes = requests.concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
        let singly: Vec<&[u8]> = bytes.chunks(1).collect();
        let replies = |pieces: &[&[u8]]| converse(pieces).escape_ascii().to_string();
        let whole = replies(&[&bytes]);
        prop_assert_eq!(&replies(&pieces), &whole);
        prop_assert_eq!(&replies(&singly), &whole);
    }
}
