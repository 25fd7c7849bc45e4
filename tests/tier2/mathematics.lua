-- Library functions that compiled code calls without a frame.

local function exact(x)
  return math.type(x) == "float" and string.format("%a", x) or tostring(x)
end

-- Functions of floats, of arguments of both types and of strings.
do
  local arguments = { 1, 0.5, -0.25, 0.0, -0.0, 1e300, -1e300, 3, -7, "0.75", 1 / 0, math.maxinteger }
  local functions = { "sin", "cos", "tan", "exp", "log", "asin", "acos", "atan", "deg", "rad", "sqrt" }
  for _, name in ipairs(functions) do
    local f = math[name]
    local results = {}
    for round = 1, 40 do
      for i, x in ipairs(arguments) do
        local y = f(x)
        if y == y then results[i] = exact(y) else results[i] = "nan" end
      end
    end
    print(name, table.concat(results, " "))
  end
end

-- Two arguments; the second one may be absent or nil.
do
  local pairs_of = { { 1, 2 }, { 1.5, -2 }, { -3, 0.5 }, { 0.0, -1.0 }, { -0.0, 1 }, { 8, 2 }, { 1000, 10 }, { 9, 3 } }
  local function atan(y, x) return math.atan(y, x) end
  local function log(y, x) return math.log(y, x) end
  local function fmod(y, x) return math.fmod(y, x) end
  for _, f in ipairs { atan, log, fmod } do
    local s = {}
    for round = 1, 60 do
      for i, p in ipairs(pairs_of) do
        local y = f(p[1], p[2])
        s[i] = y == y and exact(y) or "nan"
      end
    end
    print(table.concat(s, " "))
  end
  local s = 0
  for i = 1, 100 do s = s + math.atan(i) + math.atan(i, nil) + math.log(i, nil) end
  print(exact(s))
end

-- Integers of any size and floats are compared exactly.
do
  local big = 1 << 53
  local ints = { 0, 1, -1, big - 1, big, big + 1, -big, -big - 1, math.maxinteger, math.mininteger }
  local floats = { 0.0, -0.0, 0.5, 2.0 ^ 53, 2.0 ^ 53 + 2, -2.0 ^ 53, 2.0 ^ 63, -2.0 ^ 63, 1 / 0, -1 / 0, 0 / 0 }
  local function compare(a, b)
    local bits = 0
    if a < b then bits = bits | 1 end
    if a <= b then bits = bits | 2 end
    if a > b then bits = bits | 4 end
    if a >= b then bits = bits | 8 end
    if a == b then bits = bits | 16 end
    if not (a < b) then bits = bits | 32 end
    return bits
  end
  for _, i in ipairs(ints) do
    local s = {}
    for k, f in ipairs(floats) do
      local x, y = 0, 0
      for round = 1, 20 do x, y = compare(i, f), compare(f, i) end
      s[k] = x .. ":" .. y
    end
    print(i, table.concat(s, " "))
  end
  local wrong = 0
  for i = big - 50, big + 50 do
    local f = i + 0.0
    if i < f ~= (i < f // 1 | 0) then wrong = wrong + 1 end
    if i == f ~= (i == math.tointeger(f)) then wrong = wrong + 1 end
  end
  print(wrong)
end

-- The greatest and least argument keep their type.
do
  local function extremes(a, b, c) return math.max(a, b, c), math.min(a, b, c) end
  local values = { 1, 1.0, 0, 0.0, -0.0, 2, 2.5, 0 / 0, (1 << 53) + 1, 2.0 ^ 53, math.maxinteger, 2.0 ^ 63 }
  for _, a in ipairs(values) do
    local s = {}
    for _, b in ipairs(values) do
      local x, y
      for round = 1, 6 do x, y = extremes(a, 0, b) end
      s[#s + 1] = (x == x and exact(x) or "nan") .. "/" .. (y == y and exact(y) or "nan")
    end
    print(exact(a) == exact(a) and a == a and exact(a) or "nan", table.concat(s, " "))
  end
  local s, t = 0, 0
  for i = 1, 300 do
    local dx = math.max(10.5 - i, 0, i - 100.25)
    s = s + dx * dx
    if math.type(dx) == "integer" then t = t + 1 end
    s = s + math.min(i / 2, 50)
  end
  print(exact(s), t)
end

-- Random numbers come in one order, whoever draws them.
do
  math.randomseed(42, 7)
  local s = {}
  local function draw(i)
    if i % 3 == 0 then return math.random() end
    if i % 3 == 1 then return math.random(i) end
    return math.random(-i, i)
  end
  for i = 1, 200 do
    local x = draw(i)
    if i > 190 then s[#s + 1] = exact(x) end
    assert(i % 3 ~= 1 or x >= 1 and x <= i)
    assert(i % 3 ~= 2 or x >= -i and x <= i)
  end
  local sum = 0
  for i = 1, 100 do sum = sum + math.random(6) + math.random(i, i) + math.random() end
  math.randomseed(42, 7)
  local again = 0
  for i = 1, 200 do again = again + draw(i) end
  for i = 1, 100 do again = again + math.random(6) + math.random(i, i) + math.random() end
  print(#s, tostring(exact(sum) ~= exact(again)), select(2, pcall(math.random, 2, 1)))
  local failed = 0
  for i = 1, 100 do
    local ok, message = pcall(function() return math.random(i, 50) end)
    if not ok then failed = failed + 1 end
  end
  print(failed)
end

-- Errors are those of the functions.
do
  local function message(f, ...)
    local text
    for i = 1, 60 do
      local arguments = i < 40 and { 1, 2 } or { ... }
      local ok, e = pcall(f, table.unpack(arguments))
      if not ok then text = e end
    end
    return text
  end
  local function call_sin(x) local y = math.sin(x) return y end
  local function call_max(x, y) local z = math.max(x, y) return z end
  local function call_fmod(x, y) local z = math.fmod(x, y) return z end
  local function call_less(x, y) if x < y then return 1 end return 2 end
  print(message(call_sin, {}), message(call_sin))
  print(message(call_max, 1, {}), message(call_max, 1.5, {}), message(call_max))
  print(message(call_fmod, 1, 0), tostring(message(call_fmod, 1, 0.0)))
  print(message(call_less, 1.5, {}), message(call_less, 1, "x"))
end

-- A function of the same name that is not the library's.
do
  local calls = 0
  local real = math.sin
  local s = 0
  for i = 1, 120 do
    if i == 80 then
      math.sin = function(x) calls = calls + 1 return -1 end
    end
    s = s + math.sin(i)
  end
  math.sin = real
  print(exact(s), calls)
end
