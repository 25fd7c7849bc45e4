-- Hash tables with string keys: words are generated syllable by syllable, counted, grouped by their
-- first letter, sorted by frequency and looked up again. String creation and interning, inserts
-- that grow tables, traversal with pairs. The size is the number of words in thousands; totals are
-- checked against each other for every size.
local n = tonumber((...) or 400)

local onsets = { "b", "ch", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "z" }
local vowels = { "a", "e", "i", "o", "u", "ai", "ou" }

local seed = 77
local function random(limit)
  seed = seed * 16807 % 2147483647
  return seed % limit + 1
end

local function word()
  local s = onsets[random(#onsets)] .. vowels[random(#vowels)]
  while random(5) > 2 and #s < 10 do
    s = s .. onsets[random(#onsets)] .. vowels[random(#vowels)]
  end
  return s
end

local words = n * 1000
local counts, first_letters, distinct = {}, {}, 0
for _ = 1, words do
  local w = word()
  local count = counts[w]
  if not count then
    count, distinct = 0, distinct + 1
  end
  counts[w] = count + 1
  local letter = w:sub(1, 1)
  first_letters[letter] = (first_letters[letter] or 0) + 1
end

local sum, keys, by_letter = 0, {}, {}
for w, count in pairs(counts) do
  sum = sum + count
  keys[#keys + 1] = w
  local letter = w:sub(1, 1)
  by_letter[letter] = (by_letter[letter] or 0) + count
end
if sum ~= words or #keys ~= distinct then error("word_count: wrong totals") end
for letter, count in pairs(first_letters) do
  if by_letter[letter] ~= count then error("word_count: wrong count for " .. letter) end
end

table.sort(keys, function(a, b)
  local x, y = counts[a], counts[b]
  if x ~= y then return x > y end
  return a < b
end)
for i = 2, #keys do
  if counts[keys[i - 1]] < counts[keys[i]] then error("word_count: not sorted") end
end

-- Rare words are removed, and then looked for.
local removed = 0
for i = #keys, 1, -1 do
  if counts[keys[i]] > 1 then break end
  counts[keys[i]] = nil
  removed = removed + 1
end
local left = 0
for _, w in ipairs(keys) do
  if counts[w] then left = left + 1 end
end
if left + removed ~= distinct then error("word_count: words lost") end
print(string.format("%d words, %d distinct, %d once, most frequent %s", words, distinct, removed,
  keys[1]))
