-- rawget and rawset with constant keys: what shapes say of the table itself, whatever its metatable.
local log = {}
local meta = {
  __index = function(_, key) return "handler of " .. tostring(key) end,
  __newindex = function(_, key, v) log[#log + 1] = tostring(key) .. "=" .. tostring(v) end,
}
local function point(x, y) return setmetatable({ x = x, y = y }, meta) end

local function sum(t) return (rawget(t, "x") or 100) + (rawget(t, "y") or 1000) + (rawget(t, "z") and 5 or 0) end
local function move(t, d)
  rawset(t, "x", rawget(t, "x") + d)
  rawset(t, "w", d)
  return rawget(t, "w"), t.missing
end
for round = 1, 4 do
  local p = point(round, 2)
  for i = 1, 6 do
    print(sum(p), move(p, i))
    if i == 4 then rawset(p, "y", nil) end
    if i == 5 then rawset(p, "z", true) end
  end
  print(p.y, rawget(p, "y"), p.z)
end

-- Other shapes, dictionaries, tables with shapes of their own, and no tables at all.
local shapes = { point(1, 2), { y = 1, x = 2 }, { x = 3 }, { y = 7, z = 1 }, {} }
local big = {}
for i = 1, 200 do big["k" .. i] = i end
big.x = 50
shapes[#shapes + 1] = big
shapes[#shapes + 1] = setmetatable({ x = 9 }, { __index = big })
for _ = 1, 5 do
  local total = 0
  for _, t in ipairs(shapes) do total = total + sum(t) end
  print(total)
end
print(pcall(sum, 5), pcall(sum, nil), pcall(rawset, "s", "x", 1))
Prototype = { x = 1 }
local object = setmetatable({}, { __index = Prototype })
for i = 1, 8 do
  print(rawget(Prototype, "x"), rawget(Prototype, "late"), rawget(object, "x"), object.x, object.late)
  if i == 3 then rawset(Prototype, "late", "now") end
  if i == 5 then rawset(Prototype, "x", 2) end
  if i == 6 then Prototype.x = nil end
end

-- Events of metatables that are in use.
local changing = {}
local subject = setmetatable({}, changing)
for i = 1, 8 do
  rawset(changing, "__index", i % 3 > 0 and function() return i end or nil)
  rawset(changing, "other", i)
  print(subject.anything, rawget(changing, "other"), rawget(changing, "__index") ~= nil, rawget(subject, "anything"))
end

-- What has been stored is there for others, and holds what the collector needs.
local function fill(t, n)
  for i = 1, n do
    rawset(t, "value", { i })
    if i % 16 == 0 then collectgarbage("step") end
    if rawget(t, "value")[1] ~= i or t.value[1] ~= i then error("lost") end
  end
  return t.value[1]
end
for _ = 1, 3 do print(fill({}, 50), fill(point(1, 1), 50)) end
print(#log)
