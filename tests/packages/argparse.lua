local argparse = require "argparse"
local function show(t)
  if type(t) ~= "table" then return tostring(t) end
  local keys = {}
  for k in pairs(t) do keys[#keys + 1] = k end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  for i, k in ipairs(keys) do keys[i] = tostring(k) .. "=" .. show(t[k]) end
  return "{" .. table.concat(keys, ", ") .. "}"
end
local function make()
  local parser = argparse("prog", "A description that is long enough to be wrapped when the usage is shown to the user of the program.", "See also.")
  parser:argument("input", "Input file."):args("+")
  parser:option("-o --output", "Output file.", "a.out"):argname("<file>")
  parser:option("-I --include"):count("*")
  parser:option("-n --number"):convert(tonumber):choices { "1", "2", "3" }
  parser:flag("-v --verbose", "Verbosity."):count("0-3"):target("level")
  parser:flag("-q --quiet")
  parser:mutex(parser:flag("--on"), parser:flag("--off"))
  return parser
end
for _, words in ipairs {
  { "a", "b" }, { "-o", "x", "a" }, { "-vv", "--output=y", "a" }, { "-Ia", "-I", "b", "c" }, { "-n2", "x" }, { "-n9", "x" }, {}, { "--nope", "a" },
  { "--on", "--off", "a" }, { "-vvvv", "a" }, { "--verbos", "a" }, { "--", "-x" }, { "-qv", "a", "-n", "3" }, { "a", "-o" },
} do
  local ok, result = make():pparse(words)
  print(ok, show(result))
end
print(make():get_usage())
print(make():get_help())
local parser = argparse("cmd"):require_command(true):command_target("command")
local add = parser:command("add a", "Add something."):argument("what"):args(2)
parser:command("remove"):flag("-f --force")
for _, words in ipairs { { "add", "x", "y" }, { "a", "1", "2" }, { "remove", "-f" }, {}, { "ad" }, { "remove", "x" } } do
  local ok, result = parser:pparse(words)
  print(ok, show(result))
end
print(parser:get_help())
