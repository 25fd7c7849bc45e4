-- Lua patterns: gmatch, gsub with string, table and function replacements, match with captures,
-- find with classes, lazy and greedy repetitions, anchors, %b, %f and back references. The size is
-- the number of rounds over a generated log; every extraction is checked against the numbers the
-- log was generated from.
local n = tonumber((...) or 60)

local names = { "alice", "bob", "carol", "dave", "erin" }
local seed = 5
local lines, total_bytes, errors, requests = {}, 0, 0, {}
for i = 1, 1000 do
  seed = seed * 16807 % 2147483647
  local name = names[seed % #names + 1]
  local status = seed % 13 == 0 and 500 or 200
  local bytes = seed % 10000
  if status == 500 then errors = errors + 1 end
  total_bytes = total_bytes + bytes
  requests[name] = (requests[name] or 0) + 1
  lines[i] = string.format('%s [2026-%02d-%02d] "GET /items/%d?q=(a(b)c)" %d %d',
    name, i % 12 + 1, i % 28 + 1, i, status, bytes)
end
local log = table.concat(lines, "\n")

local checksum = 0
for round = 1, n do
  -- Captures of whole lines.
  local bytes, bad, seen = 0, 0, {}
  for name, _, _, path, status, size in
    log:gmatch('(%a+) %[%d+%-(%d+)%-(%d+)%] "GET ([^"]*)" (%d+) (%d+)')
  do
    bytes = bytes + size
    if status == "500" then bad = bad + 1 end
    seen[name] = (seen[name] or 0) + 1
    checksum = (checksum + #path) % 1000003
  end
  if bytes ~= total_bytes or bad ~= errors then error("patterns: wrong totals") end
  for name, count in pairs(requests) do
    if seen[name] ~= count then error("patterns: wrong count for " .. name) end
  end

  -- Replacement by table, function and template.
  local upper = {}
  for _, name in ipairs(names) do upper[name] = name:upper() end
  local replaced, replacements = log:gsub("%a+", upper)
  if not replaced:find("^%u+ ") then error("patterns: names not replaced") end
  local digits = 0
  local masked = replaced:gsub("%d", function(d)
    digits = digits + 1
    return d == tostring(round % 10) and "#" or nil
  end)
  local dates, swapped = masked:gsub("%[(.-)%-(.-)%-(.-)%]", "%3.%2.%1")
  if swapped ~= 1000 then error("patterns: dates not replaced") end

  -- Balanced brackets, frontiers, back references, anchors.
  local _, balanced = log:gsub("%b()", "")
  local words = select(2, log:gsub("%f[%w]GET%f[%W]", ""))
  local pairs_found = select(2, log:gsub("(%d)%1", ""))
  local trimmed = ("   " .. dates .. "   "):match("^%s*(.-)%s*$")
  if balanced ~= 1000 or words ~= 1000 or trimmed ~= dates then
    error("patterns: wrong counts")
  end
  checksum = (checksum * 7 + replacements + digits + pairs_found + #dates) % 1000003
end
if n == 60 and checksum ~= 198797 then error("patterns: checksum " .. checksum) end
print(string.format("%d rounds, %d bytes, checksum %d", n, #log, checksum))
