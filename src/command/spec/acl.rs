//! ACL categories of commands, a bit each; the names are Redis'.

pub(crate) const KEYSPACE: u32 = 1;
pub(crate) const READ: u32 = 1 << 1;
pub(crate) const WRITE: u32 = 1 << 2;
pub(crate) const SET: u32 = 1 << 3;
pub(crate) const SORTEDSET: u32 = 1 << 4;
pub(crate) const LIST: u32 = 1 << 5;
pub(crate) const HASH: u32 = 1 << 6;
pub(crate) const STRING: u32 = 1 << 7;
pub(crate) const BITMAP: u32 = 1 << 8;
pub(crate) const HYPERLOGLOG: u32 = 1 << 9;
pub(crate) const GEO: u32 = 1 << 10;
pub(crate) const STREAM: u32 = 1 << 11;
pub(crate) const PUBSUB: u32 = 1 << 12;
pub(crate) const ADMIN: u32 = 1 << 13;
pub(crate) const FAST: u32 = 1 << 14;
pub(crate) const SLOW: u32 = 1 << 15;
pub(crate) const BLOCKING: u32 = 1 << 16;
pub(crate) const DANGEROUS: u32 = 1 << 17;
pub(crate) const CONNECTION: u32 = 1 << 18;
pub(crate) const TRANSACTION: u32 = 1 << 19;
pub(crate) const SCRIPTING: u32 = 1 << 20;

/// Every category with its name, in the order that COMMAND shows them.
pub(crate) const NAMES: &[(u32, &str)] = &[
    (KEYSPACE, "@keyspace"),
    (READ, "@read"),
    (WRITE, "@write"),
    (SET, "@set"),
    (SORTEDSET, "@sortedset"),
    (LIST, "@list"),
    (HASH, "@hash"),
    (STRING, "@string"),
    (BITMAP, "@bitmap"),
    (HYPERLOGLOG, "@hyperloglog"),
    (GEO, "@geo"),
    (STREAM, "@stream"),
    (PUBSUB, "@pubsub"),
    (ADMIN, "@admin"),
    (FAST, "@fast"),
    (SLOW, "@slow"),
    (BLOCKING, "@blocking"),
    (DANGEROUS, "@dangerous"),
    (CONNECTION, "@connection"),
    (TRANSACTION, "@transaction"),
    (SCRIPTING, "@scripting"),
];
