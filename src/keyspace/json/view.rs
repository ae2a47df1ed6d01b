//! Reading a document, packed or not.

use super::node::{Array, Json, Member, Object, Piece};
use super::packed::{self, Children, Number, Scalar, Unpacked};
use crate::keyspace::table::Keyed;
use std::cmp::Ordering;

/// A value of a document, borrowed.
#[derive(Clone, Copy, Debug)]
pub enum Ref<'a> {
    /// Its bytes.
    Packed(&'a [u8]),
    /// A long array.
    Array(&'a Array),
    /// A long object.
    Object(&'a Object),
}

/// What a value is.
#[derive(Clone, Copy, Debug)]
pub enum Kind<'a> {
    /// A value without children.
    Scalar(Scalar<'a>),
    /// An array of this many elements.
    Array(usize),
    /// An object of this many members.
    Object(usize),
}

impl Json {
    /// Returns it for reading.
    #[must_use]
    pub fn view(&self) -> Ref<'_> {
        match self {
            Self::Packed(bytes) => Ref::Packed(bytes),
            Self::Array(array) => Ref::Array(array),
            Self::Object(object) => Ref::Object(object),
        }
    }
}

impl Member {
    pub(super) fn value(&self) -> Ref<'_> {
        match self {
            Self::Packed(bytes) => Ref::Packed(Self::packed_value(bytes)),
            Self::Tree(member) => member.1.view(),
        }
    }
}

impl<'a> Ref<'a> {
    /// Returns what it is.
    #[must_use]
    pub fn kind(self) -> Kind<'a> {
        match self {
            Self::Packed(bytes) => match packed::read(bytes) {
                Unpacked::Scalar(scalar) => Kind::Scalar(scalar),
                Unpacked::Array(children) => Kind::Array(children.count()),
                Unpacked::Object(children) => Kind::Object(children.count()),
            },
            Self::Array(array) => Kind::Array(array.len),
            Self::Object(object) => Kind::Object(object.members.len()),
        }
    }

    /// Returns its children in their order: none of a scalar.
    #[must_use]
    pub fn children(self) -> Parts<'a> {
        let none = Children::of_run(&[], 0);
        Parts(match self {
            Self::Packed(bytes) => Source::Packed(match packed::read(bytes) {
                Unpacked::Scalar(_) => none,
                Unpacked::Array(children) | Unpacked::Object(children) => children,
            }),
            Self::Array(array) => Source::Array { pieces: array.pieces.iter(), run: none },
            Self::Object(object) => Source::Object(object.members.entries().iter()),
        })
    }

    /// Returns the member of an object with this key, and its position.
    #[must_use]
    pub fn member(self, key: &[u8]) -> Option<(usize, Self)> {
        match self {
            Self::Packed(bytes) => match packed::read(bytes) {
                Unpacked::Object(children) => {
                    children.find(key).map(|(at, value)| (at, Self::Packed(value)))
                }
                _ => None,
            },
            Self::Array(_) => None,
            Self::Object(object) => {
                let at = object.position(key)?;
                Some((at, object.members.entries()[at].value()))
            }
        }
    }

    /// Returns the child at a position, whatever the container.
    #[must_use]
    pub fn child(self, at: usize) -> Option<Self> {
        match self {
            Self::Packed(_) => self.children().nth(at).map(|(_, value)| value),
            Self::Array(array) => {
                let (piece, at) = array.piece_of(at)?;
                match &array.pieces[piece] {
                    Piece::One(value) => Some(value.view()),
                    Piece::Run { count, bytes } => {
                        let mut run = Children::of_run(bytes, *count as usize);
                        run.nth(at).map(|(_, value)| Self::Packed(value))
                    }
                }
            }
            Self::Object(object) => object.members.entries().get(at).map(Member::value),
        }
    }

    /// Returns the value at a place: positions from the document down.
    #[must_use]
    pub fn at(self, place: &[u32]) -> Option<Self> {
        place.iter().try_fold(self, |value, &at| value.child(at as usize))
    }

    /// Returns a copy.
    #[must_use]
    pub fn to_json(self) -> Json {
        match self {
            Self::Packed(bytes) => Json::Packed(bytes.into()),
            Self::Array(array) => Json::Array(Box::new(array.clone())),
            Self::Object(object) => Json::Object(Box::new(object.clone())),
        }
    }

    /// Returns how deep its containers are nested: 0 of a scalar.
    #[must_use]
    pub fn depth(self) -> usize {
        match self.kind() {
            Kind::Scalar(_) => 0,
            _ => 1 + self.children().map(|(_, value)| value.depth()).max().unwrap_or(0),
        }
    }

    /// Returns about how many bytes of memory it takes.
    #[must_use]
    pub fn memory(self) -> usize {
        match self {
            Self::Packed(bytes) => bytes.len(),
            Self::Array(_) | Self::Object(_) => self.to_json().memory(),
        }
    }
}

impl PartialEq for Ref<'_> {
    /// Whether both are the same value; the order of members does not count, nor whether a number is an
    /// integer.
    fn eq(&self, other: &Self) -> bool {
        self.equals(*other, |a, b| a.compare(b) == Some(Ordering::Equal))
    }
}

impl Ref<'_> {
    /// Whether both are the same value; an integer is none that is a float.
    #[must_use]
    pub fn is_same(self, other: Self) -> bool {
        self.equals(other, |a, b| match (a, b) {
            (Number::Int(a), Number::Int(b)) => a == b,
            (Number::Int(_), _) | (_, Number::Int(_)) => false,
            _ => a.as_f64() == b.as_f64(),
        })
    }

    fn equals(self, other: Self, numbers: fn(Number, Number) -> bool) -> bool {
        let pairs = |mut each: std::iter::Zip<Parts<'_>, Parts<'_>>| {
            each.all(|((_, a), (_, b))| a.equals(b, numbers))
        };
        match (self.kind(), other.kind()) {
            (Kind::Scalar(Scalar::Number(one)), Kind::Scalar(Scalar::Number(other))) => {
                numbers(one, other)
            }
            (Kind::Scalar(one), Kind::Scalar(other)) => one == other,
            (Kind::Array(len), Kind::Array(others)) => {
                len == others && pairs(self.children().zip(other.children()))
            }
            (Kind::Object(len), Kind::Object(others)) => {
                len == others
                    && self.children().all(|(key, value)| {
                        let its = other.member(key.unwrap_or_default());
                        its.is_some_and(|(_, its)| value.equals(its, numbers))
                    })
            }
            _ => false,
        }
    }
}

impl Number {
    /// Compares by value.
    #[must_use]
    pub fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(&b)),
            (Self::Uint(a), Self::Uint(b)) => Some(a.cmp(&b)),
            (Self::Uint(_), Self::Int(_)) => Some(Ordering::Greater),
            (Self::Int(_), Self::Uint(_)) => Some(Ordering::Less),
            _ => self.as_f64().partial_cmp(&other.as_f64()),
        }
    }

    /// Returns it as a float, rounded if it has to be.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Int(int) => int as f64,
            Self::Uint(int) => int as f64,
            Self::Float(float) => float,
        }
    }
}

/// The children of a value, in their order.
#[derive(Clone, Debug)]
pub struct Parts<'a>(Source<'a>);

#[derive(Clone, Debug)]
enum Source<'a> {
    Packed(Children<'a>),
    Array { pieces: std::slice::Iter<'a, Piece>, run: Children<'a> },
    Object(std::slice::Iter<'a, Member>),
}

impl<'a> Iterator for Parts<'a> {
    type Item = (Option<&'a [u8]>, Ref<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Source::Packed(children) => {
                children.next().map(|(key, value)| (key, Ref::Packed(value)))
            }
            Source::Array { pieces, run } => loop {
                if let Some((_, value)) = run.next() {
                    return Some((None, Ref::Packed(value)));
                }
                match pieces.next()? {
                    Piece::One(value) => return Some((None, value.view())),
                    Piece::Run { count, bytes } => {
                        *run = Children::of_run(bytes, *count as usize);
                    }
                }
            },
            Source::Object(members) => {
                members.next().map(|member| (Some(member.key()), member.value()))
            }
        }
    }
}
