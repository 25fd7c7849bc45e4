-- Manual section 2.4: metatables and metamethods.

-- Binary operators: which operand's handler, with which arguments.
do
  local log
  local mt = {}
  local function named(name) return setmetatable({ name = name }, mt) end
  local function text(v) return type(v) == "table" and v.name or v end
  for _, ev in ipairs {
    "add", "sub", "mul", "div", "mod", "pow", "idiv", "band", "bor", "bxor", "shl", "shr", "concat",
  } do
    mt["__" .. ev] = function(a, b, ...)
      log = ev .. "(" .. show(text(a)) .. "," .. show(text(b)) .. "," .. select("#", ...) .. ")"
      return log, "dropped"
    end
  end
  mt.__unm = function(a, b) return "unm(" .. text(a) .. "," .. text(b) .. ")" end
  mt.__bnot = function(a, b) return "bnot(" .. text(a) .. "," .. text(b) .. ")" end
  mt.__len = function(a, b) return "len(" .. text(a) .. ")" end
  local x, y = named "x", named "y"
  check("add", x + y, x + 1, 1 + x, x + "s", nil == x)
  check("add float", x + 1.5, 1.5 + x)
  check("add nil", x + nil, nil + x)
  check("sub", x - y, x - 1, 1 - x, x - 2.5)
  check("mul", x * y, x * 2, 2 * x)
  check("div", x / y, x / 2, 2 / x)
  check("mod", x % y, x % 2, 2 % x)
  check("pow", x ^ y, x ^ 2, 2 ^ x)
  check("idiv", x // y, x // 2, 2 // x)
  check("band", x & y, x & 2, 2 & x, x & 1.5, "a" & x)
  check("bor", x | y, x | 2, 2 | x, x | {})
  check("bxor", x ~ y, x ~ 2, 2 ~ x)
  check("shl", x << y, x << 2, 2 << x)
  check("shr", x >> y, x >> 2, 2 >> x)
  check("concat", x .. y, x .. "s", "s" .. x, x .. 1, 1 .. x)
  check("concat nil", x .. nil, nil .. x, true .. x)
  check("unm", -x)
  check("bnot", ~x)
  check("len", #x)
  check("one result only", (function() return x + y end)())
  check("precedence of handlers", x + y * x)
  check("mixed chain", 1 + 2 + x)
  check("upvalue operands", (function() return x + y end)(), (function() return 1 + x end)())
end

-- The left operand's handler wins; the right one's is the fallback.
do
  local a = setmetatable({}, { __add = function() return "left" end })
  local b = setmetatable({}, { __add = function() return "right" end, __sub = function() return "rsub" end })
  check("left first", a + b, b + a)
  check("right fallback", a - b, 1 - b, b - 1)
  raises("no handler", function() return a * b end)
  check("handler without result", setmetatable({}, { __add = function() end }) + 1)
end

-- Constants as operands keep their place.
do
  local mt = {}
  for _, e in ipairs { "add", "sub", "mul", "div", "mod", "pow", "idiv", "band", "bor", "bxor", "shl", "shr" } do
    mt["__" .. e] = function(a, b)
      return e .. ":" .. (type(a) == "table" and "T" or show(a)) .. "," .. (type(b) == "table" and "T" or show(b))
    end
  end
  local t = setmetatable({}, mt)
  check("const add", t + 1, 1 + t, t + 1000000, 1000000 + t, t + 1.0, 2.5 + t)
  check("const sub", t - 1, 1 - t, t - 1000000, t - -1, t - 1.0)
  check("const mul", t * 3, 3 * t, t * 2.0)
  check("const div", t / 3, 3 / t)
  check("const mod", t % 3, 3 % t)
  check("const pow", t ^ 3, 3 ^ t)
  check("const idiv", t // 3, 3 // t)
  check("const band", t & 3, 3 & t, t & 1.0)
  check("const bor", t | 3, 3 | t)
  check("const bxor", t ~ 3, 3 ~ t)
  check("const shl", t << 1, 1 << t, t << 300)
  check("const shr", t >> 1, 1 >> t, t >> -1)
end

-- Concatenation is right associative and joins what it can first.
do
  local log = {}
  local mt = {}
  mt.__concat = function(a, b)
    local l = type(a) == "table" and "T" or a
    local r = type(b) == "table" and "T" or b
    log[#log + 1] = l .. "+" .. r
    return l .. r
  end
  local t = setmetatable({}, mt)
  check("concat left table", t .. "a" .. "b" .. "c", log)
  log = {}
  check("concat right table", "a" .. "b" .. "c" .. t, log)
  log = {}
  check("concat middle table", "a" .. "b" .. t .. "c" .. "d", log)
  log = {}
  check("concat two tables", t .. t .. "x" .. t, log)
  log = {}
  check("concat numbers", 1 .. 2 .. t .. 3 .. 4.5, log)
end

-- Comparison.
do
  local log = {}
  local mt = {
    __lt = function(a, b) log[#log + 1] = "lt" return a.v < b.v end,
    __le = function(a, b) log[#log + 1] = "le" return a.v <= b.v end,
    __eq = function(a, b) log[#log + 1] = "eq" return a.v == b.v end,
  }
  local function n(v) return setmetatable({ v = v }, mt) end
  local a, b, c = n(1), n(2), n(1)
  check("lt", a < b, b < a, a < c)
  check("le", a <= b, b <= a, a <= c)
  check("gt", a > b, b > a)
  check("ge", a >= b, b >= a)
  check("eq", a == b, a == c, a ~= c, a ~= b)
  check("calls", table.concat(log, " "))
  log = {}
  check("eq identity", a == a, #log)
  check("eq different types", a == 1, a == "s", a == nil, #log)
  check("rawequal", rawequal(a, c), rawequal(a, a), #log)
  check("not in conditions", (function() if a == c then return "then" else return "else" end end)())
  check("lt in conditions", (function() if not (a < b) then return "then" else return "else" end end)())
  check("while lt", (function() local i = 0 while n(i) < n(3) do i = i + 1 end return i end)())
  -- Results become booleans.
  local odd = setmetatable({}, { __lt = function() return 1 end, __le = function() return nil end, __eq = function() return "yes" end })
  check("results become booleans", odd < odd, odd <= odd, odd == setmetatable({}, getmetatable(odd)))
  check("gt swaps operands", (function()
    local order
    local m = { __lt = function(x, y) order = x.n .. y.n return true end }
    local p, q = setmetatable({ n = "p" }, m), setmetatable({ n = "q" }, m)
    local r = p > q
    return r, order
  end)())
  check("lt with a number", setmetatable({}, { __lt = function(x, y) return type(x) .. type(y) == "tablenumber" end }) < 5)
  check("number lt table", 5 < setmetatable({}, { __lt = function(x, y) return type(x) .. type(y) == "numbertable" end }))
  check("number ge table", 5 >= setmetatable({}, { __le = function(x, y) return type(x) .. type(y) == "tablenumber" end }))
  check("float le table", 5.5 <= setmetatable({}, { __le = function(x, y) return math.type(x) end }))
  check("string lt table", "a" < setmetatable({}, { __lt = function(x, y) return x end }))
  check("eq second operand's handler", setmetatable({}, {}) == setmetatable({}, { __eq = function() return true end }))
  check("eq not for userdata and table", io.stdout == setmetatable({}, { __eq = function() return true end }))
  check("eq different handlers", setmetatable({}, { __eq = function() return true end }) == setmetatable({}, { __eq = function() return false end }))
end
raises("compare tables", function() return {} < {} end)
raises("compare table and number", function() return {} < 1 end)
raises("compare number and table", function() return 1 <= {} end)
raises("compare nil and number", function() return nil < 1 end)
raises("compare two nils", function() return nil < nil end)
raises("compare booleans", function() return true < false end)
raises("compare string and number", function() return "1" < 2 end)
raises("compare number and string", function() return 2 < "10" end)
raises("compare functions", function() return print >= print end)
raises("compare named", function() return setmetatable({}, { __name = "My.Type" }) < 1 end)
raises("compare two named", function()
  local m = { __name = "My.Type" }
  return setmetatable({}, m) < setmetatable({}, m)
end)
raises("compare bad name", function() return setmetatable({}, { __name = 5 }) < 1 end)

-- __index.
do
  local base = { a = 1, b = 2 }
  local t = setmetatable({ a = 10 }, { __index = base })
  check("index table", t.a, t.b, t.c)
  check("index follows changes", (function() base.c = 3 return t.c end)())
  local deep = setmetatable({}, { __index = setmetatable({ m = 1 }, { __index = setmetatable({ n = 2 }, { __index = function(_, k) return "f:" .. tostring(k) end }) }) })
  check("index chain", deep.m, deep.n, deep.other, deep[1])
  local f = setmetatable({}, { __index = function(self, k) return k, "dropped" end })
  check("index function", f.x, f[1], f[1.5], f[true])
  check("index function nil key", f[nil])
  check("index nan key", f[0 / 0])
  check("index self is the table", (function()
    local s
    local o = setmetatable({}, { __index = function(self) s = self return 1 end })
    local _ = o.x
    return s == o
  end)())
  check("chain passes the inner table", (function()
    local s
    local inner = setmetatable({}, { __index = function(self) s = self return 1 end })
    local o = setmetatable({}, { __index = inner })
    local _ = o.x
    return s == inner, s == o
  end)())
  check("rawget skips", rawget(f, "x"))
  check("present false skips", setmetatable({ k = false }, { __index = function() return "called" end }).k)
  check("string index", ("abc").len("xy"), ("abc").upper)
  check("string missing method", ("abc").nothing)
  check("number key on a string", ("abc")[1])
  check("index on a callable table", setmetatable({}, { __index = setmetatable({ q = 5 }, { __call = function() return "called" end }) }).q)
  check("index is a string", setmetatable({}, { __index = "str" }).len == string.len)
  raises("index is a number", function() return setmetatable({}, { __index = 5 }).x end)
  raises("index chain ends in nil value", function() return setmetatable({}, { __index = setmetatable({}, { __index = true }) }).x end)
  check("method through a chain", (function()
    local A = {} A.__index = A
    function A.new(v) return setmetatable({ v = v }, A) end
    function A:get() return self.v end
    local B = setmetatable({}, { __index = A }) B.__index = B
    function B.new(v) return setmetatable(A.new(v), B) end
    function B:twice() return self:get() * 2 end
    return A.new(1):get(), B.new(4):get(), B.new(4):twice()
  end)())
  check("integer keys", (function()
    local d = setmetatable({ 10, 20 }, { __index = function(_, k) return k * 100 end })
    return d[1], d[2], d[3], d[0], d[-1], d[2^53]
  end)())
  raises("loop in index", function()
    local m = {}
    local o = setmetatable({}, m)
    m.__index = o
    return o.x
  end)
end

-- __newindex.
do
  local store = {}
  local t = setmetatable({ a = 1 }, { __newindex = store })
  t.a, t.b = 2, 3
  check("newindex table", t.a, rawget(t, "b"), store.b)
  local log = {}
  local f = setmetatable({}, { __newindex = function(self, k, v, ...) log[#log + 1] = show(k) .. "=" .. show(v) .. "/" .. select("#", ...) end })
  f.x = 1
  f[1] = "one"
  f[1.0] = "again"
  f[nil] = "nil key"
  f[0 / 0] = "nan"
  f.y = nil
  check("newindex function", log)
  check("nothing stored", next(f))
  rawset(f, "x", 5)
  f.x = 6
  check("existing key is raw", f.x, #log)
  f.x = nil
  f.x = 7
  check("removed key calls again", rawget(f, "x"), #log)
  local inner = setmetatable({}, { __newindex = function(_, k, v) log[#log + 1] = "inner " .. k end })
  local outer = setmetatable({}, { __newindex = inner })
  outer.q = 1
  check("newindex chain", log[#log], rawget(inner, "q"), rawget(outer, "q"))
  raises("newindex is a number", function() setmetatable({}, { __newindex = 5 }).x = 1 end)
  raises("newindex on a string", function() local s = "abc" s.x = 1 end)
  raises("loop in newindex", function()
    local m = {}
    local o = setmetatable({}, m)
    m.__newindex = o
    o.x = 1
  end)
  check("table.insert respects newindex", (function()
    local got = {}
    local p = setmetatable({}, { __newindex = function(_, k, v) got[k] = v end })
    table.insert(p, "v")
    return got
  end)())
  check("proxy", (function()
    local real, reads, writes = {}, 0, 0
    local p = setmetatable({}, {
      __index = function(_, k) reads = reads + 1 return real[k] end,
      __newindex = function(_, k, v) writes = writes + 1 real[k] = v end,
      __len = function() return #real end,
    })
    for i = 1, 5 do p[i] = i * i end
    local sum = 0
    for i = 1, #p do sum = sum + p[i] end
    return sum, reads, writes, #p
  end)())
end

-- __call.
do
  local t = setmetatable({}, { __call = function(self, ...) return type(self), select("#", ...), ... end })
  check("call", t(), t(nil), t(1, 2))
  check("call results", t(1, 2))
  check("call method", (function() local o = { m = t } return o:m(1) end)())
  check("tail call", (function(...) return t(...) end)(1, 2))
  check("call string argument", t "s")
  check("call table argument", t { 1 })
  local c1 = setmetatable({}, { __call = t })
  check("call chain", c1(7))
  local c2 = setmetatable({}, { __call = c1 })
  check("longer call chain", c2(7))
  check("pcall a chain", pcall(c2, 1))
  check("as iterator", (function()
    local it = setmetatable({ n = 0 }, { __call = function(self, s, c) self.n = self.n + 1 if self.n <= 3 then return self.n end end })
    local out = {}
    for i in it do out[#out + 1] = i end
    return out
  end)())
  check("native handler", setmetatable({}, { __call = rawlen })())
  check("select handler", pcall(setmetatable({}, { __call = select }), 1))
  raises("call not callable", function() setmetatable({}, { __call = 5 })() end)
  raises("call chain ends badly", function() setmetatable({}, { __call = setmetatable({}, {}) })() end)
  raises("call name", function() local v = setmetatable({}, { __name = "My.Type" }) v() end)
  check("sort with callable", (function()
    local v = { 3, 1, 2 }
    table.sort(v, function(a, b) return a > b end)
    return v
  end)())
  raises("sort with callable table", table.sort, { 3, 1, 2 }, setmetatable({}, { __call = function(_, a, b) return a > b end }))
  check("gsub with indexable", (("a b"):gsub("%w", setmetatable({}, { __index = function(_, k) return k .. k end }))))
end

-- __len.
check("len any value", #setmetatable({}, { __len = function() return "any" end }))
check("len no value", #setmetatable({}, { __len = function() end }))
check("rawlen", rawlen(setmetatable({ 1, 2 }, { __len = function() return 10 end })))
check("len of strings ignores metatables", #"abc")
raises("ipairs does not use len", function()
  local n = 0
  for _ in ipairs(setmetatable({ 1, 2 }, { __len = function() return 10 end })) do n = n + 1 end
  return n
end)
raises("insert uses len", function()
  local t = setmetatable({}, { __len = function() return 5 end })
  table.insert(t, "x")
  return rawget(t, 6)
end)
raises("len not an integer", table.insert, setmetatable({}, { __len = function() return "x" end }), 1)
raises("len float", table.unpack, setmetatable({}, { __len = function() return 2.0 end }))
raises("len fraction", table.unpack, setmetatable({}, { __len = function() return 2.5 end }))
raises("len numeral string", table.unpack, setmetatable({}, { __len = function() return "2" end }))
raises("len of nil", function() return #nil end)
raises("len of a number", function() return #5 end)

-- __tostring and __name.
check("tostring", tostring(setmetatable({}, { __tostring = function() return "custom" end })))
raises("tostring not a string", tostring, setmetatable({}, { __tostring = function() return 5 end }))
raises("tostring nothing", tostring, setmetatable({}, { __tostring = function() end }))
raises("tostring returns a table", tostring, setmetatable({}, { __tostring = function() return {} end }))
raises("tostring not callable", tostring, setmetatable({}, { __tostring = 5 }))
check("name", noaddr(tostring(setmetatable({}, { __name = "My.Type" }))))
check("name not a string", noaddr(tostring(setmetatable({}, { __name = 5 }))))
check("tostring beats name", tostring(setmetatable({}, { __name = "My.Type", __tostring = function() return "T" end })))
check("format %s", string.format("%s|%s", setmetatable({}, { __tostring = function() return "custom" end }), 1))
raises("name in argument errors", string.rep, setmetatable({}, { __name = "My.Type" }))
raises("name in arithmetic", function() return setmetatable({}, { __name = "My.Type" }) + 1 end)
raises("name in index", function() local v = setmetatable({}, { __name = "My.Type", __index = 1 }) return v.x end)
raises("name in concat", function() return "a" .. setmetatable({}, { __name = "My.Type" }) end)
raises("name in length argument", ipairs)
raises("error value with tostring", function() error(setmetatable({}, { __tostring = function() return "E" end })) end)

-- __metatable.
do
  local t = setmetatable({}, { __metatable = "locked" })
  check("getmetatable", getmetatable(t))
  raises("setmetatable protected", setmetatable, t, {})
  raises("setmetatable protected nil", setmetatable, t, nil)
  raises("protected false", function() return setmetatable(setmetatable({}, { __metatable = false }), {}) end)
  check("metatable false", getmetatable(setmetatable({}, { __metatable = false })))
  check("debug ignores it", type(debug.getmetatable(t)))
  check("string metatable", getmetatable("").__index == string, getmetatable("abc") == getmetatable(""))
  check("no metatable", getmetatable({}), getmetatable(1), getmetatable(print), getmetatable(nil))
  check("removed", getmetatable(setmetatable(setmetatable({}, {}), nil)))
  raises("setmetatable number", setmetatable, 5, {})
  raises("setmetatable missing", setmetatable, {})
  raises("setmetatable bad", setmetatable, {}, 5)
  raises("getmetatable nothing", getmetatable)
end

-- __pairs.
do
  local t = setmetatable({}, {
    __pairs = function(self, ...)
      return function(_, k) k = (k or 0) + 1 if k <= 3 then return k, k * 10 end end, self, nil, "dropped"
    end,
  })
  local out = {}
  for k, v in pairs(t) do out[#out + 1] = k .. "=" .. v end
  check("pairs", out)
  check("pairs results", select("#", pairs(t)))
  check("pairs results padded", select("#", pairs(setmetatable({}, { __pairs = function() return 1 end }))), pairs(setmetatable({}, { __pairs = function() return 1 end })))
  check("pairs of a non-table", (function()
    debug.setmetatable(5, { __pairs = function(n) return function(_, k) if k < n then return k + 1 end end, nil, 0 end })
    local s = 0
    for k in pairs(5) do s = s + k end
    debug.setmetatable(5, nil)
    return s
  end)())
  check("next ignores it", next(t))
end

-- Metatables of basic types.
do
  debug.setmetatable(1, { __index = { double = function(n) return n * 2 end }, __call = function(n, m) return n + m end, __len = function(n) return n end })
  local five = 5
  check("number methods", five:double(), (1.5):double(), five(3), #five)
  debug.setmetatable(1, nil)
  raises("restored", function() return five:double() end)
  debug.setmetatable(nil, { __index = function(_, k) return "nil." .. k end, __add = function() return "nil+" end })
  check("nil index", (nil).foo, nil + 1)
  debug.setmetatable(nil, nil)
  debug.setmetatable(true, { __bnot = function(b) return not b end, __concat = function() return "b" end })
  check("boolean", ~true, true .. 1)
  debug.setmetatable(true, nil)
  debug.setmetatable(print, { __index = { name = "function" }, __add = function(f, g) return function(...) return g(f(...)) end end })
  check("function", print.name, (math.abs + tostring)(-3))
  debug.setmetatable(print, nil)
  local mt = getmetatable("")
  mt.__add = function(a, b) return "add:" .. a .. b end
  mt.__call = function(s, x) return s .. x end
  check("string handlers", "a" + "b", ("f")("x"))
  mt.__call = nil
  mt.__index = function(s, i) if type(i) == "number" then return string.sub(s, i, i) end return string[i] end
  check("string index function", ("hello")[2], ("hello"):upper())
  mt.__index = string
end

-- Handlers are looked up raw, at the moment of the operation.
do
  local mt = {}
  local t = setmetatable({}, mt)
  raises("before", function() return t + 1 end)
  mt.__add = function() return "added" end
  check("after", t + 1)
  mt.__add = nil
  raises("removed again", function() return t + 1 end)
  local base = { __add = function() return "inherited" end }
  local t2 = setmetatable({}, setmetatable({}, { __index = base }))
  raises("handlers are not inherited", function() return t2 + 1 end)
  local t3 = setmetatable({}, setmetatable({}, { __index = { __index = { x = 1 } } }))
  check("__index is not inherited", t3.x)
  mt.__index = { late = 1 }
  check("late __index", t.late)
  mt.__index = nil
  check("late __index removed", t.late)
  mt.__newindex = function(_, k, v) rawset(t, k, v .. "!") end
  t.z = "v"
  check("late __newindex", t.z)
  mt.__eq = function() return true end
  check("late __eq", t == setmetatable({}, mt))
  mt.__eq = nil
  check("late __eq removed", t == setmetatable({}, mt))
end

-- __close and other events through variables.
do
  local log = {}
  do
    local a <close> = setmetatable({}, { __close = function(self, e, ...) log[#log + 1] = type(self) .. tostring(e) .. select("#", ...) end })
  end
  check("close called", log)
  raises("close missing", function() local a <close> = {} end)
  raises("close missing named", function() local a <close> = setmetatable({}, {}) end)
  raises("close number", function() local b <close> = 5 end)
  raises("close nil and false", function() local a <close> = nil local b <close> = false return "fine" end)
  raises("close removed later", function()
    local mt = { __close = function() end }
    local a <close> = setmetatable({}, mt)
    mt.__close = nil
  end)
  raises("close callable table", function()
    local seen
    do local a <close> = setmetatable({}, { __close = setmetatable({}, { __call = function() seen = true end }) }) end
    return seen
  end)
  raises("close result dropped", function()
    local a <close> = setmetatable({}, { __close = function() return 1, 2, 3 end })
    return "result"
  end)
end

-- Names of metamethods in error messages.
do
  local function in_handler(ev, op)
    raises("error in " .. ev, function()
      return op(setmetatable({}, { [ev] = function(...) local x = ... ; return x.y.z end }))
    end)
  end
  in_handler("__add", function(t) return t + 1 end)
  in_handler("__len", function(t) return #t end)
  in_handler("__unm", function(t) return -t end)
  in_handler("__concat", function(t) return t .. "" end)
  in_handler("__call", function(t) return t() end)
  in_handler("__newindex", function(t) t.x = 1 end)
  in_handler("__lt", function(t) return t < t end)
  in_handler("__tostring", function(t) return tostring(t) end)
end

-- A tail call of a callable value is one of its handler.
do
  local n = 0
  local t = setmetatable({}, { __call = function(self, x) n = n + 1 if n == 300000 then return x, n end return self(x) end })
  check("tail call of a callable", t("x"))
  local inner = setmetatable({}, { __call = function(self, a, b) return type(self), a, type(b) end })
  local outer = setmetatable({}, { __call = inner })
  check("tail call through two", (function(...) return outer(...) end)(1, 2))
  check("tail call of no function", pcall(function() local nothing return nothing() end))
end
