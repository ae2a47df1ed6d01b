//! The interpreter of scripts: Lua 5.1 as Redis embeds it, over an abstract server.
//!
//! ```text
//! source     a script's text, its SHA-1, its shebang and flags
//! registry   the scripts that EVALSHA finds
//! library    libraries of functions: FUNCTION LOAD
//! host       what redis.call needs: the server that a script runs on
//! nesting    room for tables that are nested deep
//! compile    texts to functions
//! number     numbers as C's printf writes them
//! raised     the errors that library functions raise, and where they happened
//! reply      replies to Lua values, Lua values to replies
//! raw        redis.call, and the run of a script, through Lua's C interface
//! work       what one call of a library may write, and how long
//! api        redis.log, redis.error_reply …
//! args       arguments of library functions
//! bit cjson cmsgpack structs   the libraries of these names
//! sandbox    the globals that scripts see, none of which they can change
//! interpreter  a Lua state: runs scripts, one after the other
//! function_set  a Lua state with functions: FCALL
//! ```
//!
//! Nothing here knows commands, keys or slots: [`Host`] runs commands and says when a script has to
//! end. A script sees what Redis 7.0 shows it: the same libraries, the same conversions, the same
//! errors with the script's SHA-1 and line.

mod source;
mod registry;
mod library;
mod host;
mod nesting;
mod compile;
mod number;
mod raised;
mod reply;
mod raw;
mod work;
mod api;
mod args;
mod bit;
mod cjson;
mod cmsgpack;
mod structs;
mod sandbox;
mod interpreter;
mod function_set;
#[cfg(test)]
mod raw_tests;
#[cfg(test)]
mod property_tests;

pub(crate) use function_set::FunctionSet;
pub(crate) use host::{CallError, Host};
pub(crate) use interpreter::{Interpreter, RunError, check_syntax};
pub(crate) use library::{Existing, Functions, Library};
pub(crate) use raw::ScriptArgs;
pub(crate) use registry::Scripts;
pub(crate) use source::{Flags, Script, ScriptSha};
