//! The keys of a command, with their slots: mostly few, which are kept without an allocation.

use crate::command::{Args, Spec};
use crate::slot::{Footprint, Slot};

/// Keys that are kept in place.
const FEW: usize = 4;

/// The keys of a command in their order.
pub(super) struct Keys<'a> {
    few: [&'a [u8]; FEW],
    slots: [Slot; FEW],
    len: usize,
    /// All of them and their slots, if they are more.
    many: Option<(Vec<&'a [u8]>, Vec<Slot>)>,
}

impl<'a> Keys<'a> {
    /// Returns the keys of a command and the slots that it asks for. Each key is hashed once.
    pub(super) fn of(spec: &Spec, args: Args<'a>) -> (Self, Footprint) {
        let mut keys = Self { few: [b""; FEW], slots: [Slot::FIRST; FEW], len: 0, many: None };
        if let Some(at) = spec.only_key() {
            args.get(at.into()).into_iter().for_each(|key| keys.add(key));
        } else if !spec.keys.is_empty() {
            spec.each_key(args, |key| keys.add(key));
        }
        let footprint = match spec.has_channels() {
            true => spec.footprint(args),
            false => keys
                .slots()
                .iter()
                .enumerate()
                .fold(Footprint::Anywhere, |print, (at, slot)| print.and(*slot, at)),
        };
        (keys, footprint)
    }

    fn add(&mut self, key: &'a [u8]) {
        let slot = Slot::of(key);
        if let Some((keys, slots)) = &mut self.many {
            keys.push(key);
            slots.push(slot);
        } else if self.len < FEW {
            (self.few[self.len], self.slots[self.len]) = (key, slot);
            self.len += 1;
        } else {
            let (mut keys, mut slots) = (self.few.to_vec(), self.slots.to_vec());
            keys.push(key);
            slots.push(slot);
            self.many = Some((keys, slots));
        }
    }

    /// The keys.
    pub(super) fn keys(&self) -> &[&'a [u8]] {
        self.many.as_ref().map_or(&self.few[..self.len], |(keys, _)| keys)
    }

    /// Their slots.
    pub(super) fn slots(&self) -> &[Slot] {
        self.many.as_ref().map_or(&self.slots[..self.len], |(_, slots)| slots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::foreign;
    use crate::resp::Span;

    #[test]
    fn keys_are_those_of_the_row() {
        let many: String = (0..40).map(|n| format!(" k{n}")).collect();
        for line in [
            "get a",
            "get",
            "ping",
            "mget a b",
            "mset a 1 b 2 c",
            "zunionstore d 2 a b weights 1 2",
            "eval s 2 a b c",
            "spublish c m",
            "ssubscribe a b",
            "sort a by w_* get # store b",
            "xread count 1 streams a b 0 0",
            "migrate h 1 a 0 5",
            "json.mget a b .",
            "nosuch a",
            &format!("mget{many}"),
            &format!("del{many} k0"),
            "object help",
            "georadius a 1 1 1 m store b",
        ] {
            let mut bytes = Vec::new();
            let spans: Vec<Span> = line
                .split(' ')
                .map(|word| {
                    let span = Span::new(bytes.len(), word.len());
                    bytes.extend_from_slice(word.as_bytes());
                    span
                })
                .collect();
            let args = Args::new(&bytes, &spans);
            let Some(spec) = foreign::find(args) else { continue };
            let mut expected: Vec<&[u8]> = Vec::new();
            spec.each_key(args, |key| expected.push(key));
            let (keys, footprint) = Keys::of(spec, args);
            assert_eq!((keys.keys(), footprint), (&*expected, spec.footprint(args)), "{line}");
            assert!(expected.iter().zip(keys.slots()).all(|(key, slot)| Slot::of(key) == *slot));
            assert_eq!(keys.slots().len(), expected.len());
        }
    }
}
