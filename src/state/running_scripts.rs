//! The scripts and functions that run for so long that other clients of their shards are refused:
//! BUSY, SCRIPT KILL, FUNCTION KILL, FUNCTION STATS.

use crate::keyspace::Millis;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicUsize, Ordering};

/// Others are refused: the script has run longer than `busy-reply-threshold`.
const BUSY: u8 = 1;
/// It has written.
const HAS_WRITTEN: u8 = 1 << 1;
/// It has to end.
const KILLED: u8 = 1 << 2;
/// It is a function.
const FUNCTION: u8 = 1 << 3;

/// Bytes of the command of a running function that are shown: arguments beyond are left out.
const COMMAND_LEN_MAX: usize = 1 << 20;

/// The state of each shard's script.
#[derive(Debug)]
pub struct RunningScripts {
    shards: Box<[ShardScript]>,
    /// How many shards are busy.
    busy: AtomicUsize,
    /// What began until then ends, in milliseconds since the epoch.
    end_until: AtomicI64,
}

/// The script of a shard.
#[derive(Debug, Default)]
struct ShardScript {
    bits: AtomicU8,
    /// What it is if it is a function. Set before it makes the shard busy.
    function: Mutex<Option<Arc<RunningFunction>>>,
}

/// A function that makes others wait.
#[derive(Debug)]
pub struct RunningFunction {
    /// Its name.
    pub name: Box<[u8]>,
    /// The command that called it.
    pub command: Vec<Box<[u8]>>,
    /// When it began, in milliseconds since the epoch.
    pub began: Millis,
}

impl RunningFunction {
    /// Returns a function that was called by a command with these arguments.
    pub fn new<'a>(name: &[u8], args: impl Iterator<Item = &'a [u8]>, began: Millis) -> Self {
        let mut len = 0;
        let fits = |arg: &&[u8]| {
            len += arg.len() + size_of::<Box<[u8]>>();
            len <= COMMAND_LEN_MAX
        };
        Self { name: name.into(), command: args.take_while(fits).map(Box::from).collect(), began }
    }
}

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScriptKind {
    /// EVAL and its like.
    Script,
    /// FCALL.
    Function,
}

impl ScriptKind {
    fn of(bits: u8) -> Self {
        if bits & FUNCTION == 0 { Self::Script } else { Self::Function }
    }
}

/// The outcome of SCRIPT KILL and FUNCTION KILL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Killed {
    /// One ends.
    Yes,
    /// One has written: ending it would leave its writes half done.
    HasWritten,
    /// What runs is of the other kind.
    OtherRuns,
    /// None runs.
    NoneRuns,
}

impl RunningScripts {
    /// Returns the state of so many shards, none of which is busy.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        let shards = (0..shards).map(|_| ShardScript::default()).collect();
        Self { shards, busy: AtomicUsize::new(0), end_until: AtomicI64::new(Millis::MIN) }
    }

    /// Returns whether any shard is busy.
    #[must_use]
    #[inline]
    pub fn any_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed) > 0
    }

    /// Returns what makes a shard busy, if anything does.
    #[must_use]
    pub fn busy(&self, shard: usize) -> Option<ScriptKind> {
        if !self.any_busy() {
            return None;
        }
        let bits = self.shards.get(shard)?.bits.load(Ordering::Acquire);
        (bits & BUSY != 0).then_some(ScriptKind::of(bits))
    }

    /// Returns what makes the first busy one of these shards busy.
    #[must_use]
    pub fn busy_of(&self, mut shards: impl Iterator<Item = usize>) -> Option<ScriptKind> {
        shards.find_map(|shard| self.busy(shard))
    }

    /// Returns what makes the first busy shard busy.
    #[must_use]
    pub fn first_busy(&self) -> Option<ScriptKind> {
        self.busy_of(0..self.shards.len())
    }

    /// Returns the function that makes one of these shards busy, if one does.
    #[must_use]
    pub fn function(
        &self,
        mut shards: impl Iterator<Item = usize>,
    ) -> Option<Arc<RunningFunction>> {
        shards.find_map(|shard| match self.busy(shard)? {
            ScriptKind::Function => self.shards[shard].function.lock().clone(),
            ScriptKind::Script => None,
        })
    }

    /// Makes shards busy with a function, or with a script if there is none.
    pub fn begin(&self, shards: &[usize], function: Option<RunningFunction>) {
        let function = function.map(Arc::new);
        for script in shards.iter().filter_map(|shard| self.shards.get(*shard)) {
            let kind = if function.is_some() { FUNCTION } else { 0 };
            script.function.lock().clone_from(&function);
            if script.bits.fetch_or(BUSY | kind, Ordering::AcqRel) & BUSY == 0 {
                self.busy.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Records whether the script of a busy shard has written. Returns whether it has to end.
    pub fn keep_busy(&self, shard: usize, has_written: bool) -> bool {
        let Some(script) = self.shards.get(shard) else { return false };
        let written = if has_written { HAS_WRITTEN } else { 0 };
        script.bits.fetch_or(written, Ordering::AcqRel) & KILLED != 0
    }

    /// Ends the script of a shard.
    pub fn end(&self, shard: usize) {
        let Some(script) = self.shards.get(shard) else { return };
        if script.bits.swap(0, Ordering::AcqRel) & BUSY != 0 {
            self.busy.fetch_sub(1, Ordering::Relaxed);
        }
        *script.function.lock() = None;
    }

    /// Ends what began until this time, on all shards and whether or not it has written: the server
    /// shuts down.
    pub fn end_older(&self, until: Millis) {
        self.end_until.fetch_max(until, Ordering::Relaxed);
    }

    /// Returns whether a script that began at this time has to end because the server shuts down.
    #[must_use]
    #[inline]
    pub fn has_to_end(&self, began: Millis) -> bool {
        began <= self.end_until.load(Ordering::Relaxed)
    }

    /// Ends what makes others wait on these shards, even if it has written.
    pub fn stop(&self, shards: impl Iterator<Item = usize>) {
        for script in shards.filter_map(|shard| self.shards.get(shard)) {
            let stop = |bits| (bits & BUSY != 0).then_some(bits | KILLED);
            let _idle = script.bits.fetch_update(Ordering::AcqRel, Ordering::Acquire, stop);
        }
    }

    /// Ends what runs on these shards, is of this kind, makes others wait and has not written.
    pub fn kill(&self, kind: ScriptKind, shards: impl Iterator<Item = usize>) -> Killed {
        let mut outcome = Killed::NoneRuns;
        for script in shards.filter_map(|shard| self.shards.get(shard)) {
            let killed = script.bits.fetch_update(Ordering::AcqRel, Ordering::Acquire, |bits| {
                let can_end = bits & (BUSY | HAS_WRITTEN) == BUSY && ScriptKind::of(bits) == kind;
                can_end.then_some(bits | KILLED)
            });
            outcome = match (killed, outcome) {
                (Ok(_), _) | (_, Killed::Yes) => Killed::Yes,
                (Err(bits), _) if bits & BUSY == 0 => outcome,
                (Err(bits), _) if bits & HAS_WRITTEN != 0 => Killed::HasWritten,
                (_, Killed::HasWritten) => Killed::HasWritten,
                _ => Killed::OtherRuns,
            };
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_killed_unless_it_has_written() {
        let scripts = RunningScripts::new(2);
        let kill = |shards| scripts.kill(ScriptKind::Script, shards);
        assert_eq!(kill(0..2), Killed::NoneRuns);
        scripts.begin(&[1], None);
        assert!(!scripts.keep_busy(1, false));
        assert!(scripts.any_busy());
        assert_eq!((scripts.busy(0), scripts.busy(1)), (None, Some(ScriptKind::Script)));
        assert_eq!(kill(0..1), Killed::NoneRuns);
        assert_eq!(kill(0..2), Killed::Yes);
        assert!(scripts.keep_busy(1, false));
        scripts.end(1);
        assert!(!scripts.any_busy());
        scripts.begin(&[0], None);
        assert!(!scripts.keep_busy(0, true));
        assert_eq!(kill(0..2), Killed::HasWritten);
        scripts.end(0);
        assert_eq!(kill(0..2), Killed::NoneRuns);
    }

    #[test]
    fn functions_and_scripts_are_killed_each_by_its_own_command() {
        let scripts = RunningScripts::new(3);
        let args = [&b"fcall"[..], b"spin", b"0"];
        let function = || RunningFunction::new(b"spin", args.into_iter(), 7);
        scripts.begin(&[1, 2], Some(function()));
        assert_eq!(scripts.first_busy(), Some(ScriptKind::Function));
        let shown = scripts.function(0..3).expect("it runs");
        assert_eq!((&*shown.name, shown.command.len(), shown.began), (&b"spin"[..], 3, 7));
        assert_eq!(scripts.kill(ScriptKind::Script, 0..3), Killed::OtherRuns);
        assert!(!scripts.keep_busy(1, false));
        scripts.begin(&[0], None);
        assert_eq!(scripts.kill(ScriptKind::Script, 0..3), Killed::Yes);
        assert!(scripts.keep_busy(0, false) && !scripts.keep_busy(1, false));
        assert_eq!(scripts.kill(ScriptKind::Function, 0..3), Killed::Yes);
        assert!(scripts.keep_busy(1, false) && scripts.keep_busy(2, false));
        (0..3).for_each(|shard| scripts.end(shard));
        assert!(scripts.function(0..3).is_none() && !scripts.any_busy());
        // That it has written counts before its kind, as on a server.
        scripts.begin(&[0], Some(function()));
        assert!(!scripts.keep_busy(0, true));
        assert_eq!(scripts.kill(ScriptKind::Script, 0..3), Killed::HasWritten);
        scripts.begin(&[1], None);
        assert_eq!(scripts.kill(ScriptKind::Script, 0..3), Killed::Yes);
    }

    #[test]
    fn a_shutdown_ends_what_has_written_too() {
        let scripts = RunningScripts::new(2);
        assert!(!scripts.has_to_end(0));
        scripts.end_older(5);
        scripts.end_older(3);
        assert!(scripts.has_to_end(5) && !scripts.has_to_end(6));
        scripts.begin(&[1], None);
        assert!(!scripts.keep_busy(1, true));
        scripts.stop(0..2);
        assert!(scripts.keep_busy(1, true));
        scripts.end(1);
        scripts.begin(&[0], None);
        assert!(!scripts.keep_busy(0, false), "nothing ran there");
    }

    #[test]
    fn a_command_is_shown_up_to_a_limit() {
        let long = vec![0; COMMAND_LEN_MAX];
        let args = [&b"fcall"[..], b"f", &long, b"x"];
        assert_eq!(RunningFunction::new(b"f", args.into_iter(), 0).command.len(), 2);
    }
}
