-- Compression: LZ77 with hash chains over an array of bytes, and LZW with a dictionary of strings,
-- each followed by decompression. Integer arrays, hashing, string.byte, string.sub, concatenation
-- and string keys. The size is the length of the text in kilobytes; the round trips are checked.
local n = tonumber((...) or 1200)

local words = { "the", "moon", "near", "side", "orbit", "far", "of", "a", "crater", "dust", "sea" }
local seed = 8
local pieces, length = {}, 0
while length < n * 1024 do
  seed = seed * 16807 % 2147483647
  local word = words[seed % #words + 1] .. (seed % 7 == 0 and ".\n" or " ")
  pieces[#pieces + 1] = word
  length = length + #word
end
local text = table.concat(pieces):sub(1, n * 1024)

-- Output tokens: a byte, or a distance (plus 256) followed by a length.
local function lz77(s)
  local bytes = {}
  for i = 1, #s do bytes[i] = s:byte(i) end
  local size = #bytes
  local heads, previous, out = {}, {}, {}
  local count, i = 0, 1
  local function enter(at)
    if at + 2 > size then return nil end
    local hash = (bytes[at] * 961 + bytes[at + 1] * 31 + bytes[at + 2]) % 4096
    local head = heads[hash]
    previous[at] = head or 0
    heads[hash] = at
    return head
  end
  while i <= size do
    local best, best_at = 0, 0
    local candidate, tries = enter(i), 16
    while candidate and candidate > 0 and tries > 0 and i - candidate < 32768 do
      local matched = 0
      while matched < 255 and i + matched <= size
        and bytes[candidate + matched] == bytes[i + matched]
      do
        matched = matched + 1
      end
      if matched > best then best, best_at = matched, candidate end
      candidate, tries = previous[candidate], tries - 1
    end
    if best >= 4 then
      out[count + 1], out[count + 2] = 256 + i - best_at, best
      count = count + 2
      for at = i + 1, i + best - 1 do enter(at) end
      i = i + best
    else
      count = count + 1
      out[count] = bytes[i]
      i = i + 1
    end
  end
  return out
end

local function expand_lz77(tokens)
  local bytes, size, i = {}, 0, 1
  while i <= #tokens do
    local token = tokens[i]
    if token < 256 then
      size = size + 1
      bytes[size] = token
      i = i + 1
    else
      local distance = token - 256
      for _ = 1, tokens[i + 1] do
        size = size + 1
        bytes[size] = bytes[size - distance]
      end
      i = i + 2
    end
  end
  local out = {}
  for k = 1, size do out[k] = string.char(bytes[k]) end
  return table.concat(out)
end

local function lzw(s)
  local codes, next_code = {}, 256
  for i = 0, 255 do codes[string.char(i)] = i end
  local out, current = {}, ""
  for i = 1, #s do
    local extended = current .. s:sub(i, i)
    if codes[extended] then
      current = extended
    else
      out[#out + 1] = codes[current]
      codes[extended] = next_code
      next_code = next_code + 1
      current = s:sub(i, i)
    end
  end
  out[#out + 1] = codes[current]
  return out
end

local function expand_lzw(codes)
  local strings = {}
  for i = 0, 255 do strings[i] = string.char(i) end
  local previous = strings[codes[1]]
  local out, next_code = { previous }, 256
  for i = 2, #codes do
    local entry = strings[codes[i]] or previous .. previous:sub(1, 1)
    out[i] = entry
    strings[next_code] = previous .. entry:sub(1, 1)
    next_code = next_code + 1
    previous = entry
  end
  return table.concat(out)
end

local tokens, codes = lz77(text), lzw(text)
if expand_lz77(tokens) ~= text then error("lz: wrong LZ77 round trip") end
if expand_lzw(codes) ~= text then error("lz: wrong LZW round trip") end
if n >= 10 and (#tokens > #text / 2 or #codes > #text / 2) then error("lz: poor compression") end
local checksum = 0
for i = 1, #tokens do checksum = (checksum * 31 + tokens[i]) % 16777213 end
for i = 1, #codes do checksum = (checksum * 31 + codes[i]) % 16777213 end
print(string.format("%d bytes, %d and %d tokens, checksum %d", #text, #tokens, #codes, checksum))
