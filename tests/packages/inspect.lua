local inspect = require "inspect"
print(inspect({ 1, 2, 3, { a = 1, b = { c = "x\ny\0z" } }, [true] = false, [1.5] = "f" }))
print(inspect("text with 'quotes' and \"quotes\" and \27 control"))
local t = { name = "cycle" }
t.self = t
t.list = { t, { t } }
print(inspect(t))
print(inspect(setmetatable({ 1 }, { __index = { x = 1 }, __metatable = nil })))
print(inspect({ a = { b = { c = { d = 1 } } } }, { depth = 2 }))
print(inspect({ 1, 2, { 3 } }, { newline = "@", indent = ">" }))
print(inspect({ a = 1, secret = 2, list = { 1, 2 } }, {
  process = function(item, path)
    if path[#path] == "secret" then return nil end
    if path[#path] == inspect.KEY then return item end
    return item
  end,
}))
print(inspect({ print, function() end, coroutine.create(print) }):gsub("%d+", "N"))
print(inspect({ math.huge, -math.huge, 0 / 0 ~= 0 / 0, 1e15, 2 ^ 53, math.mininteger }))
print(inspect({ ["a-b"] = 1, ["end"] = 2, _ok = 3, ["1x"] = 4 }))
