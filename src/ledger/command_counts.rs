//! Commands counted by name: those that were refused although servers run them, and those that are not
//! known, whose keys cannot be found.

use super::lru::LruTable;
use super::pattern::shown;

/// Names that are counted.
pub(crate) const NAMES_MAX: usize = 64;
/// Characters of a name that are kept.
const NAME_CHARS_MAX: usize = 80;

/// Names of commands with their counts.
#[derive(Clone, Debug)]
pub struct CommandCounts {
    names: LruTable<String, u64>,
    /// How many were counted.
    pub total: u64,
}

impl Default for CommandCounts {
    fn default() -> Self {
        Self { names: LruTable::new(NAMES_MAX), total: 0 }
    }
}

impl CommandCounts {
    /// Counts a command; case is ignored.
    pub fn enter(&mut self, name: &[u8]) {
        self.total += 1;
        let name = shown(name, NAME_CHARS_MAX).to_lowercase();
        *self.names.row(name.as_str(), || name.clone(), || 0) += 1;
    }

    /// Returns the names with their counts, the more frequent first.
    #[must_use]
    pub fn rows(&self) -> Vec<(&str, u64)> {
        let mut rows: Vec<_> = self.names.iter().map(|(n, count)| (n.as_str(), *count)).collect();
        rows.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        rows
    }
}
