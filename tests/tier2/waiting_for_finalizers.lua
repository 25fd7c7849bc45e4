-- Loops that make objects only for the collector's sake end when it has run.
do
  local done
  setmetatable({}, { __gc = function() done = "captured" end })
  repeat local t = {} until done
  print(done)
end
do
  setmetatable({}, { __gc = function() finished = "global" end })
  repeat local t = { x = 1, y = { 2 } } until finished
  print(finished)
end
do
  local state = {}
  setmetatable({}, { __gc = function() state.done = "field" end })
  while not state.done do
    local function f() return state end
    local t = { f }
  end
  print(state.done)
end
do
  local weak = setmetatable({ {} }, { __mode = "v" })
  while weak[1] do local t = {} end
  print(tostring(weak[1]))
end
-- They may count meanwhile, and make objects in branches, in functions and on the way back.
do
  local done
  setmetatable({}, { __gc = function() done = "counted" end })
  local n = 0
  repeat
    local t = {}
    n = n + 1
    if n % 1000 == 1 then last = n end
  until done
  print(done)
end
do
  local done
  setmetatable({}, { __gc = function() done = "carried" end })
  local n = 0
  while not done do
    local p = { x = n, y = 1 }
    n = p.x + p.y
  end
  print(done)
end
do
  local done
  setmetatable({}, { __gc = function() done = "in a branch" end })
  local n, m = 0, 0
  while not done do
    n = n + 1
    if n % 3 == 0 then
      local f = function() return n end
      m = m + f() % 2
    end
  end
  print(done)
end
do
  local done
  setmetatable({}, { __gc = function() done = "in a function" end })
  local function recurse(n)
    local t = { n }
    if t[1] > 0 then return recurse(t[1] - 1) + 1 end
    return 0
  end
  local n = 0
  while not done do n = n + recurse(20) end
  print(done)
end
