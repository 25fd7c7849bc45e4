-- A tokenizer for a small language, twice: dispatching on bytes by hand and with anchored patterns.
-- string.byte, string.find with captures and positions, keyword lookup, a table per token. The size
-- is the number of rounds over a generated source; both tokenizers must find the same tokens, and
-- joining them gives the source back.
local n = tonumber((...) or 30)

local byte, find, sub = string.byte, string.find, string.sub

local keywords = {
  ["local"] = true, ["function"] = true, ["if"] = true, ["then"] = true, ["return"] = true,
  ["end"] = true, ["while"] = true, ["do"] = true,
}

local pieces = {}
for i = 1, 300 do
  pieces[i] = string.format([[
local function f%d(a, b)
  -- comment number %d
  if a <= b then return a * %d.5 + b .. "text %d" end
  while a ~= %d do a = a - 1; b = t[a]:m(b) end
end
]], i, i, i % 17, i, i * 3)
end
local source = table.concat(pieces)

local LETTER, DIGIT, SPACE, PUNCTUATION, QUOTE = 1, 2, 3, 4, 5
local class = {}
for b = 0, 255 do
  local c = string.char(b)
  class[b] = c:find("[%a_]") and LETTER or c:find("%d") and DIGIT or c:find("%s") and SPACE
    or c == '"' and QUOTE or PUNCTUATION
end
local pairs_of = { ["<="] = true, ["~="] = true, [".."] = true, ["=="] = true, [">="] = true }

local function by_hand(s)
  local tokens, count, at, size = {}, 0, 1, #s
  while at <= size do
    local b = byte(s, at)
    local kind, from = class[b], at
    local name
    at = at + 1
    if kind == SPACE then
      while at <= size and class[byte(s, at)] == SPACE do at = at + 1 end
      name = "space"
    elseif kind == LETTER then
      while at <= size do
        local c = class[byte(s, at)]
        if c ~= LETTER and c ~= DIGIT then break end
        at = at + 1
      end
      name = keywords[sub(s, from, at - 1)] and "keyword" or "name"
    elseif kind == DIGIT then
      while at <= size and (class[byte(s, at)] == DIGIT or byte(s, at) == 46) do at = at + 1 end
      name = "number"
    elseif kind == QUOTE then
      while byte(s, at) ~= 34 do at = at + 1 end
      at = at + 1
      name = "string"
    elseif b == 45 and byte(s, at) == 45 then
      while at <= size and byte(s, at) ~= 10 do at = at + 1 end
      name = "comment"
    else
      if pairs_of[sub(s, from, from + 1)] then at = at + 1 end
      name = "operator"
    end
    count = count + 1
    tokens[count] = { kind = name, text = sub(s, from, at - 1), at = from }
  end
  return tokens
end

local rules = {
  { "space", "^%s+()" },
  { "name", "^[%a_][%w_]*()" },
  { "number", "^%d[%d.]*()" },
  { "string", '^"[^"]*"()' },
  { "comment", "^%-%-[^\n]*()" },
  { "operator", "^[<~.=>][=.]()" },
  { "operator", "^%p()" },
}

local function by_pattern(s)
  local tokens, at = {}, 1
  while at <= #s do
    local next_at, kind
    for i = 1, #rules do
      local rule = rules[i]
      local _, _, stop = find(s, rule[2], at)
      if stop then
        kind, next_at = rule[1], stop
        break
      end
    end
    if not kind then error("tokenizer: stuck at " .. at) end
    local text = sub(s, at, next_at - 1)
    if kind == "name" and keywords[text] then kind = "keyword" end
    tokens[#tokens + 1] = { kind = kind, text = text, at = at }
    at = next_at
  end
  return tokens
end

local counts = {}
for _ = 1, n do
  local a, b = by_hand(source), by_pattern(source)
  if #a ~= #b then error("tokenizer: " .. #a .. " and " .. #b .. " tokens") end
  local texts = {}
  for i = 1, #a do
    local x, y = a[i], b[i]
    if x.kind ~= y.kind or x.text ~= y.text or x.at ~= y.at then
      error("tokenizer: different tokens at " .. x.at)
    end
    counts[x.kind] = (counts[x.kind] or 0) + 1
    texts[i] = x.text
  end
  if table.concat(texts) ~= source then error("tokenizer: source lost") end
end
print(string.format("%d bytes, %d rounds: %d keywords, %d names, %d numbers, %d operators", #source,
  n, counts.keyword, counts.name, counts.number, counts.operator))
