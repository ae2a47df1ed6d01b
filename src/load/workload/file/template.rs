//! Commands with placeholders: `SET $tag:account:$from $(a - amount)`.
//!
//! Words are separated by blanks. `$name` and `$(expression)` stand for numbers, `$tag` for the
//! group's hashtag with its braces, `$$` for a dollar sign.

use super::expression::Expression;
use crate::command::{Args, named};
use crate::load::keys::shown;
use crate::resp::Span;
use crate::text::number::write_i64;

/// A hashtag in place of a group's.
const TAG: &[u8] = b"{tag}";
/// More variables than a command can name.
const VARIABLES_MAX: usize = 1024;

/// A word with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Tag,
    Number(Expression),
}

impl Template {
    /// Reads a word; `variable` gives the number of a name.
    ///
    /// # Errors
    /// A description of the first mistake.
    pub(super) fn read(
        word: &str,
        variable: &mut dyn FnMut(&str) -> Option<usize>,
    ) -> Result<Self, String> {
        let (mut parts, mut rest) = (Vec::new(), word);
        let mut text = Vec::new();
        while let Some(at) = rest.find('$') {
            text.extend_from_slice(&rest.as_bytes()[..at]);
            rest = &rest[at + 1..];
            if let Some(behind) = rest.strip_prefix('$') {
                text.push(b'$');
                rest = behind;
                continue;
            }
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            let inside;
            if let Some(behind) = rest.strip_prefix('(') {
                let end = closing(behind).ok_or_else(|| format!("{word:?}: $( without )"))?;
                (inside, rest) = (&behind[..end], &behind[end + 1..]);
            } else {
                let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                (inside, rest) = rest.split_at(end);
                if inside.is_empty() {
                    return Err(format!(
                        "{word:?}: a $ without a name; write $$ for a dollar sign"
                    ));
                }
            }
            parts.push(match inside {
                "tag" => Part::Tag,
                _ => {
                    let wrong = |error| format!("{word:?}: {error}");
                    Part::Number(Expression::read(inside, variable).map_err(wrong)?)
                }
            });
        }
        text.extend_from_slice(rest.as_bytes());
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(Self { parts })
    }

    /// Writes the word with its values into `out`, which it empties first. Returns `None` if an
    /// expression has no value.
    pub(super) fn fill(
        &self,
        tag: &[u8],
        variables: &[Option<i64>],
        out: &mut Vec<u8>,
    ) -> Option<()> {
        out.clear();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Tag => out.extend_from_slice(tag),
                Part::Number(expression) => write_i64(out, expression.value(variables)?),
            }
        }
        Some(())
    }

    /// Whether it begins with the group's hashtag, so that it is in the group's slot.
    fn is_key(&self) -> bool {
        self.parts.first() == Some(&Part::Tag)
    }
}

/// Returns where the open parenthesis is closed.
fn closing(text: &str) -> Option<usize> {
    let mut open = 1;
    text.char_indices().find_map(|(at, c)| {
        match c {
            '(' => open += 1,
            ')' => open -= 1,
            _ => {}
        }
        (open == 0).then_some(at)
    })
}

/// A command with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// Its words; the second one is a key of the group.
    pub words: Vec<Template>,
}

impl Command {
    /// Reads a command.
    ///
    /// # Errors
    /// A description of the first mistake.
    pub(super) fn read(
        text: &str,
        variable: &mut dyn FnMut(&str) -> Option<usize>,
    ) -> Result<Self, String> {
        let words = split(text)
            .into_iter()
            .map(|word| Template::read(word, variable))
            .collect::<Result<Vec<_>, _>>()?;
        match &words[..] {
            [_, key, ..] if key.is_key() => {}
            _ => {
                return Err(format!(
                    "{text:?}: the first argument must be a key that begins with $tag"
                ));
            }
        }
        let command = Self { words };
        match command.foreign_key() {
            None => Ok(command),
            Some(key) => Err(format!(
                "{text:?}: the key {key} must begin with $tag: others are in another slot, and are not removed"
            )),
        }
    }

    /// A key of the command that is not of the group. Of commands that Slotway does not know only
    /// the first argument is known to be a key.
    fn foreign_key(&self) -> Option<String> {
        let (mut bytes, mut spans, mut word) = (Vec::new(), Vec::new(), Vec::new());
        // Any numbers will do: only texts decide which arguments are keys.
        let variables = [Some(1); VARIABLES_MAX];
        for template in &self.words {
            let _value = template.fill(TAG, &variables, &mut word);
            spans.push(Span::new(bytes.len(), word.len()));
            bytes.extend_from_slice(&word);
        }
        let args = Args::new(&bytes, &spans);
        let mut foreign = None;
        named(args)?.each_key(args, |key| {
            if !key.starts_with(TAG) {
                foreign.get_or_insert_with(|| shown(key));
            }
        });
        foreign
    }

    /// Reads a key.
    ///
    /// # Errors
    /// A description of the first mistake.
    pub(super) fn read_key(
        text: &str,
        variable: &mut dyn FnMut(&str) -> Option<usize>,
    ) -> Result<Template, String> {
        let key = Template::read(text.trim(), variable)?;
        if key.is_key() { Ok(key) } else { Err(format!("{text:?}: a key must begin with $tag")) }
    }
}

/// Splits words at blanks outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut words, mut start, mut open) = (Vec::new(), None, 0_u32);
    for (at, c) in text.char_indices() {
        match c {
            '(' => open += 1,
            ')' => open = open.saturating_sub(1),
            _ => {}
        }
        if c.is_whitespace() && open == 0 {
            words.extend(start.take().map(|start| &text[start..at]));
        } else {
            start.get_or_insert(at);
        }
    }
    words.extend(start.map(|start| &text[start..]));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Result<Vec<String>, String> {
        let mut variable = |name: &str| ["a", "b"].iter().position(|known| *known == name);
        let command = Command::read(text, &mut variable)?;
        let fill = |word: &Template| {
            let mut out = Vec::new();
            word.fill(b"{t:1}", &[Some(5), Some(6)], &mut out)
                .map(|()| String::from_utf8(out).expect("text"))
        };
        Ok(command.words.iter().filter_map(fill).collect())
    }

    #[test]
    fn placeholders_are_filled() {
        assert_eq!(
            filled("SET  $tag:x:$a $(a - (b * 2)) $$$b!").expect("a command"),
            ["SET", "{t:1}:x:5", "-7", "$6!"]
        );
        for wrong in
            ["PING", "GET x", "GET $tag:$c", "GET $tag:$", "GET $tag:$(a", "SET $tag:x $(a +)"]
        {
            assert!(filled(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_key_is_of_the_group() {
        for (command, foreign) in [
            ("RENAME $tag:x y:$a", Some("y:1")),
            ("MSET $tag:x 1 z 2", Some("z")),
            ("LMOVE $tag:x $tag:y LEFT RIGHT", None),
            ("SORT $tag:x STORE y", Some("y")),
            ("ZUNIONSTORE $tag:x 2 $tag:y z", Some("z")),
            ("SET $tag:x y", None),
            ("JSON.SET $tag:x $ 1", None),
        ] {
            let read = filled(&command.replace("$ ", "$$ "));
            match foreign {
                None => assert!(read.is_ok(), "{command}: {read:?}"),
                Some(key) => {
                    let error = read.expect_err(command);
                    assert!(error.contains(&format!("the key {key} ")), "{error}");
                }
            }
        }
    }
}
