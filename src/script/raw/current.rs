//! The script that runs on this thread, and memory for its calls.

use crate::resp::{Proto, Span};
use crate::script::host::Host;
use crate::script::number::write_g;
use mlua::Value;
use std::cell::Cell;
use std::ptr::NonNull;

/// The script that runs on this thread.
pub(in crate::script) struct Current<'a> {
    /// The server that it runs on.
    pub(in crate::script) host: &'a mut dyn Host,
    /// The protocol that it has chosen.
    pub(in crate::script) proto: Proto,
    /// Memory for its calls.
    pub(in crate::script) buffers: &'a mut Buffers,
}

/// Memory for the arguments and the reply of a call.
#[derive(Debug, Default)]
pub(in crate::script) struct Buffers {
    pub(super) args: Vec<u8>,
    pub(super) spans: Vec<Span>,
    pub(super) reply: Vec<u8>,
}

/// The keys and the arguments that a script is run with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScriptArgs<'a> {
    /// The bytes that the others are places in.
    pub(crate) bytes: &'a [u8],
    /// The keys.
    pub(crate) keys: &'a [Span],
    /// The other arguments.
    pub(crate) args: &'a [Span],
}

/// Buffers that have grown beyond this are given back after a script, in bytes.
const BUFFER_KEPT_MAX: usize = 64 * 1024;
/// Most bytes of arguments in one call: spans address them with 32 bits.
const ARGS_BYTES_MAX: usize = u32::MAX as usize;
pub(super) const NO_ARGUMENTS: &str =
    "ERR Please specify at least one argument for this redis lib call";
pub(super) const BAD_ARGUMENTS: &str =
    "ERR Lua redis lib command arguments must be strings or integers";
const TOO_LONG: &str = "ERR the arguments of this redis lib call are too long";

thread_local! {
    /// The script that runs on this thread; none while it is lent out.
    static CURRENT: Cell<Option<NonNull<Current<'static>>>> = const { Cell::new(None) };
}

/// What [`CURRENT`] was before, which it becomes again.
struct Before(Option<NonNull<Current<'static>>>);

impl Drop for Before {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

/// Calls `script`, in which [`current`] lends out what is given here.
pub(in crate::script) fn with_current<R>(given: &mut Current<'_>, script: impl FnOnce() -> R) -> R {
    let given = NonNull::from(given).cast::<Current<'static>>();
    let _before = Before(CURRENT.replace(Some(given)));
    script()
}

/// Calls `act` with the script that runs on this thread; `None` if none runs.
pub(in crate::script) fn current<R>(act: impl FnOnce(&mut Current<'_>) -> R) -> Option<R> {
    let mut lent = CURRENT.take()?;
    let _before = Before(Some(lent));
    // SAFETY: the pointer was made in `with_current` from a unique reference that is borrowed until
    // the function there returns, and is removed from CURRENT then. It is lent to one at a time: it
    // is not in CURRENT while `act` runs. `act` takes any lifetime, so that it keeps nothing of it.
    Some(act(unsafe { lent.as_mut() }))
}

impl Buffers {
    /// Returns the bytes and the places of the arguments of the last call.
    pub(in crate::script) fn args(&self) -> (&[u8], &[Span]) {
        (&self.args, &self.spans)
    }

    /// Takes an argument: a string, or a number as `%.17g` writes it.
    pub(super) fn take(&mut self, arg: RawArg<'_>) -> Result<(), &'static str> {
        let start = self.args.len();
        match arg {
            RawArg::String(bytes) if bytes.len() > ARGS_BYTES_MAX - start => return Err(TOO_LONG),
            RawArg::String(bytes) => self.args.extend_from_slice(bytes),
            RawArg::Number(number) => write_g(&mut self.args, number, 17),
        }
        self.spans.push(Span::new(start, self.args.len() - start));
        Ok(())
    }

    /// Takes the arguments of a call that mlua has made.
    pub(in crate::script) fn take_values<'v>(
        &mut self,
        values: impl ExactSizeIterator<Item = &'v Value>,
    ) -> Result<(), &'static str> {
        self.args.clear();
        self.spans.clear();
        if values.len() == 0 {
            return Err(NO_ARGUMENTS);
        }
        for value in values {
            match value {
                Value::String(text) => self.take(RawArg::String(&text.as_bytes()))?,
                Value::Number(number) => self.take(RawArg::Number(*number))?,
                Value::Integer(number) => self.take(RawArg::Number(*number as f64))?,
                _ => return Err(BAD_ARGUMENTS),
            }
        }
        Ok(())
    }

    /// Gives back the memory of unusually large calls.
    pub(in crate::script) fn give_back(&mut self) {
        self.args.clear();
        self.args.shrink_to(BUFFER_KEPT_MAX);
        self.reply.clear();
        self.reply.shrink_to(BUFFER_KEPT_MAX);
        self.spans.clear();
        self.spans.shrink_to(BUFFER_KEPT_MAX / size_of::<Span>());
    }
}

/// An argument of a call.
pub(super) enum RawArg<'a> {
    String(&'a [u8]),
    Number(f64),
}
