//! A hash: values under their fields' names.
//!
//! ```text
//! small   Packed         all pairs in one piece of memory, in the order of insertion; see packed
//! large   Table<Field>   found by hash; in no order
//! ```
//!
//! A hash starts packed and becomes a table when it gets more fields, or a longer name or value,
//! than [`PackLimits`] allow. It never becomes packed again, as in Redis, so that one at the border
//! does not switch at every step.

mod packed;

use super::packed_item::HEAD_LEN_MAX;
use super::{Blob, KeyHasher, Keyed, Table, Text};
use packed::Packed;

/// A pack that would grow beyond this many bytes becomes a table, whatever the limits say.
const PACK_SIZE_MAX: usize = 1 << 30;

/// The limits up to which a hash stays packed (`hash-max-listpack-entries`, `-value`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackLimits {
    /// Most fields.
    pub entries_max: usize,
    /// Longest name and longest value, in bytes.
    pub value_len_max: usize,
}

impl Default for PackLimits {
    fn default() -> Self {
        Self { entries_max: 512, value_len_max: 64 }
    }
}

/// A name and its value in a large hash.
#[derive(Clone, Debug)]
struct Field {
    name: Blob,
    value: Blob,
}

impl Keyed for Field {
    fn key(&self) -> &[u8] {
        &self.name
    }
}

impl Field {
    fn pair(&self) -> Pair<'_> {
        (Text::Bytes(&self.name), Text::Bytes(&self.value))
    }
}

/// A field's name and its value.
pub(crate) type Pair<'h> = (Text<'h>, Text<'h>);

/// Values by name; see the top of the file.
#[derive(Clone, Debug)]
pub struct Hash(Repr);

#[derive(Clone, Debug)]
enum Repr {
    Packed(Packed),
    Table(Box<Table<Field>>),
}

impl Default for Hash {
    fn default() -> Self {
        Self(Repr::Packed(Packed::default()))
    }
}

impl Hash {
    /// Returns the representation as `OBJECT ENCODING` names it.
    #[must_use]
    pub fn encoding(&self) -> &'static str {
        match self.0 {
            Repr::Packed(_) => "listpack",
            Repr::Table(_) => "hashtable",
        }
    }

    /// Returns how many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Packed(packed) => packed.len(),
            Repr::Table(table) => table.len(),
        }
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns about how many bytes of memory it takes besides itself.
    #[must_use]
    pub fn memory(&self) -> usize {
        match &self.0 {
            Repr::Packed(packed) => packed.size(),
            Repr::Table(table) => {
                let entries = table.entries();
                let apart = |field: &Field| field.name.memory() + field.value.memory();
                size_of::<Table<Field>>()
                    + entries.len() * (size_of::<Field>() + size_of::<u64>())
                    + entries.iter().map(apart).sum::<usize>()
            }
        }
    }

    /// Returns the value of a field.
    #[must_use]
    pub fn get(&self, name: &[u8], hasher: &KeyHasher) -> Option<Text<'_>> {
        match &self.0 {
            Repr::Packed(packed) => packed.get(name),
            Repr::Table(table) => {
                let at = table.find(name, hasher.hash(name))?;
                Some(Text::Bytes(&table.entries()[at].value))
            }
        }
    }

    /// Returns whether there is such a field.
    #[must_use]
    pub fn contains(&self, name: &[u8], hasher: &KeyHasher) -> bool {
        match &self.0 {
            Repr::Packed(packed) => packed.contains(name),
            Repr::Table(table) => table.find(name, hasher.hash(name)).is_some(),
        }
    }

    /// Sets the value of a field; returns whether the field is new.
    pub fn set(
        &mut self,
        name: &[u8],
        value: &[u8],
        limits: PackLimits,
        hasher: &KeyHasher,
    ) -> bool {
        if let Repr::Packed(packed) = &mut self.0 {
            // Limits that have shrunk since the last change count here.
            let fits = name.len().max(value.len()) <= limits.value_len_max
                && packed.len() <= limits.entries_max
                && packed.size() + name.len() + value.len() + 2 * HEAD_LEN_MAX <= PACK_SIZE_MAX;
            if fits && let Some(is_new) = packed.set(name, value, limits.entries_max) {
                return is_new;
            }
        }
        let (table, hash) = (self.unpack(hasher), hasher.hash(name));
        match table.find(name, hash) {
            Some(at) => {
                table.at_mut(at).value = value.into();
                false
            }
            None => {
                table.insert(Field { name: name.into(), value: value.into() }, hash, hasher);
                true
            }
        }
    }

    /// Removes a field; returns whether it was there.
    pub fn remove(&mut self, name: &[u8], hasher: &KeyHasher) -> bool {
        match &mut self.0 {
            Repr::Packed(packed) => packed.remove(name),
            Repr::Table(table) => {
                let found = table.find(name, hasher.hash(name));
                found.map(|at| table.remove(at, hasher)).is_some()
            }
        }
    }

    /// Returns every field with its value; those of a packed hash in the order of insertion.
    #[must_use]
    pub fn pairs(&self) -> Pairs<'_> {
        match &self.0 {
            Repr::Packed(packed) => Pairs(Rest::Packed(packed.pairs())),
            Repr::Table(table) => Pairs(Rest::Fields(table.entries().iter())),
        }
    }

    /// Returns the pairs for access by index.
    #[must_use]
    pub fn indexed(&self) -> Indexed<'_> {
        match &self.0 {
            Repr::Packed(packed) => Indexed(Order::Packed(packed.pairs().collect())),
            Repr::Table(table) => Indexed(Order::Fields(table.entries())),
        }
    }

    /// Returns the page of a scan that starts at `cursor`, about `count` pairs long, and the cursor
    /// of the page after it; both start and end are 0. A small hash is one page.
    #[must_use]
    pub fn page(&self, cursor: u64, count: usize, hasher: &KeyHasher) -> (Vec<Pair<'_>>, u64) {
        let Repr::Table(table) = &self.0 else { return (self.pairs().collect(), 0) };
        let (fields, next) = table.page(cursor, count, hasher);
        (fields.into_iter().map(Field::pair).collect(), next)
    }

    /// Returns the table, converting a packed hash first.
    fn unpack(&mut self, hasher: &KeyHasher) -> &mut Table<Field> {
        if let Repr::Packed(packed) = &self.0 {
            let mut table = Box::<Table<Field>>::default();
            for (name, value) in packed.pairs() {
                let field = Field { name: (&*name).into(), value: (&*value).into() };
                table.insert(field, hasher.hash(&name), hasher);
            }
            self.0 = Repr::Table(table);
        }
        match &mut self.0 {
            Repr::Table(table) => table,
            Repr::Packed(_) => unreachable!("the pack has just become a table"),
        }
    }

    /// Checks the invariants.
    #[cfg(test)]
    pub(crate) fn assert_invariants(&self, hasher: &KeyHasher) {
        match &self.0 {
            Repr::Packed(packed) => packed.assert_invariants(),
            Repr::Table(table) => table.assert_invariants(hasher),
        }
    }
}

/// The iterator of [`Hash::pairs`] and [`Hash::page`].
pub struct Pairs<'h>(Rest<'h>);

enum Rest<'h> {
    Packed(packed::Pairs<'h>),
    Fields(std::slice::Iter<'h, Field>),
}

impl<'h> Iterator for Pairs<'h> {
    type Item = Pair<'h>;

    fn next(&mut self) -> Option<Pair<'h>> {
        match &mut self.0 {
            Rest::Packed(pairs) => pairs.next(),
            Rest::Fields(fields) => fields.next().map(Field::pair),
        }
    }

    fn nth(&mut self, n: usize) -> Option<Pair<'h>> {
        match &mut self.0 {
            Rest::Packed(pairs) => pairs.nth(n),
            Rest::Fields(fields) => fields.nth(n).map(Field::pair),
        }
    }
}

/// A hash's pairs by index, from 0 up to its length.
pub struct Indexed<'h>(Order<'h>);

enum Order<'h> {
    Packed(Vec<Pair<'h>>),
    Fields(&'h [Field]),
}

impl Indexed<'_> {
    /// Returns pair number `n`.
    ///
    /// # Panics
    /// If the hash has fewer pairs.
    #[must_use]
    pub fn at(&self, n: usize) -> (&[u8], &[u8]) {
        match &self.0 {
            Order::Packed(pairs) => (&pairs[n].0, &pairs[n].1),
            Order::Fields(fields) => (&fields[n].name, &fields[n].value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

    fn pairs_of(hash: &Hash) -> Pairs {
        hash.pairs().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Set(Vec<u8>, Vec<u8>),
        Remove(Vec<u8>),
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            4 => (0_u32..40).prop_map(|n: u32| n.to_string().into_bytes()),
            2 => any::<i64>().prop_map(|n| n.to_string().into_bytes()),
            2 => prop::collection::vec(any::<u8>(), 0..20),
        ]
    }

    fn step() -> impl Strategy<Value = Step> {
        let name = || prop_oneof![9 => (0_u32..60).prop_map(|n: u32| n.to_string().into_bytes()), 1 => text()];
        prop_oneof![
            3 => (name(), text()).prop_map(|(name, value)| Step::Set(name, value)),
            1 => name().prop_map(Step::Remove),
        ]
    }

    proptest! {
        /// Against a list of pairs; with some limits it stays packed to the end, with most it does
        /// not.
        #[test]
        fn behaves_as_an_ordered_map(
            steps in prop::collection::vec(step(), 0..300),
            entries_max in 0_usize..90,
            value_len_max in 10_usize..30,
        ) {
            let hasher = KeyHasher::new(3);
            let limits = PackLimits { entries_max, value_len_max };
            let (mut hash, mut model) = (Hash::default(), Pairs::new());
            let mut was_packed = true;
            for (i, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Set(name, value) => {
                        let known = model.iter_mut().find(|pair| pair.0 == name);
                        was_packed &= name.len().max(value.len()) <= value_len_max;
                        prop_assert_eq!(hash.set(&name, &value, limits, &hasher), known.is_none());
                        match known {
                            Some(pair) => pair.1 = value,
                            None => model.push((name, value)),
                        }
                        was_packed &= model.len() <= entries_max;
                    }
                    Step::Remove(name) => {
                        let at = model.iter().position(|pair| pair.0 == name);
                        prop_assert_eq!(hash.contains(&name, &hasher), at.is_some());
                        prop_assert_eq!(hash.remove(&name, &hasher), at.is_some());
                        at.map(|at| model.remove(at));
                    }
                }
                prop_assert_eq!(hash.len(), model.len());
                prop_assert_eq!(hash.encoding(), if was_packed { "listpack" } else { "hashtable" });
                if i % 50 == 0 {
                    hash.assert_invariants(&hasher);
                }
            }
            hash.assert_invariants(&hasher);
            for (name, value) in &model {
                let found = hash.get(name, &hasher);
                prop_assert_eq!(found.as_deref(), Some(&value[..]));
            }
            let mut found = pairs_of(&hash);
            let numbered = hash.indexed();
            for (n, (name, value)) in found.iter().enumerate() {
                prop_assert_eq!(numbered.at(n), (&name[..], &value[..]));
                prop_assert_eq!(&*hash.pairs().nth(n).expect("as many as pairs").0, &name[..]);
            }
            prop_assert!(hash.pairs().nth(found.len()).is_none());
            if !was_packed {
                found.sort();
                model.sort();
            }
            prop_assert_eq!(found, model);
        }

        #[test]
        fn a_scan_meets_what_stays(
            stay in 0_u32..300,
            count in 1_usize..40,
            changes in prop::collection::vec((any::<bool>(), 1000_u32..1300), 0..400),
        ) {
            let (hasher, limits) = (KeyHasher::new(5), PackLimits { entries_max: 16, value_len_max: 64 });
            let mut hash = Hash::default();
            for n in (0..stay).chain(1000..1150) {
                hash.set(n.to_string().as_bytes(), b"", limits, &hasher);
            }
            let (mut met, mut cursor, mut changes) = (BTreeSet::new(), 0, changes.into_iter());
            loop {
                let (pairs, next) = hash.page(cursor, count, &hasher);
                met.extend(pairs.into_iter().map(|(name, _)| name.to_vec()));
                cursor = next;
                if cursor == 0 {
                    break;
                }
                for (add, n) in changes.by_ref().take(9) {
                    let name = n.to_string();
                    if add {
                        hash.set(name.as_bytes(), b"", limits, &hasher);
                    } else {
                        hash.remove(name.as_bytes(), &hasher);
                    }
                }
            }
            prop_assert!((0..stay).all(|n| met.contains(n.to_string().as_bytes())));
        }
    }

    #[test]
    fn shrunken_limits_count_at_the_next_change() {
        let hasher = KeyHasher::new(1);
        let mut hash = Hash::default();
        for name in ["a", "b", "c"] {
            hash.set(name.as_bytes(), b"1", PackLimits::default(), &hasher);
        }
        let two = PackLimits { entries_max: 2, value_len_max: 64 };
        hash.remove(b"none", &hasher);
        assert_eq!(hash.encoding(), "listpack");
        assert!(!hash.set(b"a", b"2", two, &hasher));
        assert_eq!((hash.encoding(), hash.len()), ("hashtable", 3));
    }
}
