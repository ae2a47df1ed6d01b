//! A JSON document (`JSON.SET`), as compact as its text and changed in place.
//!
//! ```text
//! packed   a value as bytes without pointers: documents up to some kilobytes, leaves of others
//! node     a document: packed, or a tree whose leaves are packed
//! view     reading it, packed or not
//! build    from its text
//! edit     changing it
//! print    to its text
//! ```
//!
//! RedisJSON keeps each value in a word and each string, array and object on the heap; here a usual
//! document is one allocation, and a change moves the bytes behind it. Text is read with serde_json and
//! floats are printed with ryu, since RedisJSON does that: errors and digits are its.

mod packed;
mod node;
mod view;
mod build;
mod edit;
mod print;

pub(crate) use node::Json;
pub(crate) use packed::{Number, Scalar};
pub(crate) use print::{Layout, write_string};
pub(crate) use view::{Kind, Ref};

/// The longest string of a document, in bytes.
pub(crate) const STRING_LEN_MAX: usize = 512 * 1024 * 1024;
/// How deep containers may be nested. A text may nest 128; a document grows deeper by changes.
pub(crate) const DEPTH_MAX: usize = 1000;

#[cfg(test)]
mod tests;
