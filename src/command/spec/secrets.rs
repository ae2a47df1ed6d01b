//! Passwords among a command's arguments: which they are, and the arguments without them.

use super::Spec;
use crate::command::Args;

/// Arguments that MONITOR and SLOWLOG must not show.
#[derive(Clone, Copy, Debug)]
pub enum Secret {
    /// All arguments from this one on.
    From(u8),
    /// The `count` arguments after the word, wherever it occurs and all of them follow.
    After {
        /// The word, in any case.
        word: &'static str,
        /// The first argument that may be the word.
        from: u8,
        /// The distance between arguments that may be the word, from 1.
        step: u8,
        /// How many arguments after it are secret.
        count: u8,
    },
}

impl Spec {
    /// Returns a request's arguments as other clients may see them: without passwords.
    #[must_use]
    pub fn without_secrets<'a>(&self, args: Args<'a>) -> Vec<&'a [u8]> {
        let mut shown: Vec<_> = args.from(0).collect();
        for secret in self.secrets {
            match *secret {
                Secret::From(first) => redact(shown.get_mut(usize::from(first)..)),
                Secret::After { word, from, step, count } => {
                    for at in (from.into()..args.len()).step_by(step.into()) {
                        if args.is(at, word) {
                            redact(shown.get_mut(at + 1..=at + usize::from(count)));
                        }
                    }
                }
            }
        }
        shown
    }
}

/// Replaces the arguments, if they are there, by the word that Redis shows instead.
fn redact(secrets: Option<&mut [&[u8]]>) {
    secrets.into_iter().flatten().for_each(|arg| *arg = b"(redacted)");
}

#[cfg(test)]
mod tests {
    use crate::command::args::with_words;
    use crate::command::resolve;

    /// The request of these words as MONITOR shows it.
    fn shown(line: &str) -> String {
        with_words(line, |args| {
            let spec = resolve(args).expect("a known command").spec;
            let words = spec.without_secrets(args);
            words.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" ")
        })
    }

    #[test]
    fn passwords_are_not_shown() {
        for (request, expected) in [
            ("AUTH secret", "AUTH (redacted)"),
            ("auth user secret", "auth (redacted) (redacted)"),
            ("HELLO 3 AUTH user secret", "HELLO 3 AUTH (redacted) (redacted)"),
            ("HELLO 3 SETNAME auth", "HELLO 3 SETNAME auth"),
            ("HELLO 3 AUTH user", "HELLO 3 AUTH user"),
            ("CONFIG SET RequirePass secret", "CONFIG SET RequirePass (redacted)"),
            ("CONFIG SET hz 10 requirepass x", "CONFIG SET hz 10 requirepass (redacted)"),
            (
                "CONFIG SET masterauth x masteruser y",
                "CONFIG SET masterauth (redacted) masteruser (redacted)",
            ),
            ("CONFIG SET tls-key-file-pass x", "CONFIG SET tls-key-file-pass (redacted)"),
            (
                "CONFIG SET nosuch 1 TLS-client-key-file-pass x",
                "CONFIG SET nosuch 1 TLS-client-key-file-pass (redacted)",
            ),
            ("CONFIG SET hz requirepass", "CONFIG SET hz requirepass"),
            ("CONFIG GET requirepass", "CONFIG GET requirepass"),
            ("MIGRATE h 1 k 0 1 AUTH secret", "MIGRATE h 1 k 0 1 AUTH (redacted)"),
            ("MIGRATE h 1 k 0 1 AUTH2 u secret", "MIGRATE h 1 k 0 1 AUTH2 (redacted) (redacted)"),
            ("SET auth secret", "SET auth secret"),
        ] {
            assert_eq!(shown(request), expected);
        }
    }
}
