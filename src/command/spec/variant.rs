//! What differs in a command's row between servers.

use super::flag::{ALLOW_BUSY, LOADING, NOSCRIPT};
use super::{Arity, Keys, Spec};
use crate::dialect::{Servers, servers};

/// A row's other form.
#[derive(Clone, Copy)]
pub struct Variant {
    /// The servers that have this form.
    pub servers: Servers,
    /// How many arguments it takes, if not the same.
    pub arity: Option<Arity>,
    /// Flags that it lacks.
    pub without: u64,
    /// Flags that it has besides.
    pub with: u64,
    /// ACL categories that it has besides.
    pub acl: u32,
    /// Its hints, if not the same.
    pub tips: Option<&'static [&'static str]>,
    /// Its keys, if not the same.
    pub keys: Option<&'static [Keys]>,
}

/// A form in which nothing differs, for others to be built on.
pub(in crate::command) const SAME: Variant =
    Variant { servers: 0, arity: None, without: 0, with: 0, acl: 0, tips: None, keys: None };

/// It may be called from scripts since Redis 7.2, and then never waits.
pub(in crate::command) const IN_SCRIPTS_SINCE_7_2: &[Variant] =
    &[Variant { servers: servers::SINCE_7_2, without: NOSCRIPT, ..SAME }];
/// Clients that know the hints send it to all nodes since Redis 7.2.
pub(in crate::command) const ON_ALL_NODES_SINCE_7_2: &[Variant] = &[Variant {
    servers: servers::SINCE_7_2,
    tips: Some(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    ..SAME
}];
/// It runs while the data are loaded since Redis 7.2.
pub(in crate::command) const LOADING_SINCE_7_2: &[Variant] =
    &[Variant { servers: servers::SINCE_7_2, with: LOADING, ..SAME }];
/// It runs while the data are loaded in Valkey.
pub(in crate::command) const LOADING_IN_VALKEY: &[Variant] =
    &[Variant { servers: servers::VALKEY9, with: LOADING, ..SAME }];
/// It runs while the data are loaded in Redis 8.10.
pub(in crate::command) const LOADING_IN_REDIS8_10: &[Variant] =
    &[Variant { servers: servers::REDIS8_10, with: LOADING, ..SAME }];
/// The same in Valkey, too.
pub(in crate::command) const LOADING_IN_NEWEST: &[Variant] =
    &[Variant { servers: servers::VALKEY9 | servers::REDIS8_10, with: LOADING, ..SAME }];
/// It runs while a script makes others wait in Valkey.
pub(in crate::command) const BUSY_IN_VALKEY: &[Variant] =
    &[Variant { servers: servers::VALKEY9, with: ALLOW_BUSY, ..SAME }];

impl Spec {
    /// Returns the row as it is on these servers; `None` if none of them has the command.
    #[must_use]
    pub(in crate::command) fn on(&self, servers: Servers) -> Option<Self> {
        if self.servers & servers == 0 {
            return None;
        }
        let forms = self.variants.iter().filter(|form| form.servers & servers != 0);
        Some(forms.fold(*self, |spec, form| Self {
            arity: form.arity.unwrap_or(spec.arity),
            flags: spec.flags & !form.without | form.with,
            acl: spec.acl | form.acl,
            tips: form.tips.unwrap_or(spec.tips),
            keys: form.keys.unwrap_or(spec.keys),
            ..spec
        }))
    }
}
