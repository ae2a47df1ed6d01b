//! Compiles texts.

use mlua::{ChunkMode, Function, Lua};

/// Compiles a text. No garbage is collected meanwhile: the interpreter keeps the chunk's name where the
/// collection does not see it.
pub(super) fn into_function(lua: &Lua, text: &[u8], name: &str) -> mlua::Result<Function> {
    let chunk = lua.load(text).set_name(name).set_mode(ChunkMode::Text);
    lua.gc_stop();
    let function = chunk.into_function();
    lua.gc_restart();
    function
}
