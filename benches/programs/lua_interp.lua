-- Interpreter: a small imperative language compiled to the code of a stack machine, and the machine's loop; plus a
-- Lisp evaluator on top of closures of environments. Exercises: a tokenizer by patterns, recursive-descent parsing,
-- code generation with patched jumps, dispatch through chains of comparisons and through tables of functions,
-- environments chained by parent links.

local n = tonumber((...) or 34)

local function expect(actual, expected, what)
  if actual ~= expected then
    error(string.format("lua_interp: %s: %s instead of %s", what, tostring(actual), tostring(expected)))
  end
end

-- Compiler -------------------------------------------------------------------------------------------------------------

local keywords = {}
for word in ("fun var while if else return end do then"):gmatch("%a+") do keywords[word] = true end

local function tokenize(source)
  local tokens, pos = {}, 1
  while true do
    pos = source:find("%S", pos)
    if not pos then break end
    local text = source:match("^%d+", pos)
    if text then
      tokens[#tokens + 1] = { kind = "number", value = tonumber(text) }
    else
      text = source:match("^[%a_][%w_]*", pos)
      if text then
        tokens[#tokens + 1] = { kind = keywords[text] and text or "name", value = text }
      else
        text = source:match("^[<>=!]=", pos) or source:sub(pos, pos)
        tokens[#tokens + 1] = { kind = text }
      end
    end
    pos = pos + #text
  end
  tokens[#tokens + 1] = { kind = "eof" }
  return tokens
end

local PUSH, LOAD, STORE, ADD, SUB, MUL, MOD, LT, LE, EQ, JUMP, JUMP_IF_NOT, CALL, RETURN, POP, GET, SET, ARRAY =
  1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18

local Compiler = {}
Compiler.__index = Compiler

local function compile(source)
  local self = setmetatable({ tokens = tokenize(source), at = 1, functions = {}, by_name = {} }, Compiler)
  while not self:accept("eof") do self:fun() end
  return self.functions, self.by_name
end

function Compiler:accept(kind)
  local token = self.tokens[self.at]
  if token.kind ~= kind then return nil end
  self.at = self.at + 1
  return token
end

function Compiler:need(kind)
  return self:accept(kind) or error("lua_interp: " .. kind .. " expected near " .. self.tokens[self.at].kind)
end

function Compiler:emit(op, argument)
  local code = self.code
  code[#code + 1] = op
  code[#code + 1] = argument or 0
  return #code
end

function Compiler:patch(place) self.code[place] = #self.code + 1 end

function Compiler:declare(name)
  self.slots = self.slots + 1
  self.names[name] = self.slots
  return self.slots
end

function Compiler:slot(name) return self.names[name] or error("lua_interp: unknown variable " .. name) end

-- The index of a function that may be defined later.
function Compiler:function_index(name)
  if not self.by_name[name] then
    self.functions[#self.functions + 1] = {}
    self.by_name[name] = #self.functions
  end
  return self.by_name[name]
end

function Compiler:fun()
  self:need("fun")
  local f = self.functions[self:function_index(self:need("name").value)]
  self.code, self.names, self.slots = {}, {}, 0
  self:need("(")
  while not self:accept(")") do
    self:declare(self:need("name").value)
    self:accept(",")
  end
  f.parameters = self.slots
  self:block()
  self:need("end")
  self:emit(PUSH, 0)
  self:emit(RETURN)
  f.code, f.slots = self.code, self.slots
end

function Compiler:block()
  while true do
    local kind = self.tokens[self.at].kind
    if kind == "end" or kind == "else" then return end
    self:statement(kind)
  end
end

function Compiler:statement(kind)
  if self:accept("var") then
    local name = self:need("name").value
    self:need("=")
    self:expression()
    self:emit(STORE, self:declare(name))
  elseif self:accept("while") then
    local top = #self.code + 1
    self:expression()
    local exit = self:emit(JUMP_IF_NOT)
    self:need("do")
    self:block()
    self:need("end")
    self:emit(JUMP, top)
    self:patch(exit)
  elseif self:accept("if") then
    self:expression()
    local skip = self:emit(JUMP_IF_NOT)
    self:need("then")
    self:block()
    if self:accept("else") then
      local done = self:emit(JUMP)
      self:patch(skip)
      self:block()
      skip = done
    end
    self:need("end")
    self:patch(skip)
  elseif self:accept("return") then
    self:expression()
    self:emit(RETURN)
  elseif kind == "name" then
    local name = self:need("name").value
    if self:accept("=") then
      self:expression()
      self:emit(STORE, self:slot(name))
    elseif self:accept("[") then
      self:emit(LOAD, self:slot(name))
      self:expression()
      self:need("]")
      self:need("=")
      self:expression()
      self:emit(SET)
    else
      self:call(name)
      self:emit(POP)
    end
  else
    error("lua_interp: statement expected near " .. kind)
  end
end

function Compiler:call(name)
  self:need("(")
  while not self:accept(")") do
    self:expression()
    self:accept(",")
  end
  self:emit(CALL, self:function_index(name))
end

local comparisons = { ["<"] = LT, ["<="] = LE, ["=="] = EQ }
local sums = { ["+"] = ADD, ["-"] = SUB }
local products = { ["*"] = MUL, ["%"] = MOD }

function Compiler:binary(operators, operand)
  operand(self)
  while true do
    local op = operators[self.tokens[self.at].kind]
    if not op then return end
    self.at = self.at + 1
    operand(self)
    self:emit(op)
  end
end

function Compiler:expression() self:binary(comparisons, self.sum) end
function Compiler:sum() self:binary(sums, self.product) end
function Compiler:product() self:binary(products, self.primary) end

function Compiler:primary()
  local number = self:accept("number")
  if number then
    self:emit(PUSH, number.value)
  elseif self:accept("(") then
    self:expression()
    self:need(")")
  elseif self:accept("[") then
    self:expression()
    self:need("]")
    self:emit(ARRAY)
  else
    local name = self:need("name").value
    if self.tokens[self.at].kind == "(" then
      self:call(name)
    else
      self:emit(LOAD, self:slot(name))
      while self:accept("[") do
        self:expression()
        self:need("]")
        self:emit(GET)
      end
    end
  end
end

-- Machine --------------------------------------------------------------------------------------------------------------

local function execute(functions, index, ...)
  local stack, frames, depth = { ... }, {}, 0
  local f = functions[index]
  local code, pc, base, top = f.code, 1, 0, f.slots
  local executed = 0
  while true do
    local op, argument = code[pc], code[pc + 1]
    pc = pc + 2
    executed = executed + 1
    if op == LOAD then
      top = top + 1
      stack[top] = stack[base + argument]
    elseif op == PUSH then
      top = top + 1
      stack[top] = argument
    elseif op == STORE then
      stack[base + argument] = stack[top]
      top = top - 1
    elseif op == ADD then
      top = top - 1
      stack[top] = stack[top] + stack[top + 1]
    elseif op == SUB then
      top = top - 1
      stack[top] = stack[top] - stack[top + 1]
    elseif op == LT then
      top = top - 1
      stack[top] = stack[top] < stack[top + 1]
    elseif op == LE then
      top = top - 1
      stack[top] = stack[top] <= stack[top + 1]
    elseif op == EQ then
      top = top - 1
      stack[top] = stack[top] == stack[top + 1]
    elseif op == JUMP_IF_NOT then
      if not stack[top] then pc = argument end
      top = top - 1
    elseif op == JUMP then
      pc = argument
    elseif op == CALL then
      depth = depth + 1
      frames[depth] = { code = code, pc = pc, base = base }
      f = functions[argument]
      code, pc, base = f.code, 1, top - f.parameters
      top = base + f.slots
    elseif op == RETURN then
      local value = stack[top]
      if depth == 0 then return value, executed end
      top = base + 1
      stack[top] = value
      local frame = frames[depth]
      frames[depth] = nil
      depth = depth - 1
      code, pc, base = frame.code, frame.pc, frame.base
    elseif op == GET then
      top = top - 1
      stack[top] = stack[top][stack[top + 1]]
    elseif op == SET then
      stack[top - 2][stack[top - 1]] = stack[top]
      top = top - 3
    elseif op == MUL then
      top = top - 1
      stack[top] = stack[top] * stack[top + 1]
    elseif op == MOD then
      top = top - 1
      stack[top] = stack[top] % stack[top + 1]
    elseif op == POP then
      top = top - 1
    elseif op == ARRAY then
      local items = {}
      for i = 0, stack[top] - 1 do items[i] = 0 end
      stack[top] = items
    end
  end
end

local program = [[
fun fibonacci(k)
  if k < 2 then return k end
  return fibonacci(k - 1) + fibonacci(k - 2)
end

fun primes(limit)
  var crossed = [limit + 1]
  var count = 0
  var i = 2
  while i <= limit do
    if crossed[i] == 0 then
      count = count + 1
      var j = i * i
      while j <= limit do
        crossed[j] = 1
        j = j + i
      end
    end
    i = i + 1
  end
  return count
end

fun gcd(a, b)
  while 0 < b do
    var rest = a % b
    a = b
    b = rest
  end
  return a
end

fun coprime(limit)
  var count = 0
  var a = 1
  while a <= limit do
    var b = 1
    while b <= limit do
      if gcd(a, b) == 1 then count = count + 1 else touch(a) end
      b = b + 1
    end
    a = a + 1
  end
  return count
end

fun touch(a) end
]]

-- Lisp -----------------------------------------------------------------------------------------------------------------

local function read(text)
  local tokens = {}
  for token in text:gsub("[()]", " %1 "):gmatch("%S+") do tokens[#tokens + 1] = token end
  local at = 0
  local function form()
    at = at + 1
    local token = tokens[at]
    if token ~= "(" then return tonumber(token) or token end
    local items = {}
    while tokens[at + 1] ~= ")" do items[#items + 1] = form() end
    at = at + 1
    return items
  end
  local forms = {}
  while at < #tokens do forms[#forms + 1] = form() end
  return forms
end

local Environment = {}
Environment.__index = Environment

function Environment.new(parent) return setmetatable({ values = {}, parent = parent }, Environment) end

function Environment:lookup(name)
  local scope = self
  while scope do
    local value = scope.values[name]
    if value ~= nil then return value end
    scope = scope.parent
  end
  error("lua_interp: unbound name " .. name)
end

local evaluate
local special = {}

special["if"] = function(form, env)
  if evaluate(form[2], env) then return evaluate(form[3], env) end
  return form[4] ~= nil and evaluate(form[4], env)
end

special["define"] = function(form, env)
  env.values[form[2]] = evaluate(form[3], env)
  return false
end

special["lambda"] = function(form, env)
  local parameters, body = form[2], form[3]
  return function(...)
    local scope = Environment.new(env)
    for i, name in ipairs(parameters) do scope.values[name] = (select(i, ...)) end
    return evaluate(body, scope)
  end
end

special["let"] = function(form, env)
  local scope = Environment.new(env)
  for _, binding in ipairs(form[2]) do scope.values[binding[1]] = evaluate(binding[2], env) end
  return evaluate(form[3], scope)
end

function evaluate(form, env)
  local kind = type(form)
  if kind == "number" then return form end
  if kind == "string" then return env:lookup(form) end
  local handler = special[form[1]]
  if handler then return handler(form, env) end
  local fn = evaluate(form[1], env)
  local count = #form - 1
  if count == 1 then return fn(evaluate(form[2], env)) end
  if count == 2 then return fn(evaluate(form[2], env), evaluate(form[3], env)) end
  local arguments = {}
  for i = 1, count do arguments[i] = evaluate(form[i + 1], env) end
  return fn(arguments[1], arguments[2], arguments[3], arguments[4])
end

local function builtins()
  local env = Environment.new()
  env.values = {
    ["+"] = function(a, b) return a + b end,
    ["-"] = function(a, b) return a - b end,
    ["*"] = function(a, b) return a * b end,
    ["<"] = function(a, b) return a < b end,
    ["="] = function(a, b) return a == b end,
    cons = function(a, b) return { a, b } end,
    car = function(p) return p[1] end,
    cdr = function(p) return p[2] end,
    null = function(p) return p == "nil" end,
    empty = "nil",
  }
  return env
end

local lisp = [[
(define tak (lambda (x y z)
  (if (< y x) (tak (tak (- x 1) y z) (tak (- y 1) z x) (tak (- z 1) x y)) z)))
(define range (lambda (a b) (if (< b a) empty (cons a (range (+ a 1) b)))))
(define map (lambda (f l) (if (null l) empty (cons (f (car l)) (map f (cdr l))))))
(define fold (lambda (f z l) (if (null l) z (fold f (f z (car l)) (cdr l)))))
(define adder (lambda (k) (lambda (x) (+ x k))))
(define sum-of-squares (lambda (k)
  (let ((square (lambda (x) (* x x)))) (fold + 0 (map square (range 1 k))))))
]]

-- Driver ---------------------------------------------------------------------------------------------------------------

local executed = 0
for _ = 1, n do
  local functions, by_name = compile(program)
  local function run(name, argument, expected)
    local value, count = execute(functions, by_name[name], argument)
    expect(value, expected, name)
    executed = executed + count
  end
  run("fibonacci", 18, 2584)
  run("primes", 10000, 1229)
  run("coprime", 60, 2203)

  local env = builtins()
  for _, form in ipairs(read(lisp)) do evaluate(form, env) end
  local function value_of(text) return evaluate(read(text)[1], env) end
  expect(value_of("(tak 10 6 2)"), 3, "tak")
  expect(value_of("(sum-of-squares 100)"), 338350, "sum of squares")
  expect(value_of("(fold + 0 (map (adder 5) (range 1 50)))"), 1525, "adders")
end
print(string.format("lua_interp: %d rounds, %d instructions", n, executed))
