//! Commands that divide by key: MGET, MSET, DEL and their kin may be run part by part, slot by slot, and
//! their replies put together. Which they are the row's own hints say, those that `COMMAND INFO` gives to
//! proxies.

use super::{Args, KeySlots, Spec};
use crate::resp::{Sink, Span};
use crate::slot::Slot;
use std::collections::BTreeMap;

/// How the parts' replies become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// Each part answers one element per key: they are put in the request's order.
    ByKey,
    /// The sum of the parts' numbers.
    Sum,
    /// OK if every part says so.
    AllSucceeded,
}

/// A request, divided by slot.
#[derive(Debug)]
pub struct SplitCommand {
    parts: Vec<Part>,
    keys: usize,
    merge: Merge,
}

/// What a part consists of.
#[derive(Debug)]
struct Part {
    /// The command's name and the keys of this slot, each with what belongs to it.
    spans: Vec<Span>,
    /// The places of its keys among the request's, from 0.
    places: Vec<usize>,
}

impl Spec {
    /// How the replies become one if the command is divided; `None` if it cannot be, as it is all or
    /// nothing or needs its keys together.
    #[must_use]
    pub fn merge(&self) -> Option<Merge> {
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

    /// Splits a request by slot, the parts in the order of their first keys. `None` if it cannot be,
    /// or is malformed, which the command itself says best.
    #[must_use]
    pub fn split(&self, args: Args<'_>, slots: &KeySlots<'_>) -> Option<SplitCommand> {
        let merge = self.merge()?;
        // The values of MSET follow their keys.
        let step = if merge == Merge::AllSucceeded { 2 } else { 1 };
        let (_, spans) = args.parts();
        let (name, rest) = spans.split_first()?;
        if rest.len() % step != 0 {
            return None;
        }
        let mut parts: Vec<Part> = Vec::new();
        let mut at: BTreeMap<Slot, usize> = BTreeMap::new();
        for (place, key) in rest.chunks(step).enumerate() {
            let slot = slots.slot_of(args.at(1 + place * step));
            let part = *at.entry(slot).or_insert_with(|| {
                parts.push(Part { spans: vec![*name], places: Vec::new() });
                parts.len() - 1
            });
            parts[part].spans.extend(key);
            parts[part].places.push(place);
        }
        Some(SplitCommand { parts, keys: rest.len() / step, merge })
    }
}

impl SplitCommand {
    /// The parts' arguments, which each ask for one slot.
    pub fn parts<'a>(&'a self, args: Args<'a>) -> impl Iterator<Item = Args<'a>> {
        let (buf, _) = args.parts();
        self.parts.iter().map(move |part| Args::new(buf, &part.spans))
    }

    /// Puts the parts' replies together; the first error among them is the answer.
    pub fn answer(&self, replies: &[Vec<u8>], out: &mut Sink<'_>) {
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
                    for &place in &part.places {
                        let (element, behind) = element(rest);
                        (elements[place], rest) = (element, behind);
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
    crate::text::number::parse_i64(digits)
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

    fn split(args: Args<'_>) -> SplitCommand {
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
    fn what_divides_and_what_is_all_or_nothing() {
        for name in ["mget", "mset", "del", "unlink", "exists", "touch"] {
            assert!(find(name.as_bytes()).is_some_and(|spec| spec.merge().is_some()), "{name}");
        }
        for name in ["msetnx", "sinter", "rename", "blpop", "get", "wait", "sort"] {
            assert!(find(name.as_bytes()).is_some_and(|spec| spec.merge().is_none()), "{name}");
        }
    }

    #[test]
    fn values_stay_with_their_keys_and_elements_come_in_order() {
        let (buf, spans) = spans(&["mset", "{a}1", "x", "{b}", "y", "{a}2", "z"]);
        let args = Args::new(&buf, &spans);
        let divided = split(args);
        let parts: Vec<Vec<Vec<u8>>> =
            divided.parts(args).map(|part| part.from(1).map(<[u8]>::to_vec).collect()).collect();
        assert_eq!(
            parts,
            [
                vec![b"{a}1".to_vec(), b"x".into(), b"{a}2".into(), b"z".into()],
                vec![b"{b}".into(), b"y".into()]
            ]
        );

        let (buf, spans) = self::spans(&["mget", "{a}1", "{b}", "{a}2", "{b}", "{c}"]);
        let args = Args::new(&buf, &spans);
        let divided = split(args);
        let replies = [
            b"*2\r\n$4\r\na\r\n1\r\n$-1\r\n".to_vec(),
            b"*2\r\n$1\r\nb\r\n$0\r\n\r\n".to_vec(),
            b"*1\r\n_\r\n".to_vec(),
        ];
        let mut out = Vec::new();
        divided.answer(&replies, &mut Sink::new(&mut out, Proto::Resp2));
        let expected = "*5\r\n$4\r\na\r\n1\r\n$1\r\nb\r\n$-1\r\n$0\r\n\r\n_\r\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn an_error_of_one_part_is_the_answer() {
        let (buf, spans) = spans(&["del", "{a}", "{b}"]);
        let args = Args::new(&buf, &spans);
        let divided = split(args);
        let mut out = Vec::new();
        let replies = [b":1\r\n".to_vec(), b"-CLUSTERDOWN Hash slot not served\r\n".to_vec()];
        divided.answer(&replies, &mut Sink::new(&mut out, Proto::Resp2));
        assert_eq!(out, b"-CLUSTERDOWN Hash slot not served\r\n");
        out.clear();
        let replies = [b":1\r\n".to_vec(), b":1\r\n".to_vec()];
        divided.answer(&replies, &mut Sink::new(&mut out, Proto::Resp2));
        assert_eq!(out, b":2\r\n");
    }
}
