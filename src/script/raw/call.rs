//! `redis.call` and `redis.pcall`: arguments from Lua's stack, and the reply onto it.

use super::current::{BAD_ARGUMENTS, Buffers, Current, NO_ARGUMENTS, RawArg, current};
use crate::script::reply::{ReplyReader, Token};
use mlua::{Function, Lua, ffi};
use std::ffi::{CStr, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Room on Lua's stack for a level of a reply.
const LEVEL_SLOTS: c_int = 4;

const OUTSIDE: &str = "ERR redis.call/pcall can only be called inside a script invocation";
const PANICKED: &str = "ERR internal error: a call of a script panicked";

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
pub(in crate::script) fn call_functions(lua: &Lua) -> mlua::Result<(Function, Function)> {
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
pub(super) unsafe fn push_bytes(state: *mut ffi::lua_State, bytes: &[u8]) {
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
