local assert = require "luassert"
local say = require "say"
local spy, stub, mock, match = require "luassert.spy", require "luassert.stub", require "luassert.mock", require "luassert.match"
assert.are.equal(1, 1) assert.are.same({ 1, { a = 2 } }, { 1, { a = 2 } }) assert.is_true(true) assert.has.errors(function() error "x" end) assert.is_not.equal(1, 2)
local function fails(f, ...)
  local ok, e = pcall(f, ...)
  print(ok, (tostring(e):gsub("0x%x+", "ADDRESS")))
end
fails(assert.are.equal, 1, 2) fails(assert.is_true, false) fails(assert.has_error, function() end) fails(assert.are.same, { 1 }, { 2 }) fails(assert.is_nil, 5)
fails(assert.has_error, function() error("a", 0) end, "b") fails(assert.truthy, nil) fails(assert.matches, "^b", "abc") fails(assert.near, 1, 2, 0.1)
local s = spy.new(function(a) return a end)
s(1) s(2, "x")
assert.spy(s).was.called(2) assert.spy(s).was.called_with(2, "x") assert.spy(s).was_not.called_with(3) fails(function() assert.spy(s).was.called(3) end)
local t = { f = function() return "real" end } local st = stub(t, "f") st.returns("stubbed") print(t.f()) st:revert() print(t.f())
assert.spy(s).was.called_with(match.is_number(), match._)
say:set_namespace("xx") say:set("greeting", "Hej %s") print(say("greeting", { "verden" }))
