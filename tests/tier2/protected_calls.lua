-- Protected calls in hot loops: nested, failing, suspended, with results of all numbers, and looked at from inside.

local function pair(x) return x, x * 2 end
local function none() end
local sums = { 0, 0, 0, 0 }
for i = 1, 150 do
  local ok = pcall(pair, i)
  local ok2, a = pcall(pair, i)
  local ok3, b, c, d = pcall(pair, i)
  local all = { pcall(pair, i) }
  local nothing = select("#", pcall(none, i, i, i))
  pcall(pair)
  sums[1] = sums[1] + (ok and ok2 and ok3 and 1 or 0)
  sums[2] = sums[2] + a + b + c + (d == nil and 1 or 0)
  sums[3] = sums[3] + #all
  sums[4] = sums[4] + nothing
end
print(table.concat(sums, " "))

-- Failures of all kinds, now and then, at several depths.
local function fails(x)
  if x % 11 == 0 then error("e" .. x) end
  if x % 13 == 0 then error({ code = x }) end
  if x % 17 == 0 then local t = nil; return t.field end
  if x % 19 == 0 then return x + {} end
  return x
end
local function deeper(x) local v = fails(x) return v + 1 end
local kinds = {}
for i = 1, 400 do
  local ok, v = pcall(deeper, i)
  local kind = ok and "fine" or type(v) == "table" and "code" or v:gsub("%d+$", "")
  kinds[kind] = (kinds[kind] or 0) + 1
end
local names = {}
for kind, n in pairs(kinds) do names[#names + 1] = kind .. "=" .. n end
table.sort(names)
print(table.concat(names, "; "))

-- One in another.
local function inner(x) if x % 5 == 0 then error(x) end return x end
local function middle(x)
  local ok, v = pcall(inner, x)
  if not ok and x % 10 == 0 then error("again " .. v, 0) end
  return ok, v
end
local trail = 0
for i = 1, 300 do
  local ok, ok2, v = pcall(middle, i)
  trail = trail + (ok and 1 or 2) + (ok2 == true and 3 or ok2 == false and 5 or 7) + (v or 0)
end
print("nested", trail)

-- Extra arguments, fewer, closures of the loop, methods, and functions of the host.
local function extra(a, ...) return a, select("#", ...), ... end
local object = { base = 3 }
function object:method(x) return self.base + x end
local total = 0
for i = 1, 200 do
  local ok, a, n, x, y = pcall(extra, i, i + 1, i + 2)
  local ok2, b = pcall(function() return i * 2 end)
  local ok3, c = pcall(object.method, object, i)
  local ok4, m = pcall(math.max, i, 100)
  local ok5, e = pcall(pcall, inner, i)
  local ok6, t = pcall(extra, table.unpack({ i, i, i }, 1, i % 4))
  total = total + a + n + x + y + b + c + m + (e and 1 or 0) + (t or 0)
end
print("calls", total)

-- Recursion until the limit, noticed in the same place.
local depth = 0
local function recurse() depth = depth + 1 local ok, e = pcall(recurse) return ok, e end
local first, same = nil, true
for _ = 1, 30 do
  depth = 0
  recurse()
  first = first or depth
  same = same and depth == first
end
print("depth", same, depth > 150 and depth < 250)
local function tower(n) if n == 0 then error("top", 0) end local ok, e = pcall(tower, n - 1) if not ok then error(e .. n, 0) end end
local tower_error
for i = 1, 60 do tower_error = select(2, pcall(tower, i % 12 + 1)) end
print("tower", tower_error)

-- Yields from inside, in coroutines that are closed, and that end with an error.
local function producer(last)
  return coroutine.wrap(function()
    for i = 1, last do
      local ok, v = pcall(function(x)
        local got = coroutine.yield(x)
        if got == "fail" then error("told to", 0) end
        return got
      end, i)
      if not ok then coroutine.yield(v) end
    end
    return "end"
  end)
end
local p, seen = producer(120), {}
for i = 1, 150 do
  local v = p(i % 7 == 0 and "fail" or i)
  if type(v) == "string" then seen[#seen + 1] = v end
  if v == "end" then break end
end
print("yields", #seen, seen[1], seen[#seen])

-- The stack from inside: levels, names, lines, locals, and changes of them.
local reports = {}
local function looks(x)
  local secret = x
  if x % 50 == 0 then
    local levels = {}
    for level = 1, 3 do
      local info = debug.getinfo(level, "Slnt")
      levels[level] = info.short_src:sub(-20) .. ":" .. info.currentline .. ":" .. tostring(info.name) .. ":" .. info.what
    end
    debug.setlocal(2, 1, 1) -- pcall has no such variable
    debug.setlocal(1, 2, -x)
    reports[#reports + 1] = table.concat(levels, "|") .. "|" .. debug.traceback("t", 1):gsub("\n%s*%[C%]: in %?.*", "")
  end
  return secret
end
local changed = 0
for i = 1, 200 do
  local ok, v = pcall(looks, i)
  changed = changed + v
end
print("looks", changed, #reports, reports[1])

-- Variables to close, hooks, and handlers beside.
local closed = 0
local function closes(x)
  local v <close> = setmetatable({}, { __close = function(_, e) closed = closed + (e and 1 or 100) end })
  if x % 3 == 0 then error(x) end
  return x
end
for i = 1, 120 do pcall(closes, i) end
print("closed", closed)
local hooked = 0
local function hooks(x)
  if x == 80 then debug.sethook(function() hooked = hooked + 1 end, "c") end
  if x == 90 then debug.sethook() end
  return x
end
for i = 1, 120 do pcall(hooks, i) end
print("hooked", hooked)
local handled = 0
for i = 1, 200 do
  local ok, v = xpcall(fails, function(e) handled = handled + 1 return "handled" end, i)
  local ok2, v2 = pcall(xpcall, inner, function(e) return e end, i)
  if not ok then handled = handled + #v end
end
print("handled", handled)
