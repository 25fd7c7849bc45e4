-- Manual section 6.8: input and output, on temporary files only.
local name = os.tmpname()
local function write(text)
  local f = assert(io.open(name, "wb"))
  f:write(text)
  f:close()
end
local function reading(text, ...)
  write(text)
  local f <close> = assert(io.open(name, "rb"))
  return f:read(...)
end
local function hide(...)
  local out = table.pack(...)
  for i = 1, out.n do
    if type(out[i]) == "string" then
      local s, e = out[i]:find(name, 1, true)
      if s then out[i] = out[i]:sub(1, s - 1) .. "FILE" .. out[i]:sub(e + 1) end
    end
  end
  return table.unpack(out, 1, out.n)
end

check("types", io.type(io.stdout), io.type(io.stdin), io.type(5), io.type({}), io.type("x"))
raises("type nothing", io.type)
check("standard handles", tostring(io.stdout):match("^file %(0?x?"), type(io.stderr))
check("read default", reading("line 1\nline 2\n"))
check("read l", reading("line 1\nline 2\n", "l", "l", "l"))
check("read L", reading("line 1\nline 2", "L", "L", "L"))
check("read a", reading("all\nof it", "a"))
check("read a at the end", reading("", "a"))
check("read l at the end", reading("", "l"))
check("read L at the end", reading("", "L"))
check("read n at the end", reading("", "n"))
check("read 0", reading("x", 0), reading("", 0))
check("read count", reading("abcdef", 2, 3, 10, 1))
check("read count with zero bytes", reading("a\0b\0", 3))
check("read with star", reading("one\ntwo", "*l", "*a"))
check("read mixed", reading("10 abc\nrest of\nfile", "n", "l", "L", "a"))
check("read empty lines", reading("\n\nx", "l", "l", "l"))
check("read crlf is kept", reading("a\r\nb", "l", "l"))
check("read line with zero", reading("a\0b\nc", "l", "l"))
check("read long line", #reading(("x"):rep(10000) .. "\n", "l"))
check("read stops at first failure", select("#", reading("1 x 2", "n", "n", "n")))
check("read float count", reading("abc", 2.0))
for _, text in ipairs { "10", "-10", "+5", "1.5", ".5", "5.", "1e5", "1e+5", "1e", "0x1F", "0x1p4", "0xA.8", "  42", "\n\t7", "nan", "inf", "abc", "-", "0x", "1 2", "1,2", "1..2", "9223372036854775807", "9223372036854775808", "12abc", "--1", "1e5x", "0x1g", ("1"):rep(250) } do
  check("read n " .. show(text:sub(1, 20)), reading(text, "n", "a"))
end
check("read n several", reading("1 2.5\n0x10 -3", "n", "n", "n", "n", "n"))
raises("read bad format", reading, "x", "z")
raises("read bad format 2", reading, "x", "*z")
raises("read table", reading, "x", {})
check("read negative count", pcall(reading, "x", 0))

-- Writing.
do
  local f = assert(io.open(name, "w"))
  check("write returns the file", f:write("a", 1, 2.5, "b") == f)
  check("write chained", f:write("x"):write("y") == f)
  raises("write table", f.write, f, {})
  raises("write nil", function() f:write("a", nil) end)
  check("open file", io.type(f), tostring(f):match("^file %("))
  check("close", f:close())
  check("closed file", io.type(f), tostring(f))
  raises("write closed", function() f:write("x") end)
  raises("read closed", function() f:read() end)
  raises("close closed", function() f:close() end)
  raises("lines closed", function() f:lines() end)
  f = assert(io.open(name))
  check("content", f:read("a"))
  check("write to a file opened for reading", select("#", f:write("x")) >= 1)
  f:close()
  f = assert(io.open(name, "a"))
  f:write("appended")
  f:close()
  f = assert(io.open(name, "r+"))
  f:write("A")
  f:seek("set", 0)
  check("appended and updated", f:read("a"))
  f:close()
  f = assert(io.open(name, "w+"))
  f:write("new")
  f:seek("set")
  check("truncated", f:read("a"))
  f:close()
  f = assert(io.open(name, "w"))
  f:write(math.maxinteger, " ", 0.1, " ", 1e100, " ", -0.0, " ", 3.0)
  f:close()
  check("numbers as text", (function() local g <close> = io.open(name) return g:read("a") end)())
  f = assert(io.open(name, "wb"))
  f:write("all\0bytes\r\n\255")
  f:close()
  check("binary", (function() local g <close> = io.open(name, "rb") return g:read("a") end)())
end

-- seek.
do
  write("0123456789")
  local f = assert(io.open(name, "r+b"))
  check("seek default", f:seek())
  check("seek set", f:seek("set", 3), f:read(2))
  check("seek cur", f:seek("cur", 1), f:read(1))
  check("seek cur default", f:seek("cur"))
  check("seek back", f:seek("cur", -3), f:read(1))
  check("seek end", f:seek("end"), f:read(1))
  check("seek end offset", f:seek("end", -2), f:read("a"))
  check("seek beyond", f:seek("set", 20), f:read(1))
  check("seek negative", select("#", f:seek("set", -1)), (f:seek("set", -1)))
  raises("seek bad", function() f:seek("nowhere") end)
  raises("seek bad offset", function() f:seek("set", "x") end)
  raises("seek fraction", function() f:seek("set", 1.5) end)
  check("setvbuf", f:setvbuf("no"), f:setvbuf("full", 1024), f:setvbuf("line"))
  raises("setvbuf bad", function() f:setvbuf("x") end)
  check("flush", f:flush() == f)
  f:close()
end

-- lines.
do
  write("one\ntwo\n\nfour")
  local function collect(...)
    local out = {}
    for a, b in io.lines(name, ...) do out[#out + 1] = b and { a, b } or a end
    return out
  end
  check("lines", collect())
  check("lines L", collect("L"))
  check("lines count", collect(4))
  check("lines two formats", collect("l", "l"))
  check("lines a", #collect(1))
  write("1 2 3")
  check("lines n", collect("n"))
  check("lines of an empty file", (function() write("") return collect() end)())
  write("a\nb\nc")
  local f = assert(io.open(name))
  local it = f:lines()
  check("file lines", it(), it(), it(), it())
  check("file stays open", io.type(f))
  f:close()
  raises("iterator of a closed file", it)
  local stopped = io.lines(name)
  stopped() stopped() stopped() stopped()
  raises("iterator after the end", stopped)
  raises("lines missing file", function() return hide(pcall(io.lines, "/nonexistent/file")) end)
  raises("lines bad format", function() for _ in io.lines(name, "x") do end end)
  check("lines results", select("#", io.lines(name)))
  check("lines closes on break", (function() for l in io.lines(name) do return l end end)())
end

-- Default files.
do
  write("first\nsecond")
  local saved_in, saved_out = io.input(), io.output()
  io.input(name)
  check("default input", io.read(), io.read("l"), io.read())
  io.close(io.input())
  raises("closed default input", io.read)
  io.input(saved_in)
  io.output(name)
  check("io.write", io.write("written ", 5) == io.output())
  io.close()
  raises("closed default output", io.write, "x")
  io.output(saved_out)
  check("what was written", (function() local g <close> = io.open(name) return g:read("a") end)())
  check("restored", io.input() == saved_in, io.output() == saved_out)
  check("input missing", hide(pcall(io.input, "/nonexistent/file")))
  raises("output bad", io.output, 5.5 == 5 and 1 or {})
end

-- Opening.
check("open missing", io.open("/nonexistent/file"))
check("open directory for writing", (select(3, io.open("/", "w"))) ~= nil)
for _, mode in ipairs { "rw", "x", "", "r+bx", "br", "+r", "rb+", "R" } do raises("mode " .. show(mode), io.open, name, mode) end
raises("open nothing", io.open)
check("open number as name", (io.open(5)))
raises("close nothing", io.close, 5)
check("gc and close metamethods", type(getmetatable(io.stdout).__gc), type(getmetatable(io.stdout).__close), getmetatable(io.stdout).__name)
check("close variable", (function()
  local g
  do local f <close> = io.open(name) g = f end
  return io.type(g)
end)())
check("tmpfile", (function() local f = io.tmpfile() f:write("tmp") f:seek("set") local r = f:read("a") f:close() return r end)())
raises("method without self", function() io.stdout.write("x") end)
raises("method on a table", function() io.stdout.close({}) end)
raises("unknown method", function() io.stdout:unknown() end)
check("unknown field", io.stdout.unknown)
raises("assignment to a file", function() io.stdout.x = 1 end)
os.remove(name)
