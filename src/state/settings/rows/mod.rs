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

use super::row::Row;
use crate::dialect::Product;

/// Rows, and the products that have them.
struct Group {
    rows: &'static [Row],
    is_of: fn(&Product) -> bool,
}

const fn every(rows: &'static [Row]) -> Group {
    Group { rows, is_of: |_| true }
}

const fn redis7(rows: &'static [Row]) -> Group {
    Group { rows, is_of: |product| !product.has_client_addresses }
}

const fn redis(rows: &'static [Row]) -> Group {
    Group { rows, is_of: |product| !product.has_client_addresses }
}

const fn newer(rows: &'static [Row]) -> Group {
    Group { rows, is_of: |product| product.has_client_addresses }
}

const fn valkey(rows: &'static [Row]) -> Group {
    Group { rows, is_of: |product| product.has_client_addresses }
}

/// The rows that every product has, in the order in which they are shown.
const COMMON: &[Group] = &[
    every(clients::ROWS),
    every(encodings::ROWS),
    every(monitoring::ROWS),
    every(own::ROWS),
    every(memory::ROWS),
    every(persistence::ROWS),
    every(replication::ROWS),
    every(cluster::ROWS),
    every(tls::ROWS),
    every(process::ROWS),
];

/// The rows that some products have.
const SPECIAL: &[Group] = &[
    newer(encodings::NEWER),
    redis7(memory::REDIS7),
    newer(memory::NEWER),
    valkey(memory::VALKEY),
    redis7(persistence::REDIS7),
    redis(persistence::REDIS),
    valkey(persistence::VALKEY),
    redis(replication::REDIS),
    valkey(replication::VALKEY),
    redis(cluster::REDIS),
    newer(cluster::NEWER),
    valkey(cluster::VALKEY),
    newer(tls::NEWER),
    valkey(tls::VALKEY),
    redis7(process::REDIS7),
    redis(process::REDIS),
    newer(process::NEWER),
    valkey(process::VALKEY),
];

/// Returns the rows that every product has.
pub(super) fn common() -> impl Iterator<Item = &'static Row> {
    COMMON.iter().flat_map(|group| group.rows)
}

/// Returns the rows that this product has.
pub(super) fn of(product: &'static Product) -> impl Iterator<Item = &'static Row> {
    let special = SPECIAL.iter().filter(|group| (group.is_of)(product));
    common().chain(special.flat_map(|group| group.rows))
}

/// Returns the rows of all products; of some parameters there are several.
pub(super) fn all() -> impl Iterator<Item = &'static Row> {
    COMMON.iter().chain(SPECIAL).flat_map(|group| group.rows)
}
