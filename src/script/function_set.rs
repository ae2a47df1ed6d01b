//! A Lua state with the functions of libraries.
//!
//! A library runs once, when it is loaded, and sees nothing then but what it registers functions with.
//! Its functions see afterwards what scripts see, but for KEYS and ARGV, which they are called with.

use super::api;
use super::host::Host;
use super::interpreter::{Interpreter, RunError, chunk};
use super::library::{Function, Library, is_name};
use super::raised::Raised;
use super::raw::{Kept, ScriptArgs};
use super::source::Flags;
use crate::resp::Sink;
use mlua::{Lua, MultiValue, Table, Value};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// The chunk's name in errors.
const CHUNK_NAME: &str = "@user_function";
/// Most functions of a library.
const FUNCTIONS_MAX: usize = 10_000;

/// What a library has registered while it is loaded; `None` at other times.
type Registered = Arc<Mutex<Option<Vec<(Function, Kept)>>>>;

/// A Lua state with functions.
pub(crate) struct FunctionSet {
    interpreter: Interpreter,
    registered: Registered,
    /// What a library sees while it is loaded.
    on_load: Table,
    by_name: HashMap<Vec<u8>, (Kept, Flags)>,
}

impl std::fmt::Debug for FunctionSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FunctionSet")
            .field("functions", &self.by_name.len())
            .finish_non_exhaustive()
    }
}

impl FunctionSet {
    /// Returns a state without functions.
    ///
    /// # Errors
    /// The text of an error: there is no memory for it.
    pub(crate) fn new(version: &str, generation: u64) -> Result<Self, Vec<u8>> {
        let interpreter = Interpreter::new(version, generation)?;
        let registered = Registered::default();
        let lua = interpreter.lua();
        let made = register_function(lua, &registered).and_then(|register| {
            let redis = api::table_on_load(lua, version)?;
            redis.raw_set("register_function", register)?;
            interpreter.globals().on_load(redis)
        });
        let on_load = made.map_err(|error| [b"ERR ", error.to_string().as_bytes()].concat())?;
        Ok(Self { interpreter, registered, on_load, by_name: HashMap::new() })
    }

    /// Returns the generation of libraries that the state was made for.
    pub(crate) fn generation(&self) -> u64 {
        self.interpreter.generation()
    }

    /// Returns by how much the state's memory has grown since the last call.
    pub(crate) fn take_growth(&mut self) -> u64 {
        self.interpreter.take_growth()
    }

    /// Returns the memory that the state used at that call.
    pub(crate) fn memory(&self) -> usize {
        self.interpreter.memory()
    }

    /// Loads a library.
    ///
    /// # Errors
    /// The text of an error reply.
    pub(crate) fn load(&mut self, code: &[u8]) -> Result<Library, Vec<u8>> {
        let name = Library::name_of(code)?;
        let lua = self.interpreter.lua();
        let function = chunk(lua, Library::body(code), CHUNK_NAME)
            .map_err(|why| [b"ERR Error compiling function: ", &why[..]].concat())?;
        let failed = |error: mlua::Error| {
            let why = Raised::of(&error).to_string();
            [b"ERR Error registering functions: ERR ", why.as_bytes()].concat()
        };
        let (environment, meta) =
            self.interpreter.globals().environment(&self.on_load).map_err(failed)?;
        function.set_environment(environment).map_err(failed)?;
        *self.registered.lock() = Some(Vec::new());
        let outcome = self.interpreter.call_alone(&function);
        let registered = self.registered.lock().take().unwrap_or_default();
        outcome.map_err(failed)?.map_err(|error| {
            let mut text = b"ERR Error registering functions: ".to_vec();
            if let Value::Table(error) = &error
                && let Ok(why) = error.raw_get::<Value>("err")
            {
                api::append_text(&mut text, &why);
            }
            text
        })?;
        meta.raw_set("__index", lua.globals()).map_err(failed)?;
        if registered.is_empty() {
            return Err(b"ERR No functions registered".to_vec());
        }
        let mut functions = Vec::with_capacity(registered.len());
        for (function, key) in registered {
            self.by_name.insert(function.name.to_ascii_lowercase(), (key, function.flags));
            functions.push(function);
        }
        functions.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Library { name, code: code.to_vec(), functions })
    }

    /// Returns the flags of a function, if there is one of this name, in any case.
    pub(crate) fn flags(&self, name: &[u8]) -> Option<Flags> {
        self.by_name.get(&name.to_ascii_lowercase()).map(|(_, flags)| *flags)
    }

    /// Calls a function with keys and arguments and writes its reply.
    ///
    /// # Errors
    /// The error that it has ended with.
    pub(crate) fn run(
        &mut self,
        name: &[u8],
        args: ScriptArgs<'_>,
        server: &mut dyn Host,
        out: &mut Sink<'_>,
    ) -> Result<(), RunError> {
        let Some((key, _)) = self.by_name.get(&name.to_ascii_lowercase()) else {
            return Err(RunError { text: b"ERR Function not found".to_vec(), is_spent: false });
        };
        let shown = String::from_utf8_lossy(name);
        self.interpreter.run_function(key, &shown, args, server, out)
    }
}

/// Returns `redis.register_function`.
fn register_function(lua: &Lua, registered: &Registered) -> mlua::Result<mlua::Function> {
    let registered = Arc::clone(registered);
    lua.create_function(move |lua, args: MultiValue| {
        let mut registered = registered.lock();
        let Some(registered) = registered.as_mut() else {
            return Err(Raised::table(
                "ERR redis.register_function can only be called on FUNCTION LOAD command",
            ));
        };
        let (function, callback) = read(&args).map_err(Raised::table)?;
        if !is_name(&function.name) {
            return Err(Raised::table(
                "ERR Library names can only contain letters, numbers, or underscores(_) and must be \
                 at least one character long",
            ));
        }
        if registered.iter().any(|(other, _)| other.name == function.name) {
            return Err(Raised::table("ERR Function already exists in the library"));
        }
        if registered.len() == FUNCTIONS_MAX {
            return Err(Raised::table("ERR too many functions in the library"));
        }
        registered.push((function, Kept::new(lua, callback)?));
        Ok(())
    })
}

/// Reads the arguments of `redis.register_function`: a name and a function, or a table of them.
fn read(args: &MultiValue) -> Result<(Function, mlua::Function), &'static str> {
    let flags = Flags::default();
    match (args.front(), args.get(1), args.len()) {
        (Some(name), Some(callback), 2) => {
            let name = text(name)
                .ok_or("ERR first argument to redis.register_function must be a string")?;
            let Value::Function(callback) = callback else {
                return Err("ERR second argument to redis.register_function must be a function");
            };
            Ok((Function { name, description: None, flags }, callback.clone()))
        }
        (Some(Value::Table(named)), None, 1) => read_named(named),
        (Some(_), None, 1) => Err(
            "ERR calling redis.register_function with a single argument is only applicable to Lua \
             table (representing named arguments).",
        ),
        _ => Err("ERR wrong number of arguments to redis.register_function"),
    }
}

fn read_named(named: &Table) -> Result<(Function, mlua::Function), &'static str> {
    let (mut name, mut description, mut callback) = (None, None, None);
    let mut flags = Flags::default();
    for pair in named.pairs::<Value, Value>() {
        let Ok((key, value)) = pair else { break };
        let Some(key) = text(&key) else {
            return Err("ERR named argument key given to redis.register_function is not a string");
        };
        match &key.to_ascii_lowercase()[..] {
            b"function_name" => {
                let given = text(&value).ok_or(
                    "ERR function_name argument given to redis.register_function must be a string",
                )?;
                name = Some(given);
            }
            b"description" => {
                let given = text(&value).ok_or(
                    "ERR description argument given to redis.register_function must be a string",
                )?;
                description = Some(given);
            }
            b"callback" => match value {
                Value::Function(function) => callback = Some(function),
                _ => {
                    return Err(
                        "ERR callback argument given to redis.register_function must be a function",
                    );
                }
            },
            b"flags" => match value {
                Value::Table(names) => flags = read_flags(&names)?,
                _ => {
                    return Err(
                        "ERR flags argument to redis.register_function must be a table representing \
                         function flags",
                    );
                }
            },
            _ => return Err("ERR unknown argument given to redis.register_function"),
        }
    }
    let name = name.ok_or("ERR redis.register_function must get a function name argument")?;
    let callback = callback.ok_or("ERR redis.register_function must get a callback argument")?;
    Ok((Function { name, description, flags }, callback))
}

fn read_flags(names: &Table) -> Result<Flags, &'static str> {
    let mut flags = Flags::default();
    for at in 1.. {
        match names.raw_get::<Value>(at) {
            Ok(Value::Nil) | Err(_) => break,
            Ok(Value::String(name)) => {
                flags |= Flags::named(&name.as_bytes()).ok_or("ERR unknown flag given")?;
            }
            Ok(_) => return Err("ERR unknown flag given"),
        }
    }
    Ok(flags)
}

/// Returns a string, or a number as Lua writes it.
fn text(value: &Value) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    api::append_text(&mut text, value).then_some(text)
}
