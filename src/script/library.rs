//! Libraries of functions: their text, its first line, and the functions that they register.

use super::source::Flags;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Most libraries of a node.
const LIBRARIES_MAX: usize = 10_000;
/// Most bytes of libraries of a node.
const BYTES_MAX: usize = 256 << 20;

/// A function, as its library has registered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: Vec<u8>,
    /// What it does, in its library's words.
    pub(crate) description: Option<Vec<u8>>,
    /// Its flags.
    pub(crate) flags: Flags,
}

/// A library.
#[derive(Debug)]
pub(crate) struct Library {
    /// Its name.
    pub(crate) name: Vec<u8>,
    /// Its text, with the line that names it.
    pub(crate) code: Vec<u8>,
    /// Its functions, by name.
    pub(crate) functions: Vec<Function>,
}

impl Library {
    /// Returns the text that is compiled: the first line is left out, but not its end.
    pub(super) fn body(code: &[u8]) -> &[u8] {
        let end = code.iter().position(|byte| *byte == b'\n').unwrap_or(code.len());
        &code[end..]
    }

    /// Reads the first line of a library: `#!lua name=…`. Returns its name.
    ///
    /// # Errors
    /// The text of an error reply.
    pub(crate) fn name_of(code: &[u8]) -> Result<Vec<u8>, Vec<u8>> {
        if !code.starts_with(b"#!") {
            return Err(b"ERR Missing library metadata".to_vec());
        }
        let Some(end) = code.iter().position(|byte| *byte == b'\n') else {
            return Err(b"ERR Invalid library metadata".to_vec());
        };
        let words = code[2..end].split(u8::is_ascii_whitespace);
        let mut words = words.filter(|word| !word.is_empty());
        let engine = words.next().unwrap_or_default();
        let mut name = None;
        for word in words {
            let Some(value) = word.strip_prefix(b"name=") else {
                return Err([b"ERR Invalid metadata value given: ", word].concat());
            };
            if name.replace(value.to_vec()).is_some() {
                let text = "ERR Invalid metadata value, name argument was given multiple times";
                return Err(text.into());
            }
        }
        let name = name.ok_or_else(|| b"ERR Library name was not given".to_vec())?;
        if !is_name(&name) {
            return Err(
                "ERR Library names can only contain letters, numbers, or underscores(_) and \
                        must be at least one character long"
                    .into(),
            );
        }
        match engine.eq_ignore_ascii_case(b"lua") {
            true => Ok(name),
            false => Err([b"ERR Engine '", engine, b"' not found"].concat()),
        }
    }
}

/// Returns whether a library or a function may have this name.
pub(super) fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// What to do with libraries that are there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    /// Nothing is loaded.
    Keep,
    /// Those of the same name are replaced.
    Replace,
    /// All are removed.
    Remove,
}

/// The libraries of a node.
#[derive(Debug, Default)]
pub struct Functions {
    libraries: RwLock<BTreeMap<Vec<u8>, Arc<Library>>>,
    /// How often they have changed: interpreters load them again then.
    generation: AtomicU64,
}

impl Functions {
    /// Returns all libraries, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Library>> {
        self.libraries.read().values().cloned().collect()
    }

    /// Returns how often the libraries have changed.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Adds libraries, all or none.
    ///
    /// # Errors
    /// The text of an error reply: a name is taken, or there are too many.
    pub(crate) fn add(&self, new: &[Arc<Library>], existing: Existing) -> Result<(), Vec<u8>> {
        let mut libraries = self.libraries.write();
        let mut next = match existing {
            Existing::Remove => BTreeMap::new(),
            Existing::Keep | Existing::Replace => libraries.clone(),
        };
        for library in new {
            if next.insert(library.name.clone(), Arc::clone(library)).is_some()
                && existing != Existing::Replace
            {
                return Err([b"ERR Library ", &library.name[..], b" already exists"].concat());
            }
            let others = next.values().filter(|other| other.name != library.name);
            let taken: Vec<&Function> = others.flat_map(|other| &other.functions).collect();
            let is_taken = |function: &&Function| {
                taken.iter().any(|other| other.name.eq_ignore_ascii_case(&function.name))
            };
            if let Some(function) = library.functions.iter().find(is_taken) {
                return Err([b"ERR Function ", &function.name[..], b" already exists"].concat());
            }
        }
        let bytes: usize = next.values().map(|library| library.code.len()).sum();
        if next.len() > LIBRARIES_MAX || bytes > BYTES_MAX {
            return Err(b"ERR too many libraries".to_vec());
        }
        *libraries = next;
        self.generation.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Removes a library; returns whether it was there.
    pub(crate) fn remove(&self, name: &[u8]) -> bool {
        let removed = self.libraries.write().remove(name).is_some();
        self.generation.fetch_add(u64::from(removed), Ordering::AcqRel);
        removed
    }

    /// Removes all libraries.
    pub(crate) fn flush(&self) {
        self.libraries.write().clear();
        self.generation.fetch_add(1, Ordering::AcqRel);
    }
}
