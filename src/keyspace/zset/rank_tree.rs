//! The order of a large sorted set: a counted B+-tree over scores and table positions.
//!
//! ```text
//!              [ first count | first count | … ]            inner: for each child its first entry
//!                /                   \                      and the number of entries below
//!   [ first count | … ]          [ first count | … ]
//!      /        \                   /        \
//!   scores     scores            scores     scores          leaf: up to LEAF entries in order
//!   places     places            places     places
//! ```
//!
//! A [`RankEntry`] is a score and the position of its member in the table beside the tree. The tree
//! never sees a name: callers pass a function that compares an entry with what is sought and reads
//! a name only when scores tie. So names are stored once, and a search among distinct scores reads
//! nothing but the nodes.
//!
//! The counts turn a search into a rank and a rank into a search; from a position in a leaf on, an
//! iteration costs one search per leaf, in both directions.
//!
//! Nodes split in the middle, but at the right edge of the tree they split off the last entry only,
//! so that entries that arrive in order (timestamps) leave full leaves behind.

use std::cmp::Ordering;
use std::ops::Range;

/// Most entries of a leaf.
const LEAF: usize = 64;
/// Most children of an inner node.
const FAN: usize = 64;
/// A node with fewer entries or children than this is merged with a neighbour if both fit into one
/// node. Far enough below the half that a split leaves that a node does not switch at every step.
const SPARSE: usize = 16;

/// A member's entry: its score, and its position in the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RankEntry {
    pub(super) score: f64,
    pub(super) place: u32,
}

/// Entries in order; see the top of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct RankTree {
    root: Node,
}

#[derive(Clone, Debug)]
enum Node {
    Leaf(Box<Leaf>),
    Inner(Vec<Child>),
}

#[derive(Clone, Debug)]
struct Leaf {
    len: usize,
    scores: [f64; LEAF],
    places: [u32; LEAF],
}

#[derive(Clone, Debug)]
struct Child {
    /// The first entry below, kept up to date.
    first: RankEntry,
    /// How many entries are below, at least one.
    count: u32,
    node: Node,
}

impl Default for Node {
    fn default() -> Self {
        Self::Leaf(Box::default())
    }
}

impl Default for Leaf {
    fn default() -> Self {
        Self { len: 0, scores: [0.0; LEAF], places: [0; LEAF] }
    }
}

impl RankTree {
    /// Builds a tree from sorted entries.
    pub(super) fn of_sorted(entries: impl Iterator<Item = RankEntry>) -> Self {
        let mut order = Self::default();
        for entry in entries {
            // All present entries come before it.
            order.insert(entry, |_| Ordering::Less);
        }
        order
    }

    /// Returns how many entries there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.root.count() as usize
    }

    /// Returns how many entries come before what is sought: those for which `is_before` is true,
    /// which must be a prefix of the order.
    pub(super) fn rank(&self, is_before: impl Fn(RankEntry) -> bool) -> usize {
        let (mut node, mut rank) = (&self.root, 0);
        loop {
            match node {
                Node::Leaf(leaf) => return rank + leaf.search(is_before),
                Node::Inner(children) => {
                    let Some(at) =
                        children.partition_point(|child| is_before(child.first)).checked_sub(1)
                    else {
                        return rank;
                    };
                    rank += children[..at].iter().map(|child| child.count as usize).sum::<usize>();
                    node = &children[at].node;
                }
            }
        }
    }

    /// Returns entry number `rank`, which must exist.
    pub(super) fn at(&self, rank: usize) -> RankEntry {
        let (leaf, at) = self.leaf_at(rank);
        leaf.entry(at)
    }

    /// Returns the entries of these ranks, which must exist.
    pub(super) fn range(&self, ranks: Range<usize>) -> RankIter<'_> {
        RankIter { order: self, left: ranks, front: None, back: None }
    }

    /// Inserts an entry at the position that `compare` determines; none may be equal.
    pub(super) fn insert(&mut self, entry: RankEntry, compare: impl Fn(RankEntry) -> Ordering) {
        if let Some(right) = self.root.insert(entry, &compare, true) {
            let left = Child::of(std::mem::take(&mut self.root));
            self.root = Node::Inner(vec![left, right]);
        }
    }

    /// Removes the entry that compares equal, which must exist.
    pub(super) fn remove(&mut self, compare: impl Fn(RankEntry) -> Ordering) {
        self.root.remove(&compare);
        if let Node::Inner(children) = &mut self.root
            && children.len() == 1
            && let Some(only) = children.pop()
        {
            self.root = only.node;
        }
    }

    /// Changes the table position of the entry that compares equal, which must exist.
    pub(super) fn repoint(&mut self, compare: impl Fn(RankEntry) -> Ordering, place: u32) {
        let mut node = &mut self.root;
        loop {
            match node {
                Node::Leaf(leaf) => {
                    let at = leaf.search(|entry| compare(entry).is_lt());
                    leaf.places[at] = place;
                    return;
                }
                Node::Inner(children) => {
                    let at = child_of(children, &compare);
                    let child = &mut children[at];
                    if compare(child.first).is_eq() {
                        child.first.place = place;
                    }
                    node = &mut child.node;
                }
            }
        }
    }

    /// Changes the score of the entry that compares equal, if it then keeps its place between its
    /// neighbours in the leaf, which `compare_new` compares with the new score. Returns whether it
    /// was done.
    pub(super) fn rescore(
        &mut self,
        compare: impl Fn(RankEntry) -> Ordering,
        score: f64,
        compare_new: impl Fn(RankEntry) -> Ordering,
    ) -> bool {
        let mut node = &mut self.root;
        loop {
            match node {
                Node::Leaf(leaf) => {
                    let at = leaf.search(|entry| compare(entry).is_lt());
                    // The first entry of a leaf is repeated in the inner nodes.
                    let stays = at > 0
                        && at + 1 < leaf.len
                        && compare_new(leaf.entry(at - 1)).is_lt()
                        && compare_new(leaf.entry(at + 1)).is_gt();
                    if stays {
                        leaf.scores[at] = score;
                    }
                    return stays;
                }
                Node::Inner(children) => {
                    let at = child_of(children, &compare);
                    node = &mut children[at].node;
                }
            }
        }
    }

    /// Returns how many bytes of memory it takes besides itself.
    pub(super) fn memory(&self) -> usize {
        self.root.memory()
    }

    fn leaf_at(&self, mut rank: usize) -> (&Leaf, usize) {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(leaf) => return (leaf, rank),
                Node::Inner(children) => {
                    let mut at = 0;
                    while rank >= children[at].count as usize {
                        rank -= children[at].count as usize;
                        at += 1;
                    }
                    node = &children[at].node;
                }
            }
        }
    }

    /// Checks the invariants stated beside the fields; `is_before` compares two entries.
    #[cfg(test)]
    pub(super) fn assert_invariants(&self, is_before: impl Fn(RankEntry, RankEntry) -> bool) {
        self.root.assert_invariants(true);
        let all: Vec<RankEntry> = self.range(0..self.len()).collect();
        assert!(all.windows(2).all(|pair| is_before(pair[0], pair[1])));
        assert!(self.range(0..self.len()).rev().eq(all.iter().rev().copied()));
    }
}

/// Returns which of `children` holds the entry that compares equal, or would.
fn child_of(children: &[Child], compare: &impl Fn(RankEntry) -> Ordering) -> usize {
    children.partition_point(|child| compare(child.first).is_le()).saturating_sub(1)
}

impl Leaf {
    fn entry(&self, at: usize) -> RankEntry {
        RankEntry { score: self.scores[at], place: self.places[at] }
    }

    /// Returns how many entries come before what is sought.
    fn search(&self, is_before: impl Fn(RankEntry) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = usize::midpoint(low, high);
            if is_before(self.entry(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    fn insert(&mut self, at: usize, entry: RankEntry) {
        self.scores.copy_within(at..self.len, at + 1);
        self.places.copy_within(at..self.len, at + 1);
        self.scores[at] = entry.score;
        self.places[at] = entry.place;
        self.len += 1;
    }

    fn remove(&mut self, at: usize) {
        self.scores.copy_within(at + 1..self.len, at);
        self.places.copy_within(at + 1..self.len, at);
        self.len -= 1;
    }

    fn append(&mut self, other: &Self) {
        let end = self.len + other.len;
        self.scores[self.len..end].copy_from_slice(&other.scores[..other.len]);
        self.places[self.len..end].copy_from_slice(&other.places[..other.len]);
        self.len = end;
    }

    /// Splits off the entries from `at` on.
    fn split_off(&mut self, at: usize) -> Box<Self> {
        let mut right = Box::<Self>::default();
        right.len = self.len - at;
        right.scores[..right.len].copy_from_slice(&self.scores[at..self.len]);
        right.places[..right.len].copy_from_slice(&self.places[at..self.len]);
        self.len = at;
        right
    }
}

impl Child {
    fn of(node: Node) -> Self {
        Self { first: node.first(), count: node.count(), node }
    }
}

impl Node {
    /// Returns the number of entries of a leaf, or of children of an inner node.
    fn width(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.len,
            Self::Inner(children) => children.len(),
        }
    }

    fn count(&self) -> u32 {
        match self {
            Self::Leaf(leaf) => leaf.len as u32,
            Self::Inner(children) => children.iter().map(|child| child.count).sum(),
        }
    }

    /// Returns the first entry; of an empty leaf it is meaningless.
    fn first(&self) -> RankEntry {
        match self {
            Self::Leaf(leaf) => leaf.entry(0),
            Self::Inner(children) => children[0].first,
        }
    }

    /// Inserts an entry; returns what was split off to the right if there was no room. `is_edge`
    /// means that nothing in the tree is to the right of this node.
    fn insert(
        &mut self,
        entry: RankEntry,
        compare: &impl Fn(RankEntry) -> Ordering,
        is_edge: bool,
    ) -> Option<Child> {
        match self {
            Self::Leaf(leaf) => {
                let at = leaf.search(|other| compare(other).is_lt());
                if leaf.len < LEAF {
                    leaf.insert(at, entry);
                    return None;
                }
                let mut right = leaf.split_off(if is_edge && at == LEAF { LEAF } else { LEAF / 2 });
                match at.checked_sub(leaf.len) {
                    // In the middle it goes to the left, so that the right node's first entry
                    // stays.
                    Some(at) if at > 0 || right.len == 0 => right.insert(at, entry),
                    _ => leaf.insert(at, entry),
                }
                Some(Child::of(Self::Leaf(right)))
            }
            Self::Inner(children) => {
                let at = child_of(children, compare);
                let is_last = at == children.len() - 1;
                let child = &mut children[at];
                let split = child.node.insert(entry, compare, is_edge && is_last);
                child.first = child.node.first();
                child.count += 1;
                let new = split?;
                child.count -= new.count;
                children.insert(at + 1, new);
                if children.len() <= FAN {
                    return None;
                }
                let middle = if is_edge && is_last { FAN } else { FAN / 2 };
                let right = children.split_off(middle);
                Some(Child::of(Self::Inner(right)))
            }
        }
    }

    fn remove(&mut self, compare: &impl Fn(RankEntry) -> Ordering) {
        match self {
            Self::Leaf(leaf) => {
                let at = leaf.search(|entry| compare(entry).is_lt());
                debug_assert!(at < leaf.len && compare(leaf.entry(at)).is_eq());
                leaf.remove(at);
            }
            Self::Inner(children) => {
                let at = child_of(children, compare);
                let child = &mut children[at];
                child.node.remove(compare);
                child.count -= 1;
                if child.count == 0 {
                    children.remove(at);
                    return;
                }
                child.first = child.node.first();
                if child.node.width() < SPARSE {
                    merge_with_neighbour(children, at);
                }
            }
        }
    }

    fn capacity(&self) -> usize {
        match self {
            Self::Leaf(_) => LEAF,
            Self::Inner(_) => FAN,
        }
    }

    fn memory(&self) -> usize {
        match self {
            Self::Leaf(_) => size_of::<Leaf>(),
            Self::Inner(children) => {
                children.capacity() * size_of::<Child>()
                    + children.iter().map(|child| child.node.memory()).sum::<usize>()
            }
        }
    }

    #[cfg(test)]
    fn assert_invariants(&self, is_root: bool) -> usize {
        assert!(is_root || self.width() > 0);
        assert!(self.width() <= self.capacity());
        let Self::Inner(children) = self else { return 0 };
        assert!(!is_root || children.len() > 1);
        let mut depth = None;
        for child in children.iter() {
            assert_eq!(child.first, child.node.first());
            assert_eq!(child.count, child.node.count());
            let below = child.node.assert_invariants(false);
            assert_eq!(*depth.get_or_insert(below), below);
        }
        1 + depth.expect("an inner node has children")
    }
}

/// Merges child `at` with a neighbour, if one leaves room.
fn merge_with_neighbour(children: &mut Vec<Child>, at: usize) {
    let fits = |left: usize| {
        let (left, right) = (&children[left].node, &children[left + 1].node);
        left.width() + right.width() <= left.capacity()
    };
    let left = if at > 0 && fits(at - 1) {
        at - 1
    } else if at + 1 < children.len() && fits(at) {
        at
    } else {
        return;
    };
    let right = children.remove(left + 1);
    let child = &mut children[left];
    child.count += right.count;
    match (&mut child.node, right.node) {
        (Node::Leaf(into), Node::Leaf(from)) => into.append(&from),
        (Node::Inner(into), Node::Inner(mut from)) => into.append(&mut from),
        _ => unreachable!("all leaves are equally deep"),
    }
}

/// An iterator over entries, from both ends.
pub(super) struct RankIter<'o> {
    order: &'o RankTree,
    /// The ranks yet to be returned.
    left: Range<usize>,
    /// The leaf of the next entry and the entry's number in it; `None` or beyond the end: search.
    front: Option<(&'o Leaf, usize)>,
    /// The leaf of the last entry and how many entries of it are left; `None` or 0: search.
    back: Option<(&'o Leaf, usize)>,
}

impl Iterator for RankIter<'_> {
    type Item = RankEntry;

    fn next(&mut self) -> Option<RankEntry> {
        let rank = self.left.next()?;
        let (leaf, at) = match self.front {
            Some((leaf, at)) if at < leaf.len => (leaf, at),
            _ => self.order.leaf_at(rank),
        };
        self.front = Some((leaf, at + 1));
        Some(leaf.entry(at))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.left.size_hint()
    }
}

impl DoubleEndedIterator for RankIter<'_> {
    fn next_back(&mut self) -> Option<RankEntry> {
        let rank = self.left.next_back()?;
        let (leaf, end) = match self.back {
            Some((leaf, end)) if end > 0 => (leaf, end),
            _ => {
                let (leaf, at) = self.order.leaf_at(rank);
                (leaf, at + 1)
            }
        };
        self.back = Some((leaf, end - 1));
        Some(leaf.entry(end - 1))
    }
}

impl ExactSizeIterator for RankIter<'_> {}
