-- Strings that are too long to be unique, as keys of all kinds of accesses.
local long = "a_key_that_is_longer_than_the_longest_string_that_is_interned"
local t, n = {}, 0
for i = 1, 120 do
  local k = ("x"):rep(50 + i % 3) .. "end"
  t[k] = (t[k] or 0) + i
  n = n + t[k] + (rawget(t, k) or -1000000)
end
print(n, next({ [long] = 1 }))
t.a_key_that_is_longer_than_the_longest_string_that_is_interned = 5
for i = 1, 120 do
  t.a_key_that_is_longer_than_the_longest_string_that_is_interned = t[long] + i
  t["a_key_that_is_longer_" .. "than_the_longest_string_that_is_interned"] = t.a_key_that_is_longer_than_the_longest_string_that_is_interned + 1
end
print(t[long], rawget(t, long:sub(1, 10) .. long:sub(11)))
local kinds = {}
for i = 1, 200 do
  local ok, e = pcall(function() local none = nil; return none[("field_of_nothing"):rep(2 + i % 2)] end)
  kinds[e] = (kinds[e] or 0) + 1
end
local counts = {}
for e, c in pairs(kinds) do counts[#counts + 1] = c .. " " .. e end
table.sort(counts)
print(table.concat(counts, "; "))
-- Through metatables, as globals, and in tables with many keys.
local class = setmetatable({}, { __index = { [long] = "inherited" }, __newindex = function(c, k, v) rawset(c, k, v .. "!") end })
local seen = {}
for i = 1, 100 do
  local k = long .. (i % 5 == 0 and "" or "_other")
  seen[#seen + 1] = tostring(class[k])
  if i == 60 then class[k] = "own" end
end
print(#table.concat(seen, ","), class[long], seen[50], seen[70])
for i = 1, 100 do _G[long .. i % 4] = (_G[long .. i % 4] or 0) + i end
print(_G[long .. 0], _G[long .. 1], _G[long .. 2], _G[long .. 3])
local many = {}
for i = 1, 500 do many[("%060d"):format(i)] = i end
local sum = 0
for i = 1, 500 do sum = sum + many[("%060d"):format(i)] many[("%060d"):format(i)] = nil end
print(sum, next(many))
