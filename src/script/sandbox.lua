-- Makes the globals of scripts: what they see cannot be changed, neither by assignment nor by the
-- functions that go around it.
--
-- A table that is not to change is shown as an empty one in front of it, which passes reads on and
-- refuses writes. The functions that would look at the empty one look behind it.
local real_globals, deny, undefined, plain, called_as, killed = ...

local getmetatable, setmetatable = getmetatable, setmetatable
local next, pairs, type, select = next, pairs, type, select
local pcall, xpcall, resume = pcall, xpcall, coroutine.resume
local rawget, rawset, error = rawget, rawset, error
local load_string, tonumber, unpack = loadstring, tonumber, unpack
local concat, floor, ceil = table.concat, math.floor, math.ceil

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
        local shown = plain(err)
        -- Where a script is killed nothing ends what a handler does.
        if type(shown) == "table" and rawget(shown, "err") == killed then
            return shown
        end
        return handler(shown)
    end
end

-- Raises the error of an argument where a function of this file was called: an error of the function that
-- it stands for would name this file.
local function bad_argument(number, name, why)
    error("bad argument #" .. number .. " to '" .. called_as(name) .. "' (" .. why .. ")", 3)
end

-- Checks that the first argument is there and has this type.
local function check(name, wanted, ...)
    local got = type((...))
    if got ~= wanted then
        if select("#", ...) == 0 then
            got = "no value"
        end
        error("bad argument #1 to '" .. called_as(name) .. "' (" .. wanted .. " expected, got " .. got .. ")", 3)
    end
end

function real_globals.pcall(...)
    if select("#", ...) == 0 then
        return false, "attempt to call a boolean value"
    end
    return caught(pcall(...))
end

function real_globals.xpcall(...)
    if select("#", ...) < 2 then
        bad_argument(2, "xpcall", "value expected")
    end
    local f, handler = ...
    return xpcall(f, checked_handler(handler))
end

function real_globals.coroutine.resume(...)
    local c = ...
    if type(c) ~= "thread" then
        bad_argument(1, "resume", "coroutine expected")
    end
    return resumed(resume(...))
end

function real_globals.pairs(...)
    local t = ...
    local real = behind[t]
    if real then
        noted[1] = true
        return next, real, nil
    end
    check("pairs", "table", ...)
    return next, t, nil
end

function real_globals.rawget(...)
    local t, k = ...
    check("rawget", "table", ...)
    if select("#", ...) < 2 then
        bad_argument(2, "rawget", "value expected")
    end
    local real = behind[t]
    if real then
        noted[1] = true
        return rawget(real, k)
    end
    return rawget(t, k)
end

function real_globals.rawset(...)
    local t, k, v = ...
    if behind[t] then
        deny()
    end
    check("rawset", "table", ...)
    local count = select("#", ...)
    if count < 3 then
        bad_argument(count + 1, "rawset", "value expected")
    elseif k == nil then
        error("table index is nil", 0)
    elseif k ~= k then
        error("table index is NaN", 0)
    end
    return rawset(t, k, v)
end

function real_globals.getmetatable(...)
    local t = ...
    if select("#", ...) == 0 then
        bad_argument(1, "getmetatable", "value expected")
    end
    if behind[t] then
        return meta[t]
    end
    return getmetatable(t)
end

function real_globals.setmetatable(...)
    local t, m = ...
    if behind[t] then
        deny()
    end
    check("setmetatable", "table", ...)
    if select("#", ...) < 2 or m ~= nil and type(m) ~= "table" then
        bad_argument(2, "setmetatable", "nil or table expected")
    end
    local old = getmetatable(t)
    if old ~= nil and (type(old) ~= "table" or rawget(old, "__metatable") ~= nil) then
        error("cannot change a protected metatable", 2)
    end
    return setmetatable(t, m)
end

-- All that the reader returns is read before it is compiled: what it runs, the collection of garbage
-- above all, must not come in between.
function real_globals.load(...)
    check("load", "function", ...)
    local reader, name = ...
    local pieces, count = {}, 0
    while true do
        local ok, piece = pcall(reader)
        if not ok then
            return nil, plain(piece)
        elseif piece == nil or piece == "" then
            break
        elseif type(piece) ~= "string" and type(piece) ~= "number" then
            return nil, "reader function must return a string"
        end
        count = count + 1
        pieces[count] = piece
    end
    return load_string(concat(pieces), name or "=(load)")
end

-- Returns a number as a conversion to C's int leaves it.
local function int(number)
    if number ~= number or number >= 2^63 or number < -2^63 then
        return 0
    end
    local whole = (number >= 0 and floor(number) or ceil(number)) % 2^32
    return whole >= 2^31 and whole - 2^32 or whole
end

-- Returns an argument of `unpack` as an integer.
local function bound(number, value)
    local whole = tonumber(value)
    if not whole or type(value) ~= "number" and type(value) ~= "string" then
        error("bad argument #" .. number .. " to '" .. called_as("unpack")
            .. "' (number expected, got " .. type(value) .. ")", 3)
    end
    return int(whole)
end

-- The values that fit on the stack of a function.
local STACK_MAX = 8000

-- Counts the values before they are put on the stack: the function that is called here may be compiled so
-- that its own check of a sum beyond 2^31 is left out.
function real_globals.unpack(...)
    check("unpack", "table", ...)
    local count, t, from, to = select("#", ...), ...
    from = from ~= nil and bound(2, from) or 1
    to = to ~= nil and bound(3, to) or #t
    if from <= to and to - from + 1 + (count < 3 and count or 3) > STACK_MAX then
        error("too many results to unpack", 2)
    elseif count == 1 then
        return unpack(t)
    end
    return unpack(t, from, to)
end

-- The longest pattern, in bytes: the functions that match it call themselves for each of its items.
local PATTERN_MAX = 8192

local find, match, gmatch, gsub = string.find, string.match, string.gmatch, string.gsub

local function check_pattern(pattern, is_plain)
    if type(pattern) == "string" and #pattern > PATTERN_MAX and not is_plain then
        error("pattern too complex", 3)
    end
end

function real_globals.string.find(...)
    local _, pattern, _, is_plain = ...
    check_pattern(pattern, is_plain)
    return find(...)
end

function real_globals.string.match(...)
    local _, pattern = ...
    check_pattern(pattern)
    return match(...)
end

function real_globals.string.gmatch(...)
    local _, pattern = ...
    check_pattern(pattern)
    return gmatch(...)
end

function real_globals.string.gsub(...)
    local _, pattern = ...
    check_pattern(pattern)
    return gsub(...)
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

-- Calls the code of a library, which is loaded. Returns whether it has ended well, and its first value or
-- its error: those who call this have no room for more. Once it was ended no further line runs, so that
-- each of them is one.
local called
local function run_called()
    local value = called() return value
end

local function first(f, handler)
    called = f local ok, value = xpcall(run_called, handler) return ok, value
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

return globals, noted, clean, first, on_load, environment
