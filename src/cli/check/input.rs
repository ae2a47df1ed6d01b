//! The files of a check: what the arguments name, and the form of each.

use super::compressed;
use crate::check::{Form, Format, aof, detect};
use crate::cli::Failure;
use crate::rdb::file_window::FileWindow;
use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// A file to read.
pub(super) struct Part {
    /// `None` is stdin.
    path: Option<PathBuf>,
    pub(super) name: String,
    /// Size in bytes; 0 if it is not known.
    pub(super) len: u64,
    role: Role,
}

/// What says which form a file has.
#[derive(Clone, Copy)]
enum Role {
    /// Its content, or `--format`.
    Free,
    /// The manifest: RDB or AOF.
    Base,
    /// The manifest: AOF.
    Increment,
}

/// The files to read: a manifest, or a folder with one, stands for the files that it lists.
pub(super) fn parts(files: &[PathBuf]) -> Result<Vec<Part>, Failure> {
    let mut parts = Vec::new();
    for file in files {
        if file == Path::new("-") {
            parts.push(Part { path: None, name: "stdin".to_owned(), len: 0, role: Role::Free });
            continue;
        }
        let manifest = if file.is_dir() { Some(manifest_in(file)?) } else { None };
        let manifest = manifest.or_else(|| {
            file.extension().is_some_and(|extension| extension == "manifest").then(|| file.clone())
        });
        let Some(manifest) = manifest else {
            parts.push(Part::of(file.clone(), Role::Free)?);
            continue;
        };
        let wrong = |why: String| Failure::usage(format!("{}: {why}", manifest.display()));
        let text = fs::read_to_string(&manifest)
            .map_err(|error| wrong(format!("cannot be read: {error}")))?;
        let folder = manifest.parent().unwrap_or(Path::new("")).to_owned();
        for file in aof::manifest(&text).map_err(wrong)? {
            let role = if file.is_base { Role::Base } else { Role::Increment };
            parts.push(Part::of(folder.join(file.name), role)?);
        }
    }
    Ok(parts)
}

impl Part {
    fn of(path: PathBuf, role: Role) -> Result<Self, Failure> {
        // Opened before anything is read: a wrong name must not be found after an hour.
        let meta = File::open(&path)
            .and_then(|file| file.metadata())
            .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
        if meta.is_dir() {
            return Err(Failure::usage(format!("{} is a folder", path.display())));
        }
        Ok(Self { name: path.display().to_string(), len: meta.len(), path: Some(path), role })
    }

    /// Opens it. Returns its content, decompressed, and the name of the compression, if any. `raw`
    /// counts the bytes as they are stored; reading fails once `stop` is set.
    pub(super) fn open<'s>(
        &self,
        raw: &'s Cell<u64>,
        stop: &'s AtomicBool,
    ) -> io::Result<(Option<&'static str>, Box<dyn Read + 's>)> {
        let from: Box<dyn Read> = match &self.path {
            Some(path) => Box::new(File::open(path)?),
            None => Box::new(io::stdin().lock()),
        };
        // A read from stdin is not interrupted: its writer gets the signal, too.
        let stop = self.path.as_ref().map(|_| stop);
        compressed::unpacked(Box::new(Counted { from, raw, stop }))
    }

    /// Returns what it is to be read as; an error says why nothing is certain.
    pub(super) fn form(
        &self,
        named: Option<Format>,
        window: &mut FileWindow<'_>,
    ) -> Result<Form, String> {
        // The manifest knows better than an option that is meant for other files.
        let outcome = match (self.role, named) {
            (Role::Increment, _) => return Ok(Form::named(Format::Aof, "the manifest")),
            (Role::Free, Some(format)) => return Ok(Form::named(format, "--format")),
            (Role::Free, None) => Form::of(first_look(window)),
            (Role::Base, _) => Form::of_base(first_look(window)),
        };
        outcome.map_err(|unknown| unknown.message())
    }
}

/// Returns the first bytes of a file. A pipe may deliver them slowly, but the report comes when it has
/// ended, anyway.
fn first_look<'f>(window: &'f mut FileWindow<'_>) -> &'f [u8] {
    let at_hand = window.more(detect::LOOK_LEN);
    &at_hand[..at_hand.len().min(detect::LOOK_LEN)]
}

/// The AOF manifest in a folder.
fn manifest_in(folder: &Path) -> Result<PathBuf, Failure> {
    let wrong =
        |why: &dyn std::fmt::Display| Failure::usage(format!("{}: {why}", folder.display()));
    let entries = fs::read_dir(folder).map_err(|error| wrong(&error))?;
    let mut found = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "manifest"));
    match (found.next(), found.next()) {
        (Some(manifest), None) => Ok(manifest),
        (None, _) => Err(wrong(&"a folder without a manifest of an AOF")),
        (Some(_), Some(_)) => Err(wrong(&"a folder with several manifests: name one of them")),
    }
}

/// A file whose bytes are counted, and whose reads fail once the stop flag is set.
struct Counted<'s> {
    from: Box<dyn Read>,
    raw: &'s Cell<u64>,
    stop: Option<&'s AtomicBool>,
}

impl Read for Counted<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            return Err(io::Error::other("interrupted"));
        }
        let len = self.from.read(into)?;
        self.raw.set(self.raw.get() + len as u64);
        Ok(len)
    }
}
