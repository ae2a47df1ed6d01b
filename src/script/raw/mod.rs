//! Where Lua and the server meet, through Lua's own C interface: `redis.call` and the run of a
//! script. This folder is the one place of the interpreter with `unsafe`.
//!
//! mlua's safe calls keep each value that crosses in a handle and, as the state's memory has a bound,
//! create each by a call of its own that catches Lua's error. `benches/instructions` counted, per
//! operation and with as little done by them as can be: 16,278 instructions for a script of one call
//! (`EVALSHA release P=16`) and 4,032 for a call (`redis.call of GET`). With this module it counts
//! 9,851 and 2,436, Redis 7.0.15 beside it 16,459 and 3,211.
//!
//! ```text
//! current   the script that runs on this thread, and memory for its calls
//! call      redis.call, redis.pcall
//! run       runs scripts and functions of libraries
//! ```
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
//!   have values of any kind, and may panic: `call::called` catches what does.
//!
//! Bytes that a quiet function leaves for a raising one are in [`Buffers`], which live as long as the
//! run of the script and change only in the next call.

#![expect(unsafe_code, reason = "Lua's C interface; see the proof")]

mod current;
mod call;
mod run;

pub(super) use call::call_functions;
pub(crate) use current::ScriptArgs;
pub(super) use current::{Buffers, Current, current, with_current};
pub(super) use run::{Ended, Kept, Runner};
