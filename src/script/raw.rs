//! Where Lua and the server meet, through Lua's own C interface: `redis.call` and the run of a
//! script. It is the one place of the interpreter with `unsafe`.
//!
//! mlua's safe calls keep each value that crosses in a handle and, as the state's memory has a bound,
//! create each by a call of its own that catches Lua's error. `benches/instructions` counted, per
//! operation and with as little done by them as can be: 16,278 instructions for a script of one call
//! (`EVALSHA release P=16`) and 4,032 for a call (`redis.call of GET`). With this module it counts
//! 9,711 and 2,383, Redis 7.0.15 beside it 16,475 and 3,226.
//!
//! # Proof
//! Lua ends a function by `longjmp` when it raises an error: when `lua_error` is called, and when
//! there is no memory for what is created. Then nothing is dropped in the frames that are left, and a
//! panic may not go through frames of C. So each function here is of one of two kinds:
//!
//! - *raising*: it calls functions of Lua that may raise, only ever below a protected call
//!   (`lua_pcall`), and while it does so no value exists in it that would have to be dropped: it has
//!   integers, slices and pointers only. It calls nothing that panics.
//! - *quiet*: it calls functions of Lua that never raise, by Lua's manual (`lua_gettop`, `lua_type`,
//!   `lua_tolstring` of a string, `lua_tonumber`, `lua_getstack`, `lua_getinfo` for a line). It may
//!   have values of any kind, and may panic: [`called`] catches what does.
//!
//! Bytes that a quiet function leaves for a raising one are in [`Buffers`], which live as long as the
//! run of the script and change only in the next call.

#![expect(unsafe_code, reason = "Lua's C interface; see the proof")]

use super::host::Host;
use super::number::write_g;
use super::reply::{Plain, ReplyReader, Token};
use crate::resp::{Proto, Span};
use mlua::{Function, IntoLua, Lua, Table, Value, ffi};
use std::cell::Cell;
use std::ffi::{CStr, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

/// The script that runs on this thread.
pub(super) struct Current<'a> {
    /// The server that it runs on.
    pub(super) host: &'a mut dyn Host,
    /// The protocol that it has chosen.
    pub(super) proto: Proto,
    /// Memory for its calls.
    pub(super) buffers: &'a mut Buffers,
}

/// Memory for the arguments and the reply of a call.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    args: Vec<u8>,
    spans: Vec<Span>,
    reply: Vec<u8>,
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
/// Room on Lua's stack for a level of a reply.
const LEVEL_SLOTS: c_int = 4;

const NO_ARGUMENTS: &str = "ERR Please specify at least one argument for this redis lib call";
const OUTSIDE: &str = "ERR redis.call/pcall can only be called inside a script invocation";
const BAD_ARGUMENTS: &str = "ERR Lua redis lib command arguments must be strings or integers";
const TOO_LONG: &str = "ERR the arguments of this redis lib call are too long";
const PANICKED: &str = "ERR internal error: a call of a script panicked";

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
pub(super) fn with_current<R>(given: &mut Current<'_>, script: impl FnOnce() -> R) -> R {
    let given = NonNull::from(given).cast::<Current<'static>>();
    let _before = Before(CURRENT.replace(Some(given)));
    script()
}

/// Calls `act` with the script that runs on this thread; `None` if none runs.
pub(super) fn current<R>(act: impl FnOnce(&mut Current<'_>) -> R) -> Option<R> {
    let mut lent = CURRENT.take()?;
    let _before = Before(Some(lent));
    // SAFETY: the pointer was made in `with_current` from a unique reference that is borrowed until
    // the function there returns, and is removed from CURRENT then. It is lent to one at a time: it
    // is not in CURRENT while `act` runs. `act` takes any lifetime, so that it keeps nothing of it.
    Some(act(unsafe { lent.as_mut() }))
}

impl Buffers {
    /// Returns the bytes and the places of the arguments of the last call.
    pub(super) fn args(&self) -> (&[u8], &[Span]) {
        (&self.args, &self.spans)
    }

    /// Takes an argument: a string, or a number as `%.17g` writes it.
    fn take(&mut self, arg: RawArg<'_>) -> Result<(), &'static str> {
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
    pub(super) fn take_values<'v>(
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
    pub(super) fn give_back(&mut self) {
        self.args.clear();
        self.args.shrink_to(BUFFER_KEPT_MAX);
        self.reply.clear();
        self.reply.shrink_to(BUFFER_KEPT_MAX);
        self.spans.clear();
        self.spans.shrink_to(BUFFER_KEPT_MAX / size_of::<Span>());
    }
}

/// An argument of a call.
enum RawArg<'a> {
    String(&'a [u8]),
    Number(f64),
}

/// What a call has come to. The bytes are static, or in the [`Buffers`] of the script that runs.
#[derive(Clone, Copy)]
enum Called {
    Replied(*const [u8]),
    /// The error of a command, which was counted where it happened.
    Failed(*const [u8]),
    /// An error of the call itself.
    Refused(*const [u8]),
}

/// Runs the command whose arguments are on Lua's stack. Quiet.
///
/// # Safety
/// `state` is that of a function that Lua has called.
unsafe fn called(state: *mut ffi::lua_State) -> Called {
    let refused = |text: &'static str| Called::Refused(text.as_bytes());
    // SAFETY: as for this function.
    let call = || current(|current| unsafe { call(state, current) });
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Some(Ok(called))) => called,
        Ok(Some(Err(text))) => refused(text),
        Ok(None) => refused(OUTSIDE),
        Err(_panic) => {
            tracing::error!("a call of a script panicked");
            refused(PANICKED)
        }
    }
}

/// The same for the script that runs. Quiet.
///
/// # Safety
/// `state` is that of a function that Lua has called.
unsafe fn call(
    state: *mut ffi::lua_State,
    current: &mut Current<'_>,
) -> Result<Called, &'static str> {
    let Current { host, proto, buffers } = current;
    buffers.args.clear();
    buffers.spans.clear();
    // SAFETY: the function's arguments are at 1 to the top; the bytes of a string stay where they are
    // while it is on the stack, and are copied at once.
    unsafe {
        let count = ffi::lua_gettop(state);
        if count == 0 {
            return Err(NO_ARGUMENTS);
        }
        for at in 1..=count {
            match ffi::lua_type(state, at) {
                ffi::LUA_TSTRING => {
                    let mut len = 0;
                    let bytes = ffi::lua_tolstring(state, at, &raw mut len);
                    buffers.take(RawArg::String(std::slice::from_raw_parts(bytes.cast(), len)))?;
                }
                ffi::LUA_TNUMBER => {
                    buffers.take(RawArg::Number(ffi::lua_tonumber(state, at)))?;
                }
                _ => return Err(BAD_ARGUMENTS),
            }
        }
    }
    let Buffers { args, spans, reply } = &mut **buffers;
    reply.clear();
    // SAFETY: as for this function; it is called before this one returns.
    let line = || unsafe { line(state) };
    if let Err(error) = host.call(args, spans, *proto, &line, reply) {
        reply.clear();
        reply.extend_from_slice(&error);
        return Ok(Called::Failed(&raw const reply[..]));
    }
    Ok(match reply.strip_prefix(b"-") {
        Some(error) => Called::Failed(error.strip_suffix(b"\r\n").unwrap_or(error)),
        None => Called::Replied(&raw const reply[..]),
    })
}

/// Returns the line of the function that has called the one that runs. Quiet.
///
/// # Safety
/// `state` is that of a function that Lua has called.
unsafe fn line(state: *mut ffi::lua_State) -> Option<usize> {
    // SAFETY: a lua_Debug of zeros is valid: it has integers, pointers and characters; Lua fills in
    // what it is asked for, which for "l" is one integer.
    let line = unsafe {
        let mut debug = std::mem::zeroed::<ffi::lua_Debug>();
        if ffi::lua_getstack(state, 1, &raw mut debug) == 0
            || ffi::lua_getinfo(state, c"l".as_ptr(), &raw mut debug) == 0
        {
            return None;
        }
        debug.currentline
    };
    usize::try_from(line).ok().filter(|line| *line > 0)
}

/// `redis.call`: raises the error of a command. Raising.
unsafe extern "C-unwind" fn redis_call(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: Lua calls this function, with its names as upvalues. What `called` returns has nothing
    // to drop, and its bytes stay until the next call.
    unsafe {
        let (text, is_counted) = match called(state) {
            Called::Replied(reply) => {
                push_reply(state, &mut ReplyReader::new(&*reply));
                return 1;
            }
            Called::Failed(text) => (text, true),
            Called::Refused(text) => (text, false),
        };
        push_error(state, &*text, is_counted);
        ffi::lua_error(state)
    }
}

/// `redis.pcall`: returns the error of a command. Raising.
unsafe extern "C-unwind" fn redis_pcall(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: as in `redis_call`.
    unsafe {
        match called(state) {
            Called::Replied(reply) => push_reply(state, &mut ReplyReader::new(&*reply)),
            Called::Failed(text) => push_error(state, &*text, true),
            Called::Refused(text) => push_error(state, &*text, false),
        }
    }
    1
}

/// The names that `redis_call` and `redis_pcall` have as upvalues, so that Lua need not look for
/// their text.
const CALL_NAMES: [&CStr; 3] = [c"err", c"ignore_error_stats_update", c"ok"];
const ERR: c_int = 1;
const IS_COUNTED: c_int = 2;
const OK: c_int = 3;

/// Returns the functions `redis.call` and `redis.pcall`.
pub(super) fn call_functions(lua: &Lua) -> mlua::Result<(Function, Function)> {
    // SAFETY: raising, below the protected call that `exec_raw` makes; the closure has nothing to
    // drop, and leaves the two functions that are returned on the stack.
    unsafe {
        lua.exec_raw((), |state| {
            for function in [redis_call, redis_pcall] {
                for name in CALL_NAMES {
                    ffi::lua_pushstring_(state, name.as_ptr());
                }
                ffi::lua_pushcclosure(state, function, CALL_NAMES.len() as c_int);
            }
        })
    }
}

/// Pushes a string. Raising.
///
/// # Safety
/// There is room on the stack of `state`.
unsafe fn push_bytes(state: *mut ffi::lua_State, bytes: &[u8]) {
    // SAFETY: Lua copies the bytes.
    unsafe { ffi::lua_pushlstring_(state, bytes.as_ptr().cast(), bytes.len()) }
}

/// Pushes the table of an error. Raising.
///
/// # Safety
/// One of the functions with [`CALL_NAMES`] runs, and there is room on its stack.
unsafe fn push_error(state: *mut ffi::lua_State, text: &[u8], is_counted: bool) {
    // SAFETY: pushes a table, and a name and a value that `lua_rawset` takes off again.
    unsafe {
        ffi::lua_createtable(state, 0, if is_counted { 2 } else { 1 });
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(ERR));
        push_bytes(state, text);
        ffi::lua_rawset(state, -3);
        if is_counted {
            ffi::lua_pushvalue(state, ffi::lua_upvalueindex(IS_COUNTED));
            ffi::lua_pushboolean(state, 1);
            ffi::lua_rawset(state, -3);
        }
    }
}

/// Pushes the next value of a reply. Raising.
///
/// # Safety
/// One of the functions with [`CALL_NAMES`] runs.
unsafe fn push_reply(state: *mut ffi::lua_State, reply: &mut ReplyReader<'_>) {
    // SAFETY: each arm pushes one value: what else it pushes it takes off again. There is room for
    // three values after the check, and each level of the recursion checks for its own.
    unsafe {
        ffi::luaL_checkstack(state, LEVEL_SLOTS, c"too deep a reply".as_ptr());
        match reply.token() {
            Token::Number(number) => ffi::lua_pushnumber(state, number),
            Token::Bulk(bytes) => push_bytes(state, bytes),
            Token::Nil => ffi::lua_pushnil(state),
            Token::Boolean(value) => ffi::lua_pushboolean(state, c_int::from(value)),
            Token::Error(text) => push_error(state, text, true),
            Token::Status(text) => {
                ffi::lua_createtable(state, 0, 1);
                ffi::lua_pushvalue(state, ffi::lua_upvalueindex(OK));
                push_bytes(state, text);
                ffi::lua_rawset(state, -3);
            }
            Token::Array(len) => {
                ffi::lua_createtable(state, c_int::try_from(len).unwrap_or(0), 0);
                for at in 1..=len {
                    push_reply(state, reply);
                    ffi::lua_rawseti_(state, -2, at as c_int);
                }
            }
            Token::Map(pairs) => {
                push_field_name(state, c"map");
                ffi::lua_createtable(state, 0, c_int::try_from(pairs).unwrap_or(0));
                for _ in 0..pairs {
                    push_reply(state, reply);
                    push_reply(state, reply);
                    ffi::lua_rawset(state, -3);
                }
                ffi::lua_rawset(state, -3);
            }
            Token::Set(len) => {
                push_field_name(state, c"set");
                ffi::lua_createtable(state, 0, c_int::try_from(len).unwrap_or(0));
                for _ in 0..len {
                    push_reply(state, reply);
                    ffi::lua_pushboolean(state, 1);
                    ffi::lua_rawset(state, -3);
                }
                ffi::lua_rawset(state, -3);
            }
            Token::Double(number) => {
                push_field_name(state, c"double");
                ffi::lua_pushnumber(state, number);
                ffi::lua_rawset(state, -3);
            }
            Token::BigNumber(digits) => {
                push_field_name(state, c"big_number");
                push_bytes(state, digits);
                ffi::lua_rawset(state, -3);
            }
            Token::Verbatim { format, text } => push_verbatim(state, format, text),
        }
    }
}

/// Pushes a table and the name of its only field. Raising.
///
/// # Safety
/// There is room on the stack of `state`.
unsafe fn push_field_name(state: *mut ffi::lua_State, name: &'static CStr) {
    // SAFETY: it has room.
    unsafe {
        ffi::lua_createtable(state, 0, 1);
        ffi::lua_pushstring_(state, name.as_ptr());
    }
}

/// Pushes a verbatim string. Raising.
///
/// # Safety
/// There is room on the stack of `state`.
unsafe fn push_verbatim(state: *mut ffi::lua_State, format: &[u8], text: &[u8]) {
    // SAFETY: it checks for room: five values are there at once.
    unsafe {
        ffi::luaL_checkstack(state, LEVEL_SLOTS + 1, c"too deep a reply".as_ptr());
        push_field_name(state, c"verbatim_string");
        ffi::lua_createtable(state, 0, 2);
        for (name, bytes) in [(c"string", text), (c"format", format)] {
            ffi::lua_pushstring_(state, name.as_ptr());
            push_bytes(state, bytes);
            ffi::lua_rawset(state, -3);
        }
        ffi::lua_rawset(state, -3);
    }
}

/// Runs scripts and functions of libraries in a state.
pub(super) struct Runner {
    lua: Lua,
    /// The main thread of the state.
    state: *mut ffi::lua_State,
    /// [`run_script`].
    run: Kept,
    /// Where a value goes that mlua reads.
    value: Kept,
}

// SAFETY: the state belongs to `lua`, which may go from thread to thread, and whoever has the Runner
// for itself has the state for itself: no other uses of it run at the same time.
unsafe impl Send for Runner {}

/// A value in Lua's registry: a place there.
#[derive(Debug)]
pub(super) struct Kept(c_int);

impl Kept {
    /// Keeps a value.
    pub(super) fn new(lua: &Lua, value: impl IntoLua) -> mlua::Result<Self> {
        // SAFETY: raising, below the protected call that `exec_raw` makes; the closure has nothing to
        // drop. It takes the value off the stack and leaves its place there.
        let place = unsafe {
            lua.exec_raw(value.into_lua(lua)?, |state| {
                let place = ffi::luaL_ref(state, ffi::LUA_REGISTRYINDEX);
                ffi::lua_pushinteger(state, ffi::lua_Integer::from(place));
            })
        };
        place.map(Self)
    }

    /// Gives the place back.
    pub(super) fn release(self, lua: &Lua) -> mlua::Result<()> {
        // SAFETY: raising, below the protected call that `exec_raw` makes; the closure has nothing to
        // drop. The place was `luaL_ref`'s, and is not used again.
        unsafe { lua.exec_raw((), |state| ffi::luaL_unref(state, ffi::LUA_REGISTRYINDEX, self.0)) }
    }
}

/// What a script has ended with.
pub(super) enum Ended {
    /// A plain value, which was shown.
    Plain,
    Value(Value),
    Error(Value),
}

/// What [`run_script`] is called with, as the first of its arguments.
struct Job<'a> {
    args: ScriptArgs<'a>,
    /// A function of a library gets its keys and arguments as arguments, a script as globals.
    as_arguments: bool,
}

/// The upvalues of [`run_script`]: the table behind the globals that scripts see, the names of two
/// of them, what sees errors where they are raised, a table whose first element says whether the
/// script has left something to clean up, and the function that does.
const GLOBALS: c_int = 1;
const KEYS: c_int = 2;
const ARGV: c_int = 3;
const HANDLER: c_int = 4;
const NOTED: c_int = 5;
const CLEAN: c_int = 6;
/// Where the script's value or error is on the stack of [`run_script`], after whether it is a value.
const RESULT: c_int = 5;

/// How high the stack of a state was, which it becomes again.
struct Top(*mut ffi::lua_State, c_int);

impl Drop for Top {
    fn drop(&mut self) {
        // SAFETY: the stack is only lowered, which is quiet; the state outlives the run of a script.
        unsafe { ffi::lua_settop(self.0, self.1) }
    }
}

impl Runner {
    /// Returns what runs scripts whose globals are in this table.
    pub(super) fn new(
        lua: &Lua,
        globals: &Table,
        handler: &Function,
        noted: &Table,
        clean: &Function,
    ) -> mlua::Result<Self> {
        let mut main = std::ptr::null_mut();
        let given = (globals, "KEYS", "ARGV", handler, noted, clean);
        // SAFETY: raising, below the protected call that `exec_raw` makes; the closure has nothing to
        // drop. The six values that are given become the upvalues of the function that is returned.
        // No function of Lua runs, so that the state that is passed is the main thread.
        let run: Function = unsafe {
            lua.exec_raw(given, |state| {
                main = state;
                ffi::lua_pushcclosure(state, run_script, CLEAN);
            })?
        };
        let (run, value) = (Kept::new(lua, run)?, Kept::new(lua, false)?);
        Ok(Self { lua: lua.clone(), state: main, run, value })
    }

    /// Runs a script, or a function of a library. A plain value that it returns is shown to `show`.
    pub(super) fn run(
        &mut self,
        script: &Kept,
        args: ScriptArgs<'_>,
        as_arguments: bool,
        show: impl FnOnce(Plain<'_>),
    ) -> mlua::Result<Ended> {
        let (state, job) = (self.state, Job { args, as_arguments });
        // SAFETY: quiet: what may raise does so below `lua_pcall`. A main thread at rest has room for
        // 20 values, of which mlua leaves none there; at most three are at once. `job` lives until
        // the call has returned. A string stays where it is while it is on the stack.
        let has_failed = unsafe {
            let _top = Top(state, ffi::lua_gettop(state));
            ffi::lua_rawgeti_(state, ffi::LUA_REGISTRYINDEX, self.run.0);
            ffi::lua_pushlightuserdata(state, (&raw const job).cast_mut().cast());
            ffi::lua_rawgeti_(state, ffi::LUA_REGISTRYINDEX, script.0);
            let status = ffi::lua_pcall(state, 2, 2, 0);
            let has_failed = status != ffi::LUA_OK || ffi::lua_toboolean(state, -2) == 0;
            match ffi::lua_type(state, -1) {
                _ if has_failed => {}
                ffi::LUA_TNIL => return Ok(shown(show, Plain::Nil)),
                ffi::LUA_TBOOLEAN => {
                    return Ok(shown(show, Plain::Boolean(ffi::lua_toboolean(state, -1) != 0)));
                }
                ffi::LUA_TNUMBER => {
                    return Ok(shown(show, Plain::Number(ffi::lua_tonumber(state, -1))));
                }
                ffi::LUA_TSTRING => {
                    let mut len = 0;
                    let bytes = ffi::lua_tolstring(state, -1, &raw mut len);
                    let bytes = std::slice::from_raw_parts(bytes.cast(), len);
                    return Ok(shown(show, Plain::String(bytes)));
                }
                _ => {}
            }
            // The place exists: nothing is created.
            ffi::lua_rawseti_(state, ffi::LUA_REGISTRYINDEX, self.value.0);
            has_failed
        };
        let value = self.take_value()?;
        Ok(if has_failed { Ended::Error(value) } else { Ended::Value(value) })
    }

    /// Returns the value that was left in the registry.
    fn take_value(&mut self) -> mlua::Result<Value> {
        let place = self.value.0;
        // SAFETY: raising, below the protected call that `exec_raw` makes; the closure has nothing to
        // drop. It leaves one value on the stack, that of the place, which becomes false.
        unsafe {
            self.lua.exec_raw((), |state| {
                ffi::lua_rawgeti_(state, ffi::LUA_REGISTRYINDEX, place);
                ffi::lua_pushboolean(state, 0);
                ffi::lua_rawseti_(state, ffi::LUA_REGISTRYINDEX, place);
            })
        }
    }
}

fn shown(show: impl FnOnce(Plain<'_>), value: Plain<'_>) -> Ended {
    show(value);
    Ended::Plain
}

/// Runs the script that is its second argument; returns whether it has ended without an error, and
/// its value or error. Raising.
unsafe extern "C-unwind" fn run_script(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: only `Runner::run` has this function, and calls it, by a protected call, with a pointer
    // to a Job that lives as long, and a function. Its stack has room for 20 values, of which at most
    // seven are there at once.
    unsafe {
        let job = &*ffi::lua_touserdata(state, 1).cast::<Job<'_>>();
        let ScriptArgs { bytes, keys, args } = job.args;
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(HANDLER));
        let given = if job.as_arguments {
            ffi::lua_pushvalue(state, 2);
            push_strings(state, bytes, keys);
            push_strings(state, bytes, args);
            2
        } else {
            for (name, spans) in [(KEYS, keys), (ARGV, args)] {
                ffi::lua_pushvalue(state, ffi::lua_upvalueindex(name));
                push_strings(state, bytes, spans);
                ffi::lua_rawset(state, ffi::lua_upvalueindex(GLOBALS));
            }
            ffi::lua_pushvalue(state, 2);
            0
        };
        let status = ffi::lua_pcall(state, given, 1, 3);
        ffi::lua_pushboolean(state, c_int::from(status == ffi::LUA_OK));
        ffi::lua_insert(state, -2);
        // A function of a library may have been handed anything when it was loaded.
        ffi::lua_rawgeti_(state, ffi::lua_upvalueindex(NOTED), 1);
        if job.as_arguments || ffi::lua_toboolean(state, -1) != 0 {
            // The state of a script that was killed refuses this, and is dropped.
            ffi::lua_pushvalue(state, ffi::lua_upvalueindex(CLEAN));
            ffi::lua_pcall(state, 0, 0, 0);
        }
        ffi::lua_settop(state, RESULT);
    }
    2
}

/// Pushes a table of strings. Raising.
///
/// # Safety
/// There is room on the stack of `state`.
unsafe fn push_strings(state: *mut ffi::lua_State, bytes: &[u8], spans: &[Span]) {
    // SAFETY: it has room for two values.
    unsafe {
        ffi::lua_createtable(state, c_int::try_from(spans.len()).unwrap_or(0), 0);
        for (at, span) in spans.iter().enumerate() {
            let end = (span.start as usize).saturating_add(span.len as usize);
            push_bytes(state, bytes.get(span.start as usize..end).unwrap_or_default());
            ffi::lua_rawseti_(state, -2, at as c_int + 1);
        }
    }
}
