//! Scenarios: orders carried out one after the other, each at its time or after its trigger. A TOML
//! file, parsed completely before anything is started.
//!
//! ```toml
//! [[step]]
//! at = "250ms"                  # since the beginning
//! do = "HOLD 12182 TO 2 KEYS foo"
//!
//! [[step]]
//! after = { execs = 100 }       # since the step before: execs, writes, requests, or time = "1s"
//! do = "FINISH 12182"
//! ```
//!
//! Steps are carried out in the order of the file, whatever they wait for, so two runs do the same
//! things in the same order.

use super::grammar::{Order, TIME_MS_MAX};
use crate::keyspace::Millis;
use serde::Deserialize;
use std::fmt;
use toml::Spanned;

/// Longest scenario, in bytes.
pub const SCENARIO_LEN_MAX: usize = 1 << 20;
/// Most steps of a scenario.
pub const STEPS_MAX: usize = 10_000;

/// The kinds of requests that a step can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// Any request except SLOTWAY's own.
    Request,
    /// One that may write, even if it is queued.
    Write,
    /// EXEC, whatever its reply.
    Exec,
}

/// The trigger of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepTrigger {
    /// So many milliseconds since the start.
    At(Millis),
    /// So many milliseconds since the step before.
    Later(Millis),
    /// So many requests of a kind since the step before.
    After(u64, RequestKind),
}

/// An order and its trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioStep {
    /// The line of its order in the file, from 1.
    pub line: usize,
    /// Its trigger.
    pub when: StepTrigger,
    /// Its order.
    pub order: Order,
    /// The order's text.
    pub text: String,
}

/// A scenario: at least one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// The steps, in order.
    pub steps: Vec<ScenarioStep>,
}

/// An error in a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioError {
    /// Its line, from 1.
    pub line: usize,
    /// What is wrong; one line of text.
    pub why: String,
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

impl std::error::Error for ScenarioError {}

/// The file as TOML has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    step: Vec<Spanned<Raw>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    at: Option<Spanned<String>>,
    after: Option<Spanned<After>>,
    #[serde(rename = "do")]
    order: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct After {
    time: Option<String>,
    requests: Option<u64>,
    writes: Option<u64>,
    execs: Option<u64>,
}

impl Scenario {
    /// Parses a scenario.
    ///
    /// # Errors
    /// The first error, with its line.
    pub fn read(text: &str) -> Result<Self, ScenarioError> {
        let line_of = |at: usize| 1 + text[..at.min(text.len())].matches('\n').count();
        let mistake = |at: usize, why: String| {
            let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
            ScenarioError { line: line_of(at), why }
        };
        if text.len() > SCENARIO_LEN_MAX {
            let why = format!("longer than {SCENARIO_LEN_MAX} bytes");
            return Err(mistake(0, why));
        }
        let file: File = toml::from_str(text).map_err(|error| {
            mistake(error.span().map_or(0, |span| span.start), error.message().to_owned())
        })?;
        if file.step.is_empty() {
            return Err(mistake(text.len(), "there is no [[step]]".to_owned()));
        }
        let (mut steps, mut latest) = (Vec::with_capacity(file.step.len()), 0);
        for raw in file.step {
            let at = raw.span().start;
            let Raw { at: time, after, order: words } = raw.into_inner();
            if steps.len() == STEPS_MAX {
                return Err(mistake(at, format!("more than {STEPS_MAX} steps")));
            }
            let (from, when) = match (time, after) {
                (Some(time), None) => {
                    let from = time.span().start;
                    (from, duration(time.get_ref()).map(StepTrigger::At))
                }
                (None, Some(after)) => (after.span().start, after_what(after.get_ref())),
                // As soon as the step before is done.
                (None, None) => (at, Ok(StepTrigger::Later(0))),
                (Some(time), Some(_)) => {
                    let why = "a step waits for one thing: at or after".to_owned();
                    return Err(mistake(time.span().start, why));
                }
            };
            let when = when.map_err(|why| mistake(from, why))?;
            if let StepTrigger::At(ms) = when {
                if ms < latest {
                    let why = format!("a step before this one waits until {latest}ms");
                    return Err(mistake(from, why));
                }
                latest = ms;
            }
            let from = words.span().start;
            let text = words.into_inner();
            let order = Order::of_line(&text).map_err(|unclear| {
                let why = unclear.to_string();
                mistake(from, why.strip_prefix("ERR ").unwrap_or(&why).to_owned())
            })?;
            steps.push(ScenarioStep { line: line_of(from), when, order, text });
        }
        Ok(Self { steps })
    }
}

/// Parses `250ms`, `2s`, `1m`.
fn duration(text: &str) -> Result<Millis, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        _ => return Err(format!("'{text}' is not a duration such as 250ms, 2s or 1m")),
    };
    let ms = number.parse::<i64>().ok().and_then(|number| number.checked_mul(factor));
    ms.filter(|&ms| ms <= TIME_MS_MAX).ok_or_else(|| {
        format!(
            "'{text}' is not a duration up to {}h, such as 250ms, 2s or 1m",
            TIME_MS_MAX / 3_600_000
        )
    })
}

fn after_what(after: &After) -> Result<StepTrigger, String> {
    let counted = [
        (after.requests, RequestKind::Request),
        (after.writes, RequestKind::Write),
        (after.execs, RequestKind::Exec),
    ];
    let mut all = counted
        .into_iter()
        .filter_map(|(count, event)| count.map(|count| Ok(StepTrigger::After(count, event))))
        .chain(after.time.as_ref().map(|time| duration(time).map(StepTrigger::Later)));
    match (all.next(), all.next()) {
        (Some(when), None) => when,
        _ => Err("after waits for one of time, requests, writes, execs".to_owned()),
    }
}

/// A running scenario.
#[derive(Debug)]
pub(super) struct Playback {
    scenario: Scenario,
    /// Steps taken to be carried out.
    taken: usize,
    /// Steps carried out.
    done: usize,
    began: Millis,
    /// When the last step was done.
    latest: Millis,
    /// Requests counted for the next step.
    seen: u64,
    /// Steps that were refused.
    refused: Vec<ScenarioError>,
}

/// The progress of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioProgress {
    /// Steps carried out.
    pub done: usize,
    /// Steps in all.
    pub steps: usize,
    /// Steps that were refused when they were due.
    pub refused: Vec<ScenarioError>,
}

impl Playback {
    pub(super) fn new(scenario: Scenario, now: Millis) -> Self {
        Self { scenario, taken: 0, done: 0, began: now, latest: now, seen: 0, refused: Vec::new() }
    }

    fn next(&self) -> Option<&ScenarioStep> {
        self.scenario.steps.get(self.taken)
    }

    /// Returns whether the next step counts requests.
    pub(super) fn counts(&self) -> bool {
        matches!(self.next(), Some(ScenarioStep { when: StepTrigger::After(..), .. }))
    }

    /// Returns when the next step is due, as far as that is known; 0 for now.
    pub(super) fn due(&self) -> Option<Millis> {
        match self.next()?.when {
            StepTrigger::At(ms) => Some(self.began.saturating_add(ms)),
            StepTrigger::Later(ms) => Some(self.latest.saturating_add(ms)),
            StepTrigger::After(count, _) => (self.seen >= count).then_some(0),
        }
    }

    /// Counts a request of these kinds.
    pub(super) fn note(&mut self, events: &[RequestKind]) {
        if let Some(ScenarioStep { when: StepTrigger::After(_, event), .. }) = self.next()
            && events.contains(event)
        {
            self.seen += 1;
        }
    }

    /// Takes the next step, if it is due; [`Playback::end`] must follow.
    pub(super) fn take(&mut self, now: Millis) -> Option<ScenarioStep> {
        let step = self.next().filter(|_| self.due().is_some_and(|due| due <= now))?.clone();
        (self.taken, self.latest, self.seen) = (self.taken + 1, now, 0);
        Some(step)
    }

    /// Ends the step that was taken: done, or refused with this error.
    pub(super) fn end(&mut self, refused: Option<ScenarioError>) {
        // Another scenario may have started meanwhile: none of its steps is done.
        if self.done < self.taken {
            self.done += 1;
            self.refused.extend(refused);
        }
    }

    pub(super) fn progress(&self) -> ScenarioProgress {
        let steps = self.scenario.steps.len();
        ScenarioProgress { done: self.done, steps, refused: self.refused.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_wait_for_their_triggers() {
        let scenario = Scenario::read(
            "[[step]]\nat = \"20ms\"\ndo = \"DOWN\"\n\n[[step]]\nafter = { execs = 2 }\ndo = \"UP\"\n\
             [[step]]\ndo = \"CLEAR\"\n[[step]]\nafter = { time = \"1s\" }\ndo = \"CLEAR 1\"\n",
        );
        let mut playback = Playback::new(scenario.expect("a good one"), 1000);
        let take = |playback: &mut Playback, now| {
            let step = playback.take(now)?;
            playback.end(None);
            Some((step.line, step.text))
        };
        assert_eq!(
            (playback.due(), playback.counts(), take(&mut playback, 1019)),
            (Some(1020), false, None)
        );
        assert_eq!(take(&mut playback, 1020), Some((3, "DOWN".to_owned())));
        assert_eq!(
            (playback.due(), playback.counts(), take(&mut playback, 9999)),
            (None, true, None)
        );
        playback.note(&[RequestKind::Request]);
        playback.note(&[RequestKind::Request, RequestKind::Exec]);
        playback.note(&[RequestKind::Request, RequestKind::Exec]);
        assert_eq!(
            (playback.due(), take(&mut playback, 1100)),
            (Some(0), Some((7, "UP".to_owned())))
        );
        assert_eq!(take(&mut playback, 1100), Some((9, "CLEAR".to_owned())), "at once");
        assert_eq!((playback.due(), take(&mut playback, 2099)), (Some(2100), None));
        assert_eq!(take(&mut playback, 2100), Some((12, "CLEAR 1".to_owned())));
        assert_eq!(
            (playback.due(), take(&mut playback, 9999), playback.progress().done),
            (None, None, 4)
        );
    }

    #[test]
    fn an_error_names_its_line() {
        for (text, mistake) in [
            ("", "line 1: there is no [[step]]"),
            ("\n\nsteps = 1\n", "line 3: unknown field `steps`, expected `step`"),
            ("[[step]]\nat = \"1ms\"\n", "line 1: missing field `do`"),
            (
                "[[step]]\ndo = \"DOWN\"\nat = 5\n",
                "line 3: invalid type: integer `5`, expected a string",
            ),
            (
                "[[step]]\nat = \"5\"\ndo = \"UP\"",
                "line 2: '5' is not a duration such as 250ms, 2s or 1m",
            ),
            (
                "[[step]]\ndo = \"UP\"\n[[step]]\nat = \"9s\"\ndo = \"JUMP\"",
                "line 5: there is no order 'jump'",
            ),
            (
                "[[step]]\nat = \"9s\"\ndo = \"UP\"\n[[step]]\nat = \"1s\"\ndo = \"UP\"",
                "line 5: a step before this one waits until 9000ms",
            ),
            (
                "[[step]]\nat = \"9s\"\nafter = { execs = 1 }\ndo = \"UP\"",
                "line 2: a step waits for one thing: at or after",
            ),
            (
                "[[step]]\nafter = { execs = 1, writes = 1 }\ndo = \"UP\"",
                "line 2: after waits for one of time, requests, writes, execs",
            ),
            (
                "[[step]]\ndo = \"MOVE 16384 TO 1\"",
                "line 2: Invalid or out of range slot: MOVE first[-last] [first[-last] ...] TO node",
            ),
        ] {
            assert_eq!(Scenario::read(text).expect_err(text).to_string(), mistake);
        }
    }
}
