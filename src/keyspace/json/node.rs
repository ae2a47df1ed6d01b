//! A document in memory: packed while it is small, a tree whose leaves are packed above that.

use super::packed::{self, HEAD_LEN, Unpacked};
use crate::keyspace::Blob;
use crate::keyspace::table::{KeyHasher, Keyed, Table};
use crate::keyspace::value::LAZY_FREE_LEN;

/// A JSON value, owned: a document, or a part of one.
#[derive(Clone, Debug)]
pub enum Json {
    /// A scalar, or a container whose body is short, as one piece of memory.
    Packed(Blob),
    /// An array that is longer.
    Array(Box<Array>),
    /// An object that is longer.
    Object(Box<Object>),
}

/// A long array: runs of packed elements, and elements that are trees themselves.
#[derive(Clone, Debug, Default)]
pub struct Array {
    pub(super) pieces: Vec<Piece>,
    /// How many elements all pieces have.
    pub(super) len: usize,
}

/// A part of a long array; never empty.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    Run { count: u32, bytes: Blob },
    One(Json),
}

impl Piece {
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Run { count, .. } => *count as usize,
            Self::One(_) => 1,
        }
    }
}

/// A long object: its members in the order of insertion; removal moves the last one down.
#[derive(Clone, Debug)]
pub struct Object {
    pub(super) members: Table<Member>,
    pub(super) hasher: KeyHasher,
}

/// A member of a long object: mostly in the entry itself.
#[derive(Clone, Debug)]
pub(super) enum Member {
    /// The key and the value, packed.
    Packed(Blob),
    /// The value is a tree.
    Tree(Box<(Blob, Json)>),
}

impl Keyed for Member {
    fn key(&self) -> &[u8] {
        match self {
            Self::Packed(bytes) => packed::key(bytes),
            Self::Tree(member) => &member.0,
        }
    }
}

impl Member {
    pub(super) fn new(key: &[u8], value: Json) -> Self {
        match value {
            Json::Packed(value) => {
                let mut bytes = Vec::with_capacity(packed::child_len((Some(key), &value)));
                packed::put_key(&mut bytes, key);
                bytes.extend_from_slice(&value);
                Self::Packed(bytes.into())
            }
            tree => Self::Tree(Box::new((key.into(), tree))),
        }
    }

    /// Returns the bytes of a value that is packed.
    pub(super) fn packed_value(bytes: &[u8]) -> &[u8] {
        &bytes[packed::child_len((Some(packed::key(bytes)), &[]))..]
    }

    fn memory(&self) -> usize {
        size_of::<Self>()
            + size_of::<u64>()
            + match self {
                Self::Packed(bytes) => bytes.memory(),
                Self::Tree(member) => {
                    size_of::<(Blob, Json)>() + member.0.memory() + member.1.memory()
                }
            }
    }
}

impl Object {
    pub(super) fn new(hasher: &KeyHasher) -> Self {
        Self { members: Table::default(), hasher: hasher.clone() }
    }

    pub(super) fn position(&self, key: &[u8]) -> Option<usize> {
        self.members.find(key, self.hasher.hash(key))
    }

    /// Sets a member, which keeps its place if it is there.
    pub(super) fn put(&mut self, key: &[u8], value: Json) {
        match self.position(key) {
            Some(at) => *self.members.at_mut(at) = Member::new(key, value),
            None => {
                let hash = self.hasher.hash(key);
                self.members.insert(Member::new(key, value), hash, &self.hasher);
            }
        }
    }
}

impl Array {
    /// Appends packed elements.
    pub(super) fn push_run(&mut self, count: usize, bytes: &[u8]) {
        if count > 0 {
            self.len += count;
            self.pieces.push(Piece::Run { count: count as u32, bytes: bytes.into() });
        }
    }

    /// Appends an element that is a tree.
    pub(super) fn push_one(&mut self, value: Json) {
        self.len += 1;
        self.pieces.push(Piece::One(value));
    }

    /// Finds element `at`: its piece, and its position in there.
    pub(super) fn piece_of(&self, mut at: usize) -> Option<(usize, usize)> {
        for (p, piece) in self.pieces.iter().enumerate() {
            let count = piece.count();
            if at < count {
                return Some((p, at));
            }
            at -= count;
        }
        None
    }
}

impl Json {
    /// An array without elements.
    #[must_use]
    pub fn empty_array() -> Self {
        Self::empty(packed::ARRAY)
    }

    /// An object without members.
    #[must_use]
    pub fn empty_object() -> Self {
        Self::empty(packed::OBJECT)
    }

    fn empty(tag: u8) -> Self {
        let mut head = Vec::with_capacity(HEAD_LEN);
        packed::put_head(&mut head, tag);
        Self::Packed(head.into())
    }

    /// A value without children.
    #[must_use]
    pub fn scalar(scalar: packed::Scalar<'_>) -> Self {
        let mut bytes = Vec::new();
        packed::put(&mut bytes, scalar);
        Self::Packed(bytes.into())
    }

    /// Turns a packed container into a tree whose children are packed.
    pub(super) fn grow(&mut self, hasher: &KeyHasher) {
        let Self::Packed(bytes) = &*self else { return };
        *self = match packed::read(bytes) {
            Unpacked::Scalar(_) => return,
            Unpacked::Array(children) => {
                let mut array = Array::default();
                array.push_run(children.count(), &bytes[HEAD_LEN..]);
                Self::Array(Box::new(array))
            }
            Unpacked::Object(children) => {
                let mut object = Object::new(hasher);
                for (key, value) in children {
                    object.put(key.unwrap_or_default(), Self::Packed(value.into()));
                }
                Self::Object(Box::new(object))
            }
        };
    }

    /// Returns about how many bytes of memory it takes besides itself.
    #[must_use]
    pub fn memory(&self) -> usize {
        match self {
            Self::Packed(bytes) => bytes.memory(),
            Self::Array(array) => {
                let pieces = array.pieces.iter().map(|piece| match piece {
                    Piece::Run { bytes, .. } => bytes.memory(),
                    Piece::One(value) => value.memory(),
                });
                size_of::<Array>()
                    + array.pieces.capacity() * size_of::<Piece>()
                    + pieces.sum::<usize>()
            }
            Self::Object(object) => {
                let members = object.members.entries().iter().map(Member::memory);
                size_of::<Object>() + members.sum::<usize>()
            }
        }
    }

    /// Returns whether freeing it takes long.
    #[must_use]
    pub fn is_slow_to_free(&self) -> bool {
        let mut left = LAZY_FREE_LEN;
        self.count_down(&mut left);
        left == 0
    }

    /// Counts its parts down to 0, where counting ends.
    fn count_down(&self, left: &mut usize) {
        *left = left.saturating_sub(1);
        let mut count = |part: Option<&Self>| {
            match part {
                Some(part) => part.count_down(left),
                None => *left = left.saturating_sub(1),
            }
            *left > 0
        };
        let _is_counted = match self {
            Self::Packed(_) => true,
            Self::Array(array) => array.pieces.iter().all(|piece| match piece {
                Piece::Run { .. } => count(None),
                Piece::One(value) => count(Some(value)),
            }),
            Self::Object(object) => object.members.entries().iter().all(|member| match member {
                Member::Packed(_) => count(None),
                Member::Tree(member) => count(Some(&member.1)),
            }),
        };
    }
}
