//! Calls of a command, made from the description of its arguments that `COMMAND DOCS` returns.

use crate::wire::{Reply, text};

/// Which calls are made: the shortest, the shortest with one option, and all options at once.
#[derive(Clone, Copy)]
enum Extent {
    Shortest,
    /// With this option of the command, counted from 0.
    With(usize),
    /// Of several alternatives this one, or the last that there is; what may be repeated is there twice.
    Full(usize),
}

/// Alternatives that are tried in a full call.
const ALTERNATIVES_MAX: usize = 6;

/// An argument, as `COMMAND DOCS` describes it.
struct Argument {
    name: String,
    kind: String,
    token: Option<String>,
    flags: Vec<String>,
    parts: Vec<Argument>,
}

impl Argument {
    fn read(reply: &Reply) -> Self {
        let mut argument = Self {
            name: String::new(),
            kind: String::new(),
            token: None,
            flags: Vec::new(),
            parts: Vec::new(),
        };
        for (name, value) in fields(reply) {
            match &*name {
                "name" => argument.name = word(value),
                "type" => argument.kind = word(value),
                "token" => argument.token = Some(word(value)),
                "flags" => argument.flags = elements(value).iter().map(word).collect(),
                "arguments" => argument.parts = elements(value).iter().map(Self::read).collect(),
                _ => {}
            }
        }
        argument
    }

    fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|own| own == flag)
    }
}

/// Calls of a command with this name (`container|subcommand`) and this description, each once.
pub(crate) fn calls(name: &str, docs: &Reply) -> Vec<Vec<String>> {
    let described = fields(docs).into_iter().find(|(name, _)| name == "arguments");
    let arguments: Vec<Argument> = described
        .map_or(Vec::new(), |(_, value)| elements(value).iter().map(Argument::read).collect());
    let options = (0..arguments.len()).filter(|&at| arguments[at].has("optional"));
    let extents = [Extent::Shortest].into_iter().chain(options.map(Extent::With));
    let mut made: Vec<Vec<String>> = Vec::new();
    for extent in extents.chain((0..ALTERNATIVES_MAX).map(Extent::Full)) {
        let mut call = Call { words: name.split('|').map(str::to_owned).collect(), keys: 0 };
        call.list(&arguments, extent, true);
        if !made.contains(&call.words) {
            made.push(call.words);
        }
    }
    made
}

/// A call that is being written.
struct Call {
    words: Vec<String>,
    /// Names that were given to keys.
    keys: usize,
}

impl Call {
    fn list(&mut self, arguments: &[Argument], extent: Extent, is_outermost: bool) {
        for (at, argument) in arguments.iter().enumerate() {
            let is_there = !argument.has("optional")
                || match extent {
                    Extent::Shortest => false,
                    Extent::With(option) => is_outermost && option == at,
                    Extent::Full(_) => true,
                };
            if !is_there {
                continue;
            }
            // A number of the arguments that follow: numkeys, numfields.
            let is_count = argument.kind == "integer" && argument.name.starts_with("num");
            match arguments.get(at + 1).filter(|_| is_count) {
                Some(next) => {
                    self.words.extend(argument.token.clone());
                    self.words.push(times(next, extent).to_string());
                }
                None => self.one(argument, extent),
            }
        }
    }

    fn one(&mut self, argument: &Argument, extent: Extent) {
        for time in 0..times(argument, extent).max(1) {
            if let Some(token) =
                argument.token.as_ref().filter(|_| time == 0 || argument.has("multiple_token"))
            {
                self.words.push(token.trim_matches('"').to_owned());
            }
            match &*argument.kind {
                "pure-token" => {}
                "oneof" => {
                    let chosen = match extent {
                        Extent::Full(nth) => nth.min(argument.parts.len() - 1),
                        _ => 0,
                    };
                    self.one(&argument.parts[chosen], extent);
                }
                "block" => self.list(&argument.parts, extent, false),
                "key" => {
                    self.keys += 1;
                    self.words.push(format!("k{}", self.keys));
                }
                "integer" | "double" | "unix-time" => self.words.push("1".to_owned()),
                _ => self.words.push("w".to_owned()),
            }
        }
    }
}

/// How often an argument stands in a call.
fn times(argument: &Argument, extent: Extent) -> usize {
    let is_full = matches!(extent, Extent::Full(_));
    match (argument.has("multiple"), argument.has("optional")) {
        (true, _) if is_full => 2,
        (_, true) if !is_full => 0,
        _ => 1,
    }
}

// ── replies ───────────────────────────────────────────────────────────────────────────────────────

pub(crate) fn elements(reply: &Reply) -> &[Reply] {
    match reply {
        Reply::Array(elements) => elements,
        other => panic!("not an array: {other:?}"),
    }
}

/// Name and value in turns.
pub(crate) fn fields(reply: &Reply) -> Vec<(String, &Reply)> {
    elements(reply).chunks(2).map(|pair| (word(&pair[0]), &pair[1])).collect()
}

pub(crate) fn word(reply: &Reply) -> String {
    match reply {
        Reply::Bulk(bytes) | Reply::Simple(bytes) => text(bytes),
        other => panic!("not a word: {other:?}"),
    }
}

pub(crate) fn number(reply: &Reply) -> i64 {
    match reply {
        Reply::Int(number) => *number,
        other => panic!("not a number: {other:?}"),
    }
}
