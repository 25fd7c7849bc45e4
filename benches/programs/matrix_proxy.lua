-- Matrix with proxies: a matrix class whose rows are proxies with __index and __newindex functions over one flat
-- array, plus transposed and block views, a read-only wrapper and an access counter. Exercises: metamethods that are
-- functions, chains of __index through tables and functions, rawget/rawset, __call, __mul, __eq, bounds checks.

local n = tonumber((...) or 150)

-- Rows are made on access and cached weakly in the matrix.
local Matrix = {}

local function check(i, limit, what)
  if type(i) ~= "number" or i < 1 or i > limit then error("matrix_proxy: " .. what .. " out of range", 3) end
end

local row_meta = {
  __index = function(row, j)
    check(j, rawget(row, "columns"), "column")
    return rawget(row, "data")[rawget(row, "base") + j]
  end,
  __newindex = function(row, j, value)
    check(j, rawget(row, "columns"), "column")
    rawget(row, "data")[rawget(row, "base") + j] = value
  end,
}

local matrix_meta = {
  __index = function(m, key)
    if type(key) ~= "number" then return Matrix[key] end
    check(key, m.rows, "row")
    local row = m.cache[key]
    if not row then
      row = setmetatable({ data = m.data, base = (key - 1) * m.columns, columns = m.columns }, row_meta)
      m.cache[key] = row
    end
    return row
  end,
  __newindex = function() error("matrix_proxy: rows cannot be assigned", 2) end,
}

function Matrix.new(rows, columns, fill)
  local data = {}
  for k = 1, rows * columns do data[k] = fill or 0 end
  return setmetatable({ rows = rows, columns = columns, data = data, cache = {} }, matrix_meta)
end

function Matrix.from(rows, columns, fn)
  local m = Matrix.new(rows, columns)
  for i = 1, rows do
    for j = 1, columns do m[i][j] = fn(i, j) end
  end
  return m
end

function matrix_meta.__call(m, i, j) return m.data[(i - 1) * m.columns + j] end

-- Works on matrices and on every view: only rows, columns and m[i][j] are used.
local function multiply(a, b)
  if a.columns ~= b.rows then error("matrix_proxy: sizes do not match") end
  local c = Matrix.new(a.rows, b.columns)
  for i = 1, a.rows do
    local left, out = a[i], c[i]
    for j = 1, b.columns do
      local sum = 0
      for k = 1, a.columns do sum = sum + left[k] * b[k][j] end
      out[j] = sum
    end
  end
  return c
end
matrix_meta.__mul = multiply

local function equal(a, b)
  if a.rows ~= b.rows or a.columns ~= b.columns then return false end
  for i = 1, a.rows do
    for j = 1, a.columns do
      if a[i][j] ~= b[i][j] then return false end
    end
  end
  return true
end
matrix_meta.__eq = equal

-- Views --------------------------------------------------------------------------------------------------------------

-- m[i][j] of the transposed view is source[j][i].
local transposed_row = {
  __index = function(row, j) return row.source[j][row.i] end,
  __newindex = function(row, j, value) row.source[j][row.i] = value end,
}
local transposed_meta = {
  __index = function(view, i) return setmetatable({ source = view.source, i = i }, transposed_row) end,
  __mul = multiply,
}

local function transposed(m)
  return setmetatable({ source = m, rows = m.columns, columns = m.rows }, transposed_meta)
end

local function block(m, top, left, rows, columns)
  local view = { rows = rows, columns = columns }
  return setmetatable(view, {
    __index = function(_, i)
      check(i, rows, "row")
      local row = m[i + top]
      return setmetatable({}, {
        __index = function(_, j)
          check(j, columns, "column")
          return row[j + left]
        end,
        __newindex = function(_, j, value) row[j + left] = value end,
      })
    end,
    __mul = multiply,
  })
end

local function read_only(m)
  return setmetatable({}, { __index = m, __newindex = function() error("matrix_proxy: read only", 2) end })
end

local function counted(t)
  local reads, writes = 0, 0
  local proxy = setmetatable({}, {
    __index = function(_, key)
      reads = reads + 1
      return t[key]
    end,
    __newindex = function(_, key, value)
      writes = writes + 1
      t[key] = value
    end,
  })
  return proxy, function() return reads, writes end
end

-- Default values through a chain of three prototypes.
local base = { color = "black", width = 1, height = 1 }
local wide = setmetatable({ width = 10 }, { __index = base })
local chain = setmetatable({}, { __index = wide, __newindex = function(t, k, v) rawset(t, k, v * 2) end })

-- Driver ---------------------------------------------------------------------------------------------------------------

local function expect(actual, expected, what)
  if actual ~= expected then
    error(string.format("matrix_proxy: %s: %s instead of %s", what, tostring(actual), tostring(expected)))
  end
end

local trace = 0
for round = 1, n do
  local size = 20
  local a = Matrix.from(size, size, function(i, j) return (i * 7 + j * 3 + round) % 11 end)
  local b = Matrix.from(size, size, function(i, j) return (i + j * j) % 13 - 6 end)
  local identity = Matrix.from(size, size, function(i, j) return i == j and 1 or 0 end)
  local c = a * b
  expect(c == a, false, "comparison")
  expect(equal(a * identity, a), true, "identity")
  expect(c(3, 4), c[3][4], "call")
  -- (ab)' = b'a'
  expect(equal(transposed(c), transposed(b) * transposed(a)), true, "transposed product")
  -- The product by blocks.
  local half = size / 2
  local sum = Matrix.new(half, half)
  for k = 0, half, half do
    local part = block(a, 0, k, half, half) * block(b, k, half, half, half)
    for i = 1, half do
      for j = 1, half do sum[i][j] = sum[i][j] + part[i][j] end
    end
  end
  expect(equal(sum, block(c, 0, half, half, half)), true, "product by blocks")
  transposed(a)[2][5] = 99
  expect(a[5][2], 99, "write through a view")
  block(a, 4, 1, 3, 3)[1][1] = 98
  expect(a[5][2], 98, "write through a block")

  local frozen = read_only(a)
  expect(frozen[5][2], 98, "read-only read")
  expect(pcall(function() frozen.x = 1 end), false, "read-only write")
  expect(pcall(function() return a[size + 1] end), false, "row bound")
  expect(pcall(function() return a[1][0] end), false, "column bound")
  expect(pcall(function() a[1] = {} end), false, "row assignment")

  local proxy, report = counted({})
  for i = 1, 2000 do proxy[i % 10] = (proxy[i % 10] or 0) + i end
  local reads, writes = report()
  expect(reads + writes, 4000, "accesses")
  expect(proxy[0], 201000, "counted sum")

  local area = 0
  for _ = 1, 2000 do area = area + chain.width * chain.height + #chain.color end
  expect(area, 2000 * 15, "prototype chain")
  chain["k" .. round] = round
  expect(rawget(chain, "k" .. round), 2 * round, "rawset")
  for i = 1, size do trace = trace + c[i][i] end
end
if n == 150 and trace ~= -60094 then error(string.format("matrix_proxy: wrong trace %d", trace)) end
print(string.format("matrix_proxy: %d rounds, trace %d", n, trace))
