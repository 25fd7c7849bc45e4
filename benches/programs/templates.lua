-- Templates: a string-buffer class and a small template engine (variables, filters, sections, loops, conditions,
-- partials) that compiles templates to closures. Exercises: string.find with patterns and captures, gsub with
-- functions, string concatenation and buffers, closures compiled from a tree, string.format, upper/rep/sub.

local rounds = tonumber((...) or 2000)

-- String buffer ----------------------------------------------------------------------------------------------------------

local Buffer = {}
Buffer.__index = Buffer

function Buffer.new() return setmetatable({ parts = {}, count = 0, length = 0 }, Buffer) end

function Buffer:add(text)
  self.count = self.count + 1
  self.parts[self.count] = text
  self.length = self.length + #text
  return self
end

function Buffer:addf(format, ...) return self:add(string.format(format, ...)) end
function Buffer.__tostring(b) return table.concat(b.parts, "", 1, b.count) end

function Buffer.__concat(a, b)
  local out = Buffer.new()
  return out:add(tostring(a)):add(tostring(b))
end

-- Engine -----------------------------------------------------------------------------------------------------------------

local entities = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }

local filters = {
  upper = string.upper,
  escape = function(s) return (s:gsub('[&<>"]', entities)) end,
  title = function(s)
    return (s:gsub("(%a)(%w*)", function(first, rest) return first:upper() .. rest:lower() end))
  end,
  money = function(s) return string.format("%.2f", tonumber(s)) end,
  trim = function(s) return (s:gsub("^%s+", ""):gsub("%s+$", "")) end,
  truncate = function(s) return #s > 12 and s:sub(1, 9) .. "..." or s end,
}

-- Looks up a dotted path in the chain of scopes.
local function lookup(scope, path)
  local value
  for name in path:gmatch("[^.]+") do
    if value == nil then
      local s = scope
      while s do
        value = s.values[name]
        if value ~= nil then break end
        s = s.parent
      end
      if value == nil then return nil end
    else
      value = value[name]
      if value == nil then return nil end
    end
  end
  return value
end

local function display(value)
  if value == nil then return "" end
  if type(value) == "number" then
    return value == math.floor(value) and string.format("%d", value) or string.format("%.3f", value)
  end
  return tostring(value)
end

local Template = {}
Template.__index = Template

local function compile_block(tags, engine)
  local nodes = {}
  while true do
    local tag = tags[tags.at]
    tags.at = tags.at + 1
    if tag.text ~= "" then
      local text = tag.text
      nodes[#nodes + 1] = function(out) out:add(text) end
    end
    local kind, body = tag.kind, tag.body
    if kind == "end" or kind == "eof" or kind == "else" then
      return function(out, scope)
        for i = 1, #nodes do nodes[i](out, scope) end
      end, kind
    elseif kind == "=" then
      local path, rest = body:match("^%s*([%w_.]+)(.*)$")
      local chain = {}
      for name in rest:gmatch("|%s*(%w+)") do
        chain[#chain + 1] = filters[name] or error("templates: unknown filter " .. name)
      end
      nodes[#nodes + 1] = function(out, scope)
        local text = display(lookup(scope, path))
        for i = 1, #chain do text = chain[i](text) end
        out:add(text)
      end
    elseif kind == "for" then
      local name, path = body:match("([%w_]+)%s+in%s+([%w_.]+)")
      local inner = compile_block(tags, engine)
      nodes[#nodes + 1] = function(out, scope)
        local list = lookup(scope, path) or {}
        for i, item in ipairs(list) do
          inner(out, { values = { [name] = item, index = i, first = i == 1, last = i == #list }, parent = scope })
        end
      end
    elseif kind == "if" then
      local path = body:match("[%w_.]+")
      local yes, stop = compile_block(tags, engine)
      local no
      if stop == "else" then no = compile_block(tags, engine) end
      nodes[#nodes + 1] = function(out, scope)
        if lookup(scope, path) then
          yes(out, scope)
        elseif no then
          no(out, scope)
        end
      end
    elseif kind == "include" then
      local name = body:match("[%w_]+")
      nodes[#nodes + 1] = function(out, scope) engine:get(name).run(out, scope) end
    else
      error("templates: unknown tag " .. kind)
    end
  end
end

local function scan(source)
  local tags, pos = { at = 1 }, 1
  while true do
    local first, last, body = source:find("{{%s*(.-)%s*}}", pos)
    if not first then break end
    local kind, rest = body:match("^(%a+)%s*(.*)$")
    if body:sub(1, 1) == "=" then kind, rest = "=", body:sub(2) end
    tags[#tags + 1] = { text = source:sub(pos, first - 1), kind = kind, body = rest }
    pos = last + 1
  end
  tags[#tags + 1] = { text = source:sub(pos), kind = "eof" }
  return tags
end

local Engine = {}
Engine.__index = Engine

function Engine.new(sources) return setmetatable({ sources = sources, cache = {} }, Engine) end

function Engine:get(name)
  local template = self.cache[name]
  if not template then
    local run = compile_block(scan(self.sources[name]), self)
    template = setmetatable({ name = name, run = run }, Template)
    self.cache[name] = template
  end
  return template
end

function Template:render(values)
  local out = Buffer.new()
  self.run(out, { values = values })
  return tostring(out)
end

-- Driver -----------------------------------------------------------------------------------------------------------------

local sources = {
  page = [[
<html><head><title>{{= title | trim | title | escape}}</title></head>
<body>
{{for order in orders}}{{include order}}
{{end}}{{if note}}<p>{{= note | escape}}</p>{{else}}<p>nothing to add</p>{{end}}
</body></html>
]],
  order = [[
<h2>{{= index}}. {{= order.customer.name | upper | escape}}</h2>
<ul>{{for line in order.lines}}
  <li>{{= line.count}} x {{= line.name | truncate | escape}}: {{= line.price | money}}{{if last}} (last){{end}}</li>{{end}}
</ul>
<p>Total {{= order.total | money}}{{if order.express}}, express{{end}}</p>]],
}

local seed = 8
local function random(limit)
  seed = seed * 16807 % 2147483647
  return seed % limit
end

local goods = { "pen & paper", "lamp", "\"quoted\" book on <tags>", "chair", "a very long product name" }
local people = { "ann o'hara", "bob & sons", "carol <c>", "dan" }

local function make_orders(count)
  local orders = {}
  for i = 1, count do
    local order = { customer = { name = people[random(#people) + 1] }, lines = {}, total = 0, express = random(3) == 0 }
    for k = 1, random(6) + 1 do
      local line = { name = goods[random(#goods) + 1], count = random(9) + 1, price = random(10000) / 4 }
      order.lines[k] = line
      order.total = order.total + line.count * line.price
    end
    orders[i] = order
  end
  return orders
end

local expected = "<html><head><title>Small &amp; Simple Test</title></head>\n<body>\n<h2>1. BOB &amp; SONS</h2>\n<ul>\n"
  .. "  <li>2 x lamp: 1.50</li>\n  <li>1 x a very lo...: 0.25 (last)</li>\n</ul>\n<p>Total 3.25, express</p>\n"
  .. "<p>&lt;done&gt;</p>\n</body></html>\n"
local small = Engine.new(sources):get("page"):render({
  title = "  small & SIMPLE test ",
  note = "<done>",
  orders = {
    {
      customer = { name = "bob & sons" },
      lines = { { name = "lamp", count = 2, price = 1.5 }, { name = "a very long name", count = 1, price = 0.25 } },
      total = 3.25,
      express = true,
    },
  },
})
if small ~= expected then error("templates: wrong text:\n" .. small) end

local bytes, checksum, log = 0, 0, Buffer.new()
for round = 1, rounds do
  local engine = Engine.new(sources)
  local orders = make_orders(8)
  local page = engine:get("page"):render({ title = " orders of day " .. round, orders = orders, note = round % 2 == 0 and "a<b" })
  local _, items = page:gsub("<li>", "")
  local lines = 0
  for _, order in ipairs(orders) do lines = lines + #order.lines end
  if items ~= lines then error(string.format("templates: %d items, expected %d", items, lines)) end
  bytes = bytes + #page
  for i = 1, #page, 61 do checksum = (checksum * 31 + page:byte(i)) % 1000003 end
  log:addf("%05d:%d;", round, #page)
end
if log.length ~= #tostring(log) then error("templates: wrong buffer length") end
if tostring(log .. "end"):sub(-3) ~= "end" then error("templates: wrong concatenation") end
if rounds == 2000 and checksum ~= 571950 then error(string.format("templates: wrong checksum %d", checksum)) end
print(string.format("templates: %d rounds, %d bytes, checksum %d", rounds, bytes, checksum))
