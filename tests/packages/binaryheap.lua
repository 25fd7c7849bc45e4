local heap = require "binaryheap"
local h = heap.minUnique()
local seed = 7
for i = 1, 200 do
  seed = (seed * 1103515245 + 12345) % 2 ^ 31 | 0
  h:insert(seed % 1000, "p" .. i)
end
for i = 1, 200, 7 do h:remove("p" .. i) end
for i = 2, 200, 11 do if h:valueByPayload("p" .. i) then h:update("p" .. i, i) end end
local out = {}
while h:size() > 0 do
  local payload, value = h:pop()
  out[#out + 1] = value
end
print(table.concat(out, " "))
local m = heap.maxHeap()
for _, v in ipairs { 5, 1, 9, 3 } do m:insert(v) end
print(m:peek(), m:pop(), m:pop(), m:size())
