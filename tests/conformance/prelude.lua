-- Helpers of the conformance suite, loaded into the same state before each
-- program. Every helper call that counts as an assertion prints exactly one
-- line, so the number of lines a program prints is its number of assertions.
--
-- Values are rendered canonically: integers and floats are distinguishable,
-- strings are quoted with every unprintable byte as \ddd, table entries are
-- sorted, and anything with an identity shows its type only. Nothing printed
-- depends on addresses, traversal order or the time of a collection.

local print, type, next, select, tostring = print, type, next, select, tostring
local pcall, load = pcall, load
local format, byte, find, gsub, gmatch = string.format, string.byte, string.find, string.gsub, string.gmatch
local concat, sort, pack = table.concat, table.sort, table.pack
local mathtype = math.type

local MAX_DEPTH = 4

local function escape_byte(c)
  if c == "\n" then return "\\n" end
  if c == "\t" then return "\\t" end
  if c == '"' then return '\\"' end
  if c == "\\" then return "\\\\" end
  return format("\\%03d", byte(c))
end

local function quote(s)
  return '"' .. gsub(s, '[%c"\\\127-\255]', escape_byte) .. '"'
end

local function number(n)
  if mathtype(n) == "integer" then return format("%d", n) end
  if n ~= n then return "nan" end
  if n == 1 / 0 then return "inf" end
  if n == -1 / 0 then return "-inf" end
  local s = format("%.17g", n)
  if not find(s, "[.e]") then s = s .. ".0" end
  return s
end

local render

-- Sort key of a table key: numbers by value, then everything else by text.
local function entry_before(a, b)
  local ka, kb = a.key, b.key
  local na, nb = type(ka) == "number", type(kb) == "number"
  if na and nb then return ka < kb end
  if na ~= nb then return na end
  if a.text ~= b.text then return a.text < b.text end
  return a.value < b.value
end

local function render_table(t, depth)
  if depth == 0 then return "table" end
  local entries = {}
  local n = 0
  for k, v in next, t do
    n = n + 1
    entries[n] = { key = k, text = render(k, depth - 1), value = render(v, depth - 1) }
  end
  sort(entries, entry_before)
  local out = {}
  for i = 1, n do
    local e = entries[i]
    if e.key == i then
      out[i] = e.value
    else
      out[i] = "[" .. e.text .. "]=" .. e.value
    end
  end
  return "{" .. concat(out, ", ") .. "}"
end

function render(v, depth)
  local t = type(v)
  if t == "string" then return quote(v) end
  if t == "number" then return number(v) end
  if t == "table" then return render_table(v, depth) end
  if t == "nil" or t == "boolean" then return tostring(v) end
  return t
end

local function render_all(values, first)
  local out = {}
  for i = first, values.n do out[#out + 1] = render(values[i], MAX_DEPTH) end
  return concat(out, ", ")
end

local function outcome(label, values)
  if values[1] then
    print(label .. " -> " .. render_all(values, 2))
  else
    print(label .. " -> error " .. render_all(values, 2))
  end
end

--- Renders one value as `check` would.
function show(v)
  return render(v, MAX_DEPTH)
end

--- Replaces the addresses in `s` ("table: 0x55..."), which no program may depend on.
function noaddr(s)
  return (gsub(s, ": [%x]*x?%x%x%x%x+", ": ADDR"))
end

--- Prints the values, whatever they are.
function check(label, ...)
  print(label .. ": " .. render_all(pack(...), 1))
end

--- Calls `f` with the rest and prints its results, or the error value it raised.
function raises(label, f, ...)
  outcome(label, pack(pcall(f, ...)))
end

--- Loads `source` and prints the compiler's message.
function syntax(label, source, chunkname)
  local f, message = load(source, chunkname or "=src")
  print(label .. ": " .. (f and "compiles" or quote(message)))
end

--- Loads and runs `source`, printing its results or the error it raised.
function run(label, source, ...)
  local f, message = load(source, "=src")
  if not f then
    print(label .. ": " .. quote(message))
  else
    outcome(label, pack(pcall(f, ...)))
  end
end

--- One assertion per line of `list`: each is an expression, evaluated on its own.
function exprs(list)
  for line in gmatch(list, "[^\n]+") do run(line, "return " .. line) end
end

--- One assertion per line of `list`: each is a chunk, run on its own.
function progs(list)
  for line in gmatch(list, "[^\n]+") do run(line, line) end
end

--- One assertion per line of `list`: each is a source text, only compiled.
function syntaxes(list)
  for line in gmatch(list, "[^\n]+") do syntax(line, line) end
end
