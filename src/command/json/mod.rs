//! RedisJSON's commands: documents that are read and changed in place by paths.
//!
//! ```text
//! error     errors that quote a request
//! path/     JSONPath and legacy paths: parser, filters, the values that match
//! place     places by name           document  what the commands share: the document at a key, the values of a path, replies
//! set       JSON.SET, MSET, MERGE       get       GET, MGET, TYPE, RESP
//! remove    JSON.DEL, FORGET, CLEAR     number    NUMINCRBY, NUMMULTBY, NUMPOWBY
//! text      STRLEN, STRAPPEND, TOGGLE   array     ARRAPPEND and the like
//! object    OBJKEYS, OBJLEN             debug     JSON.DEBUG
//! ```
//!
//! Measured with RedisJSON 2.8.3 (Redis Stack 7.4.1): replies, errors, events, what trips a WATCH. A
//! command that may write does trip the guards of a key as soon as it has looked at it, whatever comes
//! of it, since a module that opens a key for writing does so.
//!
//! The rows are those of the server's COMMAND, whose arities say little: the functions count arguments
//! themselves, and so does a transaction only at EXEC.

mod error;
mod path;
mod place;
mod document;
mod set;
mod get;
mod remove;
mod number;
mod text;
mod array;
mod object;
mod debug;

use super::spec::access::{ACCESS, RO, RW, UNDECLARED, UPDATE};
use super::spec::flag::{DENYOOM, MODULE, READ, WRITE};
use super::spec::{Arity::AtLeast, BASE, Group, Keys, Run, Spec, check};
use crate::dialect::servers;

const KEY: u16 = RW | ACCESS | UPDATE;

const JSON: Spec = Spec {
    arity: AtLeast(1),
    keys: &[Keys::at(KEY, 1)],
    servers: servers::JSON,
    group: Group::Module,
    ..BASE
};
const READS: Spec = Spec { flags: READ | MODULE, ..JSON };
const WRITES: Spec = Spec { flags: WRITE | MODULE, ..JSON };
const GROWS: Spec = Spec { flags: WRITE | DENYOOM | MODULE, ..JSON };

const DEL: Spec = Spec {
    name: "json.del",
    since: "1.0.0",
    complexity: "O(N) where N is the size of the deleted value",
    summary: "Deletes the values of a path, or the key.",
    run: Run::Shard(remove::del),
    ..WRITES
};

pub(super) const ROWS: &[Spec] = &[
    Spec {
        name: "json.set",
        complexity: "O(M+N) where M is the size of the original value and N the size of the new one",
        summary: "Sets the values of a path, or a new member of an object, or the document.",
        run: Run::Shard(set::set),
        ..GROWS
    },
    Spec {
        name: "json.get",
        complexity: "O(N) where N is the size of the value",
        summary: "Returns the values of paths as text.",
        run: Run::Shard(get::get),
        ..READS
    },
    Spec {
        name: "json.mget",
        keys: &[Keys::at(KEY, 1), Keys::range(RO | UNDECLARED, 2, -2, 1)],
        tips: &["request_policy:multi_shard"],
        complexity: "O(M*N) where M is the number of keys and N the size of the value",
        summary: "Returns the values of a path in several documents.",
        run: Run::Shard(get::mget),
        ..READS
    },
    Spec {
        name: "json.mset",
        keys: &[Keys::range(KEY, 1, -1, 3)],
        tips: &["request_policy:multi_shard", "response_policy:all_succeeded"],
        complexity: "O(K*(M+N)) where K is the number of keys",
        since: "2.6.0",
        summary: "Sets values of paths in several documents, all or none.",
        run: Run::Shard(set::mset),
        ..GROWS
    },
    Spec {
        name: "json.merge",
        complexity: "O(M+N) where M is the size of the original value and N the size of the new one",
        since: "2.6.0",
        summary: "Merges an object into the values of a path: null removes a member.",
        run: Run::Shard(set::merge),
        ..GROWS
    },
    DEL,
    Spec { name: "json.forget", ..DEL },
    Spec {
        name: "json.clear",
        complexity: "O(N) where N is the size of the values",
        since: "2.0.0",
        summary: "Empties containers and sets numbers to 0.",
        run: Run::Shard(remove::clear),
        ..WRITES
    },
    Spec {
        name: "json.type",
        summary: "Returns the types of the values of a path.",
        run: Run::Shard(get::type_of),
        ..READS
    },
    Spec {
        name: "json.resp",
        complexity: "O(N) where N is the size of the value",
        summary: "Returns the values of a path as arrays, strings and numbers.",
        run: Run::Shard(get::resp),
        ..READS
    },
    Spec {
        name: "json.numincrby",
        summary: "Adds to the numbers of a path.",
        run: Run::Shard(number::incr_by),
        ..WRITES
    },
    Spec {
        name: "json.nummultby",
        summary: "Multiplies the numbers of a path.",
        run: Run::Shard(number::mult_by),
        ..WRITES
    },
    Spec {
        name: "json.numpowby",
        since: "2.0.0",
        summary: "Raises the numbers of a path to a power.",
        run: Run::Shard(number::pow_by),
        ..WRITES
    },
    Spec {
        name: "json.strlen",
        summary: "Returns the lengths of the strings of a path, in bytes.",
        run: Run::Shard(text::len),
        ..READS
    },
    Spec {
        name: "json.strappend",
        summary: "Appends to the strings of a path.",
        run: Run::Shard(text::append),
        ..GROWS
    },
    Spec {
        name: "json.toggle",
        since: "2.0.0",
        summary: "Changes true to false and false to true.",
        run: Run::Shard(text::toggle),
        ..GROWS
    },
    Spec {
        name: "json.arrappend",
        summary: "Appends values to the arrays of a path.",
        run: Run::Shard(array::append),
        ..GROWS
    },
    Spec {
        name: "json.arrinsert",
        complexity: "O(N) where N is the size of the array",
        summary: "Inserts values into the arrays of a path.",
        run: Run::Shard(array::insert),
        ..GROWS
    },
    Spec {
        name: "json.arrindex",
        complexity: "O(N) where N is the size of the array",
        summary: "Returns where a value is in the arrays of a path.",
        run: Run::Shard(array::index),
        ..READS
    },
    Spec {
        name: "json.arrlen",
        summary: "Returns the lengths of the arrays of a path.",
        run: Run::Shard(array::len),
        ..READS
    },
    Spec {
        name: "json.arrpop",
        complexity: "O(N) where N is the size of the array, unless the last element is removed",
        summary: "Removes an element from each of the arrays of a path and returns it.",
        run: Run::Shard(array::pop),
        ..WRITES
    },
    Spec {
        name: "json.arrtrim",
        complexity: "O(N) where N is the size of the array",
        summary: "Removes all elements but a range from the arrays of a path.",
        run: Run::Shard(array::trim),
        ..WRITES
    },
    Spec {
        name: "json.objkeys",
        complexity: "O(N) where N is the number of members",
        summary: "Returns the keys of the objects of a path.",
        run: Run::Shard(object::keys),
        ..READS
    },
    Spec {
        name: "json.objlen",
        summary: "Returns how many members the objects of a path have.",
        run: Run::Shard(object::len),
        ..READS
    },
    Spec {
        name: "json.debug",
        keys: &[Keys::at(KEY, 2)],
        complexity: "O(N) where N is the size of the value",
        summary: "Returns how much memory the values of a path take.",
        run: Run::Shard(debug::debug),
        ..READS
    },
];
const _: () = check(ROWS);
