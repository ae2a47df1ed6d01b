//! CONFIG GET and CONFIG SET over the table of parameters.

use super::row::{Row, SetRule};
use super::rows;
use super::value_type::Value;
use super::{SetError, Settings, next_version};
use crate::dialect::Product;
use crate::text::glob;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Settings {
    /// Returns the parameters that any of `patterns` matches, with their values, none twice. A
    /// plain name is returned as given, a glob's matches as the table spells them.
    #[must_use]
    pub fn get<'p>(
        &self,
        patterns: impl Iterator<Item = &'p [u8]>,
    ) -> Vec<(Cow<'p, [u8]>, Vec<u8>)> {
        let rows: Vec<&Row> = self.rows().collect();
        let mut shown = vec![false; rows.len()];
        let mut found = Vec::new();
        for pattern in patterns {
            let is_glob = pattern.iter().any(|byte| b"*?[".contains(byte));
            for (row, shown) in rows.iter().zip(&mut shown) {
                let name = row.name.as_bytes();
                let matches = if is_glob {
                    glob::matches_nocase(pattern, name)
                } else {
                    pattern.eq_ignore_ascii_case(name)
                };
                if matches && !*shown {
                    *shown = true;
                    let name = Cow::Borrowed(if is_glob { name } else { pattern });
                    found.push((name, (row.get)(self).text()));
                }
            }
        }
        found
    }

    /// Sets all parameters or none.
    ///
    /// # Errors
    /// The first error; names are checked before values, as in Redis.
    pub fn set(&self, pairs: &[(&[u8], &[u8])]) -> Result<(), SetError> {
        let refused = |name: &[u8], why| SetError::Refused { name: name.to_vec(), why };
        let mut rows: Vec<&Row> = Vec::with_capacity(pairs.len());
        for &(name, _) in pairs {
            let row = self.rows().find(|row| name.eq_ignore_ascii_case(row.name.as_bytes()));
            let row = row.ok_or_else(|| SetError::Unknown(name.to_vec()))?;
            match row.set {
                SetRule::Never => return Err(refused(name, "can't set immutable config".into())),
                SetRule::Protected => {
                    return Err(refused(name, "can't set protected config".into()));
                }
                _ => {}
            }
            if rows.iter().any(|earlier| earlier.name == row.name) {
                return Err(refused(name, "duplicate parameter".into()));
            }
            rows.push(row);
        }
        let mut changes = Vec::with_capacity(pairs.len());
        for (row, &(_, text)) in rows.into_iter().zip(pairs) {
            let read = match self.product.names_itself {
                true => row.value_type.read_strictly(text),
                false => row.value_type.read(text),
            };
            let value = read.map_err(|why| refused(row.name.as_bytes(), why))?;
            match row.set {
                SetRule::Freely(set) | SetRule::Own(set) => changes.push((set, value)),
                SetRule::Checked(check, set) => {
                    check(self, &value).map_err(|why| refused(row.name.as_bytes(), why))?;
                    changes.push((set, value));
                }
                SetRule::Never | SetRule::Protected => {}
                // Setting a constant to its value, as many clients do at their start, is no change.
                SetRule::Fixed(_) if value == (row.get)(self) => {}
                SetRule::Fixed(why) => return Err(refused(row.name.as_bytes(), why.into())),
            }
        }
        let _one_at_a_time = self.changing.lock();
        for (set, value) in changes {
            set(self, value);
        }
        self.note_looks_at();
        self.version.store(next_version(), Ordering::Release);
        Ok(())
    }

    /// The parameters that there are.
    fn rows(&self) -> impl Iterator<Item = &'static Row> + use<> {
        rows::of(self.product)
    }

    /// Returns the value of `replica-priority`, which is shown only.
    #[must_use]
    pub fn replica_priority(&self) -> i64 {
        self.shown_value("replica-priority").map_or(0, |value| value.number())
    }

    /// Returns the value of `replica-announced`, which is shown only.
    #[must_use]
    pub fn is_replica_announced(&self) -> bool {
        self.shown_value("replica-announced").is_some_and(|value| value.is_yes())
    }

    /// Returns the value of `repl-backlog-size` in bytes, which is shown only.
    #[must_use]
    pub fn backlog_size(&self) -> i64 {
        self.shown_value("repl-backlog-size").map_or(0, |value| value.number())
    }

    /// Returns the value of `availability-zone`, which HELLO and INFO show; nothing where there is no
    /// such parameter.
    #[must_use]
    pub fn availability_zone(&self) -> Vec<u8> {
        self.shown_value("availability-zone").map_or_else(Vec::new, |value| value.text())
    }

    /// Returns the value of a parameter.
    fn shown_value(&self, name: &str) -> Option<Value> {
        self.rows().find(|row| row.name == name).map(|row| (row.get)(self))
    }

    /// Returns the value of a parameter that decides nothing, once it was set.
    pub(super) fn kept(&self, name: &str) -> Option<Value> {
        self.kept.lock().get(name).cloned()
    }

    /// Keeps the value of a parameter that decides nothing.
    pub(super) fn keep(&self, name: &'static str, value: Value) {
        self.kept.lock().insert(name, value);
    }

    /// Makes the settings of a node, which begin as these, the router port's, are, with the
    /// parameters of this product.
    #[must_use]
    pub fn of_node(&self, product: &'static Product) -> Self {
        let mut node =
            Self::new(super::StartupSettings { cluster_enabled: true, ..self.start.clone() });
        node.product = product;
        node.replica_lag = Arc::clone(&self.replica_lag);
        rows::common().for_each(|row| node.adopt_row(self, row));
        node
    }

    /// Gives a parameter the value that it has in the router port's settings.
    pub fn adopt(&self, router: &Self, name: &[u8]) {
        let named = |row: &&Row| name.eq_ignore_ascii_case(row.name.as_bytes());
        if let Some(row) = self.rows().find(named) {
            let _one_at_a_time = self.changing.lock();
            self.adopt_row(router, row);
            self.version.store(next_version(), Ordering::Release);
        }
    }

    fn adopt_row(&self, router: &Self, row: &Row) {
        match row.set {
            SetRule::Freely(set) | SetRule::Checked(_, set) => set(self, (row.get)(router)),
            SetRule::Own(_) | SetRule::Fixed(_) | SetRule::Never | SetRule::Protected => {}
        }
        self.note_looks_at();
    }
}
