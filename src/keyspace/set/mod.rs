//! A set: members, each once.
//!
//! ```text
//! integers   Ints            ordered, one piece of memory; see ints
//! any        Table<M>        found by hash; in no order
//! ```
//!
//! A set starts as integers and becomes a table when it gets a member that is none, or more members
//! than `set-max-intset-entries` allows. It never goes back, as in Redis. Both forms are dense, so
//! that access by index, and thereby a random member, costs one step.
//!
//! The member type is a parameter: a set in a key owns its members; one that lives no longer than a
//! command borrows them from other sets ([`BorrowedMember`]).

mod ints;

use super::{Blob, Digits, INLINE_LEN_MAX, KeyHasher, Keyed, Table, Text};
use crate::text::number::parse_i64;
use ints::Ints;
use std::ops::Range;

/// A set of integers that would get more members than this becomes a table, whatever the limit
/// says.
const INTS_LEN_MAX: usize = 1 << 30;

/// A member as it is passed in and out.
#[derive(Clone, Copy, Debug)]
pub enum Member<'m> {
    /// An integer, which stands for its decimal digits.
    Int(i64),
    /// Any bytes, including the spelling of an integer.
    Bytes(&'m [u8]),
}

impl<'m> Member<'m> {
    /// Returns its bytes.
    #[must_use]
    pub fn text(self) -> Text<'m> {
        match self {
            Self::Int(value) => Text::Digits(Digits::of(value)),
            Self::Bytes(bytes) => Text::Bytes(bytes),
        }
    }

    /// Returns the integer that it spells, if it does.
    #[must_use]
    pub fn integer(self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(value),
            Self::Bytes(bytes) => parse_i64(bytes),
        }
    }
}

impl<'m> From<&'m [u8]> for Member<'m> {
    fn from(bytes: &'m [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

/// A member that its set owns.
#[derive(Clone, Debug)]
pub struct Owned(Blob);

impl Keyed for Owned {
    fn key(&self) -> &[u8] {
        &self.0
    }
}

impl From<Member<'_>> for Owned {
    fn from(member: Member<'_>) -> Self {
        Self((&*member.text()).into())
    }
}

/// A member that its set borrows, except for a spelled-out integer.
#[derive(Debug)]
pub(crate) struct BorrowedMember<'m>(Text<'m>);

impl Keyed for BorrowedMember<'_> {
    fn key(&self) -> &[u8] {
        &self.0
    }
}

impl<'m> From<Member<'m>> for BorrowedMember<'m> {
    fn from(member: Member<'m>) -> Self {
        Self(member.text())
    }
}

/// Members, each once; see the top of the file.
#[derive(Clone, Debug)]
pub struct Set<M = Owned>(Repr<M>);

#[derive(Clone, Debug)]
enum Repr<M> {
    Ints(Ints),
    Table(Box<Table<M>>),
}

impl<M> Default for Set<M> {
    fn default() -> Self {
        Self(Repr::Ints(Ints::default()))
    }
}

impl Set {
    /// Makes a set of `members`, integers in ascending order, each stored in `width` bytes or more,
    /// as [`Set::ints_width`] reports; a table if they are more than `ints_max`.
    #[must_use]
    pub fn of_ascending(
        members: &[i64],
        width: usize,
        ints_max: usize,
        hasher: &KeyHasher,
    ) -> Self {
        let mut set = Self(Repr::Ints(Ints::ascending(members, width)));
        if members.len() > ints_max.min(INTS_LEN_MAX) {
            set.unpack(hasher);
        }
        set
    }
}

impl<M: Keyed> Set<M> {
    /// Returns the representation as `OBJECT ENCODING` names it.
    #[must_use]
    pub fn encoding(&self) -> &'static str {
        match self.0 {
            Repr::Ints(_) => "intset",
            Repr::Table(_) => "hashtable",
        }
    }

    /// Returns how many members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Ints(ints) => ints.len(),
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
            Repr::Ints(ints) => ints.memory(),
            Repr::Table(table) => {
                let apart = |member: &M| Some(member.key().len()).filter(|&n| n > INLINE_LEN_MAX);
                size_of::<Table<M>>()
                    + table.entries().len() * (size_of::<M>() + size_of::<u64>())
                    + table.entries().iter().filter_map(apart).sum::<usize>()
            }
        }
    }

    /// Returns how many bytes each member takes in an array of integers: 2, 4 or 8; `None` for a
    /// table.
    #[must_use]
    pub fn ints_width(&self) -> Option<usize> {
        match &self.0 {
            Repr::Ints(ints) => Some(ints.width()),
            Repr::Table(_) => None,
        }
    }

    /// Returns whether there is such a member.
    #[must_use]
    pub fn contains(&self, member: Member<'_>, hasher: &KeyHasher) -> bool {
        match &self.0 {
            Repr::Ints(ints) => member.integer().is_some_and(|value| ints.contains(value)),
            Repr::Table(table) => find(table, &member.text(), hasher).is_some(),
        }
    }

    /// Removes a member; returns whether it was there.
    pub fn remove(&mut self, member: Member<'_>, hasher: &KeyHasher) -> bool {
        match &mut self.0 {
            Repr::Ints(ints) => member.integer().is_some_and(|value| ints.remove(value)),
            Repr::Table(table) => {
                let found = find(table, &member.text(), hasher);
                found.map(|at| table.remove(at, hasher)).is_some()
            }
        }
    }

    /// Returns member number `n`. Numbers change whenever the set changes.
    ///
    /// # Panics
    /// If there are fewer members.
    #[must_use]
    pub fn at(&self, n: usize) -> Member<'_> {
        match &self.0 {
            Repr::Ints(ints) => Member::Int(ints.at(n)),
            Repr::Table(table) => Member::Bytes(table.entries()[n].key()),
        }
    }

    /// Removes member number `n`.
    ///
    /// # Panics
    /// If there are fewer members.
    pub fn remove_at(&mut self, n: usize, hasher: &KeyHasher) {
        match &mut self.0 {
            Repr::Ints(ints) => ints.remove_at(n),
            Repr::Table(table) => drop(table.remove(n, hasher)),
        }
    }

    /// Returns all members; those of a set of integers in ascending order.
    #[must_use]
    pub fn members(&self) -> Members<'_, M> {
        self.range(0..self.len())
    }

    fn range(&self, numbers: Range<usize>) -> Members<'_, M> {
        match &self.0 {
            Repr::Ints(ints) => Members(Rest::Ints(ints, numbers)),
            Repr::Table(table) => Members(Rest::Table(table.entries()[numbers].iter())),
        }
    }

    /// Returns the page of a scan that starts at `cursor`, about `count` members long, and the
    /// cursor of the page after it; both start and end are 0. A set of integers is one page.
    #[must_use]
    pub fn page(&self, cursor: u64, count: usize, hasher: &KeyHasher) -> (Vec<Member<'_>>, u64) {
        let Repr::Table(table) = &self.0 else { return (self.members().collect(), 0) };
        let (members, next) = table.page(cursor, count, hasher);
        (members.into_iter().map(|member| Member::Bytes(member.key())).collect(), next)
    }

    /// Checks the invariants.
    #[cfg(test)]
    pub(crate) fn assert_invariants(&self, hasher: &KeyHasher) {
        match &self.0 {
            Repr::Ints(ints) => ints.assert_invariants(),
            Repr::Table(table) => table.assert_invariants(hasher),
        }
    }

    /// Adds a member; returns whether it is new. A set of integers stays one up to `ints_max`
    /// members.
    pub fn add<'m>(&mut self, member: Member<'m>, ints_max: usize, hasher: &KeyHasher) -> bool
    where
        M: From<Member<'m>>,
    {
        if let Repr::Ints(ints) = &mut self.0
            && let Some(value) = member.integer()
        {
            let is_new = ints.add(value);
            // A limit that has shrunk since the last change counts when a member is added.
            if is_new && ints.len() > ints_max.min(INTS_LEN_MAX) {
                self.unpack(hasher);
            }
            return is_new;
        }
        let table = self.unpack(hasher);
        let text = member.text();
        let hash = hasher.hash(&text);
        let is_new = table.find(&text, hash).is_none();
        if is_new {
            table.insert(member.into(), hash, hasher);
        }
        is_new
    }

    /// Returns the table, converting a set of integers first.
    fn unpack<'m>(&mut self, hasher: &KeyHasher) -> &mut Table<M>
    where
        M: From<Member<'m>>,
    {
        if let Repr::Ints(ints) = &self.0 {
            let mut table = Box::<Table<M>>::default();
            for value in ints.between(0, ints.len()) {
                let member = M::from(Member::Int(value));
                let hash = hasher.hash(member.key());
                table.insert(member, hash, hasher);
            }
            self.0 = Repr::Table(table);
        }
        match &mut self.0 {
            Repr::Table(table) => table,
            Repr::Ints(_) => unreachable!("the integers have just become a table"),
        }
    }
}

/// Returns the position of a member in a table.
fn find<M: Keyed>(table: &Table<M>, text: &[u8], hasher: &KeyHasher) -> Option<usize> {
    table.find(text, hasher.hash(text))
}

/// The iterator of [`Set::members`].
pub struct Members<'s, M>(Rest<'s, M>);

enum Rest<'s, M> {
    Ints(&'s Ints, Range<usize>),
    Table(std::slice::Iter<'s, M>),
}

impl<'s, M: Keyed> Iterator for Members<'s, M> {
    type Item = Member<'s>;

    #[inline]
    fn next(&mut self) -> Option<Member<'s>> {
        match &mut self.0 {
            Rest::Ints(ints, numbers) => numbers.next().map(|n| Member::Int(ints.at(n))),
            Rest::Table(members) => members.next().map(|member| Member::Bytes(member.key())),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            Rest::Ints(_, numbers) => numbers.size_hint(),
            Rest::Table(members) => members.size_hint(),
        }
    }
}

impl<M: Keyed> ExactSizeIterator for Members<'_, M> {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    type Model = BTreeSet<Vec<u8>>;

    fn texts_of<M: Keyed>(set: &Set<M>) -> Vec<Vec<u8>> {
        set.members().map(|member| member.text().to_vec()).collect()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Add(Vec<u8>),
        Remove(Vec<u8>),
        /// Removes the member of this number, modulo how many there are.
        RemoveAt(usize),
    }

    fn integer() -> impl Strategy<Value = i64> {
        prop_oneof![
            6 => -30_i64..30,
            1 => any::<i16>().prop_map(i64::from),
            1 => any::<i32>().prop_map(i64::from),
            1 => any::<i64>(),
            1 => prop::sample::select(&[i64::MIN, i64::MAX, -32_769, 32_768, 1 << 31, -(1 << 31) - 1][..]),
        ]
    }

    /// `odd` of a hundred texts are no integer.
    fn text(odd: u32) -> impl Strategy<Value = Vec<u8>> {
        let not_one = prop_oneof![
            "[-+0]?[0-9]{0,3}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..40),
        ];
        prop_oneof![
            100 - odd => integer().prop_map(|n| n.to_string().into_bytes()),
            odd => not_one,
        ]
    }

    fn steps(odd: u32) -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => text(odd).prop_map(Step::Add),
            1 => text(odd).prop_map(Step::Remove),
            1 => any::<usize>().prop_map(Step::RemoveAt),
        ];
        prop::collection::vec(step, 0..300)
    }

    fn behaves_as_a_set<M: Keyed + for<'m> From<Member<'m>>>(
        steps: Vec<Step>,
        ints_max: usize,
    ) -> Result<(), TestCaseError> {
        let hasher = KeyHasher::new(3);
        let (mut set, mut model) = (Set::<M>::default(), Model::new());
        let mut was_ints = true;
        for step in steps {
            match step {
                Step::Add(text) => {
                    let is_integer = parse_i64(&text).is_some();
                    // An integer may be passed either way.
                    let member = match parse_i64(&text).filter(|n| n % 2 == 0) {
                        Some(value) => Member::Int(value),
                        None => Member::Bytes(&text),
                    };
                    let is_new = set.add(member, ints_max, &hasher);
                    prop_assert_eq!(is_new, model.insert(text));
                    was_ints &= is_integer && (!is_new || model.len() <= ints_max);
                }
                Step::Remove(text) => {
                    prop_assert_eq!(
                        set.contains(Member::Bytes(&text), &hasher),
                        model.contains(&text)
                    );
                    prop_assert_eq!(set.remove(Member::Bytes(&text), &hasher), model.remove(&text));
                }
                Step::RemoveAt(_) if model.is_empty() => {}
                Step::RemoveAt(n) => {
                    let n = n % model.len();
                    let gone = set.at(n).text().to_vec();
                    set.remove_at(n, &hasher);
                    prop_assert!(model.remove(&gone));
                }
            }
            prop_assert_eq!(set.len(), model.len());
            prop_assert_eq!(set.encoding(), if was_ints { "intset" } else { "hashtable" });
            set.assert_invariants(&hasher);
        }
        let mut found = texts_of(&set);
        prop_assert_eq!(set.members().len(), found.len());
        for (n, text) in found.iter().enumerate() {
            prop_assert_eq!(&*set.at(n).text(), &text[..]);
            prop_assert!(set.contains(Member::Bytes(text), &hasher));
        }
        if was_ints {
            let numbers: Vec<_> = found.iter().map(|text| parse_i64(text)).collect();
            prop_assert!(numbers.is_sorted() && !numbers.contains(&None));
        }
        found.sort();
        prop_assert_eq!(found, model.into_iter().collect::<Vec<_>>());
        Ok(())
    }

    proptest! {
        /// Against an ordered set; some limits let it stay integers to the end.
        #[test]
        fn of_integers(steps in steps(0), ints_max in 0_usize..150) {
            behaves_as_a_set::<Owned>(steps, ints_max)?;
        }

        #[test]
        fn of_anything(steps in steps(2), ints_max in 20_usize..150) {
            behaves_as_a_set::<Owned>(steps, ints_max)?;
        }

        #[test]
        fn a_scan_meets_what_stays(
            stay in 0_u32..300,
            count in 1_usize..40,
            changes in prop::collection::vec((any::<bool>(), 1000_u32..1300), 0..400),
        ) {
            const INTS_MAX: usize = 16;
            let hasher = KeyHasher::new(5);
            let mut set: Set = Set::default();
            for n in (0..stay).chain(1000..1150) {
                set.add(Member::Int(n.into()), INTS_MAX, &hasher);
            }
            let (mut met, mut cursor, mut changes) = (BTreeSet::new(), 0, changes.into_iter());
            loop {
                let (members, next) = set.page(cursor, count, &hasher);
                met.extend(members.into_iter().filter_map(Member::integer));
                cursor = next;
                if cursor == 0 {
                    break;
                }
                for (add, n) in changes.by_ref().take(9) {
                    if add {
                        set.add(Member::Int(n.into()), INTS_MAX, &hasher);
                    } else {
                        set.remove(Member::Int(n.into()), &hasher);
                    }
                }
            }
            prop_assert!((0..i64::from(stay)).all(|n| met.contains(&n)));
        }

        /// As RESTORE does: the same as adding one after the other, except for the width.
        #[test]
        fn of_ascending_integers(
            members in prop::collection::btree_set(integer(), 0..60),
            width in prop::sample::select(&[2_usize, 4, 8][..]),
            ints_max in 0_usize..90,
        ) {
            let hasher = KeyHasher::new(1);
            let members: Vec<i64> = members.into_iter().collect();
            let set = Set::of_ascending(&members, width, ints_max, &hasher);
            set.assert_invariants(&hasher);
            let mut added: Set = Set::default();
            for &member in &members {
                added.add(Member::Int(member), ints_max, &hasher);
            }
            prop_assert_eq!(texts_of(&set), texts_of(&added));
            prop_assert_eq!(set.encoding(), added.encoding());
            if let (Some(width), Some(least)) = (set.ints_width(), added.ints_width()) && !members.is_empty() {
                prop_assert!(width >= least);
            }
        }
    }

    #[test]
    fn a_borrowed_member_is_not_copied() {
        let hasher = KeyHasher::new(1);
        let long = "a member that does not fit in place";
        let mut owner: Set = Set::default();
        owner.add(Member::Bytes(long.as_bytes()), 512, &hasher);
        let mut borrowed: Set<BorrowedMember<'_>> = Set::default();
        for member in owner.members().chain([Member::Int(7)]) {
            assert!(borrowed.add(member, 512, &hasher));
        }
        assert!(borrowed.contains(Member::Bytes(b"7"), &hasher));
        assert!(std::ptr::eq(&*borrowed.at(0).text(), &*owner.at(0).text()));
    }

    #[test]
    fn a_set_fits_its_value() {
        assert_eq!(
            (size_of::<Set>(), size_of::<Owned>(), size_of::<BorrowedMember<'_>>()),
            (16, 24, 24)
        );
    }
}
