//! The script that runs, and the texts of those that were seen: reports name a script by them.

use crate::command::{Args, Run, ScriptCommand, Spec};
use crate::ledger::Origin;
use crate::ledger::from_argument::ARGUMENTS_MAX;
use crate::ledger::judge::{Call, ScriptName, line_of};
use crate::ledger::lru::LruTable;
use crate::script::ScriptSha;
use std::collections::HashSet;

/// Texts of scripts that are kept.
const TEXTS_MAX: usize = 1024;
/// Bytes of a script that are kept: the first ones.
const TEXT_LEN_MAX: usize = 32 << 10;
/// Where the number of keys of a script is.
const NUMBER_AT: usize = 2;

/// A script that is running.
#[derive(Debug)]
pub(super) struct Script {
    spec: &'static Spec,
    /// Its SHA-1, or the name of a function.
    name: Vec<u8>,
    /// Its arguments that are no keys, at most [`ARGUMENTS_MAX`].
    pub arguments: Vec<Vec<u8>>,
    pub origin: Origin,
    /// The first of the keys that it was given.
    pub first: Option<Vec<u8>>,
    pub declared: HashSet<Vec<u8>>,
    /// Keys of its group, at most [`super::SCRIPT_KEYS_MAX`].
    pub together: Vec<Vec<u8>>,
    pub used: HashSet<Vec<u8>>,
    /// The number of its unit.
    pub unit: u64,
}

impl Script {
    /// Returns a script that begins to run with these arguments and keys.
    pub(super) fn new(
        (spec, args): (&'static Spec, Args<'_>),
        keys: &[&[u8]],
        origin: Origin,
        unit: u64,
        texts: &mut ScriptTexts,
    ) -> Self {
        let sent = args.get(1).unwrap_or_default();
        let name = match spec.run {
            Run::Script(ScriptCommand::Eval { by_sha: false, .. }) => texts.add(sent),
            Run::Script(ScriptCommand::Eval { .. }) => sent.to_ascii_lowercase(),
            _ => sent.to_vec(),
        };
        let rest = args.len().min(NUMBER_AT + 1 + keys.len());
        let arguments = args.from(rest).take(ARGUMENTS_MAX);
        Self {
            spec,
            name,
            arguments: arguments.map(<[u8]>::to_vec).collect(),
            origin,
            first: keys.first().map(|key| key.to_vec()),
            declared: keys.iter().map(|key| key.to_vec()).collect(),
            together: keys.iter().take(super::SCRIPT_KEYS_MAX).map(|key| key.to_vec()).collect(),
            used: HashSet::new(),
            unit,
        }
    }

    /// Returns how reports name its call of this command, `config|get`.
    pub(super) fn call<'a>(&'a self, command: &str, texts: &'a ScriptTexts) -> Call<'a> {
        let Run::Script(ScriptCommand::Eval { .. }) = self.spec.run else {
            let script = ScriptName::Function { command: self.spec.name, name: &self.name };
            return Call { script, line: None };
        };
        let text = texts.get(&self.name);
        let word = command.split('|').next().unwrap_or_default();
        let script = ScriptName::Script { command: self.spec.name, sha: &self.name, text };
        Call { script, line: text.and_then(|text| line_of(text, word.as_bytes())) }
    }
}

/// The texts of scripts, by SHA-1.
#[derive(Debug)]
pub(super) struct ScriptTexts {
    texts: LruTable<Vec<u8>, Box<[u8]>>,
}

impl Default for ScriptTexts {
    fn default() -> Self {
        Self { texts: LruTable::new(TEXTS_MAX) }
    }
}

impl ScriptTexts {
    /// Keeps the text of a script; returns its SHA-1.
    pub(super) fn add(&mut self, text: &[u8]) -> Vec<u8> {
        let sha = ScriptSha::of(text).digits().to_vec();
        let kept = &text[..text.len().min(TEXT_LEN_MAX)];
        self.texts.row(&sha, || sha.clone(), || kept.into());
        sha
    }

    fn get(&self, sha: &[u8]) -> Option<&[u8]> {
        self.texts.get(sha).map(|text| &**text)
    }
}
