-- Reading strings: loops over bytes with string.byte, over characters with string.sub and
-- comparisons, and plain string.find; substrings are compared and interned all the time. The size
-- is the number of rounds over a text of about 50 kilobytes; three ways of counting must agree.
local n = tonumber((...) or 160)

local byte, sub, find = string.byte, string.sub, string.find

local words = { "lorem", "ipsum", "dolor", "sit", "amet", "needle", "elit", "sed", "do", "tempor" }
local seed = 17
local pieces, needles = {}, 0
for i = 1, 9000 do
  seed = seed * 16807 % 2147483647
  local word = words[seed % #words + 1]
  if word == "needle" then needles = needles + 1 end
  pieces[i] = word
end
local text = table.concat(pieces, " ")

local function count_by_bytes(s, pattern)
  local count, length = 0, #pattern
  local first = byte(pattern, 1)
  for i = 1, #s - length + 1 do
    if byte(s, i) == first then
      local k = 2
      while k <= length and byte(s, i + k - 1) == byte(pattern, k) do k = k + 1 end
      if k > length then count = count + 1 end
    end
  end
  return count
end

local function count_by_sub(s, pattern)
  local count, length = 0, #pattern
  for i = 1, #s - length + 1 do
    if sub(s, i, i + length - 1) == pattern then count = count + 1 end
  end
  return count
end

local function count_by_find(s, pattern)
  local count, at = 0, 1
  while true do
    local from, to = find(s, pattern, at, true)
    if not from then return count end
    count, at = count + 1, to + 1
  end
end

-- Splits at spaces and sums up the lengths of the words.
local function split_length(s)
  local sum, count, at = 0, 0, 1
  while true do
    local space = find(s, " ", at, true)
    local word = sub(s, at, space and space - 1)
    sum, count = sum + #word, count + 1
    if not space then return sum, count end
    at = space + 1
  end
end

local function count_vowels(s)
  local vowels = { a = true, e = true, i = true, o = true, u = true }
  local count = 0
  for i = 1, #s do
    if vowels[sub(s, i, i)] then count = count + 1 end
  end
  return count
end

local function hash(s)
  local h = 0
  for i = 1, #s do h = (h * 31 + byte(s, i)) % 16777213 end
  return h
end

local checksum = 0
for round = 1, n do
  local shifted = sub(text, round, -1) .. sub(text, 1, round - 1)
  local a, b, c =
    count_by_bytes(text, "needle"), count_by_sub(text, "needle"), count_by_find(text, "needle")
  if a ~= needles or b ~= needles or c ~= needles then error("string_scan: counts differ") end
  local sum, count = split_length(text)
  if count ~= 9000 or sum + count - 1 ~= #text then error("string_scan: wrong split") end
  checksum = (checksum * 3 + hash(shifted) + count_vowels(shifted)) % 1000000007
end
if n == 160 and checksum ~= 531067848 then error("string_scan: checksum " .. checksum) end
print(string.format("%d bytes, %d needles, checksum %d", #text, needles, checksum))
