//! The files of the project that tests read, and those that they write with `UPDATE=1`.

use std::path::{Path, PathBuf};

use crate::env::setting;

/// A path below the project's folder.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Whether the tests shall write what they otherwise compare: `UPDATE=1` in the environment.
pub(crate) fn is_update() -> bool {
    setting("UPDATE").is_some()
}

/// Asserts that a generated file has these contents; with `UPDATE=1`, writes them.
///
/// # Panics
/// The file is stale: `UPDATE=1 cargo test --test it {test}` writes it anew.
pub(crate) fn assert_fresh(name: &str, contents: &str, test: &str) {
    let path = path(name);
    if is_update() {
        return std::fs::write(path, contents).expect("the project's files are writable");
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    let stale = written.lines().zip(contents.lines()).find(|(written, fresh)| written != fresh);
    assert!(
        written == contents,
        "{name} is stale, at {stale:?}: run UPDATE=1 cargo test --test it {test}"
    );
}
