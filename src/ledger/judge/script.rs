//! Scripts: which of their calls use keys that they were not given, and how a script is named.

use super::super::from_argument::FromArgument;
use super::super::rule::Rule;
use super::{Command, Finding};
use crate::slot::Slot;
use std::fmt;

/// The keys that a script was given.
#[derive(Clone, Copy)]
pub(crate) struct Declared<'a> {
    /// The first one, which determines where the script runs.
    pub first: Option<&'a [u8]>,
    /// Whether a key is one of them.
    pub contains: &'a dyn Fn(&[u8]) -> bool,
    /// Of a script without keys, the first one that it used.
    pub first_used: Option<&'a [u8]>,
    /// The argument that a key was made from.
    pub argument: &'a dyn Fn(&[u8]) -> Option<FromArgument>,
}

/// Judges a command that a script calls: a key, or a shard channel, in another slot than the script's
/// must be declared; without keys a script may use none.
#[must_use]
pub(crate) fn script(
    call: &dyn fmt::Display,
    declared: Declared<'_>,
    command: &impl Command,
    shard_of: &dyn Fn(Slot) -> usize,
) -> Option<Finding> {
    let home = declared.first.map(Slot::of);
    let mut stray: Option<Vec<u8>> = None;
    command.each_with_slot(&mut |key| {
        if stray.is_none() && home != Some(Slot::of(key)) && !(declared.contains)(key) {
            stray = Some(key.to_vec());
        }
    });
    let stray = stray?;
    let slot = Slot::of(&stray);
    let rule = match home {
        None => Rule::ScriptWithoutKeys,
        Some(home) if shard_of(home) == shard_of(slot) => Rule::SharedShard,
        Some(_) => Rule::UndeclaredScriptKey,
    };
    // Keys that it uses together need a common hashtag once they are declared.
    let beside = declared.first_used.filter(|used| home.is_none() && Slot::of(used) != slot);
    Some(Finding {
        rule,
        command: format!("{call}: {}", command.name()),
        place: None,
        from: (declared.argument)(&stray),
        // Not all declared keys: scripts with different numbers of keys would be different rows.
        keys: declared.first.into_iter().chain(beside).chain([&*stray]).collect(),
    })
}

/// A script as reports name it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ScriptName<'a> {
    /// `eval 1a2b3c4d "local key = KEYS[1]"`; the text may not be known.
    Script {
        /// The command that ran it.
        command: &'a str,
        /// Its SHA-1, in hexadecimal digits.
        sha: &'a [u8],
        /// Its text.
        text: Option<&'a [u8]>,
    },
    /// `fcall checkout`
    Function {
        /// The command that ran it.
        command: &'a str,
        /// The function's name.
        name: &'a [u8],
    },
}

/// The longest beginning of a script, or of a function's name, that is shown, in characters.
const SHOWN_MAX: usize = 40;
/// The digits of a SHA-1 that are shown.
const DIGITS_MAX: usize = 8;
/// Bytes of a script that are looked at for its first line.
const FIRST_WITHIN: usize = 4096;

impl fmt::Display for ScriptName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = |text: &str| text.chars().take(SHOWN_MAX).collect::<String>();
        match self {
            Self::Script { command, sha, text } => {
                let digits = String::from_utf8_lossy(&sha[..sha.len().min(DIGITS_MAX)]);
                write!(f, "{command} {digits}")?;
                let Some(text) = text else { return Ok(()) };
                let text = String::from_utf8_lossy(&text[..text.len().min(FIRST_WITHIN)]);
                // A shebang line says nothing about the script.
                let lines = text.lines().map(str::trim).filter(|line| !line.starts_with("#!"));
                let first = { lines }.find(|line| !line.is_empty()).unwrap_or_default();
                let shown = cut(first);
                let more = if first.len() > shown.len() { "…" } else { "" };
                write!(f, " \"{shown}{more}\"")
            }
            Self::Function { command, name } => {
                write!(f, "{command} {}", cut(&String::from_utf8_lossy(name)))
            }
        }
    }
}

/// A call of a script as reports name it: `eval 1a2b3c4d "local key = KEYS[1]" line 3`.
pub(crate) struct Call<'a> {
    /// The script.
    pub script: ScriptName<'a>,
    /// The line of the call, if it is known.
    pub line: Option<usize>,
}

impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.script)?;
        self.line.map_or(Ok(()), |line| write!(f, " line {line}"))
    }
}

/// Returns the line of a script that calls this command, if one line alone names it: what a recording
/// does not say.
#[must_use]
pub(crate) fn line_of(text: &[u8], command: &[u8]) -> Option<usize> {
    let names = |line: &[u8]| {
        line.windows(command.len() + 2).any(|window| match window {
            [quote @ (b'\'' | b'"'), name @ .., end] => {
                quote == end && name.eq_ignore_ascii_case(command)
            }
            _ => false,
        })
    };
    let mut lines = (1..).zip(text.split(|byte| *byte == b'\n')).filter(|(_, line)| names(line));
    match (lines.next(), lines.next()) {
        (Some((number, _)), None) => Some(number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_named_by_its_digits_and_its_first_line() {
        let name = |text| ScriptName::Script { command: "eval", sha: b"0123456789", text };
        assert_eq!(name(None).to_string(), "eval 01234567");
        let text = b"#!lua flags=no-writes\n\n  local x = 1\nreturn x";
        assert_eq!(name(Some(text)).to_string(), "eval 01234567 \"local x = 1\"");
        let long = [b'x'; 100];
        let expected = format!("eval 01234567 \"{}…\"", "x".repeat(SHOWN_MAX));
        assert_eq!(name(Some(&long)).to_string(), expected);
        let function = ScriptName::Function { command: "fcall", name: b"checkout" };
        let call = Call { script: function, line: Some(3) };
        assert_eq!(call.to_string(), "fcall checkout line 3");
        assert_eq!(Call { script: function, line: None }.to_string(), "fcall checkout");
    }

    #[test]
    fn the_line_of_a_call_is_known_if_one_line_alone_names_the_command() {
        let text = b"local a = redis.call('GET', KEYS[1])\nredis.call(\"set\", a, 'get')\nget()";
        assert_eq!(line_of(text, b"set"), Some(2));
        assert_eq!(line_of(text, b"get"), None);
        assert_eq!(line_of(text, b"del"), None);
        assert_eq!(line_of(b"", b""), None);
        assert_eq!(line_of(b"'\n'", b""), None);
    }
}
