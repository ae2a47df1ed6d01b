//! A hash: values under their fields' names.
//!
//! ```text
//! small   Packed         all pairs in one piece of memory, in the order of insertion; see packed
//! large   Table<Field>   found by hash; in no order
//! timed   one of these, and when its fields expire; see ends
//! ```
//!
//! A hash starts packed and becomes a table when it gets more fields, or a longer name or value,
//! than [`PackLimits`] allow. It never becomes packed again, as in Redis, so that one at the border
//! does not switch at every step.

mod ends;
mod packed;

use super::packed_item::HEAD_LEN_MAX;
use super::{Blob, KeyHasher, Keyed, Millis, Table, Text};
use ends::Ends;
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
    Large(Box<Large>),
}

/// What is not packed. It is apart from [`Repr`] to keep that at two words.
#[derive(Clone, Debug)]
enum Large {
    Table(Table<Field>),
    Timed(Box<Timed>),
}

/// A hash of which fields expire, or once did.
#[derive(Clone, Debug)]
struct Timed {
    /// Not a timed hash itself: what reads a field looks nowhere else.
    pairs: Hash,
    ends: Ends,
}

/// One of the three.
enum Form<P, T, M> {
    Packed(P),
    Table(T),
    Timed(M),
}

impl Default for Hash {
    fn default() -> Self {
        Self(Repr::Packed(Packed::default()))
    }
}

impl Hash {
    #[inline]
    fn form(&self) -> Form<&Packed, &Table<Field>, &Timed> {
        match &self.0 {
            Repr::Packed(packed) => Form::Packed(packed),
            Repr::Large(large) => match &**large {
                Large::Table(table) => Form::Table(table),
                Large::Timed(timed) => Form::Timed(timed),
            },
        }
    }

    #[inline]
    fn form_mut(&mut self) -> Form<&mut Packed, &mut Table<Field>, &mut Timed> {
        match &mut self.0 {
            Repr::Packed(packed) => Form::Packed(packed),
            Repr::Large(large) => match &mut **large {
                Large::Table(table) => Form::Table(table),
                Large::Timed(timed) => Form::Timed(timed),
            },
        }
    }

    /// Returns the representation as `OBJECT ENCODING` names it.
    #[must_use]
    pub fn encoding(&self) -> &'static str {
        match self.form() {
            Form::Packed(_) => "listpack",
            Form::Table(_) => "hashtable",
            Form::Timed(timed) => match timed.pairs.0 {
                Repr::Packed(_) => "listpackex",
                _ => "hashtable",
            },
        }
    }

    /// Returns how many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self.form() {
            Form::Packed(packed) => packed.len(),
            Form::Table(table) => table.len(),
            Form::Timed(timed) => timed.pairs.len(),
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
        match self.form() {
            Form::Timed(timed) => size_of::<Timed>() + timed.pairs.memory() + timed.ends.memory(),
            Form::Packed(packed) => packed.size(),
            Form::Table(table) => {
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
        match self.form() {
            Form::Timed(timed) => timed.pairs.get(name, hasher),
            Form::Packed(packed) => packed.get(name),
            Form::Table(table) => {
                let at = table.find(name, hasher.hash(name))?;
                Some(Text::Bytes(&table.entries()[at].value))
            }
        }
    }

    /// Returns whether there is such a field.
    #[must_use]
    pub fn contains(&self, name: &[u8], hasher: &KeyHasher) -> bool {
        match self.form() {
            Form::Timed(timed) => timed.pairs.contains(name, hasher),
            Form::Packed(packed) => packed.contains(name),
            Form::Table(table) => table.find(name, hasher.hash(name)).is_some(),
        }
    }

    /// Sets the value of a field, which then does not expire; returns whether the field is new.
    pub fn set(
        &mut self,
        name: &[u8],
        value: &[u8],
        limits: PackLimits,
        hasher: &KeyHasher,
    ) -> bool {
        if let Form::Timed(timed) = self.form_mut() {
            timed.ends.clear(name, hasher);
        }
        self.update(name, value, limits, hasher)
    }

    /// Sets the value of a field, which expires as before; returns whether the field is new.
    pub fn update(
        &mut self,
        name: &[u8],
        value: &[u8],
        limits: PackLimits,
        hasher: &KeyHasher,
    ) -> bool {
        if let Form::Timed(timed) = self.form_mut() {
            return timed.pairs.update(name, value, limits, hasher);
        }
        if let Form::Packed(packed) = self.form_mut() {
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
        match self.form_mut() {
            Form::Timed(timed) => {
                timed.ends.clear(name, hasher);
                timed.pairs.remove(name, hasher)
            }
            Form::Packed(packed) => packed.remove(name),
            Form::Table(table) => {
                let found = table.find(name, hasher.hash(name));
                found.map(|at| table.remove(at, hasher)).is_some()
            }
        }
    }

    /// Returns every field with its value; those of a packed hash in the order of insertion.
    #[must_use]
    pub fn pairs(&self) -> Pairs<'_> {
        match self.form() {
            Form::Timed(timed) => timed.pairs.pairs(),
            Form::Packed(packed) => Pairs(Rest::Packed(packed.pairs())),
            Form::Table(table) => Pairs(Rest::Fields(table.entries().iter())),
        }
    }

    /// Returns the pairs for access by index.
    #[must_use]
    pub fn indexed(&self) -> Indexed<'_> {
        match self.form() {
            Form::Timed(timed) => timed.pairs.indexed(),
            Form::Packed(packed) => Indexed(Order::Packed(packed.pairs().collect())),
            Form::Table(table) => Indexed(Order::Fields(table.entries())),
        }
    }

    /// Returns the page of a scan that starts at `cursor`, about `count` pairs long, and the cursor
    /// of the page after it; both start and end are 0. A small hash is one page.
    #[must_use]
    pub fn page(&self, cursor: u64, count: usize, hasher: &KeyHasher) -> (Vec<Pair<'_>>, u64) {
        let table = match self.form() {
            Form::Table(table) => table,
            Form::Packed(packed) => return (Pairs(Rest::Packed(packed.pairs())).collect(), 0),
            Form::Timed(timed) => return timed.pairs.page(cursor, count, hasher),
        };
        let (fields, next) = table.page(cursor, count, hasher);
        (fields.into_iter().map(Field::pair).collect(), next)
    }

    /// Returns the table, converting a packed hash first.
    fn unpack(&mut self, hasher: &KeyHasher) -> &mut Table<Field> {
        if let Form::Packed(packed) = self.form() {
            let mut table = Table::default();
            for (name, value) in packed.pairs() {
                let field = Field { name: (&*name).into(), value: (&*value).into() };
                table.insert(field, hasher.hash(&name), hasher);
            }
            self.0 = Repr::Large(Box::new(Large::Table(table)));
        }
        match self.form_mut() {
            Form::Table(table) => table,
            Form::Packed(_) | Form::Timed(_) => {
                unreachable!("the pack has just become a table, and a timed hash is not asked")
            }
        }
    }

    // ── fields that expire ─────────────────────────────────────────────────────────────────────

    /// Returns the last millisecond at which a field exists, if it expires.
    #[must_use]
    pub fn end(&self, name: &[u8], hasher: &KeyHasher) -> Option<Millis> {
        if let Form::Timed(timed) = self.form() { timed.ends.get(name, hasher) } else { None }
    }

    /// Sets the last millisecond at which a field exists; the field is there.
    pub fn set_end(&mut self, name: &[u8], at: Millis, hasher: &KeyHasher) {
        if !matches!(self.form(), Form::Timed(_)) {
            let timed = Timed { pairs: std::mem::take(self), ends: Ends::default() };
            self.0 = Repr::Large(Box::new(Large::Timed(Box::new(timed))));
        }
        if let Form::Timed(timed) = self.form_mut() {
            timed.ends.set(name, at, hasher);
        }
    }

    /// Makes a field stay; returns whether it was to expire.
    pub fn clear_end(&mut self, name: &[u8], hasher: &KeyHasher) -> bool {
        let Form::Timed(timed) = self.form_mut() else { return false };
        timed.ends.clear(name, hasher)
    }

    /// Returns whether fields expire, or once did.
    #[must_use]
    #[inline]
    pub(super) fn is_timed(&self) -> bool {
        matches!(self.form(), Form::Timed(_))
    }

    /// Returns how many fields expire.
    #[must_use]
    pub fn ends(&self) -> usize {
        if let Form::Timed(timed) = self.form() { timed.ends.len() } else { 0 }
    }

    /// Returns when the last field expires; `None` while some field does not.
    #[must_use]
    pub fn last_end(&self) -> Option<Millis> {
        let Form::Timed(timed) = self.form() else { return None };
        timed.ends.last().filter(|_| timed.ends.len() == timed.pairs.len())
    }

    /// Removes the fields that have expired; returns how many.
    pub fn take_due(&mut self, now: Millis, hasher: &KeyHasher) -> usize {
        let Form::Timed(timed) = self.form_mut() else { return 0 };
        let mut removed = 0;
        while let Some(name) = timed.ends.pop_due(now, hasher) {
            timed.pairs.remove(&name, hasher);
            removed += 1;
        }
        removed
    }

    /// What an entry keeps in a hash whose fields expire: the expiry of its key, and when the next
    /// field expires, both in the form of an entry.
    pub(super) fn times(&self) -> Option<(Option<Millis>, Millis)> {
        let Form::Timed(timed) = self.form() else { return None };
        Some((timed.ends.key_expires_at, timed.ends.next()))
    }

    /// Sets the expiry of the key that [`Hash::times`] returns.
    pub(super) fn set_key_expiry(&mut self, expires_at: Millis) {
        if let Form::Timed(timed) = self.form_mut() {
            timed.ends.key_expires_at = Some(expires_at);
        }
    }

    /// Checks the invariants.
    #[cfg(test)]
    pub(crate) fn assert_invariants(&self, hasher: &KeyHasher) {
        match self.form() {
            Form::Timed(timed) => {
                timed.pairs.assert_invariants(hasher);
                timed.ends.assert_invariants(hasher, |name| timed.pairs.contains(name, hasher));
            }
            Form::Packed(packed) => packed.assert_invariants(),
            Form::Table(table) => table.assert_invariants(hasher),
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
mod expiry_tests;
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
