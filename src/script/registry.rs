//! The scripts that EVALSHA finds: those of EVAL and SCRIPT LOAD, until SCRIPT FLUSH.

use super::source::{Script, ScriptSha};
use foldhash::fast::RandomState;
use parking_lot::RwLock;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Most scripts that are kept; one more forgets the one that was loaded first.
const SCRIPTS_MAX: usize = 100_000;
/// Most bytes of scripts that are kept.
const BYTES_MAX: usize = 256 << 20;

/// The scripts of a node.
#[derive(Debug, Default)]
pub struct Scripts {
    loaded: RwLock<Loaded>,
    /// How often all scripts were forgotten.
    generation: AtomicU64,
    /// Scripts forgotten to make room for others.
    forgotten: AtomicU64,
}

#[derive(Debug, Default)]
struct Loaded {
    by_sha: HashMap<ScriptSha, Arc<Script>, RandomState>,
    /// In the order of loading.
    order: VecDeque<ScriptSha>,
    bytes: usize,
}

impl Scripts {
    /// Returns the script of this name.
    #[must_use]
    pub(crate) fn get(&self, sha: &ScriptSha) -> Option<Arc<Script>> {
        self.loaded.read().by_sha.get(sha).map(Arc::clone)
    }

    /// Keeps a script.
    pub(crate) fn add(&self, script: &Arc<Script>) {
        let mut loaded = self.loaded.write();
        if loaded.by_sha.insert(script.sha, Arc::clone(script)).is_some() {
            return;
        }
        loaded.order.push_back(script.sha);
        loaded.bytes += script.text.len();
        while loaded.order.len() > SCRIPTS_MAX || loaded.bytes > BYTES_MAX {
            let Some(oldest) = loaded.order.pop_front() else { break };
            if let Some(script) = loaded.by_sha.remove(&oldest) {
                loaded.bytes -= script.text.len();
                self.forgotten.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Forgets all scripts.
    pub(crate) fn flush(&self) {
        let dead = std::mem::take(&mut *self.loaded.write());
        self.generation.fetch_add(1, Ordering::AcqRel);
        drop(dead);
    }

    /// Returns how many scripts were forgotten to make room for others.
    #[must_use]
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }

    /// Returns how often all scripts were forgotten: interpreters forget them as well then.
    #[must_use]
    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Returns how many scripts are kept, and their memory in bytes.
    #[must_use]
    pub(crate) fn usage(&self) -> (usize, usize) {
        /// The rest of a script's entry.
        const ENTRY: usize = size_of::<Script>() + 2 * size_of::<ScriptSha>() + 32;
        let loaded = self.loaded.read();
        (loaded.by_sha.len(), loaded.bytes + loaded.by_sha.len() * ENTRY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_found_until_they_are_flushed() {
        let scripts = Scripts::default();
        let script = Arc::new(Script::new(b"return 1").expect("valid"));
        scripts.add(&script);
        scripts.add(&script);
        assert_eq!(scripts.get(&script.sha).map(|it| it.text.len()), Some(8));
        assert_eq!(scripts.usage().0, 1);
        scripts.flush();
        assert!(scripts.get(&script.sha).is_none());
        assert_eq!((scripts.usage(), scripts.generation()), ((0, 0), 1));
    }

    #[test]
    fn the_bytes_of_scripts_are_bounded() {
        let scripts = Scripts::default();
        let first = Arc::new(Script::new(b"return 0").expect("valid"));
        scripts.add(&first);
        let mut long = vec![b' '; BYTES_MAX];
        long.extend_from_slice(b"return 1");
        scripts.add(&Arc::new(Script::new(&long[8..]).expect("valid")));
        assert!(scripts.get(&first.sha).is_none());
        assert_eq!(scripts.usage().0, 1);
    }
}
