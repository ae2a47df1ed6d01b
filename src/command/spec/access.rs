//! What a command does to a key, a bit for each property; the names are Redis'.

/// Reads and writes the value.
pub const RW: u16 = 1;
pub const RO: u16 = 1 << 1;
/// Overwrites the value unread.
pub const OW: u16 = 1 << 2;
/// Removes the key.
pub const RM: u16 = 1 << 3;
/// Returns data of the value to the client.
pub const ACCESS: u16 = 1 << 4;
pub const UPDATE: u16 = 1 << 5;
pub const INSERT: u16 = 1 << 6;
pub const DELETE: u16 = 1 << 7;
pub const NOT_KEY: u16 = 1 << 8;
pub const INCOMPLETE: u16 = 1 << 9;
pub const VARIABLE_FLAGS: u16 = 1 << 10;
/// The server's own declaration leaves the keys out: neither it nor a client that asks it routes the
/// command by them, or refuses it over slots. COMMAND never shows this.
pub const UNDECLARED: u16 = 1 << 11;

/// Every property that COMMAND shows with its name, in the order that COMMAND shows them.
pub const NAMES: &[(u16, &str)] = &[
    (RW, "RW"),
    (RO, "RO"),
    (OW, "OW"),
    (RM, "RM"),
    (ACCESS, "access"),
    (UPDATE, "update"),
    (INSERT, "insert"),
    (DELETE, "delete"),
    (NOT_KEY, "not_key"),
    (INCOMPLETE, "incomplete"),
    (VARIABLE_FLAGS, "variable_flags"),
];
