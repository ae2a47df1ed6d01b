//! Commands that may run slot by slot: MGET, MSET, DEL and others are split by slot, and the
//! replies of the parts are merged. Which they are follows from the row's tips, the hints that
//! `COMMAND INFO` gives to proxies.

use super::{Args, Find, KeySlots, Spec};
use crate::resp::{Sink, Span};
use crate::slot::Slot;
use crate::text::number::parse_i64;
use std::collections::BTreeMap;

/// How the parts' replies become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// Each part replies with one element per key: they are put in the request's order.
    ByKey,
    /// The sum of the parts' numbers.
    Sum,
    /// OK if every part replies with OK.
    AllSucceeded,
}

/// A request, split by slot.
#[derive(Debug)]
pub struct SplitCommand {
    parts: Vec<Part>,
    keys: usize,
    merge: Merge,
}

/// The part of a request that belongs to one slot.
#[derive(Debug)]
struct Part {
    /// The command's name and the keys of this slot, each with its value if it has one, and what follows
    /// all keys.
    spans: Vec<Span>,
    /// The positions of its keys among the request's keys, from 0.
    positions: Vec<usize>,
}

impl Spec {
    /// How the replies are merged if the command is split. `None` if it cannot be split: it is all
    /// or nothing, or needs its keys together.
    #[must_use]
    pub fn merge_policy(&self) -> Option<Merge> {
        let policy = |hint: &str| self.tips.iter().find_map(|tip| tip.strip_prefix(hint));
        if policy("request_policy:") != Some("multi_shard") {
            return None;
        }
        match policy("response_policy:") {
            None => Some(Merge::ByKey),
            Some("agg_sum") => Some(Merge::Sum),
            Some("all_succeeded") => Some(Merge::AllSucceeded),
            Some(_) => None,
        }
    }

    /// Splits a request by slot, the parts in the order of their first keys. `None` if the command
    /// cannot be split, or if the request is malformed: the command itself has the error for that.
    #[must_use]
    pub fn split(&self, args: Args<'_>, slots: &KeySlots<'_>) -> Option<SplitCommand> {
        let merge = self.merge_policy()?;
        // The values of MSET follow their keys, and the path of JSON.MGET follows all of them.
        let (first, last) = (self.keys.first()?, self.keys.last()?);
        let (Find::Range { step, .. }, Find::Range { last, .. }) = (first.find, last.find) else {
            return None;
        };
        let (step, behind) = (usize::from(step), usize::from((-1 - last).max(0).unsigned_abs()));
        let (_, spans) = args.parts();
        let (name, rest) = spans.split_first()?;
        let (rest, behind) = rest.split_at_checked(rest.len().checked_sub(behind)?)?;
        if rest.len() % step != 0 {
            return None;
        }
        let mut parts: Vec<Part> = Vec::new();
        let mut part_of: BTreeMap<Slot, usize> = BTreeMap::new();
        for (position, key) in rest.chunks(step).enumerate() {
            let slot = slots.slot_of(args.at(1 + position * step));
            let part = *part_of.entry(slot).or_insert_with(|| {
                parts.push(Part { spans: vec![*name], positions: Vec::new() });
                parts.len() - 1
            });
            parts[part].spans.extend(key);
            parts[part].positions.push(position);
        }
        parts.iter_mut().for_each(|part| part.spans.extend(behind));
        Some(SplitCommand { parts, keys: rest.len() / step, merge })
    }
}

impl SplitCommand {
    /// The parts' arguments, each part's keys in one slot.
    pub fn parts<'a>(&'a self, args: Args<'a>) -> impl Iterator<Item = Args<'a>> {
        let (buf, _) = args.parts();
        self.parts.iter().map(move |part| Args::new(buf, &part.spans))
    }

    /// Merges the parts' replies into one; if there is an error among them, the first is the reply.
    pub fn merge_replies(&self, replies: &[Vec<u8>], out: &mut Sink<'_>) {
        if let Some(error) = replies.iter().find_map(|reply| reply.strip_prefix(b"-")) {
            let text = error.strip_suffix(b"\r\n").unwrap_or(error);
            return out.error(text);
        }
        match self.merge {
            Merge::AllSucceeded => out.ok(),
            Merge::Sum => out.int(replies.iter().filter_map(|reply| number(reply, b':')).sum()),
            Merge::ByKey => {
                let mut elements: Vec<&[u8]> = vec![&[]; self.keys];
                for (part, reply) in self.parts.iter().zip(replies) {
                    let mut rest = line(reply).1;
                    for &position in &part.positions {
                        let (element, after) = element(rest);
                        (elements[position], rest) = (element, after);
                    }
                }
                out.array(elements.len());
                elements.into_iter().for_each(|element| out.raw(element));
            }
        }
    }
}

/// The first line, with its end, and what follows.
fn line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |at| at + 1);
    bytes.split_at(end)
}

/// The number of a line that begins with `mark`.
fn number(bytes: &[u8], mark: u8) -> Option<i64> {
    let digits = line(bytes).0.strip_prefix(&[mark])?.strip_suffix(b"\r\n")?;
    parse_i64(digits)
}

/// The first reply, a byte string or null, and what follows.
fn element(bytes: &[u8]) -> (&[u8], &[u8]) {
    let head = line(bytes).0.len();
    let body = number(bytes, b'$').and_then(|len| usize::try_from(len).ok()).map_or(0, |n| n + 2);
    bytes.split_at((head + body).min(bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{find, resolve};
    use crate::resp::Proto;

    fn split_by_slot(args: Args<'_>) -> SplitCommand {
        let invocation = resolve(args).expect("a command");
        invocation.spec.split(args, &KeySlots::of(&invocation)).expect("it splits")
    }

    fn spans(words: &[&str]) -> (Vec<u8>, Vec<Span>) {
        let (mut buf, mut spans) = (Vec::new(), Vec::new());
        for word in words {
            spans.push(Span::new(buf.len(), word.len()));
            buf.extend_from_slice(word.as_bytes());
        }
        (buf, spans)
    }

    #[test]
    fn commands_that_split_and_commands_that_do_not() {
        for name in ["mget", "mset", "del", "unlink", "exists", "touch"] {
            assert!(
                find(name.as_bytes()).is_some_and(|spec| spec.merge_policy().is_some()),
                "{name}"
            );
        }
        for name in [
            "msetnx",
            "bitop",
            "pfcount",
            "pfmerge",
            "geosearchstore",
            "sinter",
            "rename",
            "blpop",
            "get",
            "wait",
            "sort",
        ] {
            assert!(
                find(name.as_bytes()).is_some_and(|spec| spec.merge_policy().is_none()),
                "{name}"
            );
        }
    }

    #[test]
    fn values_stay_with_their_keys_and_elements_keep_their_order() {
        let (buf, spans) = spans(&["mset", "{a}1", "x", "{b}", "y", "{a}2", "z"]);
        let args = Args::new(&buf, &spans);
        let split = split_by_slot(args);
        let parts: Vec<Vec<Vec<u8>>> =
            split.parts(args).map(|part| part.from(1).map(<[u8]>::to_vec).collect()).collect();
        assert_eq!(
            parts,
            [
                vec![b"{a}1".to_vec(), b"x".into(), b"{a}2".into(), b"z".into()],
                vec![b"{b}".into(), b"y".into()]
            ]
        );

        let (buf, spans) = self::spans(&["mget", "{a}1", "{b}", "{a}2", "{b}", "{c}"]);
        let args = Args::new(&buf, &spans);
        let split = split_by_slot(args);
        let replies = [
            b"*2\r\n$4\r\na\r\n1\r\n$-1\r\n".to_vec(),
            b"*2\r\n$1\r\nb\r\n$0\r\n\r\n".to_vec(),
            b"*1\r\n_\r\n".to_vec(),
        ];
        let mut out = Vec::new();
        split.merge_replies(&replies, &mut Sink::new(&mut out, Proto::Resp2));
        let expected = "*5\r\n$4\r\na\r\n1\r\n$1\r\nb\r\n$-1\r\n$0\r\n\r\n_\r\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn an_error_of_one_part_is_the_reply() {
        let (buf, spans) = spans(&["del", "{a}", "{b}"]);
        let args = Args::new(&buf, &spans);
        let split = split_by_slot(args);
        let mut out = Vec::new();
        let replies = [b":1\r\n".to_vec(), b"-CLUSTERDOWN Hash slot not served\r\n".to_vec()];
        split.merge_replies(&replies, &mut Sink::new(&mut out, Proto::Resp2));
        assert_eq!(out, b"-CLUSTERDOWN Hash slot not served\r\n");
        out.clear();
        let replies = [b":1\r\n".to_vec(), b":1\r\n".to_vec()];
        split.merge_replies(&replies, &mut Sink::new(&mut out, Proto::Resp2));
        assert_eq!(out, b":2\r\n");
    }
}
