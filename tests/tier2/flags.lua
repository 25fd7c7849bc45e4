-- Booleans over elements of any type: what was there before must not show.
local pending, show = "", print
local function write(...) pending = pending .. table.concat({...}) end
local function print(...)
  show(pending, ...)
  pending = ""
end
local function filled(n, f)
  local t = {}
  for i = 1, n do t[i] = f(i) end
  return t
end
local makers = {
  function() return false end,
  function(i) return i % 2 == 0 end,
  function(i) return i end,
  function(i) return i + 0.5 end,
  function(i) return "s" .. i end,
  function(i) return {i} end,
  function(i) if i % 3 == 0 then return i elseif i % 3 == 1 then return true end return {} end,
}
local function set(t, v, by)
  for i = 1, #t, by do t[i] = v end
end
local function sets(t, from)
  for i = from, #t do
    local flag = i * 7 % 5 < 2
    t[i] = flag
  end
end
local function swap(t)
  for i = 2, #t do t[i - 1], t[i] = t[i], t[i - 1] end
end
local function count(t, v)
  local n = 0
  for i = 1, #t do if t[i] == v then n = n + 1 end end
  return n
end
for k = 1, 3 do
  for number, make in ipairs(makers) do
    local t = filled(40, make)
    set(t, true, 3)
    write(number, ":", count(t, true), " ", count(t, false), " ")
    set(t, false, 2)
    swap(t)
    write(count(t, true), " ", count(t, false), " ")
    sets(t, 5)
    local keys = {}
    for i = 1, #t do keys[t[i]] = (keys[t[i]] or 0) + 1 end
    write(tostring(keys[true]), " ", tostring(keys[false]), " ", tostring(rawequal(t[7], t[8])), " ")
  end
  print()
end
