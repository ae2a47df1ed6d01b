//! A request whose row is known.

use super::{Args, Spec};
use crate::keyspace::Key;
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
    /// Its only key, if the row says so ([`Spec::only_key`]) and the key is hashed already.
    pub known: Option<KnownKey<'a>>,
}

/// The only key of a request, hashed, and perhaps looked up before.
#[derive(Clone, Copy, Debug)]
pub struct KnownKey<'a> {
    /// Which argument it is.
    pub at: u8,
    /// The key.
    pub key: Key<'a>,
}

impl<'a> Invocation<'a> {
    pub(crate) fn new(spec: &'static Spec, args: Args<'a>) -> Self {
        // A module's row admits requests without keys.
        let only_key = spec.only_key().filter(|&at| usize::from(at) < args.len());
        let footprint = match only_key {
            Some(at) => Footprint::In(Slot::of(args.at(at.into()))),
            None => spec.footprint(args),
        };
        Self { spec, args, footprint, known: None }
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
