//! The packed form: a JSON value as bytes without pointers, most of it as short as its text.
//!
//! ```text
//! 0x00..=0x7F   a string of this many bytes; they follow
//! 0x80..=0xBF   the integer 0 to 63
//! 0xC0..=0xC2   null, false, true
//! 0xC3..=0xC6   an integer of 1, 2, 4 or 8 bytes      0xC7  one beyond 63 bits     0xC8  a float
//! 0xC9          a longer string: its length in 4 bytes, then the bytes
//! 0xCA, 0xCB    an array, an object: length of the body and number of children in 2 bytes each;
//!               the body. Before each child of an object stands its key: a byte that is its length,
//!               or 0xFF and four bytes that are.
//! ```
//!
//! A container is packed only up to [`BODY_LEN_MAX`], so that finding a child and replacing one, which
//! moves what is behind it, stay cheap; larger ones are trees ([`super::Node`]).

/// The longest body of a packed container, in bytes.
pub(super) const BODY_LEN_MAX: usize = 8 * 1024;
/// The head of a container: its tag, the length of its body, the number of its children.
pub(super) const HEAD_LEN: usize = 5;

const STRING_LEN_SHORT: usize = 0x7F;
const SMALL: u8 = 0x80;
const SMALL_MAX: i64 = 0x3F;
const SMALL_END: u8 = 0xBF;
const NULL: u8 = 0xC0;
const FALSE: u8 = 0xC1;
const TRUE: u8 = 0xC2;
const INT_8: u8 = 0xC3;
const INT_16: u8 = 0xC4;
const INT_32: u8 = 0xC5;
const INT_64: u8 = 0xC6;
const UINT: u8 = 0xC7;
const FLOAT: u8 = 0xC8;
const STRING: u8 = 0xC9;
pub(super) const ARRAY: u8 = 0xCA;
pub(super) const OBJECT: u8 = 0xCB;
/// The length of a key that does not fit a byte follows.
const LONG_KEY: u8 = 0xFF;

/// A number of a document.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// An integer of 64 bits with a sign.
    Int(i64),
    /// A larger integer.
    Uint(u64),
    /// What has a fraction or an exponent, or is larger still.
    Float(f64),
}

/// A value that has no children.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string, which is UTF-8.
    String(&'a [u8]),
}

/// A packed value, read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unpacked<'a> {
    Scalar(Scalar<'a>),
    Array(Children<'a>),
    Object(Children<'a>),
}

/// Appends a scalar.
pub(super) fn put(out: &mut Vec<u8>, scalar: Scalar<'_>) {
    match scalar {
        Scalar::Null => out.push(NULL),
        Scalar::Bool(false) => out.push(FALSE),
        Scalar::Bool(true) => out.push(TRUE),
        Scalar::Number(Number::Int(int)) => put_int(out, int),
        Scalar::Number(Number::Uint(int)) => match i64::try_from(int) {
            Ok(int) => put_int(out, int),
            Err(_) => {
                out.push(UINT);
                out.extend_from_slice(&int.to_le_bytes());
            }
        },
        Scalar::Number(Number::Float(float)) => {
            out.push(FLOAT);
            out.extend_from_slice(&float.to_le_bytes());
        }
        Scalar::String(text) => {
            if text.len() <= STRING_LEN_SHORT {
                out.push(text.len() as u8);
            } else {
                out.push(STRING);
                out.extend_from_slice(&length_of(text).to_le_bytes());
            }
            out.extend_from_slice(text);
        }
    }
}

fn put_int(out: &mut Vec<u8>, int: i64) {
    if (0..=SMALL_MAX).contains(&int) {
        out.push(SMALL + int as u8);
    } else if let Ok(int) = i8::try_from(int) {
        out.extend_from_slice(&[INT_8, int as u8]);
    } else if let Ok(int) = i16::try_from(int) {
        out.push(INT_16);
        out.extend_from_slice(&int.to_le_bytes());
    } else if let Ok(int) = i32::try_from(int) {
        out.push(INT_32);
        out.extend_from_slice(&int.to_le_bytes());
    } else {
        out.push(INT_64);
        out.extend_from_slice(&int.to_le_bytes());
    }
}

/// Appends the key of an object's child.
pub(super) fn put_key(out: &mut Vec<u8>, key: &[u8]) {
    if key.len() < LONG_KEY.into() {
        out.push(key.len() as u8);
    } else {
        out.push(LONG_KEY);
        out.extend_from_slice(&length_of(key).to_le_bytes());
    }
    out.extend_from_slice(key);
}

/// Strings are arguments of requests, or grow up to [`super::STRING_LEN_MAX`].
fn length_of(text: &[u8]) -> u32 {
    u32::try_from(text.len()).expect("strings of documents are shorter than 4 GiB")
}

/// Appends the head of a container whose body follows; [`set_head`] completes it.
pub(super) fn put_head(out: &mut Vec<u8>, tag: u8) {
    out.extend_from_slice(&[tag, 0, 0, 0, 0]);
}

/// Sets length and number of children in the head of the container at `at`.
pub(super) fn set_head(bytes: &mut [u8], at: usize, body: usize, children: usize) {
    debug_assert!(body <= BODY_LEN_MAX && children <= body, "a container that is packed is small");
    bytes[at + 1..at + 3].copy_from_slice(&(body as u16).to_le_bytes());
    bytes[at + 3..at + 5].copy_from_slice(&(children as u16).to_le_bytes());
}

fn four(bytes: &[u8]) -> usize {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize
}

fn eight(bytes: &[u8]) -> [u8; 8] {
    let mut all = [0; 8];
    all.copy_from_slice(&bytes[..8]);
    all
}

/// Returns the length of the body and the number of children of the container that begins here.
pub(super) fn head(bytes: &[u8]) -> (usize, usize) {
    let two = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    (two(1), two(3))
}

/// Returns the length of the value that begins here, in bytes.
#[inline]
pub(super) fn len_of(bytes: &[u8]) -> usize {
    match bytes[0] {
        len @ 0..SMALL => 1 + usize::from(len),
        SMALL..=SMALL_END | NULL | FALSE | TRUE => 1,
        INT_8 => 2,
        INT_16 => 3,
        INT_32 => 5,
        ARRAY | OBJECT => HEAD_LEN + head(bytes).0,
        STRING => 5 + four(&bytes[1..]),
        _ => 9,
    }
}

/// Returns the key that begins here, and how many bytes it takes.
#[inline]
fn key_at(bytes: &[u8]) -> (&[u8], usize) {
    let (from, len) = match bytes[0] {
        LONG_KEY => (5, four(&bytes[1..])),
        len => (1, usize::from(len)),
    };
    (&bytes[from..from + len], from + len)
}

/// Returns the key that begins here.
pub(super) fn key(bytes: &[u8]) -> &[u8] {
    key_at(bytes).0
}

/// Returns how many bytes a child takes with its key.
pub(super) fn child_len((key, value): Child<'_>) -> usize {
    let head = |key: &[u8]| if key.len() < LONG_KEY.into() { 1 } else { 5 };
    value.len() + key.map_or(0, |key| head(key) + key.len())
}

/// Reads the value that begins here.
#[inline]
pub(super) fn read(bytes: &[u8]) -> Unpacked<'_> {
    let number = |number| Unpacked::Scalar(Scalar::Number(number));
    match bytes[0] {
        len @ 0..SMALL => Unpacked::Scalar(Scalar::String(&bytes[1..1 + usize::from(len)])),
        small @ SMALL..=SMALL_END => number(Number::Int((small - SMALL).into())),
        NULL => Unpacked::Scalar(Scalar::Null),
        FALSE => Unpacked::Scalar(Scalar::Bool(false)),
        TRUE => Unpacked::Scalar(Scalar::Bool(true)),
        INT_8 => number(Number::Int((bytes[1] as i8).into())),
        INT_16 => number(Number::Int(i16::from_le_bytes([bytes[1], bytes[2]]).into())),
        INT_32 => {
            let four = [bytes[1], bytes[2], bytes[3], bytes[4]];
            number(Number::Int(i32::from_le_bytes(four).into()))
        }
        INT_64 => number(Number::Int(i64::from_le_bytes(eight(&bytes[1..])))),
        UINT => number(Number::Uint(u64::from_le_bytes(eight(&bytes[1..])))),
        FLOAT => number(Number::Float(f64::from_le_bytes(eight(&bytes[1..])))),
        STRING => Unpacked::Scalar(Scalar::String(&bytes[5..5 + four(&bytes[1..])])),
        tag => {
            let (body, count) = head(bytes);
            let rest = &bytes[HEAD_LEN..HEAD_LEN + body];
            match tag {
                ARRAY => Unpacked::Array(Children { rest, left: count, has_keys: false }),
                _ => Unpacked::Object(Children { rest, left: count, has_keys: true }),
            }
        }
    }
}

/// Packed values in a row, each behind its key if there are keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Children<'a> {
    rest: &'a [u8],
    left: usize,
    has_keys: bool,
}

/// A child: its key, if it has one, and its bytes.
pub(super) type Child<'a> = (Option<&'a [u8]>, &'a [u8]);

impl<'a> Children<'a> {
    /// The elements of a run.
    pub(super) fn of_run(bytes: &'a [u8], count: usize) -> Self {
        Self { rest: bytes, left: count, has_keys: false }
    }

    /// The children of an object without its head.
    pub(super) fn of_entries(bytes: &'a [u8], count: usize) -> Self {
        Self { rest: bytes, left: count, has_keys: true }
    }

    /// Returns how many are left.
    pub(super) fn count(self) -> usize {
        self.left
    }

    /// Returns how many bytes the next `count` of them take.
    pub(super) fn byte_len(self, count: usize) -> usize {
        self.take(count).map(child_len).sum()
    }

    /// Returns the child with this key and its position.
    #[inline]
    pub(super) fn find(self, key: &[u8]) -> Option<(usize, &'a [u8])> {
        let mut rest = self.rest;
        for at in 0..self.left {
            let (its, len) = key_at(rest);
            let value = &rest[len..];
            let value_len = len_of(value);
            if its == key {
                return Some((at, &value[..value_len]));
            }
            rest = &value[value_len..];
        }
        None
    }
}

impl<'a> Iterator for Children<'a> {
    type Item = Child<'a>;

    #[inline]
    fn next(&mut self) -> Option<Child<'a>> {
        self.left = self.left.checked_sub(1)?;
        let mut rest = self.rest;
        let key = self.has_keys.then(|| {
            let (key, len) = key_at(rest);
            rest = &rest[len..];
            key
        });
        let (value, rest) = rest.split_at(len_of(rest));
        self.rest = rest;
        Some((key, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}
