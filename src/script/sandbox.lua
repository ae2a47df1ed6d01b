-- Makes the globals of scripts: what they see cannot be changed, neither by assignment nor by the
-- functions that go around it.
--
-- A table that is not to change is shown as an empty one in front of it, which passes reads on and
-- refuses writes. The functions that would look at the empty one look behind it.
local real_globals, deny, undefined, plain, bad_argument = ...

local getmetatable, setmetatable = getmetatable, setmetatable
local next, pairs, type = next, pairs, type
local pcall, xpcall, resume = pcall, xpcall, coroutine.resume
local rawget, rawset = rawget, rawset
local load = load
local byte = string.byte

-- The empty tables, each with the one behind it, and with the metatable that scripts see.
local behind, meta = {}, {}

-- Its first element: whether the script may have table.insert, which writes to a table without
-- asking.
local noted = {}

local function protect(real)
    local shown = {}
    setmetatable(shown, { __index = real, __newindex = deny })
    behind[shown] = real
    return shown
end

-- Returns what a function that catches errors does: an error of the interface is its text there.
local function caught(ok, err, ...)
    if ok then
        return true, err, ...
    end
    return false, plain(err, true)
end

local function resumed(ok, err, ...)
    if ok then
        return true, err, ...
    end
    return false, plain(err)
end

local function checked_handler(handler)
    if type(handler) ~= "function" then
        return handler
    end
    return function(err)
        return handler(plain(err))
    end
end

function real_globals.pcall(...)
    return caught(pcall(...))
end

function real_globals.xpcall(f, handler)
    return xpcall(f, checked_handler(handler))
end

function real_globals.coroutine.resume(...)
    return resumed(resume(...))
end

function real_globals.pairs(...)
    local t = ...
    local real = behind[t]
    if real then
        noted[1] = true
        return next, real, nil
    end
    if type(t) ~= "table" then
        bad_argument("pairs", "table", ...)
    end
    return next, t, nil
end

function real_globals.rawget(t, k)
    local real = behind[t]
    if real then
        noted[1] = true
        return rawget(real, k)
    end
    return rawget(t, k)
end

function real_globals.rawset(t, k, v)
    if behind[t] then
        deny()
    end
    return rawset(t, k, v)
end

function real_globals.getmetatable(t)
    if behind[t] then
        return meta[t]
    end
    return getmetatable(t)
end

function real_globals.setmetatable(t, m)
    if behind[t] then
        deny()
    end
    return setmetatable(t, m)
end

-- Chunks are text: one that begins as a compiled one is read as the text that it is not.
function real_globals.load(reader, name)
    local is_first = true
    if type(reader) ~= "function" then
        bad_argument("load", "function", reader)
    end
    return load(function()
        local piece = reader()
        if is_first and type(piece) == "string" and piece ~= "" then
            is_first = false
            if byte(piece) == 27 then
                return " " .. piece
            end
        end
        return piece
    end, name)
end

for _, name in pairs({
    "string", "table", "math", "coroutine", "bit", "cjson", "cmsgpack", "struct", "redis",
}) do
    if real_globals[name] then
        real_globals[name] = protect(real_globals[name])
    end
end

-- That function is handed out with a note that it was.
local real_table, insert = behind[real_globals.table], real_globals.table.insert
local lean_table = {}
for name, value in pairs(real_table) do
    lean_table[name] = value
end
lean_table.insert = nil
setmetatable(lean_table, { __index = function(_, name)
    if name == "insert" then
        noted[1] = true
        return insert
    end
end })
getmetatable(real_globals.table).__index = lean_table

local of_strings = getmetatable("")
of_strings.__index = real_globals.string
of_strings.__metatable = protect(of_strings)

local globals = protect(real_globals)
real_globals._G = globals
local of_globals = { __index = undefined }
setmetatable(real_globals, of_globals)
meta[globals] = protect(of_globals)

local shown = {}
for table in pairs(behind) do
    shown[#shown + 1] = table
end

-- Removes what was left in the tables that do not change.
local function clean()
    noted[1] = nil
    for i = 1, #shown do
        local key = next(shown[i])
        while key ~= nil do
            rawset(shown[i], key, nil)
            key = next(shown[i])
        end
    end
end

-- Returns what a library sees while it is loaded: the names in a table, and nothing else.
local function on_load(redis)
    setmetatable(redis, { __index = undefined })
    return setmetatable({ redis = protect(redis) }, { __index = undefined })
end

-- Returns the globals of a library, which pass reads on, and the metatable that says to what.
local function environment(names)
    local passes_on = { __index = names, __newindex = deny }
    local shown = setmetatable({}, passes_on)
    behind[shown], meta[shown] = real_globals, meta[globals]
    return shown, passes_on
end

return globals, noted, clean, on_load, environment
