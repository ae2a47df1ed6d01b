//! The table of parameters, by what they are about:
//!
//! ```text
//! clients      connections, and what clients may ask for
//! encodings    how values are stored
//! monitoring   slow commands and command times
//! own          those that no other server has
//! memory       limits of memory, eviction, freeing
//! persistence  files
//! replication  replicas and their links
//! cluster      a node as a member of its cluster
//! tls          TLS
//! process      ports, threads, log, title and end of the process
//! newest       what Redis 8.10 has besides, of all kinds
//! ```
//!
//! Each file has the rows of all products in `ROWS`, and in others those that some products have, or have
//! with other values.

mod clients;
mod encodings;
mod monitoring;
mod own;
mod memory;
mod persistence;
mod replication;
mod cluster;
mod tls;
mod process;
mod newest;

use super::row::Row;
use crate::dialect::servers::{REDIS7, REDIS8, REDIS8_2, REDIS8_10, SINCE_7_2, VALKEY9};
use crate::dialect::{Product, Servers};

/// The rows that every product has, in the order in which they are shown.
const COMMON: &[&[Row]] = &[
    clients::ROWS,
    encodings::ROWS,
    monitoring::ROWS,
    own::ROWS,
    memory::ROWS,
    persistence::ROWS,
    replication::ROWS,
    cluster::ROWS,
    tls::ROWS,
    process::ROWS,
];

/// The rows that these servers have, which are not all.
const SPECIAL: &[(Servers, &[Row])] = &[
    (SINCE_7_2, encodings::NEWER),
    (VALKEY9, monitoring::VALKEY),
    (REDIS7, memory::REDIS7),
    (SINCE_7_2, memory::NEWER),
    (VALKEY9, memory::VALKEY),
    (REDIS7, persistence::REDIS7),
    (REDIS, persistence::REDIS),
    (VALKEY9, persistence::VALKEY),
    (REDIS, replication::REDIS),
    (REDIS7 | REDIS8_2, replication::UP_TO_8_2),
    (REDIS8_10, replication::REDIS8_10),
    (REDIS8, replication::REDIS8),
    (VALKEY9, replication::VALKEY),
    (REDIS7, cluster::REDIS7),
    (REDIS7 | REDIS8_2, cluster::UP_TO_8_2),
    (REDIS8_2 | VALKEY9, cluster::SLOT_STATS),
    (REDIS8_2 | VALKEY9, cluster::BOUNDED_LINKS),
    (REDIS8, cluster::REDIS8),
    (REDIS8_2, cluster::REDIS8_2),
    (REDIS8_10, cluster::REDIS8_10),
    (VALKEY9, cluster::VALKEY),
    (SINCE_7_2, tls::NEWER),
    (VALKEY9, tls::VALKEY),
    (REDIS7, process::REDIS7),
    (REDIS, process::REDIS),
    (SINCE_7_2, process::NEWER),
    (REDIS8, process::REDIS8),
    (VALKEY9, process::VALKEY),
    (REDIS8_10, newest::REDIS8_10),
];

/// Redis, whatever its version.
const REDIS: Servers = REDIS7 | REDIS8;

/// Returns the rows that every product has.
pub(super) fn common() -> impl Iterator<Item = &'static Row> {
    COMMON.iter().copied().flatten()
}

/// Returns the rows that this product has.
pub(super) fn of(product: &Product) -> impl Iterator<Item = &'static Row> + use<> {
    let of = product.servers;
    let special = SPECIAL.iter().filter(move |(servers, _)| servers & of != 0);
    common().chain(special.flat_map(|(_, rows)| *rows))
}

/// Returns the rows of all products; of some parameters there are several.
pub(super) fn all() -> impl Iterator<Item = &'static Row> {
    common().chain(SPECIAL.iter().flat_map(|(_, rows)| *rows))
}
