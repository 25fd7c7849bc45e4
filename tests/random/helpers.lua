-- Helpers of the random programs. Fuel bounds their work: `refuel` fills it, loops call `tick`, and functions call
-- `enter`, whose own smaller amount also keeps recursion below every limit on nesting.
local loops, calls = 0, 0
local type, next, rawget, rawlen, getmetatable, mathtype = type, next, rawget, rawlen, getmetatable, math.type
local sort, sub = table.sort, string.sub

function refuel() loops, calls = 1500, 120 end

function tick()
  loops = loops - 1
  if loops < 0 then error("out of loop fuel", 0) end
end

function enter()
  calls = calls - 1
  if calls < 0 then error("out of call fuel", 0) end
end

refuel()

-- A string cut to a bounded length; other values unchanged.
function cap(s)
  if type(s) == "string" and #s > 120 then return sub(s, 1, 120) end
  return s
end

-- A number that is not NaN, whose sign no program may depend on.
function nn(x)
  if x ~= x then return 0 end
  return x
end

function toint(x) return math.tointeger(x) or 7 end

-- Whether a table's length is the same whatever border it finds.
function isseq(t)
  if type(t) ~= "table" or getmetatable(t) ~= nil then return false end
  local count, highest = 0, 0
  for k in next, t do
    if mathtype(k) == "integer" and k > 0 then
      count = count + 1
      if k > highest then highest = k end
    end
  end
  return count == highest
end

-- The length of a table where it is determined.
function len(t)
  if isseq(t) then return #t end
  return -1
end

-- Iterates over a copy of a table's entries whose keys are numbers or strings, in an order that every engine shares.
function spairs(t)
  local keys = {}
  for k in next, t do
    local kind = type(k)
    if kind == "number" or kind == "string" then keys[#keys + 1] = k end
  end
  sort(keys, function(a, b)
    local ta, tb = type(a), type(b)
    if ta ~= tb then return ta < tb end
    return a < b
  end)
  local i = 0
  return function()
    i = i + 1
    local k = keys[i]
    if k ~= nil then return k, rawget(t, k) end
  end
end

-- A value to be closed, which prints what it is closed with and raises `e` if there is one.
function closer(name, e)
  return setmetatable({}, { __close = function(_, err)
    check("close " .. name, err)
    if e ~= nil then error(e) end
  end })
end
