-- LRU cache: a least-recently-used cache made of a hash table and a doubly linked list, in front of slow functions,
-- plus a least-frequently-used cache with frequency lists. Exercises: pointer surgery on linked nodes, table insert
-- and delete churn with integer and string keys, hit/miss paths, methods on one hot object, checks by a model.

local n = tonumber((...) or 210000)

local seed = 2024
local function random(limit)
  seed = seed * 16807 % 2147483647
  return seed % limit
end

-- A circular doubly linked list with a sentinel.
local List = {}
List.__index = List

function List.new()
  local o = setmetatable({ size = 0 }, List)
  o.next, o.previous = o, o
  return o
end

function List:push_front(node)
  node.next, node.previous = self.next, self
  self.next.previous = node
  self.next = node
  self.size = self.size + 1
end

function List:unlink(node)
  node.previous.next, node.next.previous = node.next, node.previous
  node.next, node.previous = nil, nil
  self.size = self.size - 1
end

function List:back()
  local node = self.previous
  return node ~= self and node or nil
end

local Cache = {}
Cache.__index = Cache

function Cache.init(o, capacity, load)
  o.capacity, o.load = capacity, load
  o.nodes, o.size = {}, 0
  o.hits, o.misses, o.evictions = 0, 0, 0
  return o
end

function Cache:get(key)
  local node = self.nodes[key]
  if node then
    self.hits = self.hits + 1
    self:touch(node)
    return node.value
  end
  self.misses = self.misses + 1
  local value = self.load(key)
  self:put(key, value)
  return value
end

function Cache:put(key, value)
  local node = self.nodes[key]
  if node then
    node.value = value
    self:touch(node)
    return
  end
  if self.size >= self.capacity then
    local victim = self:victim()
    self:forget(victim)
    self.nodes[victim.key] = nil
    self.size = self.size - 1
    self.evictions = self.evictions + 1
  end
  node = { key = key, value = value }
  self.nodes[key] = node
  self.size = self.size + 1
  self:admit(node)
end

function Cache:delete(key)
  local node = self.nodes[key]
  if not node then return false end
  self:forget(node)
  self.nodes[key] = nil
  self.size = self.size - 1
  return true
end

local LRU = setmetatable({}, Cache)
LRU.__index = LRU

function LRU.new(capacity, load)
  local o = Cache.init(setmetatable({}, LRU), capacity, load)
  o.order = List.new()
  return o
end

function LRU:admit(node) self.order:push_front(node) end
function LRU:forget(node) self.order:unlink(node) end
function LRU:victim() return self.order:back() end

function LRU:touch(node)
  self.order:unlink(node)
  self.order:push_front(node)
end

local LFU = setmetatable({}, Cache)
LFU.__index = LFU

function LFU.new(capacity, load)
  local o = Cache.init(setmetatable({}, LFU), capacity, load)
  o.buckets, o.least = {}, 1
  return o
end

function LFU:bucket(uses)
  local list = self.buckets[uses]
  if not list then
    list = List.new()
    self.buckets[uses] = list
  end
  return list
end

function LFU:admit(node)
  node.uses = 1
  self.least = 1
  self:bucket(1):push_front(node)
end

function LFU:forget(node)
  local list = self.buckets[node.uses]
  list:unlink(node)
  if list.size == 0 then self.buckets[node.uses] = nil end
end

function LFU:touch(node)
  self:forget(node)
  if node.uses == self.least and not self.buckets[node.uses] then self.least = node.uses + 1 end
  node.uses = node.uses + 1
  self:bucket(node.uses):push_front(node)
end

function LFU:victim()
  while not self.buckets[self.least] do self.least = self.least + 1 end
  return self.buckets[self.least]:back()
end

-- The model: a plain array in order of use.
local function check_against_model()
  local cache, model = LRU.new(12, function(key) return -key end), {}
  for _ = 1, 4000 do
    local key = random(20)
    local found
    for i, k in ipairs(model) do
      if k == key then found = i end
    end
    local action = random(8)
    if action == 0 then
      if cache:delete(key) ~= (found ~= nil) then error("lru_cache: delete differs from the model") end
      if found then table.remove(model, found) end
    else
      local hits = cache.hits
      if cache:get(key) ~= -key then error("lru_cache: wrong value") end
      if (cache.hits > hits) ~= (found ~= nil) then error("lru_cache: hit differs from the model") end
      if found then table.remove(model, found) end
      table.insert(model, 1, key)
      model[13] = nil
    end
    local node = cache.order.next
    for _, k in ipairs(model) do
      if node.key ~= k then error("lru_cache: order differs from the model") end
      node = node.next
    end
    if node ~= cache.order then error("lru_cache: more entries than the model") end
  end
end

-- Keys with a skewed distribution: small ones are frequent.
local function skewed(limit)
  local x = random(limit) / limit
  return math.floor(x * x * x * x * limit)
end

local function square(key) return key * key end
local function shout(key) return key .. "!" end

check_against_model()

local numbers = LRU.new(500, square)
local names = LRU.new(200, shout)
local frequent = LFU.new(500, square)
local keys = {}
for i = 0, 999 do keys[i] = "key" .. i end

local gets = math.floor(n / 3)
for i = 1, gets do
  local key = skewed(4000)
  if numbers:get(key) ~= key * key then error("lru_cache: wrong square") end
  if frequent:get(key) ~= key * key then error("lru_cache: wrong square") end
  local name = keys[skewed(1000)]
  local value = names:get(name)
  if #value ~= #name + 1 then error("lru_cache: wrong name") end
  if i % 50 == 0 then
    numbers:delete(skewed(4000))
    local fresh = skewed(500)
    frequent:put(fresh, square(fresh))
    frequent:delete(skewed(500))
  end
end

for _, cache in ipairs({ numbers, names, frequent }) do
  if cache.hits + cache.misses ~= gets then error("lru_cache: gets lost") end
  local count = 0
  for key, node in pairs(cache.nodes) do
    if node.key ~= key then error("lru_cache: wrong node") end
    count = count + 1
  end
  if count ~= cache.size or count > cache.capacity then error("lru_cache: wrong size") end
end
if n == 210000 and (numbers.hits ~= 35099 or names.hits ~= 43835 or frequent.hits ~= 32610) then
  error(string.format("lru_cache: wrong hits: %d, %d, %d", numbers.hits, names.hits, frequent.hits))
end
print(string.format("lru_cache: %d gets, hits %d, %d, %d", gets, numbers.hits, names.hits, frequent.hits))
