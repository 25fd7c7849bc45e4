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
