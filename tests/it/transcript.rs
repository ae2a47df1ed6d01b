//! The transcript format: a text file of commands and the exact answers to them.
//!
//! ```text
//! a> SET greeting "hi there"     a command, sent by the client `a`
//! +OK                            its answer, in the type letters of RESP
//! ```
//! `tests/transcripts/README.md` is the reference of the format. This file parses it and writes it back
//! with other answers; `notation` writes and compares an answer.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::nodes::{ROUTER, Shape, node_of};
use crate::notation::{CLOSED, NOTHING, Node, Order, trees};
use crate::oracle::Reference;

/// One file.
#[derive(Debug)]
pub(crate) struct Transcript {
    /// `source: redis` in the header: the server that gave the answers. `None` is `source: rule`,
    /// Slotway's own rule, which no reference can confirm.
    pub(crate) reference: Option<Reference>,
    /// `cluster: 2 masters`: the clients connect to nodes. Without it there is one endpoint.
    pub(crate) cluster: Option<Shape>,
    /// Options for Slotway.
    pub(crate) ours: Vec<String>,
    /// Options for the reference.
    pub(crate) redis: Vec<String>,
    pub(crate) steps: Vec<Step>,
    /// The file as read; a recording replaces the answers in it and nothing else.
    lines: Vec<String>,
}

/// One line of traffic and the answers that follow it.
#[derive(Debug)]
pub(crate) struct Step {
    /// The number of the line of traffic, from 1.
    pub(crate) line: usize,
    pub(crate) client: String,
    pub(crate) action: Action,
    /// `@until`: repeat the command until the answer is the recorded one.
    pub(crate) until: bool,
    /// `@blocks`: the command blocks; the play goes on once it does.
    pub(crate) blocks: bool,
    /// `@as NAME`: remember the answer under this name.
    pub(crate) save: Option<String>,
    pub(crate) order: Order,
    /// `@lines`: a text is written line by line.
    pub(crate) by_line: bool,
    /// The recorded answers, one tree each.
    pub(crate) answers: Vec<Node>,
    /// The number of lines of the recorded answers in the file, right below `line`.
    answer_lines: usize,
}

/// What a line of traffic does.
#[derive(Debug)]
pub(crate) enum Action {
    /// `a> …`: a command.
    Command(Vec<Token>),
    /// `a>+ …`: a command that is sent in one write with the next one.
    Held(Vec<Token>),
    /// `a>> …`: bytes as they are, in one write.
    Raw(Vec<Token>),
    /// `a>>1 …`: bytes as they are, one a write.
    Trickle(Vec<Token>),
    /// `a<`: nothing is sent, an answer is expected.
    Listen,
    /// `@resp3 a`: a HELLO 3 whose answer is not compared.
    Resp3,
}

/// An argument: bytes, or the name of a remembered answer among them.
pub(crate) type Token = Vec<Piece>;

#[derive(Debug)]
pub(crate) enum Piece {
    Bytes(Vec<u8>),
    Saved(String),
}

impl Transcript {
    /// Reads a file; an error starts with the number of the line that is wrong.
    pub(crate) fn parse(source: &str) -> Result<Self, String> {
        let lines: Vec<String> = source.lines().map(str::to_owned).collect();
        let mut file = Self {
            reference: Some(Reference::Redis),
            cluster: None,
            ours: vec![],
            redis: vec![],
            steps: vec![],
            lines: vec![],
        };
        let mut pending = Pending::default();
        let mut at = 0;
        while at < lines.len() {
            let line = lines[at].as_str();
            at += 1;
            let wrong = |what: &str| format!("{at}: {what}: {line}");
            if line.trim().is_empty() || line == "#" || line.starts_with("# ") {
                continue;
            }
            if let Some(directive) = line.strip_prefix('@') {
                if let Some(step) = pending.read(directive, at).map_err(|e| wrong(&e))? {
                    file.steps.push(step);
                }
                continue;
            }
            if file.steps.is_empty()
                && let Some(done) = file.read_header(line)
            {
                done.map_err(|e| wrong(&e))?;
                continue;
            }
            let (client, action) = traffic(line).ok_or_else(|| {
                wrong("neither a comment, a directive, a header nor a line of traffic")
            })?;
            let action = action.map_err(|e| wrong(&e))?;
            file.check_client(&client).map_err(|e| wrong(&e))?;
            let first = at;
            while at < lines.len() && is_answer(&lines[at]) {
                at += 1;
            }
            let answers = trees(&lines[first..at]).map_err(|e| format!("{}: {e}", first + 1))?;
            let step = pending.step(first, client, action, answers, at - first);
            file.steps.push(step);
        }
        if pending != Pending::default() {
            return Err(format!("{at}: a directive with no command after it"));
        }
        file.lines = lines;
        Ok(file)
    }

    fn read_header(&mut self, line: &str) -> Option<Result<(), String>> {
        let (name, value) = line.split_once(": ")?;
        let words = || value.split_whitespace().map(str::to_owned).collect();
        match (name, value) {
            ("source", "rule") => self.reference = None,
            ("source", word) => match Reference::of(word) {
                Some(reference) => self.reference = Some(reference),
                None => {
                    let error =
                        "the source is `redis`, `redis8`, `redis8.10`, `valkey`, `stack` or `rule`";
                    return Some(Err(error.to_owned()));
                }
            },
            ("cluster", _) => match Shape::parse(value) {
                Ok(shape) => self.cluster = Some(shape),
                Err(error) => return Some(Err(error)),
            },
            ("ours", _) => self.ours = words(),
            ("redis", _) => self.redis = words(),
            _ => return None,
        }
        Some(Ok(()))
    }

    /// In a cluster a client has the name of the node that it connects to.
    fn check_client(&self, client: &str) -> Result<(), String> {
        let node = node_of(client);
        let known = match self.cluster {
            Some(shape) => {
                shape.names().iter().any(|name| name == node)
                    || (self.reference.is_none() && node == ROUTER)
            }
            None => node == client,
        };
        if known { Ok(()) } else { Err(format!("there is no node {node}")) }
    }

    /// The file with these answers (by the index of the step) instead of the recorded ones.
    pub(crate) fn with_answers(&self, fresh: &BTreeMap<usize, Vec<Node>>) -> String {
        let mut out = String::new();
        let mut at = 0;
        for (index, step) in self.steps.iter().enumerate() {
            let Some(answers) = fresh.get(&index) else { continue };
            for line in &self.lines[at..step.line] {
                let _ = writeln!(out, "{line}");
            }
            answers.iter().for_each(|answer| answer.write(&mut out, 0));
            at = step.line + step.answer_lines;
        }
        for line in &self.lines[at..] {
            let _ = writeln!(out, "{line}");
        }
        out
    }
}

/// The directives seen since the last line of traffic.
#[derive(Default, PartialEq)]
struct Pending {
    until: bool,
    blocks: bool,
    save: Option<String>,
    order: Option<Order>,
    by_line: bool,
}

impl Pending {
    fn read(&mut self, directive: &str, line: usize) -> Result<Option<Step>, String> {
        match directive.split_whitespace().collect::<Vec<_>>()[..] {
            ["until"] => self.until = true,
            ["blocks"] => self.blocks = true,
            ["lines"] => self.by_line = true,
            ["as", name] => self.save = Some(name.to_owned()),
            ["unordered"] => self.order = Some(Order::Elements),
            ["unordered", "pairs"] => self.order = Some(Order::Pairs),
            ["unordered", "rows"] => self.order = Some(Order::Rows),
            ["resp3", client] => {
                return Ok(Some(self.step(line, client.to_owned(), Action::Resp3, vec![], 0)));
            }
            _ => return Err("no such directive".to_owned()),
        }
        Ok(None)
    }

    fn step(
        &mut self,
        line: usize,
        client: String,
        action: Action,
        answers: Vec<Node>,
        answer_lines: usize,
    ) -> Step {
        let Self { until, blocks, save, order, by_line } = std::mem::take(self);
        let order = order.unwrap_or(Order::Exact);
        Step { line, client, action, until, blocks, save, order, by_line, answers, answer_lines }
    }
}

/// A line of traffic: the client and the action; `None` if the line is something else.
fn traffic(line: &str) -> Option<(String, Result<Action, String>)> {
    let end = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '.')?;
    let (client, rest) = line.split_at(end);
    if client.is_empty() {
        return None;
    }
    let (sign, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let action = match sign {
        ">" => tokens(rest).map(Action::Command),
        ">+" => tokens(rest).map(Action::Held),
        ">>" => tokens(rest).map(Action::Raw),
        ">>1" => tokens(rest).map(Action::Trickle),
        "<" => Ok(Action::Listen),
        _ => return None,
    };
    Some((client.to_owned(), action))
}

/// Splits a line into arguments as redis-cli does, with two additions: `"…"*3` is the string three
/// times over, and `${name}` a remembered answer.
fn tokens(line: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let token;
        (token, rest) = match rest.as_bytes()[0] {
            b'"' => double_quoted(&rest[1..])?,
            b'\'' => single_quoted(&rest[1..])?,
            _ => {
                let (word, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                (pieces(word)?, rest)
            }
        };
        tokens.push(token);
        rest = rest.trim_start();
    }
    Ok(tokens)
}

fn pieces(word: &str) -> Result<Token, String> {
    let mut pieces = Vec::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').ok_or("`${` without `}`")?;
        pieces.push(Piece::Bytes(before.as_bytes().to_vec()));
        pieces.push(Piece::Saved(name.to_owned()));
        rest = after;
    }
    pieces.push(Piece::Bytes(rest.as_bytes().to_vec()));
    Ok(pieces)
}

fn double_quoted(source: &str) -> Result<(Token, &str), String> {
    let bytes = source.as_bytes();
    let mut value = Vec::new();
    let mut at = 0;
    loop {
        match bytes.get(at) {
            None => return Err("a string without its closing quote".to_owned()),
            Some(b'"') => break,
            Some(b'\\') => {
                at += 1;
                match bytes.get(at) {
                    Some(b'n') => value.push(b'\n'),
                    Some(b'r') => value.push(b'\r'),
                    Some(b't') => value.push(b'\t'),
                    Some(b'x') => {
                        let digits = source.get(at + 1..at + 3).unwrap_or_default();
                        let byte = u8::from_str_radix(digits, 16);
                        value.push(byte.map_err(|_| "`\\x` without two hex digits")?);
                        at += 2;
                    }
                    Some(&other) => value.push(other),
                    None => return Err("a string that ends in `\\`".to_owned()),
                }
            }
            Some(&byte) => value.push(byte),
        }
        at += 1;
    }
    let rest = &source[at + 1..];
    let (times, rest) = match rest.strip_prefix('*') {
        Some(rest) => {
            let end = rest.find(' ').unwrap_or(rest.len());
            let times = rest[..end].parse::<usize>();
            (times.map_err(|_| "`*` without a number of times")?, &rest[end..])
        }
        None => (1, rest),
    };
    Ok((vec![Piece::Bytes(value.repeat(times))], rest))
}

fn single_quoted(source: &str) -> Result<(Token, &str), String> {
    let (value, rest) = source.split_once('\'').ok_or("a string without its closing quote")?;
    Ok((vec![Piece::Bytes(value.as_bytes().to_vec())], rest))
}

/// Whether a line below a line of traffic belongs to its answers.
fn is_answer(line: &str) -> bool {
    let line = line.trim_start();
    if line == "#" || line.starts_with("# ") || line.starts_with('@') {
        return false;
    }
    line == NOTHING
        || line == CLOSED
        || line.starts_with(|c: char| c.is_ascii_punctuation() && !matches!(c, '\'' | '@'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Answer, Reply};

    #[test]
    fn a_recording_replaces_answers_and_nothing_else() {
        let source =
            "# head\na> ONE\n:1\n\n# between\na> TWO\n*1\n  :1\n@until\nb> THREE\n+x\n# end\n";
        let file = Transcript::parse(source).expect("the file is well formed");
        assert_eq!(file.with_answers(&BTreeMap::new()), source);
        let fresh = Node::of(&Answer::Reply(Reply::Array(vec![
            Reply::NullBulk,
            Reply::Bulk(b"\n".to_vec()),
        ])));
        let wanted = source.replace("*1\n  :1", "*2\n  $-1\n  \"\\n\"");
        assert_eq!(file.with_answers(&BTreeMap::from([(1, vec![fresh])])), wanted);
    }

    #[test]
    fn a_malformed_file_is_refused_with_its_line() {
        for (source, line) in [
            ("a> SET \"x\n", "1:"),
            ("# fine\n\nnonsense\n", "3:"),
            ("a> X\n+OK\n@nosuch\n", "3:"),
            ("a> X\n*1\n :1\n", "2:"),
            ("source: somewhere\n", "1:"),
            ("n1.a> X\n", "1:"),
            ("cluster: two\n", "1:"),
            ("cluster: 2 masters\nn3> X\n", "2:"),
            ("cluster: 2 masters\nrouter> X\n", "2:"),
            ("a> X\n:1\n@until\n", "3:"),
        ] {
            let error = Transcript::parse(source).expect_err(source);
            assert!(error.starts_with(line), "{source:?}: {error}");
        }
    }
}
