-- Section 6.4: string.dump, and binary chunks.

local function again(f, strip, ...)
  return load(string.dump(f, strip), "=again", "b", ...)
end

-- What survives.
local function sample(a, b, ...)
  local sum = 0
  for i = a, b do
    sum = sum + i * 0.5
  end
  for k, v in pairs({ 1, 2, x = "y", ["long key that is not interned because it has more than forty bytes"] = true }) do
    sum = sum .. ""
  end
  local t = { a, b, name = "n", n = nil, [1.5] = 2, ... }
  goto done
  ::done::
  return sum, #t, t.name, t[1.5], select("#", ...), -0.0, 1e300, math.maxinteger, "\0\255", not a, a < b and b or a, a // b, a >> 1
end
for _, strip in ipairs({ false, true }) do
  check("sample", again(sample, strip)(3, 7, nil, 8))
  check("dumped twice", string.dump(again(sample, strip), strip) == string.dump(again(sample, strip), strip))
  check("nested functions", again(function(x)
    local function inner(y) return function() x = x + y return x end end
    local f, g = inner(1), inner(10)
    return f() + g() + f()
  end, strip)(100))
  check("to be closed", again(function(log)
    local x <close> = setmetatable({}, { __close = function() log[#log + 1] = "closed" end })
    return log
  end, strip)({}))
  check("methods and varargs", again(function(o, ...) return o:get(...) end, strip)({ get = function(_, ...) return select("#", ...) end }, 1, nil))
  check("a main chunk", load(string.dump(load("local a <const> = 5 return a, ..."), strip))(1, 2))
  check("used before it was dumped", (function()
    local function f(t) local s = 0 for i = 1, #t do s = s + t[i].v end return s end
    for i = 1, 200 do f({ { v = 1 }, { v = i } }) end
    return again(f, strip)({ { v = 2 }, { v = 2.5 } })
  end)())
  check("many constants", (function()
    local parts = {}
    for i = 1, 700 do parts[i] = "t[" .. i .. "] = '" .. i .. "' .. t[" .. i .. " - 1]:sub(1, 3) .. " .. i + 0.5 end
    local f = load("local t = { [0] = '' } " .. table.concat(parts, "\n") .. " return t[700]")
    return f(), again(f, strip)()
  end)())
end

-- Captured variables are new.
do
  local a, b = 1, 2
  local function two() return a, b end
  local f = again(two)
  check("names of upvalues", debug.getupvalue(f, 1) == "a", debug.getupvalue(f, 2))
  check("first upvalue is the table of globals", select(2, debug.getupvalue(f, 1)) == _G, (select(2, f())))
  check("first upvalue is the environment", select(2, debug.getupvalue(again(two, false, 5), 1)), (f()) == _G)
  check("nil as environment", again(two, false, nil)())
  check("stripped names of upvalues", debug.getupvalue(again(two, true, 1), 1))
  check("others are nil", select(2, f()))
  debug.setupvalue(f, 2, "set")
  check("set upvalue", select(2, f()), b)
  check("fresh for each load", select(2, again(two)()))
  check("no upvalues", debug.getupvalue(again(function(x) return x end), 1), again(function(x) return x end, true, 7)(3))
  local function uses_global() return tostring(1), a end
  check("globals through the first upvalue", pcall(again(uses_global)))
end

-- Names and lines.
do
  local source = "local function f(x)\n  local y = x\n  return y.z.w\nend\nlocal t = f\nreturn f"
  local f = load(source, "@source.lua")()
  local function show(f)
    local i = debug.getinfo(f, "SLu")
    local lines = {}
    for line in pairs(i.activelines or {}) do lines[#lines + 1] = line end
    table.sort(lines)
    return i.source, i.short_src, i.linedefined, i.lastlinedefined, i.what, i.nups, i.nparams, i.isvararg, lines, i.activelines ~= nil
  end
  check("info of the original", show(f))
  check("info of the copy", show(again(f)))
  check("info of the stripped copy", show(again(f, true)))
  check("parameters", debug.getlocal(again(f), 1), debug.getlocal(again(f, true), 1))
  check("message of the copy", pcall(again(f), {}))
  check("message of the stripped copy", pcall(again(f, true), {}))
  check("error in a stripped function", pcall(again(function() error("text") end, true, { error = error })))
  check("level 2 of a stripped function", pcall(again(function(e) local function g() e("text", 2) end g() end, true), error))
  check("current line of a stripped function", again(function(d) return d.getinfo(1, "l").currentline end, true)(debug))
  check("locals of a stripped function", again(function(d) local x = 5 local n, v = d.getlocal(1, 2) return n, v end, true)(debug))
  check("hook of a stripped function", (function()
    local seen = {}
    local g = again(function(a) local b = a
      return b end, true)
    local co = coroutine.create(g)
    debug.sethook(co, function(e, l) seen[#seen + 1] = e .. tostring(l) end, "crl")
    coroutine.resume(co, 1)
    return seen
  end)())
  check("traceback", (again(function(d)
    local t = d.traceback("m", 1)
    return t
  end, true)(debug):match("^[^\n]*\n[^\n]*\n[^\n]*")))
end

-- What cannot be dumped.
raises("dump native", string.dump, print)
raises("dump nothing", string.dump)
raises("dump table", string.dump, {})
raises("dump a native of coroutine.wrap", string.dump, coroutine.wrap(function() end))

-- Modes.
do
  local chunk = string.dump(function() return 1 end)
  check("mode b", load(chunk, "=c", "b")())
  check("mode bt", load(chunk, "=c", "bt")())
  check("mode t", load(chunk, "=c", "t"))
  check("mode b of text", load("return 1", "=c", "b"))
  check("mode of nonsense", load("return 1", "=c", "x"))
  check("empty mode", load(chunk, "=c", ""))
  check("from a reader", load((function()
    local i = 0
    return function() i = i + 1 return chunk:sub(i, i) end
  end)(), "=c", "b")())
  check("followed by something", load(chunk .. "more", "=c")())
end

-- Chunks that are none. Where the reference names the place in its own format only the beginning is compared.
do
  local chunk = string.dump(function(a) local b = a + 1 return { b, "text" } end)
  check("truncated", load(chunk:sub(1, -2), "=name", "b"))
  check("truncated in the header", load(chunk:sub(1, 10), "@file", "b"))
  check("truncated with its own name", load(chunk:sub(1, 10)))
  check("only the mark", load("\27", "=name"))
  check("other signature", load("\27Moo" .. ("x"):rep(100), "name"))
  for n = 1, #chunk - 1 do
    local f, message = load(chunk:sub(1, n), "=name", "b")
    if f or message ~= "name: bad binary format (truncated chunk)" then
      check("truncated at " .. n, f, message)
    end
  end
end

-- What the header says, and that each byte of it counts.
do
  local chunk = string.dump(function() return 1 end)
  local size = 4 + 2 + 6 + 3
  check("header", chunk:sub(1, size), string.unpack("<i8 d", chunk, size + 1))
  for i = 1, size + 16 do
    local changed = chunk:sub(1, i - 1) .. string.char((chunk:byte(i) + 1) % 256) .. chunk:sub(i + 1)
    check("changed byte " .. i, load(changed, "=name"))
  end
end

-- Files.
do
  local name = os.tmpname()
  local file = io.open(name, "wb")
  file:write("# a first line\n", string.dump(function(...) return "binary", ... end))
  file:close()
  check("loadfile", loadfile(name)(1))
  check("loadfile with mode", loadfile(name, "b")(2))
  check("dofile", dofile(name))
  os.remove(name)
end
