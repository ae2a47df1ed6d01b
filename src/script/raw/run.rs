//! Runs scripts and functions of libraries.

use super::call::push_bytes;
use super::current::ScriptArgs;
use crate::resp::Span;
use crate::script::reply::Plain;
use mlua::{Function, IntoLua, Lua, Table, Value, ffi};
use std::ffi::c_int;

/// Runs scripts and functions of libraries in a state.
pub(in crate::script) struct Runner {
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
pub(in crate::script) struct Kept(c_int);

impl Kept {
    /// Keeps a value.
    pub(in crate::script) fn new(lua: &Lua, value: impl IntoLua) -> mlua::Result<Self> {
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
    pub(in crate::script) fn release(self, lua: &Lua) -> mlua::Result<()> {
        // SAFETY: raising, below the protected call that `exec_raw` makes; the closure has nothing to
        // drop. The place was `luaL_ref`'s, and is not used again.
        unsafe { lua.exec_raw((), |state| ffi::luaL_unref(state, ffi::LUA_REGISTRYINDEX, self.0)) }
    }
}

/// What a script has ended with.
pub(in crate::script) enum Ended {
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
    pub(in crate::script) fn new(
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
    pub(in crate::script) fn run(
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
