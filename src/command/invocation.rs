//! A request whose row is known.

use super::{Args, Spec};
use crate::keyspace::{Key, KeyHint};
use crate::slot::{Footprint, Slot};

/// A request whose row was found and whose number of arguments fits.
#[derive(Clone, Copy, Debug)]
pub struct Invocation<'a> {
    /// The row of the command or, if it has them, of the subcommand.
    pub spec: &'static Spec,
    /// The arguments.
    pub args: Args<'a>,
    /// The slots of its keys.
    pub footprint: Footprint,
    /// The argument that is its only key, if the row says so ([`Spec::only_key`]).
    pub only_key: Option<u8>,
    /// Where an early look-up has found that key, if there was one.
    pub seen: Option<KeyHint>,
}

impl<'a> Invocation<'a> {
    pub(crate) fn new(spec: &'static Spec, args: Args<'a>) -> Self {
        // A module's row admits requests without keys.
        let only_key = spec.only_key().filter(|&at| usize::from(at) < args.len());
        let footprint = match only_key {
            Some(at) => Footprint::In(Slot::of(args.at(at.into()))),
            None => spec.footprint(args),
        };
        Self { spec, args, footprint, only_key, seen: None }
    }

    /// Its only key, if that was looked up before.
    #[must_use]
    #[inline]
    pub fn known(&self) -> Option<Key<'a>> {
        match (self.slot(), self.only_key, self.seen) {
            (Some(slot), Some(at), Some(seen)) => {
                Some(Key::with_hint(self.args.at(at.into()), slot, seen))
            }
            _ => None,
        }
    }

    /// Whether its keys are in more than one slot.
    #[must_use]
    pub fn crosses(&self) -> bool {
        matches!(self.footprint, Footprint::Crossing { .. })
    }

    /// The slot of its keys; `None` if it has no keys or they cross slots.
    #[must_use]
    pub fn slot(&self) -> Option<Slot> {
        if let Footprint::In(slot) = self.footprint { Some(slot) } else { None }
    }
}
