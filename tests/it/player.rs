//! Plays a transcript against a server: the one place that knows both the format and the connection.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::time::Duration;

use crate::env::poll;
use crate::nodes::Stage;
use crate::notation::{CLOSED, NOTHING, Node};
use crate::transcript::{Action, Piece, Step, Token, Transcript};
use crate::wire::{Answer, Client, Reply, command, text};

/// The outcome of a play.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Answers that differ from the record, each with the line of its command.
    pub(crate) failures: Vec<(usize, String)>,
    /// When recording: the answers that differ, by the index of the step.
    pub(crate) fresh: BTreeMap<usize, Vec<Node>>,
}

/// A file is abandoned after this many wrong answers.
const FAILURES_MAX: usize = 8;

/// How long a recording waits for one more answer to raw bytes. A play knows how many answers to
/// expect.
const QUIET: Duration = Duration::from_millis(300);

/// Plays every step and compares.
pub(crate) fn play(transcript: &Transcript, stage: &Stage) -> Outcome {
    Player::new(stage, false).run(transcript)
}

/// Plays every step and records the answers. Answers with holes, and those of `@until`, are written by
/// hand: they are compared.
pub(crate) fn record(transcript: &Transcript, stage: &Stage) -> Outcome {
    Player::new(stage, true).run(transcript)
}

struct Player<'a> {
    stage: &'a Stage,
    records: bool,
    clients: HashMap<String, Client>,
    /// Per client, commands that are sent together with the next one, and their number.
    held: HashMap<String, (Vec<u8>, usize)>,
    saved: HashMap<String, Vec<u8>>,
    outcome: Outcome,
}

/// The connection cannot be used any more: the rest of the file cannot be compared.
struct Lost;

impl<'a> Player<'a> {
    fn new(stage: &'a Stage, records: bool) -> Self {
        Self {
            stage,
            records,
            clients: HashMap::new(),
            held: HashMap::new(),
            saved: HashMap::new(),
            outcome: Outcome::default(),
        }
    }

    fn run(mut self, transcript: &Transcript) -> Outcome {
        for (index, step) in transcript.steps.iter().enumerate() {
            if self.step(index, step).is_err() || self.outcome.failures.len() >= FAILURES_MAX {
                return self.outcome;
            }
        }
        let end = transcript.steps.last().map_or(0, |step| step.line);
        for (name, client) in &mut self.clients {
            let unread = client.unread();
            if !unread.is_empty() {
                let what = format!("an unexpected answer to {name}: {}", text(&unread));
                self.outcome.failures.push((end, what));
            }
        }
        self.outcome
    }

    fn step(&mut self, index: usize, step: &Step) -> Result<(), Lost> {
        let name = step.client.as_str();
        let commands = match &step.action {
            Action::Resp3 => {
                let answer = self.client(name).call(&["HELLO", "3"]);
                return match answer {
                    Answer::Reply(Reply::Map(_)) => Ok(()),
                    other => self.lost(step, &format!("HELLO 3 answers {}", Node::of(&other))),
                };
            }
            Action::Held(tokens) => {
                let bytes = command(&self.resolve(step, tokens)?);
                let held = self.held.entry(name.to_owned()).or_default();
                held.0.extend_from_slice(&bytes);
                held.1 += 1;
                return Ok(());
            }
            Action::Listen => 1,
            Action::Command(tokens) if step.until => return self.until(step, tokens),
            Action::Command(tokens) if step.blocks => {
                let argv = self.resolve(step, tokens)?;
                self.client(name).send(&command(&argv));
                return self.until_blocked(step);
            }
            Action::Command(tokens) => {
                let argv = self.resolve(step, tokens)?;
                let (mut bytes, held) = self.held.remove(name).unwrap_or_default();
                bytes.extend_from_slice(&command(&argv));
                self.client(name).send(&bytes);
                held + 1
            }
            Action::Raw(tokens) => {
                let bytes = self.resolve(step, tokens)?.concat();
                self.client(name).send(&bytes);
                usize::MAX
            }
            Action::Trickle(tokens) => {
                let bytes = self.resolve(step, tokens)?.concat();
                let client = self.client(name);
                bytes.iter().for_each(|byte| client.send(&[*byte]));
                usize::MAX
            }
        };
        if step.answers.is_empty() && !self.records {
            return self.lost(
                step,
                "no answer is recorded: run `UPDATE=1 cargo test --test it transcripts`",
            );
        }
        let nothings = step.answers.iter().filter(|answer| answer.is(NOTHING)).count();
        let answers = if self.records {
            if step.answers.len() == nothings && nothings > 0 {
                vec![]
            } else {
                self.take_all(name, commands.saturating_sub(nothings))
            }
        } else {
            self.take(name, step.answers.len() - nothings)
        };
        self.judge(index, step, &answers)
    }

    /// The next `count` answers, fewer if one of them is the last that this connection gives.
    fn take(&mut self, name: &str, count: usize) -> Vec<Answer> {
        let mut answers = Vec::new();
        for _ in 0..count {
            answers.push(self.client(name).read());
            if self.is_over(name, &answers) {
                break;
            }
        }
        answers
    }

    /// As [`Player::take`]; without a known count, until the server is silent.
    fn take_all(&mut self, name: &str, count: usize) -> Vec<Answer> {
        if count < 1 << 32 {
            return self.take(name, count);
        }
        let mut answers = Vec::new();
        loop {
            match self.client(name).read_within(QUIET) {
                Answer::Silent => return answers,
                answer => answers.push(answer),
            }
            if self.is_over(name, &answers) {
                return answers;
            }
        }
    }

    /// Whether the last answer ends the connection; then the next use of the name opens another.
    fn is_over(&mut self, name: &str, answers: &[Answer]) -> bool {
        let over = !matches!(answers.last(), Some(Answer::Reply(_)));
        if over {
            self.clients.remove(name);
        }
        over
    }

    fn judge(&mut self, index: usize, step: &Step, answers: &[Answer]) -> Result<(), Lost> {
        if let (Some(name), Some(value)) = (&step.save, answers.last().and_then(Node::saved)) {
            self.saved.insert(name.clone(), value);
        }
        let got: Vec<_> = answers.iter().map(|answer| self.notation_of(step, answer)).collect();
        let wanted: Vec<_> = step.answers.iter().filter(|answer| !answer.is(NOTHING)).collect();
        let broken = matches!(answers.last(), Some(Answer::Silent | Answer::Malformed(_)));
        let fits = wanted.len() == got.len()
            && wanted.iter().zip(&got).all(|(wanted, got)| wanted.accepts(got, step.order));
        let is_new = self.records && step.answers.is_empty();
        if fits && !is_new {
            return Ok(());
        }
        if self.records && !broken && !step.answers.iter().any(Node::has_holes) {
            let mut fresh: Vec<_> = got.iter().map(|got| got.sorted(step.order, true)).collect();
            // `nothing` keeps its place among the answers.
            for (at, _) in step.answers.iter().enumerate().filter(|(_, a)| a.is(NOTHING)) {
                fresh.insert(at.min(fresh.len()), step.answers[at].clone());
            }
            if fresh.is_empty() {
                fresh.push(Node::nothing());
            }
            self.outcome.fresh.insert(index, fresh);
            return Ok(());
        }
        let mut message = String::new();
        let _ = writeln!(message, "expected");
        step.answers.iter().for_each(|wanted| message.push_str(&wanted.to_string()));
        let _ = writeln!(message, "got");
        got.iter().for_each(|got| message.push_str(&got.to_string()));
        self.outcome.failures.push((step.line, message));
        let closed = got.last().is_some_and(|got| got.is(CLOSED));
        if broken || closed || wanted.len() != got.len() { Err(Lost) } else { Ok(()) }
    }

    fn until(&mut self, step: &Step, tokens: &[Token]) -> Result<(), Lost> {
        let [wanted] = &step.answers[..] else {
            return self.lost(step, "@until needs the one answer to wait for");
        };
        let argv = self.resolve(step, tokens)?;
        let mut last = String::new();
        let answered = poll(|| {
            let answer = self.client(&step.client).call(&argv);
            let got = self.notation_of(step, &answer);
            last = got.to_string();
            let fits = wanted.accepts(&got, step.order);
            (fits || !matches!(answer, Answer::Reply(_))).then_some(fits)
        });
        if answered == Some(true) {
            return Ok(());
        }
        self.lost(step, &format!("waited for\n{wanted}last got\n{last}"))
    }

    /// Waits until the server lists the step's client as blocked.
    fn until_blocked(&mut self, step: &Step) -> Result<(), Lost> {
        let local = self.client(&step.client).socket().local_addr().expect("a local address");
        let mut observer = self.connect(&step.client);
        let mut last = String::new();
        let blocked = poll(|| {
            last = match observer.ask(&["CLIENT", "LIST"]) {
                Reply::Bulk(list) => String::from_utf8_lossy(&list).into_owned(),
                other => panic!("CLIENT LIST answers {other:?}"),
            };
            let waits = |line: &str| {
                let mut fields = line.split(' ');
                fields.any(|f| f.strip_prefix("addr=") == Some(&local.to_string()))
                    && fields.any(|f| f.strip_prefix("flags=").is_some_and(|f| f.contains('b')))
            };
            last.lines().any(waits).then_some(())
        });
        match blocked {
            Some(()) => Ok(()),
            None => self.lost(step, &format!("{local} is not blocked:\n{last}")),
        }
    }

    fn client(&mut self, name: &str) -> &mut Client {
        if !self.clients.contains_key(name) {
            let client = self.connect(name);
            self.clients.insert(name.to_owned(), client);
        }
        self.clients.get_mut(name).expect("it is there by now")
    }

    /// Opens a connection to the server of this client.
    fn connect(&self, client: &str) -> Client {
        let address = self.stage.address_of(client).expect("a client has a server");
        Client::connect(address).expect("the server accepts connections")
    }

    /// The answer to a step as in the file.
    fn notation_of(&self, step: &Step, answer: &Answer) -> Node {
        let node = self.stage.with_names(&Node::of(answer));
        if step.by_line { node.by_line() } else { node }
    }

    fn resolve(&mut self, step: &Step, tokens: &[Token]) -> Result<Vec<Vec<u8>>, Lost> {
        let mut argv = Vec::new();
        for token in tokens {
            let mut argument = Vec::new();
            for piece in token {
                match piece {
                    Piece::Bytes(bytes) => argument.extend_from_slice(bytes),
                    Piece::Saved(name) => {
                        let node = || self.stage.value_of(name).map(String::into_bytes);
                        match self.saved.get(name).cloned().or_else(node) {
                            Some(value) => argument.extend_from_slice(&value),
                            None => {
                                let what = format!("nothing is remembered as {name}");
                                return self.lost(step, &what);
                            }
                        }
                    }
                }
            }
            argv.push(argument);
        }
        Ok(argv)
    }

    fn lost<T>(&mut self, step: &Step, what: &str) -> Result<T, Lost> {
        self.outcome.failures.push((step.line, what.to_owned()));
        Err(Lost)
    }
}
