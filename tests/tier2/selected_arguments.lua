-- Which argument `select` gives varies from pass to pass.
local function pick(i, ...) return (select(i, ...)) end
local function each(...) local s = "" for i = 1, select("#", ...) do s = s .. tostring((select(i, ...))) end return s end
local n = 0
for i = 1, 300 do
  local k = i % 4 + 1
  n = n + #each(i, "a", 2.5, nil, true) + (k < 4 and pick(k, 1, 2.5, i) or 0)
  n = n + (pick(k, i, i + 1, i + 2, i + 3)) + (pick(k, 0.5, 1.5, 2.5, 3.5))
  local ok, e = pcall(pick, i % 50 == 0 and 0 or k, 1, 2)
  if not ok then n = n + #e end
  if i % 20 == 0 then n = n + (pick(k + 2, 1, 2, 3) or 7) end
end
print(n)
