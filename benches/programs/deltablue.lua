-- DeltaBlue: an incremental one-way constraint solver (algorithm by Freeman-Benson, Maloney and Borning). Runs the
-- two usual scenarios: a long chain of equalities, and a set of scale-and-offset projections. Exercises: a deep
-- class hierarchy with fresh metatables per object (`setmetatable(o, { __index = Class })`), polymorphic calls at
-- megamorphic sites, list-like tables used as stacks and sets, and heavy allocation of small objects.

local n = tonumber((...) or 1500)

local function subclass(base)
  local c = {}
  if base then setmetatable(c, { __index = base }) end
  return c
end

-- Strengths: smaller is stronger.
local REQUIRED, PREFERRED, STRONG_DEFAULT, NORMAL, WEAKEST = 0, 2, 3, 4, 6

local NONE, FORWARD, BACKWARD = 0, 1, -1

local Variable = subclass()

function Variable.new(name, value)
  return setmetatable({
    name = name, value = value, constraints = {}, determined_by = nil, mark = 0, walk_strength = WEAKEST, stay = true,
  }, { __index = Variable })
end

function Variable:add(constraint)
  self.constraints[#self.constraints + 1] = constraint
end

function Variable:remove(constraint)
  local kept = {}
  for _, c in ipairs(self.constraints) do
    if c ~= constraint then kept[#kept + 1] = c end
  end
  self.constraints = kept
  if self.determined_by == constraint then self.determined_by = nil end
end

local Constraint = subclass()

function Constraint:is_input() return false end

-- Tries to enforce this constraint; returns the constraint it overrode, if any.
function Constraint:satisfy(mark, planner)
  self:choose_method(mark)
  if not self:is_satisfied() then
    if self.strength == REQUIRED then error("could not satisfy a required constraint") end
    return nil
  end
  self:mark_inputs(mark)
  local out = self:output()
  local overridden = out.determined_by
  if overridden then overridden:mark_unsatisfied() end
  out.determined_by = self
  if not planner:propagate(self, mark) then error("cycle encountered") end
  out.mark = mark
  return overridden
end

function Constraint:attach(planner)
  self:add_to_graph()
  planner:add(self)
end

function Constraint:destroy(planner)
  if self:is_satisfied() then planner:remove(self) end
  self:remove_from_graph()
end

local UnaryConstraint = subclass(Constraint)

function UnaryConstraint.init(o, v, strength, planner)
  o.strength = strength
  o.out = v
  o.satisfied = false
  o:attach(planner)
  return o
end

function UnaryConstraint:add_to_graph()
  self.out:add(self)
  self.satisfied = false
end

function UnaryConstraint:remove_from_graph()
  self.out:remove(self)
  self.satisfied = false
end

function UnaryConstraint:choose_method(mark)
  self.satisfied = self.out.mark ~= mark and self.strength < self.out.walk_strength
end

function UnaryConstraint:is_satisfied() return self.satisfied end
function UnaryConstraint:mark_unsatisfied() self.satisfied = false end
function UnaryConstraint:mark_inputs() end
function UnaryConstraint:inputs_known() return true end
function UnaryConstraint:output() return self.out end

function UnaryConstraint:recalculate()
  self.out.walk_strength = self.strength
  self.out.stay = not self:is_input()
  if self.out.stay then self:execute() end
end

local StayConstraint = subclass(UnaryConstraint)

function StayConstraint.new(v, strength, planner)
  return UnaryConstraint.init(setmetatable({}, { __index = StayConstraint }), v, strength, planner)
end

function StayConstraint:execute() end

local EditConstraint = subclass(UnaryConstraint)

function EditConstraint.new(v, strength, planner)
  return UnaryConstraint.init(setmetatable({}, { __index = EditConstraint }), v, strength, planner)
end

function EditConstraint:is_input() return true end
function EditConstraint:execute() end

local BinaryConstraint = subclass(Constraint)

function BinaryConstraint.init(o, v1, v2, strength, planner)
  o.strength = strength
  o.v1 = v1
  o.v2 = v2
  o.direction = NONE
  o:attach(planner)
  return o
end

function BinaryConstraint:choose_method(mark)
  local v1, v2, strength = self.v1, self.v2, self.strength
  local direction = NONE
  if v1.mark == mark then
    if v2.mark ~= mark and strength < v2.walk_strength then direction = FORWARD end
  elseif v2.mark == mark then
    if strength < v1.walk_strength then direction = BACKWARD end
  elseif v1.walk_strength > v2.walk_strength then
    if strength < v1.walk_strength then direction = BACKWARD end
  elseif strength < v2.walk_strength then
    direction = FORWARD
  end
  self.direction = direction
end

function BinaryConstraint:add_to_graph()
  self.v1:add(self)
  self.v2:add(self)
  self.direction = NONE
end

function BinaryConstraint:remove_from_graph()
  self.v1:remove(self)
  self.v2:remove(self)
  self.direction = NONE
end

function BinaryConstraint:is_satisfied() return self.direction ~= NONE end
function BinaryConstraint:mark_unsatisfied() self.direction = NONE end
function BinaryConstraint:mark_inputs(mark) self:input().mark = mark end

function BinaryConstraint:input()
  if self.direction == FORWARD then return self.v1 end
  return self.v2
end

function BinaryConstraint:output()
  if self.direction == FORWARD then return self.v2 end
  return self.v1
end

function BinaryConstraint:inputs_known(mark)
  local v = self:input()
  return v.mark == mark or v.stay or v.determined_by == nil
end

function BinaryConstraint:recalculate()
  local input, out = self:input(), self:output()
  out.walk_strength = math.max(self.strength, input.walk_strength)
  out.stay = input.stay
  if out.stay then self:execute() end
end

local EqualityConstraint = subclass(BinaryConstraint)

function EqualityConstraint.new(v1, v2, strength, planner)
  return BinaryConstraint.init(setmetatable({}, { __index = EqualityConstraint }), v1, v2, strength, planner)
end

function EqualityConstraint:execute()
  self:output().value = self:input().value
end

local ScaleConstraint = subclass(BinaryConstraint)

function ScaleConstraint.new(source, scale, offset, destination, strength, planner)
  local o = setmetatable({ scale = scale, offset = offset }, { __index = ScaleConstraint })
  return BinaryConstraint.init(o, source, destination, strength, planner)
end

function ScaleConstraint:add_to_graph()
  BinaryConstraint.add_to_graph(self)
  self.scale:add(self)
  self.offset:add(self)
end

function ScaleConstraint:remove_from_graph()
  BinaryConstraint.remove_from_graph(self)
  self.scale:remove(self)
  self.offset:remove(self)
end

function ScaleConstraint:mark_inputs(mark)
  BinaryConstraint.mark_inputs(self, mark)
  self.scale.mark = mark
  self.offset.mark = mark
end

function ScaleConstraint:execute()
  if self.direction == FORWARD then
    self.v2.value = self.v1.value * self.scale.value + self.offset.value
  else
    self.v1.value = (self.v2.value - self.offset.value) / self.scale.value
  end
end

function ScaleConstraint:recalculate()
  local input, out = self:input(), self:output()
  out.walk_strength = math.max(self.strength, input.walk_strength)
  out.stay = input.stay and self.scale.stay and self.offset.stay
  if out.stay then self:execute() end
end

-- A plan is an ordered list of satisfied constraints to re-execute when an input changes.
local Plan = subclass()

function Plan.new()
  return setmetatable({ steps = {} }, { __index = Plan })
end

function Plan:add(constraint)
  self.steps[#self.steps + 1] = constraint
end

function Plan:execute()
  for _, constraint in ipairs(self.steps) do constraint:execute() end
end

local Planner = subclass()

function Planner.new()
  return setmetatable({ mark = 0 }, { __index = Planner })
end

function Planner:new_mark()
  self.mark = self.mark + 1
  return self.mark
end

function Planner:add(constraint)
  local mark = self:new_mark()
  local overridden = constraint:satisfy(mark, self)
  while overridden do overridden = overridden:satisfy(mark, self) end
end

function Planner:remove(constraint)
  local out = constraint:output()
  constraint:mark_unsatisfied()
  constraint:remove_from_graph()
  local unsatisfied = self:remove_downstream(out)
  for strength = REQUIRED, WEAKEST do
    for _, u in ipairs(unsatisfied) do
      if u.strength == strength then self:add(u) end
    end
  end
end

local function add_consumers(v, list)
  local determining = v.determined_by
  for _, c in ipairs(v.constraints) do
    if c ~= determining and c:is_satisfied() then list[#list + 1] = c end
  end
end

function Planner:propagate(constraint, mark)
  local todo = { constraint }
  while #todo > 0 do
    local c = table.remove(todo)
    if c:output().mark == mark then
      constraint:destroy(self)
      return false
    end
    c:recalculate()
    add_consumers(c:output(), todo)
  end
  return true
end

function Planner:remove_downstream(out)
  out.determined_by = nil
  out.walk_strength = WEAKEST
  out.stay = true
  local unsatisfied = {}
  local todo = { out }
  while #todo > 0 do
    local v = table.remove(todo)
    for _, c in ipairs(v.constraints) do
      if not c:is_satisfied() then unsatisfied[#unsatisfied + 1] = c end
    end
    local determining = v.determined_by
    for _, c in ipairs(v.constraints) do
      if c ~= determining and c:is_satisfied() then
        c:recalculate()
        todo[#todo + 1] = c:output()
      end
    end
  end
  return unsatisfied
end

function Planner:make_plan(sources)
  local mark = self:new_mark()
  local plan = Plan.new()
  local todo = sources
  while #todo > 0 do
    local c = table.remove(todo)
    if c:output().mark ~= mark and c:inputs_known(mark) then
      plan:add(c)
      c:output().mark = mark
      add_consumers(c:output(), todo)
    end
  end
  return plan
end

function Planner:plan_from(constraints)
  local sources = {}
  for _, c in ipairs(constraints) do
    if c:is_input() and c:is_satisfied() then sources[#sources + 1] = c end
  end
  return self:make_plan(sources)
end

local function check(actual, expected, what)
  if actual ~= expected then error(string.format("deltablue: %s: %g instead of %g", what, actual, expected)) end
end

-- first = v2 = v3 = ... = last; editing the first must change the last.
local function chain(size)
  local planner = Planner.new()
  local first, previous
  for i = 0, size do
    local v = Variable.new("v" .. i, 0)
    if previous then EqualityConstraint.new(previous, v, REQUIRED, planner) end
    first = first or v
    previous = v
  end
  local last = previous
  StayConstraint.new(last, STRONG_DEFAULT, planner)
  local edit = EditConstraint.new(first, PREFERRED, planner)
  local plan = planner:plan_from({ edit })
  for i = 0, 99 do
    first.value = i
    plan:execute()
    check(last.value, i, "chain")
  end
  edit:destroy(planner)
  return #plan.steps
end

local function change(v, value, planner)
  local edit = EditConstraint.new(v, PREFERRED, planner)
  local plan = planner:plan_from({ edit })
  for _ = 1, 10 do
    v.value = value
    plan:execute()
  end
  edit:destroy(planner)
end

-- destination[i] = source[i] * scale + offset, edited from every side.
local function projection(size)
  local planner = Planner.new()
  local scale, offset = Variable.new("scale", 10), Variable.new("offset", 1000)
  local source, destination
  local destinations = {}
  for i = 0, size - 1 do
    source, destination = Variable.new("source", i), Variable.new("destination", i)
    destinations[#destinations + 1] = destination
    StayConstraint.new(source, NORMAL, planner)
    ScaleConstraint.new(source, scale, offset, destination, REQUIRED, planner)
  end
  change(source, 17, planner)
  check(destination.value, 1170, "projection forward")
  change(destination, 1050, planner)
  check(source.value, 5, "projection backward")
  change(scale, 5, planner)
  for i = 0, size - 2 do check(destinations[i + 1].value, i * 5 + 1000, "projection scale") end
  change(offset, 2000, planner)
  for i = 0, size - 2 do check(destinations[i + 1].value, i * 5 + 2000, "projection offset") end
end

local REPEATS = 20
local steps = 0
for _ = 1, REPEATS do
  steps = steps + chain(n)
  projection(n)
end
check(steps, REPEATS * (n + 1), "plan length")
print(string.format("deltablue: n %d, %d plan steps ok", n, steps))
