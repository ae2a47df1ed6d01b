//! A consumer group: which entries were delivered to which consumer and are not acknowledged yet.
//!
//! ```text
//! pending    id ──► { consumer number, when, how often }      all of the group
//! consumers  number ──► { name, seen, its pending ids }
//! numbers    name ──► number                                  in the order of the names
//! ```

use super::id::StreamId;
use super::id_map::IdMap;
use crate::keyspace::Millis;
use std::collections::BTreeMap;

/// The number of a consumer in its group, as long as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerNumber(u32);

/// A number is that of a consumer which exists: names and pending entries have no other.
const NUMBERED: &str = "a consumer has the number that its name and its pending entries have";

/// An entry that was delivered and not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// When it was last delivered.
    pub delivered_at: Millis,
    /// How often it was delivered.
    pub deliveries: u64,
    consumer: ConsumerNumber,
}

/// A consumer of a group.
#[derive(Clone, Debug)]
pub struct Consumer {
    name: Box<[u8]>,
    /// When a command last named it.
    pub seen_at: Millis,
    /// When it was last given an entry; -1 before.
    pub active_at: Millis,
    pending: IdMap<()>,
}

impl Consumer {
    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Returns the ids of the entries that are pending with it.
    #[must_use]
    pub fn pending(&self) -> &IdMap<()> {
        &self.pending
    }
}

/// A consumer group.
#[derive(Clone, Debug)]
pub struct Group {
    /// The id of the last entry that was delivered as a new one.
    pub last_id: StreamId,
    /// How many entries up to that one there have been; -1 if that is not known.
    pub entries_read: i64,
    pending: IdMap<Pending>,
    consumers: Vec<Option<Consumer>>,
    /// Numbers without a consumer.
    free: Vec<ConsumerNumber>,
    numbers: BTreeMap<Box<[u8]>, ConsumerNumber>,
}

impl Group {
    /// Makes a group that has read up to `last_id`.
    #[must_use]
    pub fn new(last_id: StreamId, entries_read: i64) -> Self {
        Self {
            last_id,
            entries_read,
            pending: IdMap::default(),
            consumers: Vec::new(),
            free: Vec::new(),
            numbers: BTreeMap::new(),
        }
    }

    /// Returns the pending entries.
    #[must_use]
    pub fn pending(&self) -> &IdMap<Pending> {
        &self.pending
    }

    /// Returns the consumers in the order of their names.
    pub fn consumers(&self) -> impl ExactSizeIterator<Item = &Consumer> {
        self.numbers.values().map(|&number| self.numbered(number))
    }

    /// Returns the number of a consumer.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<ConsumerNumber> {
        self.numbers.get(name).copied()
    }

    /// Returns a consumer.
    #[must_use]
    pub fn consumer(&self, number: ConsumerNumber) -> &Consumer {
        self.numbered(number)
    }

    /// Returns a consumer, to be changed.
    pub fn consumer_mut(&mut self, ConsumerNumber(number): ConsumerNumber) -> &mut Consumer {
        let consumer = self.consumers.get_mut(number as usize).and_then(Option::as_mut);
        consumer.expect(NUMBERED)
    }

    /// Returns the consumer with which an entry is pending.
    #[must_use]
    pub fn consumer_of(&self, pending: &Pending) -> &Consumer {
        self.numbered(pending.consumer)
    }

    fn numbered(&self, ConsumerNumber(number): ConsumerNumber) -> &Consumer {
        self.consumers.get(number as usize).and_then(Option::as_ref).expect(NUMBERED)
    }

    /// Returns the number of the consumer of this name, which is added if there is none.
    pub fn add_consumer(&mut self, name: &[u8], now: Millis) -> ConsumerNumber {
        if let Some(number) = self.find(name) {
            return number;
        }
        let consumer =
            Consumer { name: name.into(), seen_at: now, active_at: -1, pending: IdMap::default() };
        let number = match self.free.pop() {
            Some(ConsumerNumber(number)) => {
                self.consumers[number as usize] = Some(consumer);
                number
            }
            None => {
                self.consumers.push(Some(consumer));
                self.consumers.len() as u32 - 1
            }
        };
        self.numbers.insert(name.into(), ConsumerNumber(number));
        ConsumerNumber(number)
    }

    /// Removes a consumer and its pending entries; returns how many these were, or `None` if there is
    /// no such consumer. Calls `step` for each of them.
    pub fn remove_consumer(&mut self, name: &[u8], mut step: impl FnMut()) -> Option<usize> {
        let number = self.numbers.remove(name)?;
        let consumer = self.consumers.get_mut(number.0 as usize)?.take()?;
        self.free.push(number);
        for (id, ()) in consumer.pending.iter() {
            self.pending.remove(id);
            step();
        }
        Some(consumer.pending.len())
    }

    /// Marks an entry as pending with a consumer, whatever was pending of it before.
    pub fn assign(
        &mut self,
        id: StreamId,
        consumer: ConsumerNumber,
        delivered_at: Millis,
        deliveries: u64,
    ) {
        let pending = Pending { delivered_at, deliveries, consumer };
        match self.pending.insert(id, pending) {
            Some(before) if before.consumer == consumer => return,
            Some(before) => self.forget(before.consumer, id),
            None => {}
        }
        self.consumer_mut(consumer).pending.insert(id, ());
    }

    /// Returns a pending entry, to be changed.
    pub fn pending_mut(&mut self, id: StreamId) -> Option<&mut Pending> {
        self.pending.get_mut(id)
    }

    /// Removes a pending entry; returns whether there was one.
    pub fn acknowledge(&mut self, id: StreamId) -> bool {
        let Some(pending) = self.pending.remove(id) else { return false };
        self.forget(pending.consumer, id);
        true
    }

    fn forget(&mut self, number: ConsumerNumber, id: StreamId) {
        self.consumer_mut(number).pending.remove(id);
    }

    /// Returns about how many bytes of memory it takes.
    #[must_use]
    pub fn memory(&self) -> usize {
        let consumers: usize = self
            .consumers
            .iter()
            .flatten()
            .map(|consumer| 2 * consumer.name.len() + consumer.pending.memory())
            .sum();
        let slots = self.consumers.capacity() * size_of::<Option<Consumer>>();
        size_of::<Self>() + self.pending.memory() + slots + consumers
    }
}
