local lu = require "luaunit"
-- Times are not compared.
os.clock, os.date = function() return 0 end, function() return "now" end
TestCalc = {}
function TestCalc:setUp() self.x = 1 end
function TestCalc:testAdd() lu.assertEquals(self.x + 1, 2) end
function TestCalc:testFail() lu.assertEquals({ 1, 2, { a = 3 } }, { 1, 2, { a = 4 } }) end
function TestCalc:testError() local t = nil; return t.x end
function TestCalc:testSkip() lu.skip("not now") end
function TestCalc:testAlmost() lu.assertAlmostEquals(0.1 + 0.2, 0.3, 1e-12) end
function TestCalc:testThrows() lu.assertErrorMsgContains("boom", function() error("boom!") end) end
function TestCalc:testItems() lu.assertItemsEquals({ 1, 2, 3 }, { 3, 2, 1 }) end
function TestCalc:testString() lu.assertStrContains("haystack", "needle") end
function testFunction() lu.assertIsTrue(true) lu.assertNotNil(1) lu.assertIsTable({}) end
print(lu.prettystr({ 1, "two", { 3 }, nested = { a = { b = 1 } } }))
print(lu.prettystr("it's"), lu.prettystr(1.0), lu.prettystr(-0.0), lu.prettystr(1 / 0))
local runner = lu.LuaUnit.new()
runner:setOutputType("tap")
local code = runner:runSuite("--verbose")
print("exit", code)
