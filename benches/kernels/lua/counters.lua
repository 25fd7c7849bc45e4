-- A counter in a global, and one in a class beside the method that counts.
calls = 0

local Ticker = {ticks = 0}
Ticker.__index = Ticker

function Ticker:tick(k)
  Ticker.ticks = Ticker.ticks + k
end

local ticker = setmetatable({}, Ticker)

return function(n)
  calls = 0
  Ticker.ticks = 0
  for i = 1, n do
    calls = calls + 1
    ticker:tick(i)
  end
  return calls + Ticker.ticks
end
