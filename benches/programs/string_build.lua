-- Building strings: repeated concatenation of short strings, chains of concatenations with numbers,
-- table.concat, string.rep and string.reverse. Mostly allocation and copying of strings. The size
-- is the number of rounds; lengths and contents are checked against what arithmetic predicts.
local n = tonumber((...) or 120)

local concat = table.concat

-- Appends one character at a time: quadratic copying, on purpose, but short.
local function append(count)
  local s = ""
  for i = 1, count do s = s .. string.char(97 + i % 26) end
  return s
end

local function numbers(count)
  local parts = {}
  for i = 1, count do parts[i] = "<" .. i .. ":" .. i * i .. ">" end
  return concat(parts, ",")
end

-- Joins pairs repeatedly, as a rope would be flattened.
local function pairwise(pieces)
  while #pieces > 1 do
    local joined = {}
    for i = 1, #pieces, 2 do
      local right = pieces[i + 1]
      joined[#joined + 1] = right and pieces[i] .. right or pieces[i]
    end
    pieces = joined
  end
  return pieces[1]
end

local function digits_up_to(count)
  local sum, low, width = 0, 1, 1
  while low <= count do
    local high = math.min(count, low * 10 - 1)
    sum = sum + (high - low + 1) * width
    low, width = low * 10, width + 1
  end
  return sum
end

local total = 0
for round = 1, n do
  local s = append(2000)
  if #s ~= 2000 or s:sub(26, 28) ~= "abc" then error("string_build: wrong appended string") end

  local list = numbers(3000)
  local squares = 0
  for i = 1, 3000 do squares = squares + #tostring(i * i) end
  if #list ~= digits_up_to(3000) + squares + 3 * 3000 + 2999 then
    error("string_build: wrong list of numbers")
  end

  local pieces = {}
  for i = 1, 4096 do pieces[i] = "piece" .. i .. "of" .. round end
  local joined = pairwise(pieces)
  if joined ~= concat(pieces) then error("string_build: wrong joined string") end

  local mirrored = joined .. joined:reverse()
  if mirrored ~= mirrored:reverse() then error("string_build: not a palindrome") end
  if ("ab"):rep(500, "") ~= ("abab"):rep(250) then error("string_build: wrong repetition") end
  total = total + #s + #list + #mirrored
end
print(string.format("%d rounds, %d bytes", n, total))
