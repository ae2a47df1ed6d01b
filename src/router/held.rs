//! Shards that are held together, the turn that they are held for, and the shards that a slot, a
//! port or a database needs.

use super::Router;
use crate::command::flag;
use crate::session::Session;
use crate::shard::{Engine, Hold, Turn};
use crate::slot::Slot;
use crate::state::ScriptKind;
use crate::topology::{Port, SlotMigration};

/// Attempts to hold shards at once, each after waiting for one of them. With as many as this the
/// others are so busy that it is better to wait for them while shards are held.
const ATTEMPTS_MAX: usize = 16;

/// The shard that a turn holds from one command to the next, with its number.
pub(super) type KeptHold<'r> = Option<(usize, Hold<'r>)>;

/// Shards that are held, in ascending order of their numbers; dropping this releases all of them.
pub(super) struct HeldShards<'r>(pub(super) Vec<(usize, Hold<'r>)>);

impl<'r> HeldShards<'r> {
    /// Returns the position of this shard among those held.
    pub(super) fn position(&self, shard: usize) -> Option<usize> {
        self.0.binary_search_by_key(&shard, |(number, _)| *number).ok()
    }

    /// Returns the hold at this position.
    ///
    /// # Panics
    /// There are fewer: positions come from [`HeldShards::position`].
    pub(super) fn at(&mut self, place: usize) -> &mut Hold<'r> {
        &mut self.0[place].1
    }

    pub(super) fn engine(&mut self, place: usize) -> &mut Engine {
        self.at(place).engine()
    }

    pub(super) fn engines(&mut self) -> impl Iterator<Item = &mut Engine> {
        self.0.iter_mut().map(|(_, hold)| hold.engine())
    }

    /// Returns the engines at two different positions.
    pub(super) fn two(&mut self, a: usize, b: usize) -> Option<(&mut Engine, &mut Engine)> {
        let [first, second] = self.0.get_disjoint_mut([a, b]).ok()?;
        Some((first.1.engine(), second.1.engine()))
    }

    /// Returns the numbers of the shards.
    pub(super) fn numbers(&self) -> Vec<usize> {
        self.0.iter().map(|(number, _)| *number).collect()
    }

    /// Serves the clients that are blocked on keys which have got a value.
    pub(super) fn serve_blocked(&mut self) {
        self.0.iter_mut().for_each(|(_, hold)| hold.serve_blocked());
    }
}

/// Where the keys of a slot of database 0 may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlotShards {
    /// The owner's shard.
    pub(super) from: usize,
    /// The shard that imports the slot.
    pub(super) to: Option<usize>,
}

impl SlotShards {
    /// Returns both shards, or one if they are the same.
    pub(super) fn all(self) -> impl Iterator<Item = usize> {
        [self.from].into_iter().chain(self.to)
    }
}

impl Router {
    /// Returns the shard that a unit of `slot` is submitted to.
    pub(super) fn shard_for(&self, slot: Option<Slot>, port: Port) -> usize {
        match (port, slot) {
            (Port::Node(node), _) => self.topology.shard_of_node(node),
            (Port::Router, slot) => slot.map_or(0, |slot| self.topology.shard_of(slot)),
        }
    }

    /// Returns the shards where keys of `slot` may be, as `port` sees it.
    pub(super) fn shards_of(&self, slot: Option<Slot>, port: Port) -> SlotShards {
        match (port, slot) {
            (Port::Node(node), _) => {
                SlotShards { from: self.topology.shard_of_node(node), to: None }
            }
            (Port::Router, None) => SlotShards { from: 0, to: None },
            (Port::Router, Some(slot)) if self.topology.is_stable(slot) => {
                SlotShards { from: self.topology.shard_of(slot), to: None }
            }
            (Port::Router, Some(slot)) => match self.topology.migration_of(slot) {
                Some(SlotMigration { from, to }) => SlotShards { from, to: Some(to) },
                None => SlotShards { from: self.topology.shard_of(slot), to: None },
            },
        }
    }

    /// Returns the shard of a database above number 0; the shards of the topology make up that one.
    pub(super) fn shard_of_database(&self, database: u32) -> Option<usize> {
        let number = (database as usize).checked_sub(1)?;
        Some(self.topology.shards() + number)
    }

    /// Returns the shards that a command with these flags sees, ascending: those of the client's
    /// port and database.
    pub(super) fn view(&self, session: &Session, flags: u64) -> Vec<usize> {
        match session.port() {
            Port::Router if flags & flag::ALL_DATABASES != 0 => {
                let databases = self.topology.shards()..self.shards.len();
                self.topology.shards_of_masters().into_iter().chain(databases).collect()
            }
            Port::Router => match self.shard_of_database(session.database()) {
                Some(shard) => vec![shard],
                None => self.topology.shards_of_masters(),
            },
            Port::Node(node) => vec![self.topology.shard_of_node(node)],
        }
    }

    /// Holds shards, which must be named in ascending order, however long that takes.
    pub(super) fn hold_each<'r>(&'r self, shards: &[usize], turn: &'r Turn<'r>) -> HeldShards<'r> {
        loop {
            if let Some(held) = self.hold_each_unless(shards, turn, &|| false) {
                return held;
            }
        }
    }

    /// Holds shards, which must be named in ascending order, unless a script makes others wait for
    /// one of them: then returns of which kind.
    pub(super) fn hold_each_if_idle<'r>(
        &'r self,
        shards: &[usize],
        turn: &'r Turn<'r>,
    ) -> Result<HeldShards<'r>, ScriptKind> {
        let running = &self.server.running_scripts;
        let is_busy = || running.busy_of(shards.iter().copied()).is_some();
        self.hold_each_unless(shards, turn, &is_busy)
            .ok_or_else(|| running.busy_of(shards.iter().copied()).unwrap_or(ScriptKind::Script))
    }

    /// Holds shards unless `gives_up` says that it is no use to wait on. While it waits for one, it
    /// holds no other, so that a command over all shards does not pass on to the others the delay that
    /// a slow script makes at one; only after many attempts it waits for them in their order.
    fn hold_each_unless<'r>(
        &'r self,
        shards: &[usize],
        turn: &'r Turn<'r>,
        gives_up: &dyn Fn() -> bool,
    ) -> Option<HeldShards<'r>> {
        debug_assert!(shards.is_sorted(), "shards are held in ascending order");
        let mut held = Vec::with_capacity(shards.len());
        let Some(mut taken) = self.try_hold_rest(shards, &mut held, turn) else {
            return Some(HeldShards(held));
        };
        for _ in 0..ATTEMPTS_MAX {
            held.clear();
            held.push((taken, self.wait_for(taken, turn, gives_up)?));
            match self.try_hold_rest(shards, &mut held, turn) {
                Some(other) => taken = other,
                None => return Some(Self::after_waiting(held, turn)),
            }
        }
        held.clear();
        for &shard in shards {
            held.push((shard, self.wait_for(shard, turn, gives_up)?));
        }
        Some(Self::after_waiting(held, turn))
    }

    /// Holds those of these shards that are not held yet and are free; returns the first that is not.
    fn try_hold_rest<'r>(
        &'r self,
        shards: &[usize],
        held: &mut Vec<(usize, Hold<'r>)>,
        turn: &'r Turn<'r>,
    ) -> Option<usize> {
        for &shard in shards {
            if held.iter().all(|(other, _)| *other != shard) {
                match self.shards[shard].try_hold(turn) {
                    Some(hold) => held.push((shard, hold)),
                    None => return Some(shard),
                }
            }
        }
        None
    }

    /// Waits for a shard away from the runtime's workers.
    fn wait_for<'r>(
        &'r self,
        shard: usize,
        turn: &'r Turn<'r>,
        gives_up: &dyn Fn() -> bool,
    ) -> Option<Hold<'r>> {
        let shard = &self.shards[shard];
        let mut waited = None;
        turn.pace.outside(&mut || waited = shard.hold_unless(turn, gives_up));
        waited
    }

    /// Returns shards of which one had to be waited for: the time of the turn is over.
    fn after_waiting<'r>(mut held: Vec<(usize, Hold<'r>)>, turn: &Turn<'_>) -> HeldShards<'r> {
        held.sort_by_key(|(number, _)| *number);
        let mut held = HeldShards(held);
        held.engines().for_each(|engine| engine.advance(turn.pace.now()));
        held
    }

    /// Holds a shard, waiting for it away from the runtime's workers if it is taken.
    pub(super) fn hold_one<'r>(&'r self, shard: usize, turn: &'r Turn<'r>) -> Hold<'r> {
        let shard = &self.shards[shard];
        if let Some(hold) = shard.try_hold(turn) {
            return hold;
        }
        let mut waited = None;
        turn.pace.outside(&mut || waited = Some(shard.hold(turn)));
        let mut hold = waited.unwrap_or_else(|| shard.hold(turn));
        hold.engine().advance(turn.pace.now());
        hold
    }
}
