local M = require "moses"
local function list(t) local o = {} for i, v in ipairs(t) do o[i] = type(v) == "table" and "(" .. table.concat(v, ",") .. ")" or tostring(v) end return table.concat(o, " ") end
print(list(M.map({ 1, 2, 3 }, function(v) return v * 2 end)), M.reduce({ 1, 2, 3, 4 }, function(a, b) return a + b end))
print(list(M.select({ 1, 2, 3, 4, 5, 6 }, function(v) return v % 2 == 0 end)), list(M.reject({ 1, 2, 3 }, function(v) return v == 2 end)))
print(list(M.sort({ 3, 1, 2 })), list(M.reverse({ 1, 2, 3 })), list(M.flatten({ 1, { 2, { 3, { 4 } } } })), list(M.unique({ 1, 1, 2, 3, 3 })))
print(list(M.zip({ 1, 2 }, { "a", "b" })), list(M.range(1, 10, 3)), list(M.chunk({ 1, 1, 2, 2, 3 }, function(v) return v end)))
print(list(M.union({ 1, 2 }, { 2, 3 })), list(M.intersection({ 1, 2, 3 }, { 2, 3, 4 })), list(M.difference({ 1, 2, 3 }, { 2 })))
print(M.isEqual({ 1, { a = 2 } }, { 1, { a = 2 } }), M.isEqual({ 1 }, { 2 }), M.max({ 3, 9, 2 }), M.min({ 3, 9, 2 }), M.sum({ 1, 2, 3 }))
local fib fib = M.memoize(function(n) return n < 2 and n or fib(n - 1) + fib(n - 2) end) print(fib(60))
print(M.compose(function(x) return x + 1 end, function(x) return x * 2 end)(5), M.bind(string.rep, "ab")(3), M.curry(function(a, b, c) return a + b + c end, 3)(1)(2)(3))
print(M.chain({ 1, 2, 3, 4 }):filter(function(v) return v > 1 end):map(function(v) return v * v end):value()[3])
for p in M.permutation({ 1, 2, 3 }) do io.write(table.concat(p, ""), " ") end print()
