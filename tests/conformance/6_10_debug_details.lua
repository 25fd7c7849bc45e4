-- Sections 6.3, 6.10 and parts of 6.1, in depth: each line shows the values of some calls.

local count = 0
local function show(...)
  count = count + 1
  local t = table.pack(...)
  for i = 1, t.n do t[i] = tostring(t[i]):gsub("0x%x+", "ADDRESS"):gsub("\n", "\\n") end
  print(count .. ": " .. table.concat(t, " | "))
end
local function try(label, f, ...) show(label, pcall(f, ...)) end
-- getinfo
local function info(i) local ks = {} for k, v in pairs(i) do ks[#ks+1] = k .. "=" .. (tostring(v):gsub("0x%x+","X")) end table.sort(ks) return table.concat(ks, " ") end
local function f(a, b, ...) local c = debug.getinfo(1) return c end
show("all", info(f())) show("S", info(debug.getinfo(1, "S"))) show("fn rawlen", info(debug.getinfo(rawlen))) show("fn f", info(debug.getinfo(f)))
show("l", info(debug.getinfo(1, "l"))) show("L", type(debug.getinfo(f, "L").activelines)) show("L C", info(debug.getinfo(print, "L"))) show("r", info(debug.getinfo(1, "r")))
show("t", info(debug.getinfo(1, "t"))) show("u", info(debug.getinfo(f, "u"))) show("u", info(debug.getinfo(rawlen, "u"))) show("n", info(debug.getinfo(1, "n")))
show("0", info(debug.getinfo(0, "nSl"))) show("nil", debug.getinfo(100)) show("neg", pcall(debug.getinfo, -1))
try("bad opt", debug.getinfo, 1, "X") try("bad opt >", debug.getinfo, 1, ">S") try("bad arg", debug.getinfo, {}) try("bad", debug.getinfo) try("str", debug.getinfo, "1", "l") try("float", debug.getinfo, 1.5)
show("empty", info(debug.getinfo(1, "")))
local co = coroutine.create(function(x) local y = x coroutine.yield(y) error("e") end) coroutine.resume(co, 7)
show("co 0", info(debug.getinfo(co, 0, "nSl"))) show("co 1", info(debug.getinfo(co, 1, "nSlu"))) show("co 2", debug.getinfo(co, 2)) show("co f", info(debug.getinfo(co, f, "S")))
show("co local", debug.getlocal(co, 1, 1)) show(debug.getlocal(co, 1, 2)) show(debug.getlocal(co, 1, 3)) show("set", debug.setlocal(co, 1, 2, "new")) show(coroutine.resume(co)) show("dead", debug.traceback(co)) show("co0", debug.getlocal(co, 1, 1))
try("getlocal bad level", debug.getlocal, co, 50, 1)
-- locals
local function g(a, ...) local b = 1 do local c = 2 end local d <const> = 3 local e <close> = nil
  local out = {} for i = -4, 8 do local n, v = debug.getlocal(1, i) out[#out+1] = tostring(n) .. "=" .. tostring(v) end return table.concat(out, " ") end
show("locals", g(1, "x", "y")) show("params", debug.getlocal(g, 1), debug.getlocal(g, 2), debug.getlocal(print, 1)) try("param neg", debug.getlocal, g, -1)
local function h(...) debug.setlocal(1, -2, "set") return ... end show("set vararg", h(1, 2, 3)) show("set none", (function() return debug.setlocal(1, 50, 1) end)())
for i = 1, 1 do local n, v = debug.getlocal(1, 9) end
local function loop() for i = 10, 11 do local t = {} for n = 1, 6 do t[n] = tostring((debug.getlocal(1, n))) .. ":" .. tostring(select(2, debug.getlocal(1, n))) end return table.concat(t, " ") end end show("loop", loop())
local function loop2() for k, v in pairs{a=1} do local t = {} for n = 1, 8 do t[n] = tostring((debug.getlocal(1, n))) end return table.concat(t, " ") end end show("loop2", loop2())
-- upvalues
local u1, u2 = 1, 2 local function uf() return u1, u2 end local function ug() return u2 end
show("getup", debug.getupvalue(uf, 1)) show(debug.getupvalue(uf, 2)) show(debug.getupvalue(uf, 3)) show(debug.getupvalue(rawlen, 1)) show(debug.getupvalue(string.gmatch("a","a"), 1)) try("bad", debug.getupvalue, 1, 1) try("bad", debug.getupvalue, uf) 
show("setup", debug.setupvalue(uf, 1, "new"), u1) show(debug.setupvalue(uf, 5, 1)) try("noval", debug.setupvalue, uf, 1)
show("id", debug.upvalueid(uf, 2) == debug.upvalueid(ug, 1), debug.upvalueid(uf, 1) == debug.upvalueid(uf, 2), type(debug.upvalueid(uf, 1)), debug.upvalueid(uf, 9)) try("bad", debug.upvalueid, 1, 1) try("bad", debug.upvalueid, uf) show("C", type(debug.upvalueid(string.gmatch("a","a"), 1)), debug.upvalueid(rawlen, 1))
debug.upvaluejoin(uf, 1, ug, 1) show("join", uf()) try("bad", debug.upvaluejoin, uf, 9, ug, 1) try("bad", debug.upvaluejoin, uf, 1, ug, 9) try("bad", debug.upvaluejoin, rawlen, 1, ug, 1) try("bad", debug.upvaluejoin, uf, 1, string.gmatch("a","a"), 1)
-- uservalues
show("uv", debug.getuservalue(io.stdout)) show(debug.getuservalue(io.stdout, 1)) show(debug.getuservalue(io.stdout, 2)) show(debug.getuservalue(1)) show("set", debug.setuservalue(io.stdout, 1)) try("bad", debug.setuservalue, 1, 1) try("bad", debug.setuservalue, io.stdout) show(debug.setuservalue(io.stdout, 1, 3))
-- metatables
for _, v in ipairs{1, "s", true, print, co} do show("mt", type(v), debug.getmetatable(v) ~= nil) end show("nil", debug.getmetatable(nil)) try("none", debug.getmetatable)
debug.setmetatable(1, {__index = function(n, k) return k .. n end, __call = function(n, x) return n + x end}) show((5).foo, (5)(6)) debug.setmetatable(1, nil)
debug.setmetatable(nil, {__index = function() return "nil!" end}) local n = nil show(n.x) debug.setmetatable(nil, nil)
debug.setmetatable(print, {__index = {name = "fn"}, __concat = function() return "cc" end}) show(print.name, f.name, print .. 1) debug.setmetatable(print, nil)
debug.setmetatable(true, {__add = function(a, b) return "bool" end}) show(true + 1) debug.setmetatable(true, nil)
debug.setmetatable(co, {__len = function() return 42 end}) show(#co) debug.setmetatable(co, nil)
try("bad", debug.setmetatable, {}, 1) try("bad", debug.setmetatable, {}) show("ret", debug.setmetatable({}, nil) ~= nil)
local p = setmetatable({}, {__metatable = "locked"}) show(getmetatable(p), type(debug.getmetatable(p))) try("locked", setmetatable, p, {}) 
-- registry
local r = debug.getregistry() show(type(r), type(r._LOADED), type(r._PRELOAD), r._LOADED == package.loaded, r[2] == _G, type(r[1]), r["FILE*"] == getmetatable(io.stdout))
-- traceback
coroutine.wrap(function()
  show(debug.traceback("m", 0)) show(debug.traceback("m", 1)) show(debug.traceback(nil)) show(debug.traceback({}) ~= nil) show(debug.traceback(nil, 1)) show(debug.traceback(12)) show(debug.traceback("x", 50))
end)()
-- misc
local ks = {} for k in pairs(debug) do ks[#ks+1] = k end table.sort(ks) show(table.concat(ks, " "))
for _, lib in ipairs{"string","table","io","os","coroutine","utf8","package"} do local ks = {} for k in pairs(_G[lib]) do ks[#ks+1] = k end table.sort(ks) show(lib, table.concat(ks, " ")) end
for _, k in ipairs { "check", "raises", "compiles", "rejects", "hide", "render", "run" } do _G[k] = nil end ks = {} for k in pairs(_G) do ks[#ks+1] = k end table.sort(ks) show(table.concat(ks, " "))
-- package
show(package.config) show(#package.searchers, type(package.preload), type(package.loaded)) show(package.searchpath("x.y", "./?.foo;/q/?.lua")) show(package.searchpath("x-y", "a?b", "-", "+")) show(package.searchpath("null", "/dev/?")) try("bad", package.searchpath, "x") 
show("loadlib", package.loadlib("nope.so", "f") == nil, select(3, package.loadlib("nope.so", "*")) ~= nil)
package.preload.pre = function(...) show("loader", ...) return nil end show(require "pre") show(package.loaded.pre) package.preload.pre2 = function() package.loaded.pre2 = "self" end show(require "pre2") package.preload.pre3 = function() return false end show(require "pre3") show(package.loaded.pre3)
package.path, package.cpath = "./?.lua", "./?.so" try("missing", require, "no.such.mod") try("bad", require) package.searchers[5] = function(n) if n == "magic" then return function(...) return table.concat({...}, ",") end, "extra" end return "\n\tno magic" end show(require "magic") try("m", require, "other")
package.searchers[5] = function() return 5 end try("num", require, "other") package.searchers[5] = function() return nil end try("nil", require, "other") package.path = 5 try("path num", require, "nn") package.path = {} try("path", require, "nn") package.path = "" try("path", require, "nn") local s = package.searchers package.searchers = nil try("s", require, "zz") package.searchers = s
-- warn
try("w", warn) try("w", warn, {}) try("w", warn, "a", {}) warn("@off") warn("x") warn("@unknown")
-- collectgarbage
show(collectgarbage()) show(collectgarbage("collect")) show(math.type(collectgarbage("count"))) show(collectgarbage("stop"), collectgarbage("isrunning")) show(collectgarbage("restart"), collectgarbage("isrunning")) show(collectgarbage("incremental"), collectgarbage("generational"), collectgarbage("generational", 10, 50), collectgarbage("incremental", 100, 200, 10), collectgarbage("incremental")) show(collectgarbage("setpause", 150)) show(collectgarbage("setpause", 200)) show(collectgarbage("setstepmul", 300)) show(collectgarbage("setstepmul", 100)) show(type(collectgarbage("step"))) show(collectgarbage("step", 100000)) try("bad", collectgarbage, "foo") try("bad", collectgarbage, 5) try("bad", collectgarbage, "step", "x")
collectgarbage("generational") show("gen step", collectgarbage("step")) collectgarbage("incremental")
